#!/bin/bash
# small.sh - a small real image that checks itself without being asked, for Bochs
#
# usage: small.sh IMAGES_DIR
#
# Debian's stock kernel with an initramfs of busybox, and an ext4 root of whole
# packages' files (>= 64 MiB), taken from the image that images/recipes/debian.sh
# made. Their SHA-256 list is in the initramfs. Nobody can type in Bochs, so that
# everything happens by itself: mount read-write, check every file, write a file,
# sync, read it back, ask the VMM for its figures on its serial port, power off.
# Each step says "small: ..." on ttyS0. The kernel's tests of its own ciphers are
# left out: an eighth of the boot there.
#
# Leaves small.raw; nothing is mounted and nothing needs root.
set -euo pipefail

images=${1:?usage: small.sh IMAGES_DIR}
images=$(cd "$images" && pwd)
out=$images/small.raw
id=$(cat "$0" "$(dirname "$0")/sumcheck.c" "$images/debian.info" | sha256sum | cut -c1-16)
[ -e "$out" ] && [ "$(cat "$out.id" 2>/dev/null)" = "$id" ] && exit 0

work=$(mktemp -d "$images/.small.XXXXXX")
trap 'rm -rf "$work"' EXIT
esp_mib=34 root_mib=112
trees="/usr/lib/python3.11 /usr/lib/git-core /usr/share/perl /usr/share/man/man1"

# debian.raw's second partition, read where it lies.
start=$(sfdisk -d "$images/debian.raw" | sed -n 's/.*raw2 : start= *\([0-9]*\),.*/\1/p')
debian="$images/debian.raw?offset=$((start * 512))"
from_debian() { debugfs -R "$1" "$debian" 2>> "$work/debugfs.log"; }

root=$work/root
for t in $trees; do
	mkdir -p "$root$(dirname "$t")"
	from_debian "rdump $t $root$(dirname "$t")"
done
(cd "$root" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) > "$work/list"
bytes=$(find "$root" -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')
files=$(wc -l < "$work/list")
[ "$bytes" -ge $((64 * 1048576)) ] || { echo "small: only $bytes bytes of files" >&2; exit 1; }

kver=$(sed -n 's/^kernel //p' "$images/debian.info")
rd=$work/rd
mkdir -p "$rd"/{bin,dev,proc,sys,disk,lib/modules}
cp /bin/busybox "$rd/bin/busybox"
tar -C "$rd" -xf "$images/modules.tar"
{
	grep -vE '/(e1000e|virtio)' "$images/modules.list"
	for m in crc32c-intel crc32c_generic ext4 sha256-ssse3 algif_hash; do
		from_debian "cat /lib/modules/$kver/modules.dep" | grep -E "/$m\.ko:" > "$work/dep"
		sed 's/.*: *//' "$work/dep" | tr ' ' '\n' | tac
		sed 's/:.*//' "$work/dep"
	done
} | grep . | awk '!seen[$0]++' > "$work/modules"
while read -r m; do
	mkdir -p "$rd/lib/modules/$kver/$(dirname "$m")"
	[ -e "$rd/lib/modules/$kver/$m" ] || from_debian "dump /lib/modules/$kver/$m $rd/lib/modules/$kver/$m"
done < "$work/modules"
sed "s|^|/lib/modules/$kver/|" "$work/modules" > "$rd/modules"
cp "$work/list" "$rd/list"
gcc -O2 -Wall -Wextra -static -s -o "$rd/bin/sumcheck" "$(dirname "$0")/sumcheck.c"
cat > "$rd/init" <<'EOS'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec > /dev/ttyS0 2>&1
up() { cut -d' ' -f1 /proc/uptime; }
stop() { echo "small: FAILED: $*"; dmesg | tail -25; poweroff -f; }
echo "small: up at $(up) with $(grep -c ^processor /proc/cpuinfo) CPU(s)"
grep -qwE 'vmx|svm' /proc/cpuinfo && echo "small: sees virtualization"
while read -r m; do insmod "$m" 2>/dev/null; done < /modules
n=0
until [ -b /dev/nvme0n1p2 ] || [ $n -ge 300 ]; do usleep 100000; n=$((n + 1)); done
[ -b /dev/nvme0n1p2 ] || stop "no disk"
mount -t ext4 -o rw,noatime /dev/nvme0n1p2 /disk || stop "mount"
echo "small: mounted at $(up)"
cd /disk
sumcheck /list > /sums || { head /sums; stop "files differ"; }
echo "small: $(tail -n1 /sums) at $(up)"
dd if=/dev/urandom of=/disk/written bs=64k count=32 2>/dev/null && sync || stop "write"
want=$(sha256sum < /disk/written)
cd /
umount /disk && echo 3 > /proc/sys/vm/drop_caches && mount -t ext4 -o rw,noatime /dev/nvme0n1p2 /disk || stop "mount again"
[ "$want" = "$(sha256sum < /disk/written)" ] || stop "what was written is not there"
umount /disk
echo "small: what was written is there at $(up)"
# The VMM answers an F in its port's scratch register; its port takes half a second,
# of which some models of Bochs make a minute: they say 3500 MHz and run at 30.
printf F | dd of=/dev/port bs=1 seek=$((0x2ff)) conv=notrunc 2>/dev/null
if awk '/cpu MHz/ { exit $4 < 1000 }' /proc/cpuinfo; then usleep 30000; else sleep 1; fi
echo "small: done at $(up)"
poweroff -f
EOS
chmod +x "$rd/init"
(cd "$rd" && find . | LC_ALL=C sort | cpio -o -H newc --quiet | gzip -1) > "$work/initrd.gz"

cat > "$work/grub.cfg" <<'EOS'
search --no-floppy --label --set=root SMALLESP
echo "small: grub"
linux /vmlinuz console=ttyS0,115200 quiet panic=-1 cryptomgr.notests
initrd /initrd.gz
boot
EOS
grub-mkimage -O x86_64-efi -c "$work/grub.cfg" -p / -o "$work/BOOTX64.EFI" part_gpt fat linux search search_label boot echo reboot halt
esp=$work/esp.img
truncate -s ${esp_mib}M "$esp"
mkfs.vfat -F 32 -s 1 -n SMALLESP "$esp" > /dev/null
mmd -i "$esp" ::/EFI ::/EFI/BOOT
mcopy -i "$esp" "$work/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$esp" "$images/vmlinuz" ::/vmlinuz
mcopy -i "$esp" "$work/initrd.gz" ::/initrd.gz

fs=$work/root.img
truncate -s ${root_mib}M "$fs"
mke2fs -q -t ext4 -U 5f7e1a52-6c1f-4e1b-9a39-3d5c0f2e8b01 -E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 -J size=4 -d "$root" "$fs"

disk=$work/disk
truncate -s $((2 + esp_mib + root_mib))M "$disk"
sfdisk -q "$disk" <<EOS
label: gpt
label-id: 1D2B6C3E-9E1D-4F0B-8C57-0A7B1D7A2F05
start=1MiB, size=${esp_mib}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=$((1 + esp_mib))MiB, size=${root_mib}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
EOS
dd if="$esp" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$fs" of="$disk" bs=1M seek=$((1 + esp_mib)) conv=notrunc,sparse status=none
mv "$disk" "$out"
echo "$files files, $bytes bytes" > "$images/small.info"
echo "$id" > "$out.id"
