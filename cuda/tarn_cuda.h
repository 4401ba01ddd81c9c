/* tarn_cuda.h: GPUs through the CUDA driver, loaded at run time: streams, device and pinned memory.
 *
 * Nothing here needs a GPU to build or to link. tarn_cuda_open looks for the driver; without one it
 * answers TARN_UNAVAILABLE and says why. A build without CUDA answers TARN_NOT_SUPPORTED. The
 * driver may also be tarn's simulated one (cuda/sim), which moves real bytes on the host in the
 * order that CUDA's rules allow; tarn_cuda_is_simulated tells.
 *
 * tarn works in each device's primary context, retained at the device's first use and for as long
 * as the tarn_cuda lives, and leaves the calling thread's current context as it found it.
 *
 * In a child of fork what the parent opened and made is of no use: every call that needs the driver
 * answers TARN_UNAVAILABLE, and so do allocations from pools of device and pinned memory, though
 * they have some at hand. Freeing such memory and releasing the handles is allowed, calls no driver
 * and takes nothing from the parent. Whether the child can open CUDA anew is the driver's to say:
 * it cannot once the parent has.
 */
#ifndef TARN_CUDA_H
#define TARN_CUDA_H

#include "alloc/tarn_pool.h"
#include "alloc/tarn_provider.h"
#include "alloc/tarn_storage.h"
#include "alloc/tarn_stream.h"
#include "cuda/tarn_cuda_pointer.h"
#include "cuda/tarn_cuda_share.h"
#include "cuda/tarn_cuda_virtual.h"
#include "cuda/tarn_driver_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_cuda_options {
  size_t struct_size;
  const char *driver_path; /* what to dlopen; NULL: libcuda.so.1 */
} tarn_cuda_options;

/* Loads the driver and initialises it; `options` may be NULL. Shared; streams, fences and providers
 * retain it. TARN_UNAVAILABLE where there is no driver, only the toolkit's stub for linking, a
 * driver that lacks what tarn needs, or no device: the message says which. The library's code stays
 * mapped after the last release. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_open(const tarn_cuda_options *options,
                                                   tarn_cuda **cuda);
TARN_API void tarn_cuda_retain(tarn_cuda *cuda);
/* The last release unloads the kernels that copies and fills may have launched: a graph that
 * captured such a one is not launched after it. */
TARN_API void tarn_cuda_release(tarn_cuda *cuda);

TARN_API bool tarn_cuda_is_simulated(const tarn_cuda *cuda);
TARN_API int32_t tarn_cuda_driver_version(const tarn_cuda *cuda); /* 13000 is 13.0 */
TARN_API int32_t tarn_cuda_device_count(const tarn_cuda *cuda);

typedef struct tarn_cuda_device_info {
  size_t struct_size;
  char name[64];
  char pci_bus_id[32]; /* "0000:17:00.0" */
  size_t total_bytes;
  size_t free_bytes; /* at the moment of the call, over all processes */
  int32_t compute_capability_major;
  int32_t compute_capability_minor;
  int32_t multiprocessor_count;
  int32_t host_node;       /* NUMA node the driver names as nearest; -1 where it names none */
  bool has_virtual_memory; /* cuMemAddressReserve and its family work */
  bool has_memory_pools;   /* cuMemAllocAsync and its family work */
} tarn_cuda_device_info;

/* The caller sets info->struct_size. Retains the device's context, because free_bytes needs one. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_device_info_of(tarn_cuda *cuda, int32_t device,
                                                             tarn_cuda_device_info *info);

/* Waits for all work on the device, whoever enqueued it. Not while a stream of the device's is
 * being captured: CUDA forbids it, and may spoil the capture. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_synchronize(tarn_cuda *cuda, int32_t device);

/* What the driver takes as one allocation, or one mapping of virtual memory, around an address of
 * the device's. TARN_NOT_FOUND where it knows of none, TARN_NOT_SUPPORTED where it does not say. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_address_range(tarn_cuda *cuda, int32_t device,
                                                            const void *address, void **start,
                                                            size_t *size_bytes);

/* A new non-blocking CUDA stream. Copies from and to pinned and device memory are asynchronous,
 * those to another device too; a copy or fill of pageable memory waits for the stream, and has been
 * done when the call returns. A fence of one CUDA stream may be recorded on any other of the same
 * driver, on any device. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_stream_create(tarn_cuda *cuda, int32_t device,
                                                            tarn_stream **stream);
/* Wraps a CUstream that somebody else made and destroys; 0 is the legacy default stream, and
 * CU_STREAM_PER_THREAD the calling thread's own one: that takes work and fences from this thread
 * only (others get TARN_NOT_SUPPORTED), and who waits for it elsewhere, or releases it last there,
 * waits for the device. The CUstream must outlive the tarn_stream, which lives as long as anybody
 * refers to it: storages created on it, and pools that took a block back in its order and have not
 * seen it pass. tarn_stream_close ends that: call it before the CUstream is destroyed, and nobody
 * looks at it any more. TARN_INVALID_ARGUMENT where it is a stream of another context than the
 * device's primary one, as far as the driver can tell. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_stream_wrap(tarn_cuda *cuda, int32_t device,
                                                          void *native_stream,
                                                          tarn_stream **stream);
/* The CUstream; *native may be 0 for the legacy stream. TARN_INVALID_ARGUMENT for another kind. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_stream_native(const tarn_stream *stream,
                                                            void **native_stream);

/* Memory of a device: cuMemAlloc and cuMemFree, blocks in multiples of 2 MiB, aligned to 256 bytes.
 * Releasing a block waits for no work that uses it (though a driver may): a pool gives back only
 * what no stream uses. Out of memory does not stick: the next call may succeed. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_device_provider_create(tarn_cuda *cuda,
                                                                     int32_t device,
                                                                     tarn_provider **provider);

enum {
  TARN_CUDA_PINNED_GRANULES = 1u << 0, /* reserve, and lock granule by granule */
};

typedef struct tarn_cuda_pinned_options {
  size_t struct_size;
  tarn_provider *host; /* whose memory is locked: the CPU's, of a node, on hugepages, touched ahead;
                          retained. NULL: the driver's (cuMemHostAlloc), in multiples of 64 KiB */
  size_t chunk_bytes;  /* of a block of `host`, locked with one call; a multiple of its granularity;
                          0: 256 GiB */
  uint32_t flags;      /* TARN_CUDA_PINNED_* */
} tarn_cuda_pinned_options;

/* Page-locked host memory that every device can reach, at the CPU's addresses; its device is
 * {TARN_DEVICE_CUDA_HOST, 0}, its node and granularity are those of `host`. Pinning is slow, about
 * 2 GiB/s: use it below a pool. `options` may be NULL.
 *
 * A block of `host` is locked as a whole, so that anybody may copy any part of it with one call of
 * the driver's; only larger ones than chunk_bytes come in several pieces. A pool on top collects
 * segments. With TARN_CUDA_PINNED_GRANULES, for which `host` has to reserve, memory is locked and
 * unlocked granule by granule, and a pool grows in place and trims granules. But drivers refuse a
 * copy from one piece into the next, though the addresses go on: tarn's own streams cut what they
 * enqueue there, calls of the application's have to do so themselves. Each piece costs a call, and
 * some drivers a mapping of the process (vm.max_map_count, 65530): give `host` granules of 2 MiB
 * and more.
 *
 * Pinned memory near a GPU, one pool per node of GPUs: the node that tarn_cuda_device_info names,
 * or tarn_topology.h for its pci_bus_id; that node's pages (tarn_node_provider.h) as `host`; this;
 * and a caching pool. Blocks and granules are bound before they are locked, and so lie there also
 * after memory was given back and obtained again.
 *
 * A failure to pin leaves nothing pinned, and no error behind in the driver. TARN_OUT_OF_MEMORY
 * where the process may lock no more: the message says which `ulimit -l` would do.
 * TARN_NOT_SUPPORTED where a device does not register memory, or not at the same address;
 * TARN_INVALID_ARGUMENT for a `host` that is not the CPU's, or whose blocks are less than whole
 * pages. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_pinned_provider_create(
    tarn_cuda *cuda, const tarn_cuda_pinned_options *options, tarn_provider **provider);

typedef struct tarn_cuda_pin tarn_cuda_pin;

enum {
  TARN_CUDA_PIN_READ_ONLY = 1u << 0, /* no device writes there: for a file mapped to be read */
};

/* Page-locks memory that somebody else owns, the whole pages around [address, address +
 * size_bytes), until the pin is destroyed; what lies there is then TARN_DEVICE_CUDA_HOST to a
 * stream. Shared with nobody: TARN_BUSY where some page is pinned already, by whomever.
 * TARN_NOT_SUPPORTED where a device cannot, statuses else as for the provider.
 * TARN_INVALID_ARGUMENT, too, where the driver refuses the pages: they are not the process's, or
 * not for writing and TARN_CUDA_PIN_READ_ONLY is missing. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_pin_create(tarn_cuda *cuda, const void *address,
                                                         size_t size_bytes, uint32_t flags,
                                                         tarn_cuda_pin **pin);
/* Once no copy uses the memory any more, and before it is unmapped. Keeps the pages pinned, and
 * says nothing, where the driver refuses: in a child of fork. */
TARN_API void tarn_cuda_pin_destroy(tarn_cuda_pin *pin);

/* tarn_storage_wrap for a blob of the CPU's that is pinned, read-only where the storage is, for as
 * long as it lives: unpinned once the streams that noted a use are through, and then handed to the
 * blob's deleter. */
TARN_API TARN_NODISCARD tarn_status tarn_cuda_pinned_wrap(tarn_cuda *cuda, const tarn_blob *blob,
                                                          tarn_storage **storage);

#ifdef __cplusplus
}
#endif
#endif
