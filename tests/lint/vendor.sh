#!/bin/sh
# VMCB, VMCS and what stands in them are named in vmm/svm and vmm/vmx only, and in their test guest.
cd "$(dirname "$0")/../.." || exit 1
! git ls-files '*.c' '*.h' '*.S' | grep -vE '^(vmm/(svm|vmx)/|tests/guest/vmxsuite\.c)' | xargs grep -nE '\b(vmcb|vmcs)(_|->|\.|\b)|\b(VMCB|VMCS|VMEXIT|EPTQ)_[A-Z]' |
	grep -vE ':[0-9]+:\s*(/?\*|//)' | grep -vE '/\*.*\b(vmcb|vmcs)' | grep .
