/*
 * world.h - the world that world.c runs and damage.c spoils: one, and known to both
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "tests/sim/sim.h"

#define NONE 0xffffffffu

enum phase {
	PHASE_BOOT, /* until READY */
	PHASE_RESOLVE, /* have writes been kept? both are allowed: find out */
	PHASE_LOOK, /* at what should be there */
	PHASE_RUN,
	PHASE_DRAIN, /* network and disk are well again; everything must end */
	PHASE_FILL, /* ... and become complete */
	PHASE_CHECK, /* read it all */
	PHASE_FLUSH,
	PHASE_QUIESCE,
	PHASE_OVER,
};

enum ending {
	END_CUT, /* after so many writes */
	END_CUT_LATE, /* when the guest has done its work */
	END_WARM,
	END_ORDERLY,
};

extern struct world {
	u64 seed;
	u32 boot;
	u64 rng, rng_fault;
	struct sim_disk disk;
	struct sim_source net;
	struct gpt_layout layout;
	u32 chunk_bytes, sector_bytes;
	u64 store_bytes;
	bool wide; /* many chunks, each hardly used: long journals */
	bool sound; /* nothing rots */
	bool write_failed; /* ever */

	/* what is known of the store */
	u32 bound; /* a version, or NONE */
	bool keep; /* the last session kept writes */
	u32 policies; /* served since the last READY */
	u32 unseen; /* versions that may have been bound since, in a boot that never was READY */
	u64 serial; /* durable */
	u64 serial_of[SIM_VERSIONS]; /* highest with which it was offered */
	u32 prev; /* the version before, or NONE: the way back */
	u32 shown[SIM_VERSIONS]; /* the last boot in which this version was READY */
	u32 stays; /* boots with a version that has not come up, the way back being there */
	bool up; /* a guest has come up with the bound one, and that is durable */
	bool never; /* the last session's policy */
	u32 bad; /* did not come up, or NONE */
	u64 bad_serial;
	bool second; /* there was a second version in the store */
	bool complete; /* and durable */
	bool loose; /* the journal was damaged: anything goes, once */
	bool lost; /* ... or the store must be claimed */
	bool claimed; /* ... and has been, by number */

	/* this boot */
	struct deploy *dep;
	enum phase phase;
	enum ending ending;
	u64 born, up_ns, up_since, toggle_at, progress, progress_at;
	u32 ops, writes_failed;
	bool attached, want_complete, want_check, patient, quiet;
	u64 old[256]; /* damaged blocks that a scrub of this boot must find */
	u32 nold;
	bool scrub;
	u64 todo[64];
	u32 ntodo, at;
	u64 pos;
	int err;
	u8 buf[256 * 1024];
} w;

/* The PC's, while it is on. */
static inline struct store *store(void)
{
	return w.dep ? w.dep->store : NULL;
}

/* damage.c */
u64 part_block(u64 block);
void damage_metadata(void);
void damage_running(void);

#endif
