#!/bin/bash
# debian.sh - make a real Debian 12 disk image for the demo and the tests
#
# usage: debian.sh OUT_DIR
#
# Leaves in OUT_DIR
#   debian.raw      4 GiB raw disk: GPT, ESP with GRUB, ext4 root; serial login
#   debian.sha256   SHA-256 of every regular file in it (kept outside the image)
#   debian.info     bytes used, number of files, kernel version
#   vmlinuz, modules.list, modules.tar   the same kernel for the small test guests
#
# The system is Debian's own: stock kernel, systemd, initramfs-tools, packages
# from the mirrors that this machine's apt already uses. No loop device and no
# mount is needed: mke2fs and mtools fill the file systems. Needs root (or
# sudo) for mmdebstrap's chroot.
set -euo pipefail

out=${1:?usage: debian.sh OUT_DIR}
mkdir -p "$out"
out=$(cd "$out" && pwd)
disk_mib=4096
esp_mib=128
root_uuid=5f7e1a52-6c1f-4e1b-9a39-3d5c0f2e8a01
esp_id=F8E54E7A
host=lab

recipe_id=$(sha256sum "$0" | cut -c1-16)
if [ -e "$out/debian.info" ] && grep -q "^recipe $recipe_id$" "$out/debian.info"; then
	exit 0
fi
rm -f "$out"/debian.*
rm -rf --one-file-system "$out"/.work.*

say() { echo "image: $*"; }
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

# The Debian sources that this machine uses, whatever mirror they name.
sources=$work/sources
mkdir "$sources"
for f in /etc/apt/sources.list.d/*.sources; do
	[ -e "$f" ] && grep -qi 'debian-archive-keyring' "$f" && cp "$f" "$sources/"
done
if [ -s /etc/apt/sources.list ]; then
	grep -E '^deb[[:space:]].*bookworm' /etc/apt/sources.list > "$sources/debian.list" || rm "$sources/debian.list"
fi
[ -n "$(ls "$sources")" ] || { echo "image: no Debian sources in /etc/apt" >&2; exit 1; }

say "installing Debian 12 (mmdebstrap), some minutes"
mmdebstrap --mode=root --variant=minbase \
	--include=linux-image-amd64,systemd-sysv,initramfs-tools,udev,dbus,login,passwd,e2fsprogs,dosfstools \
	--include=iproute2,iputils-ping,kmod,procps,less,vim-tiny,man-db,python3,build-essential,git,nvme-cli,zstd,locales \
	--aptopt='Apt::Install-Recommends "false"' \
	bookworm "$root" "$sources"/* > "$work/log" 2>&1 || { tail -60 "$work/log" >&2; exit 1; }

say "configuring"
echo "$host" > "$root/etc/hostname"
printf '127.0.0.1 localhost %s\n' "$host" > "$root/etc/hosts"
cat > "$root/etc/fstab" <<EOF
UUID=$root_uuid / ext4 errors=remount-ro,noatime 0 1
EOF
echo 'root:freshet' | chroot "$root" chpasswd
echo d0d0cafe5f7e4e1b9a393d5c0f2e8a01 > "$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/resolv.conf"
: > "$root/etc/resolv.conf"
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\n' > "$root/etc/systemd/journald.conf.d/lab.conf"
# Timers would start package and man-db work in the middle of a measurement.
for t in apt-daily apt-daily-upgrade man-db dpkg-db-backup e2scrub_all fstrim; do
	ln -sf /dev/null "$root/etc/systemd/system/$t.timer"
done
kver=$(basename "$(ls -d "$root"/lib/modules/*)")
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/tmp/* "$root/usr/share/doc/"*/changelog*
mkdir -p "$root/var/log/journal" && rmdir "$root/var/log/journal"
chroot "$root" ldconfig

mkdir -p "$root/boot/grub" "$root/boot/efi"
cat > "$root/boot/grub/grub.cfg" <<EOF
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=0
menuentry 'Debian GNU/Linux' {
	search --no-floppy --fs-uuid --set=root $root_uuid
	linux /boot/vmlinuz-$kver root=UUID=$root_uuid ro console=ttyS0,115200 quiet
	initrd /boot/initrd.img-$kver
}
EOF

say "hashing every file"
(cd "$root" && find . -xdev -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) > "$out/debian.sha256.new"
files=$(wc -l < "$out/debian.sha256.new")
used=$(du -sx --block-size=1 "$root" | cut -f1)

say "making the disk"
cat > "$work/early.cfg" <<EOF
search --no-floppy --fs-uuid --set=root $root_uuid
set prefix=(\$root)/boot/grub
configfile \$prefix/grub.cfg
EOF
grub-mkimage -O x86_64-efi -c "$work/early.cfg" -p /boot/grub -o "$work/BOOTX64.EFI" \
	part_gpt fat ext2 normal configfile linux search search_fs_uuid serial terminal echo test reboot halt minicmd
esp=$work/esp.img
truncate -s ${esp_mib}M "$esp"
mkfs.vfat -F 32 -n ESP -i $esp_id "$esp" > /dev/null
mmd -i "$esp" ::/EFI ::/EFI/BOOT
mcopy -i "$esp" "$work/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI

root_mib=$((disk_mib - esp_mib - 2))
fs=$work/root.img
truncate -s ${root_mib}M "$fs"
mke2fs -q -t ext4 -U $root_uuid -E lazy_itable_init=0,lazy_journal_init=0 -d "$root" "$fs"

disk=$work/disk.raw
truncate -s ${disk_mib}M "$disk"
sfdisk -q "$disk" <<EOF
label: gpt
label-id: 0C2B6C3E-9E1D-4F0B-8C57-0A7B1D7A2F01
start=1MiB, size=${esp_mib}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=ESP
start=$((1 + esp_mib))MiB, size=${root_mib}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
EOF
dd if="$esp" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$fs" of="$disk" bs=1M seek=$((1 + esp_mib)) conv=notrunc,sparse status=none

cp "$root/boot/vmlinuz-$kver" "$out/vmlinuz"
# What the small test guests load: each module with all that it needs, in order.
{
	for m in nvme e1000e virtio_blk virtio_pci; do
		path=$(grep -E "/$m\.ko:" "$root/lib/modules/$kver/modules.dep" || :)
		[ -n "$path" ] || continue # built in
		echo "${path#*:}" | tr ' ' '\n' | tac
		echo "${path%%:*}"
	done
} | grep . | awk '!seen[$0]++' > "$out/modules.list"
sed "s|^|lib/modules/$kver/|" "$out/modules.list" | tar -C "$root" -cf "$out/modules.tar" -T -
mv "$disk" "$out/debian.raw"
mv "$out/debian.sha256.new" "$out/debian.sha256"
cat > "$out/debian.info" <<EOF
recipe $recipe_id
kernel $kver
files $files
used_bytes $used
image_bytes $((disk_mib * 1048576))
EOF
say "ready: $files files, $((used / 1048576)) MiB used, kernel $kver"
