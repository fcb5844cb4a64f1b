#!/bin/sh
# All of `make test` as on a machine that never saw the project: a clean clone of HEAD, an empty home and empty caches, few
# variables. As root, where no test may be skipped, and as an ordinary user, made for this and removed again; who is no root
# can only be themselves. About an hour, most of it the building of Kubernetes.
#   tests/fresh.sh [root|user]...      TARGETS='lint test-unit' runs these instead of `test`
# What it does not make new are the packages of the system: they are what is there, or what the part as root installs.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
commit=$(git -C "$top" rev-parse HEAD)
targets=${TARGETS:-test}
cases=$(cd "$top" && cd "${CONFORMANCE:-../shared/conformance}" 2>/dev/null && pwd || true)
name=fresh$$
work=$(mktemp -d)
failed=''

clean_up() {
    if [ "$(id -u)" = 0 ] && id "$name" >/dev/null 2>&1; then userdel "$name"; fi
    chmod -R u+w "$work" && rm -rf "$work" # Go's modules may not be written to
    rm -rf "${TMPDIR:-/tmp}/pytest-of-$name"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# What the machine needs to reach the registries of packages; nothing else is inherited.
reach() {
    env | grep -E '^(PIP_|UV_|GO[A-Z]+=|SSL_CERT|[a-zA-Z]+_(proxy|PROXY)=)' || true
}

# part WHO COMMAND...: run make in a clone of its own, by way of a command that becomes WHO
part() {
    who=$1 && shift
    home=$work/$who log=$top/build/fresh-$who.log
    mkdir -p "$home" "$top/build"
    git clone --quiet --no-hardlinks "$top" "$home/controlplane"
    git -C "$home/controlplane" checkout --quiet --detach "$commit"
    if [ "$who" = user ] && [ "$(id -u)" = 0 ]; then chmod 755 "$work" && chown -R "$name:" "$home"; fi
    started=$(date +%s)
    {
        cd "$home/controlplane"
        # shellcheck disable=SC2086,SC2046 # words
        env -i $(reach) PATH="$PATH" HOME="$home" XDG_CACHE_HOME="$home/.cache" CI="$ci" ${cases:+CONFORMANCE="$cases"} \
            "$@" make --keep-going $targets && result=passed || result=FAILED
        echo "$result" >"$work/result"
    } 2>&1 | tee "$log"
    result=$(cat "$work/result")
    echo "$who: $result after $((($(date +%s) - started) / 60)) minutes: make $targets, commit $commit; log: $log" >>"$work/said"
    grep -E '^(SKIPPED|[0-9]+ (passed|failed).* in )' "$log" | sed "s/^/$who: /" >>"$work/said" || true
    if [ "$result" != passed ]; then failed=1; fi
}

if [ -n "$(git -C "$top" status --porcelain)" ]; then
    echo 'Only what is committed is tested; here are changes that are not:' >&2
    git -C "$top" status --short >&2
fi
if [ $# = 0 ]; then
    if [ "$(id -u)" = 0 ]; then set -- root user; else set -- user; fi
fi
for asked; do
    case $asked,$(id -u) in
    root,0) ci=true part root ;;
    root,*) echo 'The part of root needs root.' >&2 && exit 1 ;;
    user,0)
        useradd --no-create-home --shell /bin/sh "$name"
        ci='' part user setpriv --reuid "$name" --regid "$name" --init-groups --
        ;;
    user,*) ci='' part user ;;
    *) echo "$asked: neither root nor user" >&2 && exit 1 ;;
    esac
done
echo
cat "$work/said"
[ -z "$failed" ]
