/* umf_upstream.h: what the file of UMF's providers does for that of pools. */
#ifndef TARN_UMF_UPSTREAM_H
#define TARN_UMF_UPSTREAM_H

#include "alloc/adapters/umf/tarn_umf.h"

/* Gives UMF all that `provider`, one of tarn_umf_provider_create, has not given back, and calls UMF
 * no more: for when UMF's provider goes and tarn's cannot. What is released afterwards is gone
 * already, and nothing is lent any more. Nobody uses the memory, or asks for some meanwhile. */
void tarn__umf_upstream_abandon(tarn_provider *provider);

#endif
