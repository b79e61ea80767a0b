core-src += vmm/mm/npt.c

unit += vmm_npt
unit_vmm_npt-src := tests/unit/vmm_npt_test.c vmm/mm/npt.c $(base-host)
