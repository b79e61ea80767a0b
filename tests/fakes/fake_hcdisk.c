/* boot/loader/hcdisk.c with hypercall() as a function of the test's. */
#include "tests/fakes/fake_launch.h"

#include "boot/loader/hcdisk.c"
