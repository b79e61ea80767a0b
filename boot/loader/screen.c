/*
 * screen.c - the display and its glyphs, for the VMM's last words
 *
 * The VMM has no font of its own: the firmware's HII font protocol draws each
 * printable character once, and what it drew goes into the handoff. A firmware
 * without that protocol, without a linear frame buffer of 32 bits a pixel, or
 * with a display that is no PCI device, gets no panic screen; the log has it.
 *
 * Spec: [UEFI 2.10 §12.9, §34.3]
 */
#include "boot/loader/loader.h"

#define GLYPHS (HANDOFF_GLYPH_LAST - HANDOFF_GLYPH_FIRST + 1)
#define BAR_FIRST 0x10
#define BARS 6

static EFI_GUID gop_guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
static EFI_GUID pci_guid = EFI_PCI_IO_PROTOCOL_GUID;
static EFI_GUID path_guid = DEVICE_PATH_PROTOCOL;
static EFI_GUID font_guid = { 0xe9ca4775, 0x8657, 0x47fc,
			      { 0x97, 0xe7, 0x7e, 0xd6, 0x5a, 0x08, 0x43, 0x24 } };

/* [UEFI 2.10 §34.3.1]: gnu-efi has no header for it. */
struct image_output {
	UINT16 width, height;
	EFI_GRAPHICS_OUTPUT_BLT_PIXEL *bitmap;
};

struct hii_font {
	void *string_to_image, *string_id_to_image;
	EFI_STATUS(EFIAPI *get_glyph)(const struct hii_font *this, CHAR16 c, const void *info,
				      struct image_output **image, UINTN *baseline);
	void *get_font_info;
};

static void image_free(struct image_output *i)
{
	if (i->bitmap)
		BS->FreePool(i->bitmap);
	BS->FreePool(i);
}

static bool same_pixel(const EFI_GRAPHICS_OUTPUT_BLT_PIXEL *a,
		       const EFI_GRAPHICS_OUTPUT_BLT_PIXEL *b)
{
	return a->Red == b->Red && a->Green == b->Green && a->Blue == b->Blue;
}

/* One glyph; all have the size of the first. */
static bool glyph_read(const struct hii_font *font, CHAR16 c, struct handoff_screen *s, u8 *rows)
{
	static EFI_GRAPHICS_OUTPUT_BLT_PIXEL paper;
	struct image_output *i = NULL;
	bool ok;

	if (EFI_ERROR(font->get_glyph(font, c, NULL, &i, NULL)) || !i)
		return false;
	ok = i->bitmap && i->width >= 4 && i->width <= 8 && i->height >= 4 &&
	     i->height <= HANDOFF_GLYPH_ROWS;
	if (ok && c == HANDOFF_GLYPH_FIRST) { /* the blank */
		s->glyph_width = i->width;
		s->glyph_height = i->height;
		paper = i->bitmap[0];
	}
	ok = ok && i->width == s->glyph_width && i->height == s->glyph_height;
	for (u32 y = 0; ok && y < i->height; y++)
		for (u32 x = 0; x < i->width; x++)
			if (!same_pixel(&i->bitmap[y * i->width + x], &paper))
				rows[y] |= (u8)(0x80u >> x);
	image_free(i);
	return ok;
}

static bool glyphs_read(struct handoff_screen *s)
{
	struct hii_font *font;

	if (EFI_ERROR(BS->LocateProtocol(&font_guid, NULL, (void **)&font)))
		return false;
	for (u32 i = 0; i < GLYPHS; i++)
		if (!glyph_read(font, (CHAR16)(HANDOFF_GLYPH_FIRST + i), s, s->glyph[i]))
			return false;
	return true;
}

/* The BAR of @io that holds @base. */
static bool bar_find(EFI_PCI_IO *io, struct handoff_screen *s, u64 base)
{
	for (u32 i = 0; i < BARS; i++) {
		UINT32 reg = BAR_FIRST + 4 * i, low = 0, high = 0;
		u64 bar, bytes = 0;
		UINT64 supports;
		void *resources = NULL;

		io->Pci.Read(io, EfiPciIoWidthUint32, reg, 1, &low);
		if (low & 1)
			continue;
		if ((low & 6) == 4)
			io->Pci.Read(io, EfiPciIoWidthUint32, reg + 4, 1, &high);
		bar = (u64)high << 32 | (low & ~15u);
		if (!EFI_ERROR(io->GetBarAttributes(io, (UINT8)i, &supports, &resources)) &&
		    resources) {
			/* A QWORD address space descriptor: length at 38. [ACPI 6.5 §6.4.3.5.1] */
			__builtin_memcpy(&bytes, (u8 *)resources + 38, sizeof(bytes));
			BS->FreePool(resources);
		}
		if (bar && base >= bar && base - bar < bytes) {
			s->bar_reg = (u16)reg;
			s->bar_base = bar;
			return true;
		}
		i += (low & 6) == 4;
	}
	return false;
}

/* The PCI function that the graphics output on @handle belongs to. */
static bool function_find(EFI_HANDLE handle, struct handoff_screen *s, u64 base)
{
	EFI_DEVICE_PATH *path;
	EFI_HANDLE owner;
	EFI_PCI_IO *io;
	UINTN segment, bus, dev, fn;

	if (EFI_ERROR(BS->HandleProtocol(handle, &path_guid, (void **)&path)) ||
	    EFI_ERROR(BS->LocateDevicePath(&pci_guid, &path, &owner)) ||
	    EFI_ERROR(BS->HandleProtocol(owner, &pci_guid, (void **)&io)) ||
	    EFI_ERROR(io->GetLocation(io, &segment, &bus, &dev, &fn)) || segment)
		return false;
	s->bdf = (u16)(bus << 8 | dev << 3 | fn);
	return bar_find(io, s, base);
}

static bool display_find(EFI_HANDLE handle, struct handoff_screen *s)
{
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop;
	const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode;

	if (EFI_ERROR(BS->HandleProtocol(handle, &gop_guid, (void **)&gop)) || !gop->Mode ||
	    !gop->Mode->Info || !gop->Mode->FrameBufferBase)
		return false;
	mode = gop->Mode->Info;
	if (mode->PixelFormat != PixelRedGreenBlueReserved8BitPerColor &&
	    mode->PixelFormat != PixelBlueGreenRedReserved8BitPerColor)
		return false;
	if (!function_find(handle, s, gop->Mode->FrameBufferBase))
		return false;
	s->width = mode->HorizontalResolution;
	s->height = mode->VerticalResolution;
	s->stride = mode->PixelsPerScanLine;
	s->base = gop->Mode->FrameBufferBase;
	return true;
}

/** screen_describe() - fill in @s; all zero when there is no display to write to */
void screen_describe(struct handoff_screen *s)
{
	EFI_HANDLE *handles = NULL;
	UINTN n = 0;

	__builtin_memset(s, 0, sizeof(*s));
	if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, &gop_guid, NULL, &n, &handles)))
		return;
	for (UINTN i = 0; i < n && !s->base; i++)
		display_find(handles[i], s);
	BS->FreePool(handles);
	if (s->base && !glyphs_read(s))
		s->base = 0;
}
