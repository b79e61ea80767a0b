/* vmx.h - Intel's half of vcpu_ops */
#ifndef VMM_VMX_VMX_H
#define VMM_VMX_VMX_H

#include "vmm/cpu/vcpu.h"

extern const struct vcpu_ops vmx_ops;

bool vmx_present(void);

#endif
