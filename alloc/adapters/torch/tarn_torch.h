/* tarn_torch.h: tarn as PyTorch's CUDA allocator, by torch.cuda.memory.CUDAPluggableAllocator.
 *
 *     a = torch.cuda.memory.CUDAPluggableAllocator(
 *         "libtarn.so", "tarn_torch_malloc", "tarn_torch_free")
 *     a.allocator().set_record_stream_fn(address of tarn_torch_record_stream)   and so on
 *     torch.cuda.memory.change_current_allocator(a)      before PyTorch's first use of a GPU
 *
 * or, from tarn's Python package, tarn.torch.use(), which does all of it. Each device has one
 * caching pool, made at its first use: of virtual memory where the device has it. Functions that
 * PyTorch calls carry the shapes of torch/csrc/cuda/CUDAPluggableAllocator.h of PyTorch 2.1 and
 * later, in C's terms; the rest is for the application, also beside PyTorch and at any time.
 *
 * In numbered sentences:
 *
 * 1. A block is lent in the order of the stream that PyTorch names, and taken back in the order of
 *    that stream, which PyTorch remembers. A stream is the CUstream of a cudaStream_t, 0 being the
 *    device's legacy default one. It is wrapped at its first use and kept: PyTorch's own streams
 *    live as long as the process. Before a stream of somebody else's is destroyed (an
 *    ExternalStream), tell tarn_torch_forget_stream. The default streams of threads are not taken.
 * 2. record_stream means what PyTorch says: what is enqueued on that stream *until the block is
 *    freed* may use it. So the use is noted (tarn_pool_note_use) when the block is freed.
 * 3. PyTorch has no answer to NULL: it makes a tensor of it, and the first kernel that touches that
 *    breaks the device's context. So where there is no memory tarn_torch_malloc throws, in C++'s
 *    way, what PyTorch turns into a RuntimeError that begins with "CUDA out of memory", as tools
 *    expect that try again with less; it is no torch.OutOfMemoryError, which none but PyTorch's own
 *    allocator can throw. Why there was none stays to be read: tarn_torch_out_of_memory.
 * 4. A pool id is a pair of numbers. Between tarn_torch_begin_allocate_to_pool and the end streams
 *    that the filter names are a capture's (alloc/tarn_capture.h), whether the driver captures them
 *    or not: their memory is nobody else's until the pool was released as often as it was begun,
 *    and later captures with the same id share it. PyTorch does not tell of launches: releasing
 *    waits for the device, or is put off while some graph of the device's is being captured. A
 *    capture that failed in the middle leaves its pool begun, as with PyTorch's own allocator.
 * 5. After Python has ended, PyTorch frees what is left: that works as ever, on any thread. The
 *    pools are never taken down by themselves, and the library stays mapped.
 * 6. Whatever a pluggable allocator does, PyTorch (2.6 to 2.10) refuses with it what asks for its
 *    own: torch.cuda.memory_stats and all that reads or resets those, memory snapshots and
 *    histories, convolutions under torch.backends.cudnn.benchmark = True (cuDNN's search asks for
 *    the largest block), tensors shared between processes, torch.compile(mode="reduce-overhead"),
 *    which sets pools back to checkpoints, and a torch.cuda.MemPool beside it.
 * 7. In a child of fork tarn_torch_malloc fails with TARN_UNAVAILABLE, as CUDA itself does there;
 *    freeing works.
 *
 * From the environment, read when a pool is made, where tarn_torch_set_options says nothing:
 *
 *     TARN_TORCH_LIMIT_BYTES=n     never reserve more on a device (no limit)
 *     TARN_TORCH_FLOOR_BYTES=n     emptying the cache leaves so much reserved (0)
 *     TARN_TORCH_PREPARE_BYTES=n   made ahead, so that growing need not wait for it (0)
 *     TARN_TORCH_MEMORY=virtual|blocks   virtual memory, or cuMemAlloc's blocks (the better one)
 *     TARN_TORCH_DRIVER=path       the driver's library (libcuda.so.1)
 *
 * A value that is none of these fails the first allocation, and says so.
 */
#ifndef TARN_TORCH_H
#define TARN_TORCH_H

#include "alloc/tarn_out_of_memory.h"
#include "alloc/tarn_pool.h"
#include "cuda/tarn_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- what PyTorch calls --- */

/* c10::cuda::MempoolId_t, a std::pair of two numbers. */
typedef struct tarn_torch_pool_id {
  unsigned long long first;
  unsigned long long second;
} tarn_torch_pool_id;

/* Memory of a device for work on `stream`; of 0 bytes NULL. Throws, see sentence 3, and returns
 * NULL only in a process without libstdc++: for PyTorch, and no program in C. */
TARN_API void *tarn_torch_malloc(size_t size_bytes, int device, void *stream);
/* The same, but NULL where there is no memory. tarn_last_error says why. */
TARN_API void *tarn_torch_malloc_or_null(size_t size_bytes, int device, void *stream);
/* The size is not looked at. What the pool did not lend out is left alone and counted
 * (tarn_torch_stats); tarn_last_error says what was wrong with it. */
TARN_API void tarn_torch_free(void *address, size_t size_bytes, int device, void *stream);

/* These two for torch.cuda.MemPool: PyTorch's own allocator collects segments over them, tells of
 * no capture, and expects of them what cudaMalloc and cudaFree do, in no stream's order: nobody
 * uses a segment when it comes, and freeing it waits for the device, so also for graphs that were
 * launched on any stream. NULL where there is no memory; a segment that cannot be waited for, as
 * in a capture, stays lent out and is counted as refused. */
TARN_API void *tarn_torch_segment_alloc(size_t size_bytes, int device, void *stream);
TARN_API void tarn_torch_segment_free(void *address, size_t size_bytes, int device, void *stream);

/* set_init_fn. Does nothing: a device is opened at its first use. */
TARN_API void tarn_torch_init(int device_count);
/* set_reset_fn: torch.cuda.empty_cache(): waits for the streams that are known, where none is being
 * captured, and gives back what is idle, on all devices. */
TARN_API void tarn_torch_reset(void);
/* set_memory_fraction_fn: the pool's limit becomes that part of the device's memory. A fraction
 * outside of 0 to 1 changes nothing. Not for a pool that is no caching one. */
TARN_API void tarn_torch_memory_fraction(double fraction, int device);
/* set_base_alloc_fn: what the driver takes as one allocation or mapping around the address, for
 * handles between processes; the address itself, and 0 in *size_bytes, where the driver knows of
 * none. `size_bytes` may be NULL. */
TARN_API void *tarn_torch_base_alloc(void *address, size_t *size_bytes);
/* set_record_stream_fn. `address` is the beginning of a block. */
TARN_API void tarn_torch_record_stream(void *address, void *stream);
/* set_begin_allocate_to_pool. `filter` is libstdc++'s std::function<bool(cudaStream_t)>, by the
 * reference that a C++ compiler passes it by, and is copied; NULL or an empty one: every stream of
 * the device. It is called without any lock, on threads that allocate. Where the host has no memory
 * to begin, nobody keeps what the capture allocates, and failed_count is all that tells. */
TARN_API void tarn_torch_begin_allocate_to_pool(int device, tarn_torch_pool_id id,
                                                const void *filter);
/* set_end_allocate_to_pool_fn: behind cudaStreamEndCapture. */
TARN_API void tarn_torch_end_allocate_to_pool(int device, tarn_torch_pool_id id);
/* set_release_pool. */
TARN_API void tarn_torch_release_pool(int device, tarn_torch_pool_id id);

/* --- what the application calls --- */

enum { TARN_TORCH_DEVICES_MAX = 64 };

typedef struct tarn_torch_options {
  size_t struct_size;
  tarn_cuda *cuda;    /* retained; NULL: opened at the first use */
  size_t limit_bytes; /* these three: tarn_caching_options; 0: the environment's */
  size_t floor_bytes;
  size_t prepare_bytes;
  tarn_cuda_memory memory; /* TARN_CUDA_MEMORY_NONE: the environment's, or the better one */
} tarn_torch_options;

/* For pools that are made from now on. TARN_BUSY where another driver is open for a device. */
TARN_API TARN_NODISCARD tarn_status tarn_torch_set_options(const tarn_torch_options *options);

/* The device's memory comes from this pool from now on, which is retained: one that shares a
 * budget, a stack of adaptors, the driver's own. TARN_BUSY where blocks of an earlier one are lent
 * out; no other thread allocates there meanwhile. */
TARN_API TARN_NODISCARD tarn_status tarn_torch_set_pool(int32_t device, tarn_pool *pool);
/* The device's pool, made where it was not yet; the caller releases it. For statistics, snapshots,
 * traces, pausing, and allocations of the application's own from the same memory. */
TARN_API TARN_NODISCARD tarn_status tarn_torch_pool(int32_t device, tarn_pool **pool);

/* The stream is about to be destroyed: waits for its work, and knows it no more. Blocks may still
 * be freed in its name afterwards, and another stream that gets the same handle is a new one. No
 * other thread names it in a call meanwhile. TARN_BUSY while it is captured. */
TARN_API TARN_NODISCARD tarn_status tarn_torch_forget_stream(int32_t device, void *stream);

typedef struct tarn_torch_stats {
  size_t struct_size;
  tarn_pool_stats pool;        /* all zero before the device's first use */
  uint64_t failed_count;       /* calls of malloc, and beginnings of pools, without memory */
  uint64_t refused_free_count; /* calls of free for what was not lent out */
  uint64_t stream_count;       /* known */
  uint64_t recorded_count;     /* record_stream's, of blocks that are not freed yet, all devices' */
  uint64_t graph_pool_count;   /* begun, and not released as often */
  uint64_t waiting_graph_count; /* released, and waiting for the end of other captures */
} tarn_torch_stats;

/* The caller sets stats->struct_size. */
TARN_API TARN_NODISCARD tarn_status tarn_torch_stats_of(int32_t device, tarn_torch_stats *stats);

/* A copy of why the device last had no memory, whichever thread asked. The caller sets
 * report->struct_size. TARN_NOT_FOUND where that has not happened. */
TARN_API TARN_NODISCARD tarn_status tarn_torch_out_of_memory(int32_t device,
                                                             tarn_out_of_memory *report);

/* tarn_pool_snapshot and tarn_pool_trace_write (whole: TARN_TRACE_COMPLETE) of the device's pool
 * into a file, which is made or overwritten; for `tarn replay` and whoever reads JSON. */
TARN_API TARN_NODISCARD tarn_status tarn_torch_snapshot_save(int32_t device, const char *path);
TARN_API TARN_NODISCARD tarn_status tarn_torch_trace_save(int32_t device, const char *path);
TARN_API TARN_NODISCARD tarn_status tarn_torch_trace_start(int32_t device, size_t entry_count);
TARN_API TARN_NODISCARD tarn_status tarn_torch_trace_stop(int32_t device);

/* Gives everything back: captures, streams, pools, the driver; as before the first use. For
 * programs that go on without PyTorch, and for tests. TARN_BUSY where blocks are lent out or a pool
 * is begun, and then nothing changed. No other thread calls anything here meanwhile. */
TARN_API TARN_NODISCARD tarn_status tarn_torch_close(void);

#ifdef __cplusplus
}
#endif
#endif
