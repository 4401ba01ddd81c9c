/* tarn_cuda_share.h: a GPU's memory for other processes (alloc/tarn_share.h) and for other GPUs.
 *
 * What is exported how, and what can be imported:
 *
 *     "cuda virtual"  pools of a virtual provider made with TARN_CUDA_VIRTUAL_SHARED: a descriptor
 *                     for each granule that the storage touches, so give large storages large
 *                     granules, or the process a higher `ulimit -n`. The exporter's end takes
 *                     nothing from the importer. The descriptor knows no read-only right; the
 *                     importer's mapping has it, where the driver does that.
 *     "cuda block"    pools of tarn_cuda_device_provider_create: the driver's handle of the whole
 *                     block that the storage lies in, opened once per process however many
 *                     storages of it are imported. The memory goes with its exporter.
 *
 * Pinned memory over shared pages is a memory file to others, not pinned for them. Not the driver's
 * own pool, nor the driver's own pinned memory. Any of a device's providers imports both kinds, of
 * any device that this process sees: tarn finds it by its UUID, however the processes count. A
 * process that imports needs a context of its own on it.
 *
 * The order travels as an event between processes where the export's stream is one of the memory's
 * device, and the driver has such events; else the export waits for the stream.
 *
 * Two storages of one granule are mapped twice by an importer. The addresses are different ones of
 * the same memory, and work on one sees what work on the other wrote before it in stream order; a
 * kernel that uses both at once does not (CUDA programming guide, "Virtual Aliasing Support").
 *
 * Another GPU of the same process reaches memory directly where the machine connects the two, which
 * tarn_cuda_can_access_peer tells, and where it was let in: virtual memory and the driver's pool by
 * their options' `peers`, blocks by tarn_cuda_enable_peer. Copies of bytes, rows and planes from
 * one GPU to another work without, through the host where there is no other way. Whatever else a
 * stream does with memory of a GPU that is not its own needs it (kernels, fills, copies with the
 * host, and so tarn_tensor_copy where it stages), but for blocks of cuMemAlloc, which fills and
 * copies reach. What is not let in is TARN_INVALID_ARGUMENT, in the driver's words.
 */
#ifndef TARN_CUDA_SHARE_H
#define TARN_CUDA_SHARE_H

#include "alloc/tarn_share.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_cuda tarn_cuda;

enum {
  /* Memory that can be exported. TARN_NOT_SUPPORTED where the device cannot. */
  TARN_CUDA_VIRTUAL_SHARED = 1u << 0,
};

enum { TARN_CUDA_PEERS_MAX = 64 };

/* Whether kernels of `device` can be let in to memory of `peer`; false for itself. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_can_access_peer(tarn_cuda *cuda, int32_t device,
                                                              int32_t peer, bool *can);

/* Lets kernels of `device` in to all memory of `peer` that cuMemAlloc made or will make, as long as
 * the contexts live; a second time nothing is done. One way: call it twice for both.
 * TARN_NOT_SUPPORTED where the machine does not connect them. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_enable_peer(tarn_cuda *cuda, int32_t device,
                                                          int32_t peer);

#ifdef __cplusplus
}
#endif
#endif
