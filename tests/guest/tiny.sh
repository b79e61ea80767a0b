#!/bin/bash
# tiny.sh - a small guest that verifies its own disk, for tests that boot often
#
# usage: tiny.sh IMAGES_DIR [LABEL]
#
# Debian's kernel with an initramfs of busybox and a few modules, on a 320 MiB
# disk: ESP with GRUB; a partition of 128 MiB whose every MiB is known by its
# SHA-256 (the table is in the initramfs); a partition for scratch. LABEL
# changes the data, so that two labels make two versions of one image. The disk
# is /dev/tiny1 to /dev/tiny3, behind NVMe or AHCI.
set -euo pipefail

images=${1:?usage: tiny.sh IMAGES_DIR [LABEL]}
label=${2:-one}
images=$(cd "$images" && pwd)
out=$images/tiny-$label.raw
id=$(cat "$0" "$images/debian.info" | sha256sum | cut -c1-16)
[ -e "$out" ] && [ "$(cat "$out.id" 2>/dev/null)" = "$id" ] && exit 0

work=$(mktemp -d "$images/.tiny.XXXXXX")
trap 'rm -rf "$work"' EXIT
esp_mib=64 data_mib=128 scratch_mib=64 disk_mib=320

# Data: a keystream is incompressible, repeatable and different in every block;
# every fourth MiB is text, so that compression has something to do as well.
data=$work/data
for ((i = 0; i < data_mib; i++)); do
	if ((i % 4 == 3)); then
		yes "MiB $i of the image $label" | head -c 1048576 || :
	else
		openssl enc -aes-128-ctr -K "$(printf '%032x' $((i + 1)))" -iv "$(echo -n "$label" | md5sum | cut -c1-32)" \
			-in /dev/zero 2>/dev/null | head -c 1048576 || :
	fi
done > "$data"
for ((i = 0; i < data_mib; i++)); do
	dd if="$data" bs=1M skip=$i count=1 status=none | sha256sum | cut -d' ' -f1
done > "$work/table"

rd=$work/rd
mkdir -p "$rd"/{bin,dev,proc,sys,run,lib/modules}
cp /bin/busybox "$rd/bin/busybox"
tar -C "$rd" -xf "$images/modules.tar"
kver=$(ls "$rd/lib/modules")
sed "s|^|/lib/modules/$kver/|" "$images/modules.list" > "$rd/modules.list"
# AHCI is not among them: its drivers come out of the image itself.
root="$images/debian.raw?offset=$(($(sfdisk -d "$images/debian.raw" | awk -F'[=,]' '/^[^ ]*2 :/ { print $2 }') * 512))"
from=/usr/lib/modules/$kver
debugfs -R "cat $from/modules.dep" "$root" > "$work/dep" 2>/dev/null
for m in sd_mod ahci; do
	path=$(grep -E "/$m\.ko:" "$work/dep")
	for f in $(echo "${path#*:}" | tr ' ' '\n' | tac) "${path%%:*}"; do
		[ -e "$rd/lib/modules/$kver/$f" ] && continue
		mkdir -p "$rd/lib/modules/$kver/${f%/*}"
		debugfs -R "dump $from/$f $rd/lib/modules/$kver/$f" "$root" 2>/dev/null
		echo "/lib/modules/$kver/$f" >> "$rd/modules.list"
	done
done
cp "$work/table" "$rd/table"
cat > "$rd/init" <<'EOF'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
while read -r m; do insmod "$m" 2>/dev/null; done < /modules.list
n=0
until [ -b /dev/nvme0n1p3 ] || [ -b /dev/sda3 ] || [ $n -ge 600 ]; do usleep 100000; n=$((n + 1)); done
disk=/dev/nvme0n1p
[ -b /dev/nvme0n1p3 ] || disk=/dev/sda
for p in 1 2 3; do ln -s $disk$p /dev/tiny$p; done
export PS1='# '
echo "tiny login: ready"
exec setsid sh -c 'exec sh -i < /dev/ttyS0 > /dev/ttyS0 2>&1'
EOF
cat > "$rd/bin/verify" <<'EOF'
#!/bin/busybox sh
# verify [FIRST COUNT]: which MiB of the data partition are not what they must be
first=${1:-0} count=${2:-128} bad=0 i=$first
while [ $i -lt $((first + count)) ]; do
	want=$(sed -n "$((i + 1))p" /table)
	got=$(dd if=/dev/tiny2 bs=1M skip=$i count=1 iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1)
	[ "$want" = "$got" ] || { echo "bad MiB $i"; bad=$((bad + 1)); }
	i=$((i + 1))
done
echo "verified $count MiB, $bad bad"
[ $bad -eq 0 ]
EOF
cat > "$rd/bin/scribble" <<'EOF'
#!/bin/busybox sh
# scribble SEED MIB: write MIB MiB that depend on SEED to scratch, and sync
yes "$1" | head -c $(($2 * 1048576)) | dd of=/dev/tiny3 bs=64k conv=fsync 2>/dev/null
EOF
cat > "$rd/bin/scribbled" <<'EOF'
#!/bin/busybox sh
# scribbled SEED MIB: is it there?
want=$(yes "$1" | head -c $(($2 * 1048576)) | sha256sum)
got=$(dd if=/dev/tiny3 bs=1M count=$2 iflag=direct 2>/dev/null | sha256sum)
[ "$want" = "$got" ]
EOF
chmod +x "$rd/init" "$rd"/bin/{verify,scribble,scribbled}
(cd "$rd" && find . | LC_ALL=C sort | cpio -o -H newc --quiet | gzip -1) > "$work/initrd.gz"

cat > "$work/grub.cfg" <<'EOF'
set timeout=0
search --no-floppy --label --set=root TINYESP
linux /vmlinuz console=ttyS0,115200 quiet panic=-1
initrd /initrd.gz
boot
EOF
grub-mkimage -O x86_64-efi -c "$work/grub.cfg" -p / -o "$work/BOOTX64.EFI" part_gpt fat linux search search_label boot echo reboot halt
esp=$work/esp.img
truncate -s ${esp_mib}M "$esp"
mkfs.vfat -F 32 -n TINYESP "$esp" > /dev/null
mmd -i "$esp" ::/EFI ::/EFI/BOOT
mcopy -i "$esp" "$work/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$esp" "$images/vmlinuz" ::/vmlinuz
mcopy -i "$esp" "$work/initrd.gz" ::/initrd.gz

disk=$work/disk
truncate -s ${disk_mib}M "$disk"
sfdisk -q "$disk" <<EOF
label: gpt
label-id: 1D2B6C3E-9E1D-4F0B-8C57-0A7B1D7A2F02
start=1MiB, size=${esp_mib}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=$((1 + esp_mib))MiB, size=${data_mib}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
start=$((1 + esp_mib + data_mib))MiB, size=${scratch_mib}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
EOF
dd if="$esp" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$data" of="$disk" bs=1M seek=$((1 + esp_mib)) conv=notrunc status=none
mv "$disk" "$out"
echo "$id" > "$out.id"
