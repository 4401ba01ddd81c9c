/* fault.h: makes the n-th allocation of the program fail, and remembers where.
 *
 * Works by the linker: a test is linked with --wrap for malloc and its family, so that every call
 * of the library's own goes through here; those of shared libraries do not. */
#ifndef TARN_FAULT_H
#define TARN_FAULT_H

#include <stdbool.h>
#include <stddef.h>

/* From now on: counts allocations; number `fail_at` (from 1) fails, or that and all behind it. */
void fault_arm(long fail_at);
void fault_arm_for_good(long fail_at);
/* Stops counting; true where an allocation failed since fault_arm. */
bool fault_disarm(void);

/* The different places in the code that were made to fail: return addresses, for addr2line. */
void fault_print_sites(void);

#endif
