core-src += vmm/mm/npt.c vmm/mm/memtype.c

unit += vmm_npt
unit_vmm_npt-src := tests/unit/vmm_npt_test.c vmm/mm/npt.c vmm/mm/memtype.c $(base-host)

unit += vmm_memtype
unit_vmm_memtype-src := tests/unit/vmm_memtype_test.c vmm/mm/npt.c vmm/mm/memtype.c $(base-host)
