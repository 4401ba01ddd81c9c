/* tarn_callbacks.h: a pool as the pair of C functions that other libraries ask for.
 *
 * Many libraries take memory from a function of their user's. The shapes are few, and here they
 * are, ready to be handed over, with a tarn_callbacks as their context:
 *
 *     alloc(size, stream, context), free(address, size, stream, context)
 *         of RMM's callback resource
 *     alloc(context, &address, size, stream), free(context, address, size, stream), 0 for success
 *         of the handlers of cuQuantum and nvJPEG
 *     alloc(size, device, stream), free(address, size, device, stream)
 *         of clients that know no context
 *     malloc, calloc, realloc, free(context, ...)
 *         of CPython's PyMemAllocatorEx, and the like
 *
 * The client's own stream handles (a CUstream, which is a cudaStream_t, too) are looked up: each
 * becomes a tarn_stream at its first use, and is found again without a lock. What tarn_pool.h says
 * of the order of streams holds for them. In numbered sentences:
 *
 * 1. NULL and CU_STREAM_LEGACY are the legacy default stream. A client that was compiled for
 *    per-thread default streams means another one by NULL: it has to hand over CU_STREAM_PER_THREAD
 *    instead, which is the calling thread's own stream here, in each thread another.
 * 2. A handle means the same stream until tarn_callbacks_forget. Whoever destroys a stream that was
 *    handed over says so *before*: afterwards tarn may still use the handle to order memory that
 *    was freed there, and the driver may give the same handle to the next stream, whose work is
 *    ordered behind nothing. A thread forgets its own default stream before it ends. What was never
 *    handed over may be forgotten, too. A stream that does not end need not be forgotten.
 * 3. The size given with a free is not looked at: the pool knows its blocks exactly. So does the
 *    stream: a block may be freed on another one than it was obtained on, from any thread.
 * 4. A block that is used on another stream than the one it is freed on needs
 *    tarn_callbacks_note_use, or an order of the client's.
 *
 * Failures are told as the client's shape has it, NULL or another number than 0, and why in the
 * thread's last error (tarn_status.h): TARN_OUT_OF_MEMORY is one that is to be expected, and leaves
 * everything as it was. A shape whose free answers nothing cannot tell that it refused: such frees
 * are counted, and the block, if it was one, stays lent out: a leak is no race.
 *
 * The functions may be called from any thread at any time, at exit too, as long as the
 * tarn_callbacks lives. It keeps its pool alive. */
#ifndef TARN_CALLBACKS_H
#define TARN_CALLBACKS_H

#include "alloc/tarn_pool.h"
#include "cuda/tarn_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_callbacks tarn_callbacks;

/* CUstream and cudaStream_t are pointers to it (cuda.h, driver_types.h): the functions below have
 * the very types that clients of CUDA's ask for. */
struct CUstream_st;

typedef struct tarn_callbacks_options {
  size_t struct_size;
  /* Whose streams the client's handles are, on the pool's device, or `device` where the pool's
   * memory is the host's; retained. */
  tarn_cuda *cuda;
  int32_t device;
  /* For handles of another kind, instead of `cuda`: makes the stream of a handle at its first use,
   * a reference of tarn's; NULL for *stream is the calling thread, now. Every value but UINTPTR_MAX
   * is a handle then, NULL and CUDA's names too. Called by any thread, without a lock, perhaps by
   * two at once for one handle: one of the answers is released. */
  tarn_status (*wrap)(void *context, void *native, tarn_stream **stream);
  void *wrap_context;
} tarn_callbacks_options;

/* Retains `pool`. With neither `cuda` nor `wrap`, as with `options` NULL, handles are not looked at
 * and a free says that nobody uses the block any more: for memory of the CPU's alone, else
 * TARN_INVALID_ARGUMENT. */
TARN_API TARN_NODISCARD tarn_status tarn_callbacks_create(tarn_pool *pool,
                                                          const tarn_callbacks_options *options,
                                                          tarn_callbacks **callbacks);
/* When the client makes no call any more, and for no device any more. Its streams are still whole,
 * or were forgotten. What it has not freed is the pool's still, and keeps it alive. */
TARN_API void tarn_callbacks_destroy(tarn_callbacks *callbacks);

/* Frees that were refused so far: of what the pool had not lent out (a second free, another
 * allocator's block), or on a stream that could not be looked up. 0 in a program without fault. */
TARN_API uint64_t tarn_callbacks_refused_frees(const tarn_callbacks *callbacks);

/* The stream of a handle; borrowed until it is forgotten. For what callbacks do not offer. */
TARN_API TARN_NODISCARD tarn_status tarn_callbacks_stream(tarn_callbacks *callbacks,
                                                          struct CUstream_st *native,
                                                          tarn_stream **stream);
/* See sentence 2: what was freed there is reused behind the stream's last work, which is waited for
 * only where no fence is to be had. No other call with this handle is under way. TARN_OK, too, for
 * a handle that is not known; TARN_BUSY while the stream is captured, and then it stays known. */
TARN_API TARN_NODISCARD tarn_status tarn_callbacks_forget(tarn_callbacks *callbacks,
                                                          struct CUstream_st *native);

/* --- with a context at the end --- */

/* NULL for 0 bytes. RMM's callback_memory_resource hands over a stream as an object and wants an
 * exception on failure: a lambda calls these with what its get() answers, and throws. */
TARN_API void *tarn_callbacks_alloc(size_t size_bytes, struct CUstream_st *native, void *callbacks);
TARN_API void tarn_callbacks_free(void *address, size_t size_bytes, struct CUstream_st *native,
                                  void *callbacks);
/* What the client has enqueued on the stream by now uses the block. False where that could not be
 * noted: then it is to be waited for before the free. */
TARN_API bool tarn_callbacks_note_use(const void *address, struct CUstream_st *native,
                                      void *callbacks);

/* --- with a context in front and an answer --- */

/* The status; *address is NULL on failure and for 0 bytes. */
TARN_API int tarn_callbacks_alloc_to(void *callbacks, void **address, size_t size_bytes,
                                     struct CUstream_st *native);
TARN_API int tarn_callbacks_free_from(void *callbacks, void *address, size_t size_bytes,
                                      struct CUstream_st *native);

/* --- without a context --- */

enum { TARN_CALLBACKS_DEVICES_MAX = 64 };

/* Whose memory the next two hand out for the device, in the whole process; borrowed until NULL
 * takes its place. TARN_BUSY where there is another already: blocks of its may be out. */
TARN_API TARN_NODISCARD tarn_status tarn_callbacks_set_device(int device,
                                                              tarn_callbacks *callbacks);
/* NULL, too, for a device without callbacks. */
TARN_API void *tarn_callbacks_device_alloc(size_t size_bytes, int device,
                                           struct CUstream_st *native);
/* On a device without callbacks nothing is freed, and nobody counts it. */
TARN_API void tarn_callbacks_device_free(void *address, size_t size_bytes, int device,
                                         struct CUstream_st *native);

/* --- without a stream: C's own functions over memory that the CPU may touch --- */

/* The work of whoever frees is done: every pool has the CPU's order for it. Blocks of 0 bytes are
 * blocks of their own, as CPython wants it. Contents of a pool's block are unknown, those of calloc
 * 0. NULL on failure, also where a device's pool is asked: tarn_last_error tells. */
TARN_API void *tarn_callbacks_malloc(void *callbacks, size_t size_bytes);
TARN_API void *tarn_callbacks_calloc(void *callbacks, size_t count, size_t size_bytes);
/* The block stays whole where NULL is answered. Within its size, and down to half of it, it stays
 * where it is. NULL for a block is malloc. The pool has to tell sizes (tarn_pool_size_of). */
TARN_API void *tarn_callbacks_realloc(void *callbacks, void *address, size_t size_bytes);
/* NULL for an alignment that is no power of two. */
TARN_API void *tarn_callbacks_aligned_alloc(void *callbacks, size_t alignment_bytes,
                                            size_t size_bytes);
TARN_API void tarn_callbacks_posix_free(void *callbacks, void *address);

/* For a client that takes plain malloc, calloc, realloc and free: defines NAME_malloc and so on in
 * the caller's file, over the tarn_callbacks that the expression gives at each call:
 *
 *     static tarn_callbacks *of_json;
 *     TARN_CALLBACKS_DEFINE_PLAIN(json, of_json)
 *     ... cJSON_InitHooks(&(cJSON_Hooks){json_malloc, json_free});
 */
#define TARN_CALLBACKS_DEFINE_PLAIN(name, callbacks)                              \
  static inline void *name##_malloc(size_t size_bytes) {                          \
    return tarn_callbacks_malloc((callbacks), size_bytes);                        \
  }                                                                               \
  static inline void *name##_calloc(size_t count, size_t size_bytes) {            \
    return tarn_callbacks_calloc((callbacks), count, size_bytes);                 \
  }                                                                               \
  static inline void *name##_realloc(void *address, size_t size_bytes) {          \
    return tarn_callbacks_realloc((callbacks), address, size_bytes);              \
  }                                                                               \
  static inline void *name##_aligned_alloc(size_t alignment, size_t size_bytes) { \
    return tarn_callbacks_aligned_alloc((callbacks), alignment, size_bytes);      \
  }                                                                               \
  static inline void name##_free(void *address) {                                 \
    tarn_callbacks_posix_free((callbacks), address);                              \
  }

#ifdef __cplusplus
}
#endif
#endif
