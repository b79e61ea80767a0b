core-src += vmm/mm/npt.c vmm/mm/memtype.c

unit += vmm_npt
unit_vmm_npt-src := tests/unit/vmm_npt_test.c vmm/mm/npt.c vmm/mm/memtype.c $(base-host)
