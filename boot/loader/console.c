/*
 * console.c - text on the firmware's console
 *
 * Which may be a screen, a serial line, or both: plain ASCII, at most 79
 * columns, and one line that is redrawn in place by a carriage return instead
 * of scrolling. Redrawing is rationed by its caller.
 */
#include <string.h>

#include "base/fmt.h"
#include "boot/loader/loader.h"

#define COLUMNS 79

static bool redrawing;
static size_t drawn; /* columns that the line in place has now */
static char present[COLUMNS + 1]; /* its text */

static void put(const char *text)
{
	CHAR16 out[128];
	size_t n = 0;

	for (; *text; text++) {
		if (*text == '\n')
			out[n++] = L'\r';
		out[n++] = (CHAR16)(u8)*text;
		if (n >= ARRAY_SIZE(out) - 3 || !text[1]) {
			out[n] = 0;
			ST->ConOut->OutputString(ST->ConOut, out);
			n = 0;
		}
	}
}

/** con_init() - a known state, whatever ran before */
void con_init(void)
{
	ST->ConOut->SetAttribute(ST->ConOut, EFI_LIGHTGRAY | EFI_BACKGROUND_BLACK);
	ST->ConOut->EnableCursor(ST->ConOut, FALSE);
	put("\n");
}

/** con_print() - text below whatever was there */
void con_print(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	fmt_vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	con_redraw_end();
	put(text);
}

/** con_redraw() - replace the line in place; nothing happens when it says the same */
void con_redraw(const char *fmt, ...)
{
	char text[COLUMNS + 2] = "\r";
	size_t n = 0, end;
	va_list ap;

	va_start(ap, fmt);
	fmt_vsnprintf(text + 1, sizeof(text) - 1, fmt, ap);
	va_end(ap);
	for (; text[1 + n]; n++)
		if (text[1 + n] < 0x20 || text[1 + n] > 0x7e)
			text[1 + n] = '?';
	if (redrawing && !strcmp(present, text + 1))
		return;
	memcpy(present, text + 1, n + 1);
	for (end = n; end < drawn; end++)
		text[1 + end] = ' ';
	text[1 + end] = 0;
	put(text);
	drawn = n;
	redrawing = true;
}

/** con_redraw_end() - leave the line in place behind, as it is */
void con_redraw_end(void)
{
	if (redrawing)
		put("\n");
	redrawing = false;
	drawn = 0;
}

/** con_key() - a key that was pressed, in lower case, or 0; never waits */
char con_key(void)
{
	EFI_INPUT_KEY key;

	if (!ST->ConIn || EFI_ERROR(ST->ConIn->ReadKeyStroke(ST->ConIn, &key)))
		return 0;
	if (key.UnicodeChar >= L'A' && key.UnicodeChar <= L'Z')
		return (char)(key.UnicodeChar - L'A' + 'a');
	return key.UnicodeChar < 0x7f ? (char)key.UnicodeChar : 0;
}

/** efi_text() - a status in the words of the UEFI specification */
const char *efi_text(EFI_STATUS s)
{
	switch (s) {
	case EFI_SUCCESS: return "success";
	case EFI_LOAD_ERROR: return "load error";
	case EFI_INVALID_PARAMETER: return "invalid parameter";
	case EFI_UNSUPPORTED: return "unsupported";
	case EFI_BUFFER_TOO_SMALL: return "buffer too small";
	case EFI_NOT_READY: return "not ready";
	case EFI_DEVICE_ERROR: return "device error";
	case EFI_OUT_OF_RESOURCES: return "out of resources";
	case EFI_VOLUME_CORRUPTED: return "volume corrupted";
	case EFI_NO_MEDIA: return "no media";
	case EFI_MEDIA_CHANGED: return "media changed";
	case EFI_NOT_FOUND: return "not found";
	case EFI_ACCESS_DENIED: return "access denied";
	case EFI_TIMEOUT: return "time-out";
	case EFI_ABORTED: return "aborted";
	case EFI_SECURITY_VIOLATION: return "refused by Secure Boot";
	default: return "error";
	}
}
