/*
 * fake_launch.h - put before every file of the loader under test
 *
 * Takes launch.h's hypercall() away from whoever includes it afterwards.
 */
#ifndef TESTS_FAKES_FAKE_LAUNCH_H
#define TESTS_FAKES_FAKE_LAUNCH_H

#include "boot/loader/launch.h"

s64 fake_hypercall(u32 number, u64 arg);
#define hypercall fake_hypercall

#endif
