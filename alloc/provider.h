/* provider.h: what imports ask of a provider. */
#ifndef TARN_PROVIDER_PRIVATE_H
#define TARN_PROVIDER_PRIVATE_H

#include "alloc/tarn_share.h"

/* adopt of tarn_provider_ops; TARN_NOT_SUPPORTED where the provider has none. */
TARN_NODISCARD tarn_status tarn__provider_adopt(tarn_provider *provider,
                                                const tarn_share_memory *memory,
                                                tarn_stream *stream, void **address,
                                                tarn_device *device);
void tarn__provider_abandon(tarn_provider *provider, void *address);

#endif
