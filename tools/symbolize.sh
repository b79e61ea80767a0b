#!/bin/sh
# Name the addresses of the VMM in a log: symbolize.sh build/vmm.elf < log
set -eu
elf=${1:?usage: symbolize.sh VMM.elf < log}
while IFS= read -r line; do
	printf '%s\n' "$line"
	for a in $(printf '%s\n' "$line" | grep -o 'ffffffff8[0-9a-f]\{7\}' | sort -u); do
		printf '    %s = %s\n' "$a" "$(addr2line -pfe "$elf" "0x$a")"
	done
done
