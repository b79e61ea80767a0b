/* boot/loader: ACPI and SMBIOS as firmware gets them wrong, the site keys, the messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "boot/handoff.h"
#include "boot/loader/messages.h"
#include "boot/loader/sitekey.h"
#include "boot/loader/tables.h"

struct acpi {
	u8 rsdp[36], xsdt[36 + 16], fadt[36], mcfg[44 + 32];
};

/* RSDP -> XSDT -> { FACP, MCFG with segment 1, then segment 0 } */
static void acpi_make(struct acpi *a)
{
	memset(a, 0, sizeof(*a));
	memcpy(a->rsdp, "RSD PTR ", 8);
	a->rsdp[15] = 2;
	put_le64(a->rsdp + 24, (u64)a->xsdt);
	memcpy(a->xsdt, "XSDT", 4);
	put_le32(a->xsdt + 4, sizeof(a->xsdt));
	put_le64(a->xsdt + 36, (u64)a->fadt);
	put_le64(a->xsdt + 44, (u64)a->mcfg);
	memcpy(a->fadt, "FACP", 4);
	put_le32(a->fadt + 4, sizeof(a->fadt));
	memcpy(a->mcfg, "MCFG", 4);
	put_le32(a->mcfg + 4, sizeof(a->mcfg));
	put_le64(a->mcfg + 44, 0xc0000000);
	put_le16(a->mcfg + 44 + 8, 1);
	put_le64(a->mcfg + 60, 0xb0000000);
	a->mcfg[60 + 10] = 2;
	a->mcfg[60 + 11] = 255;
}

static void finds_segment_zero(void **state)
{
	struct tables_ecam ecam;
	struct acpi a;

	(void)state;
	acpi_make(&a);
	assert_int_equal(tables_find_ecam((u64)a.rsdp, &ecam), 0);
	assert_int_equal(ecam.base, 0xb0000000);
	assert_int_equal(ecam.bus_first, 2);
	assert_int_equal(ecam.bus_last, 255);
}

static void survives_bad_acpi(void **state)
{
	struct tables_ecam ecam = { .base = 1 };
	struct acpi a;

	(void)state;
	assert_int_equal(tables_find_ecam(0, &ecam), -ENOENT);
	assert_int_equal(ecam.base, 0);
	acpi_make(&a);
	put_le32(a.mcfg + 4, 44 + 31); /* the second entry does not fit */
	assert_int_equal(tables_find_ecam((u64)a.rsdp, &ecam), -ENOENT);
	acpi_make(&a);
	put_le32(a.xsdt + 4, 36 + 15);
	assert_int_equal(tables_find_ecam((u64)a.rsdp, &ecam), -ENOENT);
	acpi_make(&a);
	put_le32(a.xsdt + 4, 0xffffffff);
	assert_int_equal(tables_find_ecam((u64)a.rsdp, &ecam), -ENOENT);
	acpi_make(&a);
	put_le64(a.xsdt + 36, 0);
	assert_int_equal(tables_find_ecam((u64)a.rsdp, &ecam), 0);
	a.rsdp[0] = 'X';
	assert_int_equal(tables_find_ecam((u64)a.rsdp, &ecam), -ENOENT);
}

/* A type 0 with strings, then type 1, then the end. */
static size_t smbios_make(u8 *t, u8 fill)
{
	size_t at = 0;

	t[at] = 0;
	t[at + 1] = 24;
	memset(t + at + 4, 0xaa, 20);
	at += 24;
	memcpy(t + at, "Maker\0 1.0\0\0", 12);
	at += 12;
	t[at] = 1;
	t[at + 1] = 27;
	memset(t + at + 8, fill, 16);
	if (fill == 0x11)
		t[at + 8] = 0x22;
	at += 27;
	t[at++] = 0;
	t[at++] = 0;
	t[at] = 127;
	t[at + 1] = 4;
	return at + 4;
}

static void reads_the_uuid(void **state)
{
	u8 t[128] = { 0 }, uuid[16] = { 0 };
	size_t n = smbios_make(t, 0x11);

	(void)state;
	assert_int_equal(tables_smbios_uuid(t, n, uuid), 0);
	assert_int_equal(uuid[0], 0x22);
	assert_int_equal(uuid[15], 0x11);
	smbios_make(t, 0);
	assert_int_equal(tables_smbios_uuid(t, n, uuid), -ENOENT);
	smbios_make(t, 0xff);
	assert_int_equal(tables_smbios_uuid(t, n, uuid), -ENOENT);
}

/* Cut anywhere, in memory that ends there: nothing is read behind it. */
static void survives_cut_smbios(void **state)
{
	u8 t[128] = { 0 }, uuid[16];
	size_t n = smbios_make(t, 0x11);

	(void)state;
	for (size_t cut = 0; cut <= n; cut++) {
		u8 *copy = malloc(cut ? cut : 1);
		int want = cut >= 24 + 12 + 27 ? 0 : -ENOENT;

		memcpy(copy, t, cut);
		assert_int_equal(tables_smbios_uuid(copy, cut, uuid), want);
		free(copy);
	}
}

static void understands_both_entry_points(void **state)
{
	u8 e[32] = "_SM3_";
	u64 pa;
	u32 n;

	(void)state;
	put_le32(e + 12, 0x1234);
	put_le64(e + 16, 0x100000000ull);
	assert_int_equal(tables_smbios_entry(e, &pa, &n), 0);
	assert_int_equal(pa, 0x100000000ull);
	assert_int_equal(n, 0x1234);
	memset(e, 0, sizeof(e));
	memcpy(e, "_SM_", 4);
	assert_int_equal(tables_smbios_entry(e, &pa, &n), -EINVAL);
	put_le16(e + 0x16, 99);
	put_le32(e + 0x18, 0xf0000);
	assert_int_equal(tables_smbios_entry(e, &pa, &n), 0);
	assert_int_equal(pa, 0xf0000);
	assert_int_equal(n, 99);
	assert_int_equal(tables_smbios_entry("no anchor here, 32 bytes of text", &pa, &n), -EINVAL);
}

static void reads_site_keys(void **state)
{
	static u8 s[SITEKEY_BYTES], keys[SITEKEY_MAX][SITEKEY_KEY_BYTES];

	(void)state;
	assert_int_equal(sitekey_read(s, keys), -EINVAL);
	memcpy(s, "FRSHKEY1", 8);
	assert_int_equal(sitekey_read(s, keys), -ENOENT);
	s[8] = 2;
	memset(s + 16, 7, 64);
	memset(s + 80, 9, 64);
	assert_int_equal(sitekey_read(s, keys), 2);
	assert_memory_equal(keys[1], s + 80, 64);
	assert_int_equal(keys[2][0], 0);
	s[8] = SITEKEY_MAX + 1;
	assert_int_equal(sitekey_read(s, keys), -EINVAL);
	s[8] = 1;
	s[12] = 1;
	assert_int_equal(sitekey_read(s, keys), -EINVAL);
}

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 16);

	if (!f || !text || !fread(text, 1, (1 << 16) - 1, f))
		fail_msg("cannot read %s", path);
	fclose(f);
	return text;
}

/* Every FR_x of handoff.h has words here and a chapter in docs/messages.md. */
static void every_code_is_explained(void **state)
{
	char *header = slurp("boot/handoff.h"), *doc = slurp("docs/messages.md"), want[32];
	unsigned int codes = 0;

	(void)state;
	for (char *p = header; (p = strstr(p, "\tFR_")); p++) {
		const struct message *m;
		unsigned int code;

		if (sscanf(p, "\tFR_%*[A-Z_] = %u", &code) != 1 || !code)
			continue;
		codes++;
		m = message_find(code);
		if (!m)
			fail_msg("FR-%u has no message", code);
		assert_in_range(strlen(m->what), 1, 70);
		assert_in_range(strlen(m->help), 1, 72);
		snprintf(want, sizeof(want), "### FR-%u ", code);
		if (!strstr(doc, want))
			fail_msg("docs/messages.md does not explain FR-%u", code);
	}
	assert_true(codes > 15);
	assert_null(message_at(codes));
	assert_non_null(message_at(codes - 1));
	free(header);
	free(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_segment_zero),
		cmocka_unit_test(survives_bad_acpi),
		cmocka_unit_test(reads_the_uuid),
		cmocka_unit_test(survives_cut_smbios),
		cmocka_unit_test(understands_both_entry_points),
		cmocka_unit_test(reads_site_keys),
		cmocka_unit_test(every_code_is_explained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
