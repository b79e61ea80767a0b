/* exit.h - between the files of vmm/cpu that handle exits */
#ifndef VMM_CPU_EXIT_H
#define VMM_CPU_EXIT_H

#include "vmm/cpu/pio.h"
#include "vmm/cpu/vcpu.h"

void pio_dispatch(struct pio_access *a);

#endif
