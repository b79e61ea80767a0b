/*
 * messages.h - what a trouble code means, in words for the person at the PC
 */
#ifndef BOOT_LOADER_MESSAGES_H
#define BOOT_LOADER_MESSAGES_H

#include "base/types.h"

struct message {
	u32 code; /* enum handoff_code */
	const char *what; /* one line: what is wrong */
	const char *help; /* one line: what to do about it */
};

const struct message *message_find(u32 code);
const struct message *message_at(size_t i);

#endif
