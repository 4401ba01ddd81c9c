/* tarn_fixed.h: a provider over one range of memory that the caller owns.
 *
 * For an arena somebody else made (a shared-memory segment, a device block of another framework, a
 * static buffer): a pool over this provider never asks the machine for more.
 */
#ifndef TARN_FIXED_H
#define TARN_FIXED_H

#include "alloc/tarn_provider.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_fixed_options {
  size_t struct_size;
  tarn_device device;       /* where the range lies; zero: the CPU */
  size_t granularity_bytes; /* power of two; 0: 4096 */
} tarn_fixed_options;

/* The range [address, address + size_bytes) stays the caller's and must outlive the provider. Its
 * ends are trimmed to the granularity; TARN_INVALID_ARGUMENT where nothing is left. The provider
 * never reads or writes the range, so device memory will do; it tells memory checkers that what is
 * not lent out is nobody's (tarn_poison.h). First fit by address; blocks that lie side by side are
 * joined again when they are released. */
TARN_API TARN_NODISCARD tarn_status tarn_fixed_provider_create(void *address, size_t size_bytes,
                                                               const tarn_fixed_options *options,
                                                               tarn_provider **provider);

#ifdef __cplusplus
}
#endif
#endif
