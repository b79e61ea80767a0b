/*
 * guid.c - UUIDs as text and back
 */
#include "storage/format/guid.h"

#include "base/err.h"

/* Where each of the 16 stored bytes stands in the text. */
static const u8 text_pos[GUID_BYTES] = { 6,  4,	 2,  0,	 11, 9,	 16, 14,
					 19, 21, 24, 26, 28, 30, 32, 34 };

static bool is_hyphen_pos(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/**
 * guid_format() - as text, lower case
 * @out:  terminated
 * @guid: as stored: first three fields little-endian
 *
 * Return: @out. Spec: [UEFI 2.10 App. A]
 */
char *guid_format(char out[GUID_TEXT_BYTES], const u8 guid[GUID_BYTES])
{
	for (size_t i = 0; i < GUID_BYTES; i++) {
		out[text_pos[i]] = "0123456789abcdef"[guid[i] >> 4];
		out[text_pos[i] + 1] = "0123456789abcdef"[guid[i] & 15];
	}
	for (size_t i = 0; i < GUID_TEXT_BYTES - 1; i++)
		if (is_hyphen_pos(i))
			out[i] = '-';
	out[GUID_TEXT_BYTES - 1] = 0;
	return out;
}

/**
 * guid_parse() - text to stored form
 * @guid: out; undefined on error
 * @text: @n characters, no terminator needed
 *
 * Return: 0; -EINVAL.
 */
int guid_parse(u8 guid[GUID_BYTES], const char *text, size_t n)
{
	if (n != GUID_TEXT_BYTES - 1)
		return err_trace(-EINVAL);
	for (size_t i = 0; i < n; i++)
		if (is_hyphen_pos(i) && text[i] != '-')
			return err_trace(-EINVAL);
	for (size_t i = 0; i < GUID_BYTES; i++) {
		int hi = hex_value(text[text_pos[i]]);
		int lo = hex_value(text[text_pos[i] + 1]);

		if (hi < 0 || lo < 0)
			return err_trace(-EINVAL);
		guid[i] = (u8)(hi << 4 | lo);
	}
	return 0;
}
