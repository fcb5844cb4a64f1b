#!/bin/sh
# PID 1 of a node, in private mount, net, pid, uts and ipc namespaces: with it ends everything inside.
#   namespaces.sh FOLDER NAME
set -eu
folder=$1
hostname "$2"
cd "$folder"

# A /sys of the new network namespace, the host's cgroups carried over to it.
mkdir -p cgroup
mount --rbind /sys/fs/cgroup cgroup
mount -t sysfs sysfs /sys
mount --rbind cgroup /sys/fs/cgroup
umount -l cgroup

mount -t tmpfs tmpfs /run
mkdir -p /run/lock
for directory in /var/lib/kubelet /var/lib/cni /var/log; do
    mkdir -p "$directory" "$folder/fs$directory"
    mount --bind "$folder/fs$directory" "$directory"
done
mount --make-rshared /

# The kubelet would set these for the whole host: it is shown what it wants to see.
show() {
    echo "$2" > "sysctl.$(echo "$1" | tr / .)"
    mount --bind "sysctl.$(echo "$1" | tr / .)" "/proc/sys/$1"
}
show vm/overcommit_memory 1
show vm/panic_on_oom 0
show kernel/panic 10
show kernel/panic_on_oops 1
show kernel/keys/root_maxkeys 1000000
show kernel/keys/root_maxbytes 25000000

touch mounted
while :; do sleep 60; done # while it waits, it reaps orphans
