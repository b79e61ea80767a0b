/*
 * loaderio.h - the virtual disk over hypercalls, for the loader's Block I/O
 */
#ifndef VMM_MAIN_LOADERIO_H
#define VMM_MAIN_LOADERIO_H

#include "base/types.h"

/* HC_READ, HC_WRITE, HC_FLUSH; @gpa is the guest's, not trusted. */
s64 loaderio_begin(u32 nr, u64 gpa);
/* HC_IO_STATUS */
s64 loaderio_status(void);

#endif
