#!/bin/sh
# Boot Debian's kernel with a tiny initramfs under the VMM (mode=null) in QEMU,
# or bare, and show what came out: a smoke test of vmm/ that takes 20 seconds.
#
# usage: run-vmm.sh [-b] [-s CPUS] [-m MEM] [-a poweroff|reboot|idle] [-t SECS] [-e FRESHET.EFI]
#
# Environment: KERNEL (default build/images/vmlinuz), QEMU_ARGS.
# Leaves build/run-vmm/: com1 (guest), com2 (VMM), regs (EFER of every CPU).
set -eu
cd "$(dirname "$0")/.."
mode=vmm cpus=2 mem=1G action=poweroff secs=90 efi=build/freshet.efi
while getopts bs:m:a:t:e: o; do
	case $o in
	b) mode=bare ;;
	s) cpus=$OPTARG ;;
	m) mem=$OPTARG ;;
	a) action=$OPTARG ;;
	t) secs=$OPTARG ;;
	e) efi=$OPTARG ;;
	*) exit 2 ;;
	esac
done
kernel=${KERNEL:-build/images/vmlinuz}
efi=$(realpath "$efi") kernel=$(realpath "$kernel")
d=build/run-vmm
rm -rf $d
mkdir -p $d/root/bin
cd $d

cp /bin/busybox root/bin/
cat > root/init <<'END'
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
exec > /dev/console 2>&1 < /dev/console
echo "UP $(cut -d' ' -f1 /proc/uptime) cpus=$(grep -c ^processor /proc/cpuinfo) svm=$(grep -c svm /proc/cpuinfo)"
dd if=/dev/zero bs=1M count=64 2> /dev/null | sha256sum
for w in $(cat /proc/cmdline); do case $w in do=*) act=${w#do=} ;; esac; done
echo "MARK $act $(cut -d' ' -f1 /proc/uptime)"
case $act in
reboot) reboot -f ;;
idle) sleep 15 ;;
esac
poweroff -f
END
chmod +x root/init
(cd root && find . | cpio -o -H newc 2> /dev/null | gzip -1) > initrd.gz
echo 'search --file --set=root /run.cfg
source ($root)/run.cfg' > early.cfg
grub-mkimage -O x86_64-efi -o grub.efi -c early.cfg -p /grub part_gpt part_msdos fat linux \
	search search_fs_file normal configfile
printf 'linux /vmlinuz console=ttyS0,115200 loglevel=4 panic=-1 do=%s\ninitrd /initrd.gz\nboot\n' \
	"$action" > run.cfg
echo 'mode null' > freshet.conf
truncate -s 64M esp.img
mformat -i esp.img -F ::
mmd -i esp.img ::/EFI ::/EFI/BOOT ::/EFI/debian
if [ $mode = vmm ]; then
	mcopy -i esp.img "$efi" ::/EFI/BOOT/BOOTX64.EFI
	mcopy -i esp.img freshet.conf ::/EFI/BOOT/freshet.conf
	mcopy -i esp.img grub.efi ::/EFI/debian/grubx64.efi
else
	mcopy -i esp.img grub.efi ::/EFI/BOOT/BOOTX64.EFI
fi
mcopy -i esp.img run.cfg initrd.gz ::/
mcopy -i esp.img "$kernel" ::/vmlinuz
cp /usr/share/OVMF/OVMF_VARS_4M.fd vars

start=$(date +%s.%N)
# shellcheck disable=SC2086
timeout "$secs" qemu-system-x86_64 -display none -no-reboot \
	-monitor unix:mon,server,nowait -serial file:com1 -serial file:com2 \
	-M q35,smm=off -accel tcg -cpu qemu64,+svm,+npt -smp "$cpus" -m "$mem" \
	-drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
	-drive if=pflash,format=raw,file=vars \
	-drive if=none,id=d0,format=raw,file=esp.img -device nvme,drive=d0,serial=N1,bootindex=1 \
	-netdev user,id=n0 -device e1000e,netdev=n0,romfile= ${QEMU_ARGS:-} &
qemu=$!
if [ "$action" = idle ]; then
	while kill -0 $qemu 2> /dev/null && ! grep -q MARK com1 2> /dev/null; do sleep 1; done
	python3 - << 'END' || :
import re, socket, time
s = socket.socket(socket.AF_UNIX)
s.connect("mon")
s.sendall(b"info registers -a\n")
time.sleep(1)
text = s.recv(1 << 20).decode(errors="replace")
open("regs", "w").write(text)
efer = [int(x, 16) for x in re.findall(r"EFER=([0-9a-f]+)", text)]
print("SVME on every CPU:", bool(efer) and all(e >> 12 & 1 for e in efer), [hex(e) for e in efer])
END
fi
rc=0
wait $qemu || rc=$?
printf 'qemu=%s wall=%.1f s\n' "$rc" "$(echo "$(date +%s.%N) - $start" | bc)"
tr -d '\r' < com1 | grep -aE 'UP|MARK|reboot:|panic' || :
echo '-- VMM:'
grep -aE '^\[ *[0-9]+\.' com2 | tail -20 || :
[ "$rc" = 0 ] && grep -aq MARK com1
