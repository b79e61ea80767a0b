/*
 * crash.c - did the last run end in a panic? Its words may still be in memory
 *
 * See boot/crash.h. Looked for before anything of ours takes memory, in what the
 * firmware calls memory: 2048 places at most, and a word of each tells.
 */
#include "boot/loader/loader.h"

#define LINES_SHOWN 3

static bool readable(UINT32 type)
{
	return type == EfiConventionalMemory || type == EfiBootServicesData ||
	       type == EfiBootServicesCode || type == EfiLoaderData || type == EfiLoaderCode;
}

/* Records are valid once: what is found is copied and forgotten. */
static void look_in(u64 first, u64 end, struct crash_record *out)
{
	u64 top = ALIGN_UP(first + CRASH_BYTES, CRASH_ALIGN);

	for (; top <= MIN(end, CRASH_LIMIT); top += CRASH_ALIGN) {
		struct crash_record *r = (void *)(UINTN)(top - CRASH_BYTES);

		if (!crash_valid(r))
			continue;
		__builtin_memcpy(out, r, sizeof(*out));
		r->magic = 0;
	}
}

static void show(const struct crash_record *r)
{
	char line[100];
	u32 at = 0;

	con_print("The last run of Freshet ended in a panic:\n");
	for (u32 i = 0; i < LINES_SHOWN && crash_line(r, &at, line, sizeof(line)); i++)
		con_print("  %s\n", line);
}

/** crash_find() - into @out, or nothing valid there */
void crash_find(struct crash_record *out)
{
	UINTN bytes = 0, key, step, room;
	EFI_MEMORY_DESCRIPTOR *map = NULL;
	UINT32 version;

	out->magic = 0;
	BS->GetMemoryMap(&bytes, NULL, &key, &step, &version);
	room = bytes + PAGE_BYTES; /* the allocation itself adds entries */
	if (EFI_ERROR(BS->AllocatePool(EfiBootServicesData, room, (void **)&map)))
		return;
	bytes = room;
	if (EFI_ERROR(BS->GetMemoryMap(&bytes, map, &key, &step, &version)))
		bytes = 0;
	for (UINTN at = 0; at + step <= bytes; at += step) {
		const EFI_MEMORY_DESCRIPTOR *d = (void *)((u8 *)map + at);

		if (readable(d->Type))
			look_in(d->PhysicalStart,
				d->PhysicalStart + d->NumberOfPages * PAGE_BYTES, out);
	}
	BS->FreePool(map);
	if (crash_valid(out))
		show(out);
}
