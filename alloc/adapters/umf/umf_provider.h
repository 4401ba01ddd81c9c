/* umf_provider.h: where the memory of a UMF provider that is one of tarn's lies. */
#ifndef TARN_UMF_PROVIDER_H
#define TARN_UMF_PROVIDER_H

#include "alloc/tarn_provider.h"

/* `name` as UMF tells it of a provider: one of tarn's is known by the address. False for another's,
 * and for one without memory. */
bool tarn__umf_provider_device(const char *name, tarn_device *device);

#endif
