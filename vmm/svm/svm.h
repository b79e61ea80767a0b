/* svm.h - AMD's half of vcpu_ops */
#ifndef VMM_SVM_SVM_H
#define VMM_SVM_SVM_H

#include "vmm/cpu/vcpu.h"

extern const struct vcpu_ops svm_ops;

bool svm_present(void);

#endif
