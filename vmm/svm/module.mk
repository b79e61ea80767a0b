vmm-src += vmm/svm/run.S vmm/svm/svm.c
