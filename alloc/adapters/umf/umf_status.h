/* umf_status.h: tarn's answers and names in UMF's words. */
#ifndef TARN_UMF_STATUS_H
#define TARN_UMF_STATUS_H

#include "alloc/adapters/umf/umf_abi.h"

enum { TARN__UMF_NAME_BYTES = 64 }; /* UMF's own limit, with the zero */

tarn__umf_result tarn__umf_result_of(tarn_status status);

/* Copies a name as UMF wants it: what is no letter, digit, _ or - becomes _. */
void tarn__umf_copy_name(char *copy, const char *name);

/* Of a version 1.minor, or 0 for the newest, the minor part, at most minor_max; false for any other
 * version. */
bool tarn__umf_minor(uint32_t version, uint32_t minor_max, uint32_t *minor);

#endif
