/*
 * fault.h - misbehaving on purpose, for tests only
 */
#ifndef SERVER_FAULT_H
#define SERVER_FAULT_H

#include "base/types.h"

#define FAULTS_MAX 32
#define FAULT_PREFIX_MAX 64

enum fault_kind {
	FAULT_NONE,
	FAULT_STATUS,	     /* this status instead of the answer */
	FAULT_CUT,	     /* half the body, then the connection closes */
	FAULT_STALL,	     /* half the body, then silence */
	FAULT_CLOSE,	     /* no answer, the connection closes */
	FAULT_GARBAGE,	     /* right head, scrambled body */
	FAULT_NOISE,	     /* bytes that are no HTTP at all */
	FAULT_WRONG_CHUNK,   /* another chunk, itself intact */
	FAULT_BAD_SIGNATURE, /* last signed byte changed */
	FAULT_STALE_SERIAL,  /* well-signed ticket with an older serial number */
	FAULT_DELAY,	     /* the right answer, late */
};

struct fault {
	enum fault_kind kind;
	int status;
	char prefix[FAULT_PREFIX_MAX]; /* of the path; "" is all */
	u32 after;		       /* let so many requests pass first */
	u32 count;		       /* then fire so many times; 0: always */
	u32 percent;		       /* of the requests that are due */
	u32 ms;
	u32 seen, fired;
};

struct faults {
	struct fault list[FAULTS_MAX];
	u32 count;
	u64 random; /* xorshift state; the same seed, the same run */
};

struct fault_hit {
	enum fault_kind kind;
	int status;
	u32 delay_ms;
};

int fault_add(struct faults *f, const char *spec);
struct fault_hit fault_pick(struct faults *f, const char *path);

#endif
