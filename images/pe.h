/*
 * pe.h - the one thing we do to a PE file: find a section's bytes
 */
#ifndef IMAGES_PE_H
#define IMAGES_PE_H

#include "base/types.h"

int pe_find_section(const u8 *file, size_t bytes, const char *name, size_t *off, size_t *n);

#endif
