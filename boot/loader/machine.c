/*
 * machine.c - can this PC run the VMM, and what must the VMM know about it?
 */
#include "base/err.h"
#include "base/fmt.h"
#include "boot/loader/launch.h"
#include "boot/loader/loader.h"
#include "boot/loader/tables.h"
#include "boot/vmx_need.h"

#define RAM_MIN_BYTES (512 * MIB)

/* [APM 3 App. E] */
#define CPUID_EXT_MAX 0x80000000u
#define CPUID_EXT_FEATURES 0x80000001u
#define CPUID_EXT_ECX_SVM BIT(2)
#define CPUID_SVM 0x8000000au
#define CPUID_SVM_EDX_NPT BIT(0)
#define VENDOR_ECX_INTEL 0x6c65746eu /* "ntel" */
#define CPUID_1_ECX_VMX BIT(5)
/* [SDM 4 §2.1] */
#define MSR_FEATURE_CONTROL 0x3au
#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_VMXON BIT(2)
/* [APM 2 §15.30.1] */
#define MSR_VM_CR 0xc0010114u
#define VM_CR_SVMDIS BIT(4)

static EFI_GUID acpi20_guid = ACPI_20_TABLE_GUID;
static EFI_GUID acpi10_guid = ACPI_TABLE_GUID;
static EFI_GUID smbios_guid = SMBIOS_TABLE_GUID;
static EFI_GUID smbios3_guid = SMBIOS3_TABLE_GUID;

struct regs {
	u32 eax, ebx, ecx, edx;
};

static struct regs cpuid(u32 leaf)
{
	struct regs r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(0));
	return r;
}

static u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}

static u64 rdtsc(void)
{
	u32 lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (u64)hi << 32 | lo;
}

static int check_svm(struct loader *l)
{
	if (cpuid(CPUID_EXT_MAX).eax < CPUID_SVM ||
	    !(cpuid(CPUID_EXT_FEATURES).ecx & CPUID_EXT_ECX_SVM)) {
		fmt_snprintf(l->detail, sizeof(l->detail), "CPUID 80000001h does not report SVM");
		return FR_NO_SVM;
	}
	if (rdmsr(MSR_VM_CR) & VM_CR_SVMDIS) {
		fmt_snprintf(l->detail, sizeof(l->detail), "VM_CR.SVMDIS is set");
		return FR_SVM_LOCKED;
	}
	if (!(cpuid(CPUID_SVM).edx & CPUID_SVM_EDX_NPT)) {
		fmt_snprintf(l->detail, sizeof(l->detail), "SVM without nested paging");
		return FR_NO_SVM;
	}
	return 0;
}

/* An unlocked register is fine: the VMM sets and locks it on every CPU. */
static int check_vmx(struct loader *l)
{
	const char *missing;
	u64 control;

	if (!(cpuid(1).ecx & CPUID_1_ECX_VMX)) {
		fmt_snprintf(l->detail, sizeof(l->detail), "CPUID 1 does not report VMX");
		return FR_NO_VMX;
	}
	control = rdmsr(MSR_FEATURE_CONTROL);
	if ((control & FEATURE_CONTROL_LOCK) && !(control & FEATURE_CONTROL_VMXON)) {
		fmt_snprintf(l->detail, sizeof(l->detail), "IA32_FEATURE_CONTROL is %llx",
			     (unsigned long long)control);
		return FR_VMX_LOCKED;
	}
	missing = vmx_missing(rdmsr);
	if (missing) {
		fmt_snprintf(l->detail, sizeof(l->detail), "VMX without: %s", missing);
		return FR_NO_VMX;
	}
	return 0;
}

/* By what is there, then by whose it is: not every Intel says so. */
static int check_cpu(struct loader *l)
{
	hypercall_by_vmcall = (cpuid(1).ecx & CPUID_1_ECX_VMX) ||
			      cpuid(0).ecx == VENDOR_ECX_INTEL;
	return hypercall_by_vmcall ? check_vmx(l) : check_svm(l);
}

/** machine_free_ram() - bytes of memory that is nobody's now; 0: the firmware does not say */
u64 machine_free_ram(void)
{
	UINTN bytes = 0, key, step, room;
	UINT32 version;
	EFI_MEMORY_DESCRIPTOR *map = NULL;
	u64 total = 0;

	BS->GetMemoryMap(&bytes, NULL, &key, &step, &version);
	room = bytes + 4096; /* the allocation itself adds entries */
	if (EFI_ERROR(BS->AllocatePool(EfiBootServicesData, room, (void **)&map)))
		return 0;
	bytes = room;
	if (!EFI_ERROR(BS->GetMemoryMap(&bytes, map, &key, &step, &version)))
		for (UINTN at = 0; at + step <= bytes; at += step) {
			const EFI_MEMORY_DESCRIPTOR *d = (void *)((u8 *)map + at);

			if (d->Type == EfiConventionalMemory)
				total += d->NumberOfPages * PAGE_BYTES;
		}
	BS->FreePool(map);
	return total;
}

/**
 * machine_check() - processor and memory
 *
 * Return: 0, or FR_NO_SVM, FR_SVM_LOCKED, FR_NO_VMX, FR_VMX_LOCKED, FR_LOW_MEMORY.
 */
int machine_check(struct loader *l)
{
	int code = check_cpu(l);
	u64 ram;

	if (code)
		return code;
	ram = machine_free_ram();
	if (ram < RAM_MIN_BYTES) {
		fmt_snprintf(l->detail, sizeof(l->detail), "%llu MiB are free",
			     (unsigned long long)(ram / MIB));
		return FR_LOW_MEMORY;
	}
	return 0;
}

static void *config_table(const EFI_GUID *guid)
{
	for (UINTN i = 0; i < ST->NumberOfTableEntries; i++)
		if (!CompareMem(&ST->ConfigurationTable[i].VendorGuid, guid, sizeof(*guid)))
			return ST->ConfigurationTable[i].VendorTable;
	return NULL;
}

static void describe_uuid(struct handoff *h)
{
	void *entry = config_table(&smbios3_guid);
	u64 table;
	u32 bytes;

	if (!entry)
		entry = config_table(&smbios_guid);
	if (entry && !tables_smbios_entry(entry, &table, &bytes))
		tables_smbios_uuid((void *)(uintptr_t)table, bytes, h->uuid);
}

/* The firmware's Stall() is the reference; 50 ms keep its error below 0.1 %. */
static u64 measure_tsc_hz(void)
{
	u64 start = rdtsc();

	BS->Stall(LOADER_MS(50));
	return (rdtsc() - start) * 20;
}

/**
 * machine_describe() - fill in what the VMM cannot find out by itself
 */
void machine_describe(struct handoff *h)
{
	void *rsdp = config_table(&acpi20_guid);
	struct tables_ecam ecam;

	h->rsdp_pa = (u64)(rsdp ? rsdp : config_table(&acpi10_guid));
	tables_find_ecam(h->rsdp_pa, &ecam);
	h->ecam_base = ecam.base;
	h->ecam_bus_first = ecam.bus_first;
	h->ecam_bus_last = ecam.bus_last;
	describe_uuid(h);
	h->tsc_hz = measure_tsc_hz();
}
