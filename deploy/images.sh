#!/bin/sh
# Build the images of deploy/Dockerfile without Docker, as root with buildah: archives for `ctr images import` or
# `docker load`. With --debian the base image is made here too, of Debian's packages: for where no registry is reached.
#   deploy/images.sh [--debian] [FOLDER]      build/images, if no folder is named
set -eu
debian=''
if [ "${1:-}" = --debian ]; then debian=1 && shift; fi
top=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$top/build/images}
base=$(sed -n 's/^FROM \(.*\) AS tools$/\1/p' "$top/deploy/Dockerfile")
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/pyproject.toml")
if ! command -v buildah >/dev/null; then echo 'apt-get install buildah' >&2 && exit 1; fi
if [ -n "$debian" ] && ! command -v mmdebstrap >/dev/null; then echo 'apt-get install mmdebstrap' >&2 && exit 1; fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
run_buildah() {
    buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"
}

# What the image of the Dockerfile's name has, as far as it is used: Python and pip in /usr/local/bin, certificates.
make_base() {
    mkdir "$work/base"
    mmdebstrap --quiet --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
        "${base##*-}" "$work/base/system.tar"
    cp /etc/ssl/certs/ca-certificates.crt "$work/base" # of this machine: a proxy on the way may have one of its own
    printf '%s\n' 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";' \
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };' >"$work/base/apt.conf"
    cat >"$work/base/Dockerfile" <<'RECIPE'
FROM scratch
ADD system.tar /
COPY ca-certificates.crt /etc/ssl/certs/
COPY apt.conf /etc/apt/apt.conf.d/docker-clean
RUN rm /usr/lib/python3.*/EXTERNALLY-MANAGED && ln -s /usr/bin/python3 /usr/local/bin/python && ln -s /usr/bin/python3 /usr/local/bin/python3
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
CMD ["python3"]
RECIPE
    run_buildah build --isolation chroot --tag "docker.io/library/$base" "$work/base"
}

mkdir -p "$folder"
if [ -n "$debian" ]; then make_base; fi
for image in pilot proxyv2; do
    name=controlplane/$image:$version
    run_buildah build --isolation chroot ${debian:+--pull-never} --target "$image" --tag "$name" \
        --file "$top/deploy/Dockerfile" --ignorefile "$top/deploy/Dockerfile.dockerignore" "$top"
    rm -f "$folder/$image.tar"
    run_buildah push "localhost/$name" "docker-archive:$folder/$image.tar:docker.io/$name"
done
ls -l "$folder"/*.tar
