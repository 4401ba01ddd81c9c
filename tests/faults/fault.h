/* fault.h: makes the n-th allocation of the program fail, and knows what is still allocated.
 *
 * Works by the linker: a test is linked with --wrap for malloc and its family, so that every call
 * of the library's own goes through here; those of shared libraries do not. */
#ifndef TARN_FAULT_H
#define TARN_FAULT_H

#include <stdbool.h>
#include <stddef.h>

/* From now on: counts allocations, and lets number `fail_at` (from 1; 0: none) fail. */
void fault_arm(long fail_at);
/* Stops counting; true where an allocation failed since fault_arm. */
bool fault_disarm(void);

long fault_live_count(void);   /* allocated and not freed, since the program began */
size_t fault_site_count(void); /* different places in the code that were made to fail */
void fault_print_sites(void);  /* their addresses, for addr2line */

#endif
