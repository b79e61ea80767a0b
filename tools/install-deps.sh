#!/bin/sh
# Install what Freshet needs on Debian 12 and is missing. The one list.
set -eu

packages="
gcc make git libc6-dev pkgconf dpkg-dev binutils
clang llvm libclang-rt-14-dev
gnu-efi mtools dosfstools e2fsprogs fdisk
libcmocka-dev libcapstone-dev
libevent-dev libssl-dev libsqlite3-dev zlib1g-dev libjansson-dev libnbd-dev libcurl4-openssl-dev
qemu-system-x86 qemu-utils ovmf ipxe-qemu
bochs bochs-term bochsbios vgabios acpica-tools
mmdebstrap grub-efi-amd64-bin grub-common
nginx-light wrk pigz fio ipxe sbsigntool iperf3 curl
python3 python3-pytest python3-jsonschema valgrind cpio busybox-static openssl dnsmasq-base iproute2 man-db
chromium libnss3-tools fonts-dejavu-core
python3-swift
"

missing=
for p in $packages; do
	dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

run=env
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo > /dev/null || {
		echo "install-deps: need root or sudo to install:$missing" >&2
		exit 1
	}
	run="sudo env"
fi
echo "install-deps: installing$missing"
$run DEBIAN_FRONTEND=noninteractive apt-get -q update
$run DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing
