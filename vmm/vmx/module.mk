vmm-src += vmm/vmx/run.S $(addprefix vmm/vmx/,vmx.c exit.c ept.c tick.c dump.c)

unit += vmx_need
unit_vmx_need-src := tests/unit/vmx_need_test.c
