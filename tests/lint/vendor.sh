#!/bin/sh
# VMCB and VMCS are named in vmm/svm and vmm/vmx only.
cd "$(dirname "$0")/../.." || exit 1
! git ls-files '*.c' '*.h' '*.S' | grep -vE '^vmm/(svm|vmx)/' | xargs grep -nE '\b(vmcb|vmcs)(_|->|\.|\b)' |
	grep -vE ':[0-9]+:\s*(/?\*|//)' | grep -vE '/\*.*\b(vmcb|vmcs)' | grep .
