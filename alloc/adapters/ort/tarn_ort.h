/* tarn_ort.h: ONNX Runtime on tarn's memory: its allocator over any pool, its values over tensors.
 *
 * Nothing of ONNX Runtime is needed to build or to link this. A program that uses the runtime hands
 * over what its OrtGetApiBase() returned; tarn takes from the runtime's function table what it
 * needs, by the places that onnxruntime_c_api.h gives them and never moves. The structs that are
 * only named here are the runtime's own, so this header goes with onnxruntime_c_api.h or without.
 *
 *     tarn_ort_open(OrtGetApiBase(), &ort);
 *     tarn_ort_allocator_create(ort, pool, NULL, &allocator);
 *     tarn_ort_register(ort, env, allocator);      // sessions of env with the configuration entry
 *                                                  // "session.use_env_allocators" = "1" use it
 *     tarn_ort_value_of_tensor(ort, &input, TARN_ORT_INPUT, &x);
 *     tarn_ort_value_of_tensor(ort, &output, 0, &y);
 *     api->Run(session, NULL, names, &x, 1, output_names, 1, &y);   // y's bytes are the tensor's
 *
 * How the runtime sees memory: TARN_DEVICE_CPU is its "Cpu", TARN_DEVICE_CUDA_HOST its
 * "CudaPinned", TARN_DEVICE_CUDA and TARN_DEVICE_CUDA_MANAGED its "Cuda" of that index. Anything
 * else is TARN_NOT_SUPPORTED. A runtime without CUDA computes on "Cpu" alone: TARN_ORT_AS_CPU gives
 * it pinned and managed memory under that name.
 *
 * What the runtime refuses becomes a tarn_status with its message; the native code is the
 * OrtErrorCode. What tarn refuses inside of the runtime becomes an OrtStatus there.
 */
#ifndef TARN_ORT_H
#define TARN_ORT_H

#include "alloc/tarn_pool.h"
#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

struct OrtApiBase;
struct OrtEnv;
struct OrtAllocator;
struct OrtValue;

/* A runtime's functions. A process may have several runtimes: each wheel brings its own copy. */
typedef struct tarn_ort tarn_ort;

/* Of ONNX Runtime 1.14 or later: TARN_NOT_SUPPORTED for an older one, and for one that calls itself
 * anything but 1.x. Shared; allocators and values retain it. The caller keeps the runtime loaded as
 * long. */
TARN_API TARN_NODISCARD tarn_status tarn_ort_open(const struct OrtApiBase *base, tarn_ort **ort);
TARN_API void tarn_ort_retain(tarn_ort *ort);
TARN_API void tarn_ort_release(tarn_ort *ort);
/* The version of the interface that both sides know: 25 is that of ONNX Runtime 1.25. */
TARN_API uint32_t tarn_ort_api_version(const tarn_ort *ort);

/* The runtime's environment, of which there is one in a process: the one that somebody has made, or
 * a new one with the runtime's defaults. For who has no OrtEnv at hand, as in Python. Give it back:
 * what is registered in it stays as long as anybody has it. */
TARN_API TARN_NODISCARD tarn_status tarn_ort_env_acquire(tarn_ort *ort, struct OrtEnv **env);
TARN_API void tarn_ort_env_release(tarn_ort *ort, struct OrtEnv *env);

enum {
  TARN_ORT_AS_CPU = 1u << 0, /* say "Cpu" of memory that the CPU reaches under another name */
  TARN_ORT_INPUT = 1u << 1,  /* the value is only read: read-only tensors are welcome */
  TARN_ORT_BORROW = 1u << 2, /* the value holds nothing: the caller keeps the tensor alive */
  TARN_ORT_NULL = 1u << 3,   /* the allocator never throws */
};

/* --- the allocator --- */

typedef struct tarn_ort_allocator_options {
  size_t struct_size;
  tarn_stream *stream; /* of the device that the pool's memory is for; retained */
  uint32_t flags;      /* TARN_ORT_AS_CPU, TARN_ORT_NULL */
} tarn_ort_allocator_options;

/* An OrtAllocator of the version negotiated, over `pool`, which it retains. Shared: one reference
 * is the caller's, and a registration holds another. `options` may be NULL.
 *
 * Alloc and Reserve hand out memory that nothing uses any more, whoever touches it next; blocks are
 * aligned to 64 bytes or what the pool gives beyond that. Free may be called on any thread.
 * GetStats (from 1.23) tells the pool's figures under the names that the runtime uses; Shrink (from
 * 1.25) trims the pool.
 *
 * Where there is no memory, tarn_last_error of that thread says why, and the allocator does what
 * the runtime's own ones do: it throws C++'s std::bad_alloc, which Run and CreateSession turn into
 * an OrtStatus. They do not look at a NULL, and crash (seen with 1.32). Who calls Alloc from C, or
 * has a runtime that does look, wants TARN_ORT_NULL: then an allocation that fails answers NULL, as
 * it does in a process without libstdc++.so.6.
 *
 * The runtime frees a buffer as soon as the last kernel that uses it is enqueued, not when it has
 * run, and does not say on which stream. So memory of a device needs `stream`, the one that the
 * runtime works on: pass its CUstream as user_compute_stream of the CUDA provider. Blocks are freed
 * in its order, and AllocOnStream (from 1.23) hands them out in its order; asked for any other
 * stream it fails rather than race. TARN_INVALID_ARGUMENT where such a pool comes without
 * a stream. For pinned memory `stream` is optional: NULL where nothing copies from or to a buffer
 * that was freed. */
TARN_API TARN_NODISCARD tarn_status
tarn_ort_allocator_create(tarn_ort *ort, tarn_pool *pool, const tarn_ort_allocator_options *options,
                          struct OrtAllocator **allocator);
TARN_API void tarn_ort_allocator_retain(struct OrtAllocator *allocator);
/* The last reference goes when nothing in the runtime may call the allocator any more: no session
 * that used it, no value that it or such a session allocated, and no environment. The runtime does
 * not tell when that is. At the exit of the process it need not be released at all. */
TARN_API void tarn_ort_allocator_release(struct OrtAllocator *allocator);

/* Makes sessions created in `env` from now on, with the configuration entry
 * "session.use_env_allocators" set to "1", allocate here what lies in such memory. One allocator
 * per memory and environment: unregister the earlier one first, since old runtimes refuse a second
 * one and new ones forget the first (1.32 does). Retains the allocator, which has to be of `ort`,
 * as `env` has. */
TARN_API TARN_NODISCARD tarn_status tarn_ort_register(tarn_ort *ort, struct OrtEnv *env,
                                                      struct OrtAllocator *allocator);
/* Sessions created from now on no longer do; earlier ones go on. Releases the registration's
 * reference. The runtime forgets whatever allocator is registered for such memory, so call it once
 * for each registration. */
TARN_API TARN_NODISCARD tarn_status tarn_ort_unregister(tarn_ort *ort, struct OrtEnv *env,
                                                        struct OrtAllocator *allocator);

/* --- values --- */

/* An OrtValue on the tensor's own memory: what the runtime reads from it or writes to it, the
 * tensor has. Holds the tensor's storage until the runtime has released the value, on whichever
 * thread; with TARN_ORT_BORROW it holds nothing, costs no allocation of tarn's, and works before
 * 1.22, too (TARN_NOT_SUPPORTED without it there).
 *
 * Row-major tensors alone, for a value has no strides: TARN_INVALID_ARGUMENT otherwise, and copying
 * is the caller's to ask for. TARN_NOT_SUPPORTED for an element type that the runtime does not
 * have. TARN_READ_ONLY for a read-only tensor without TARN_ORT_INPUT. Nothing is ordered: a
 * tensor of a device is ready in the order of the stream that the runtime works on. */
TARN_API TARN_NODISCARD tarn_status tarn_ort_value_of_tensor(tarn_ort *ort,
                                                             const tarn_tensor *tensor,
                                                             uint32_t flags,
                                                             struct OrtValue **value);

/* A tensor on the memory of a value, whoever allocated that: takes the value, which the last
 * release of the storage gives to ReleaseValue. TARN_NOT_SUPPORTED for what is no dense tensor of
 * numbers (a sequence, a map, strings, a sparse tensor, a type of less than a byte that tarn has no
 * form of), of more than TARN_RANK_MAX dimensions, or in memory that tarn has no name for. */
TARN_API TARN_NODISCARD tarn_status tarn_ort_tensor_of_value(tarn_ort *ort, struct OrtValue *value,
                                                             tarn_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
