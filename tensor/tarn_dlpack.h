/* tarn_dlpack.h: tensors handed to other libraries and taken from them, by DLPack 1.3.
 *
 * The structs are those of dlpack.h under names of our own: same sizes, same offsets, same numbers,
 * so a pointer may be cast from one to the other. Who reads a managed tensor and when, in numbered
 * sentences:
 *
 * 1. An export holds one reference of the storage and is one block of memory. Its deleter gives
 *    both back. It runs once, on any thread, takes no lock of the caller's, and waits for no more
 *    than tarn_storage_release does.
 * 2. An import takes the managed tensor when it returns TARN_OK: from then on its deleter runs
 *    once, when the last reference of the made storage goes, on whichever thread drops that. On
 *    failure the caller still owns it and has to delete it; the one exception is a foreign major
 *    version, whose deleter the import has called already.
 * 3. Nothing that a producer writes into a managed tensor makes the import crash, as long as its
 *    pointers are NULL or true: everything else is checked, and refused with
 *      TARN_BAD_FORMAT      where it contradicts DLPack or itself,
 *      TARN_TOO_LARGE       where sizes, strides or offset leave 63 bits or the address space,
 *      TARN_NOT_SUPPORTED   where it is legal, and a tarn_tensor cannot say it.
 * 4. What tarn itself exported comes back as a tensor of the same storage, pool and streams
 *    included, unless it was exported with a `consumer` or as read-only by a flag.
 *
 * For a Python binding each of these failures is a BufferError.
 */
#ifndef TARN_DLPACK_H
#define TARN_DLPACK_H

#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The version that tarn writes. Any minor version of this major one is read. */
enum { TARN_DLPACK_MAJOR = 1, TARN_DLPACK_MINOR = 3 };

/* --- the structs of dlpack.h --- */

typedef struct tarn_dl_version {
  uint32_t major;
  uint32_t minor;
} tarn_dl_version;

typedef struct tarn_dl_tensor {
  void *data;
  tarn_device device; /* index 0 for all memory that the CPU reaches */
  int32_t ndim;
  tarn_dtype dtype;
  int64_t *shape;
  int64_t *strides; /* in elements; NULL: row-major, as producers before 1.2 wrote it */
  uint64_t byte_offset;
} tarn_dl_tensor;

/* The unversioned form, from before DLPack 1.0. It cannot say that memory is read-only. */
typedef struct tarn_dl_managed_tensor {
  tarn_dl_tensor dl_tensor;
  void *manager_ctx;
  void (*deleter)(struct tarn_dl_managed_tensor *self); /* may be NULL */
} tarn_dl_managed_tensor;

enum {
  TARN_DL_READ_ONLY = 1u << 0,
  TARN_DL_IS_COPIED = 1u << 1,      /* a copy that nobody but the consumer sees */
  TARN_DL_SUBBYTE_PADDED = 1u << 2, /* each value of less than 8 bits has a byte of its own */
};

/* Another major version keeps the first three fields, and nothing else is to be read then. */
typedef struct tarn_dl_managed_tensor_versioned {
  tarn_dl_version version;
  void *manager_ctx;
  void (*deleter)(struct tarn_dl_managed_tensor_versioned *self); /* may be NULL */
  uint64_t flags;                                                 /* TARN_DL_* */
  tarn_dl_tensor dl_tensor;
} tarn_dl_managed_tensor_versioned;

/* --- producing --- */

typedef enum tarn_dlpack_copy {
  TARN_DLPACK_COPY_IF_NEEDED = 0, /* where the tensor does not lie on `device` */
  TARN_DLPACK_COPY_NEVER = 1,     /* TARN_NOT_SUPPORTED where one is needed */
  TARN_DLPACK_COPY_ALWAYS = 2,
} tarn_dlpack_copy;

enum {
  TARN_DLPACK_EXPORT_COPIED = 1u << 0,    /* the caller made this copy for the consumer alone: say
                                             so */
  TARN_DLPACK_EXPORT_READ_ONLY = 1u << 1, /* the consumer may not write, though tarn may */
  TARN_DLPACK_EXPORT_UNMARKED = 1u << 2,  /* legacy form: a read-only storage, too; the caller knows
                                             that the consumer will not write */
};

typedef struct tarn_dlpack_export_options {
  size_t struct_size;
  uint32_t flags; /* TARN_DLPACK_EXPORT_* */
  tarn_dlpack_copy copy;
  tarn_device device;    /* where the consumer wants it; zero: where it lies */
  tarn_pool *pool;       /* lends a copy's memory, on `device`; needed only where one is made */
  tarn_stream *producer; /* work on the tensor was enqueued here, and so is a copy */
  tarn_stream *consumer; /* where the consumer will work with it */
} tarn_dlpack_export_options;

/* Makes a managed tensor of `tensor`, which need not outlive the call. NULL options are all
 * defaults: the same memory, no stream.
 *
 * - `data` is the address of the first element and byte_offset 0; `data` is NULL where there are no
 *   elements. Shape and strides are always there and as in the tensor, strides of size-1 dimensions
 *   included (NULL for rank 0).
 * - The device is the storage's. Memory that the CPU reaches (page-locked, managed) is handed out
 *   without a copy where device asks for the CPU, and says that it is the CPU's.
 * - A copy is row-major, lies in memory of `pool`, and is marked TARN_DL_IS_COPIED and never
 *   read-only unless a flag says so. It is enqueued on `producer`, which must reach both memories.
 * - Where `producer` is another stream than `consumer`, work that is enqueued on `consumer` after
 *   this call runs behind all that is enqueued on `producer` before: a fence of the streams, the
 *   host waits only where one of the two is not of the other's kind. So it does for a NULL consumer
 *   (the CPU, now). A NULL producer orders nothing, and so do two equal ones.
 * - The deleter frees the memory behind all work that `consumer` has been given by then.
 *
 * TARN_INVALID_ARGUMENT for a tensor that leaves its storage; TARN_NOT_SUPPORTED for element types
 * or devices that DLPack or the pool does not have. */
TARN_API TARN_NODISCARD tarn_status tarn_dlpack_export(const tarn_tensor *tensor,
                                                       const tarn_dlpack_export_options *options,
                                                       tarn_dl_managed_tensor_versioned **managed);

/* The same in the unversioned form, which has no flags. TARN_READ_ONLY for a read-only storage that
 * is not copied, and with EXPORT_READ_ONLY, unless EXPORT_UNMARKED is there. TARN_NOT_SUPPORTED for
 * six-bit floats, whose padding it cannot say. */
TARN_API TARN_NODISCARD tarn_status
tarn_dlpack_export_legacy(const tarn_tensor *tensor, const tarn_dlpack_export_options *options,
                          tarn_dl_managed_tensor **managed);

/* Describes `tensor` without owning anything: `described` points into *tensor, and is good as long
 * as that stays where it is and as it is, and its storage is held. TARN_READ_ONLY for a read-only
 * storage, which it could not say. */
TARN_API TARN_NODISCARD tarn_status tarn_dlpack_describe(tarn_tensor *tensor,
                                                         tarn_dl_tensor *described);

/* --- consuming --- */

enum {
  TARN_DLPACK_IMPORT_READ_ONLY = 1u << 0, /* tarn may not write, whatever the producer says */
  TARN_DLPACK_IMPORT_ANY_DTYPE = 1u << 1, /* elements of several lanes and opaque ones, too */
};

typedef struct tarn_dlpack_import_options {
  size_t struct_size;
  uint32_t flags; /* TARN_DLPACK_IMPORT_* */
  /* Asked, where it is not NULL and there are elements, before anything is taken: is this the
   * device's memory? Its failure is the import's. */
  tarn_status (*verify)(void *context, const void *address, size_t size_bytes, tarn_device device);
  void *verify_context;
} tarn_dlpack_import_options;

/* Wraps what a producer handed over; sentences 2 and 3 above. The caller owns *tensor and releases
 * it. NULL options are all defaults.
 *
 * - Read-only by its flag, or by ours, is a read-only storage.
 * - Accepted are CPU, CUDA, CUDAHost and CUDAManaged memory, any strides (negative ones too), and
 *   every element type of tarn_dtype_check with one lane, or with several where they are packed
 *   into bytes. Six-bit floats need the flag SUBBYTE_PADDED, and no other value below 8 bits may
 *   have it.
 * - The first element's address is aligned as for tarn_tensor_wrap, and byte_offset is a whole
 *   number of elements. Flags that version 1.3 does not know are refused.
 * - The storage spans exactly the elements that can be reached. Without elements it is empty.
 *
 * Ordering: the producer has ordered its work before ours, as DLPack's `stream` asks. Note uses
 * (tarn_storage_note_use): the last release then waits for them before the deleter runs. */
TARN_API TARN_NODISCARD tarn_status tarn_dlpack_import(tarn_dl_managed_tensor_versioned *managed,
                                                       const tarn_dlpack_import_options *options,
                                                       tarn_tensor *tensor);
TARN_API TARN_NODISCARD tarn_status
tarn_dlpack_import_legacy(tarn_dl_managed_tensor *managed,
                          const tarn_dlpack_import_options *options, tarn_tensor *tensor);

/* Wraps a bare DLTensor, which owns nothing: its memory outlives the tensor by the caller's word.
 * The struct itself, shape and strides need not. */
TARN_API TARN_NODISCARD tarn_status tarn_dlpack_view(const tarn_dl_tensor *described,
                                                     const tarn_dlpack_import_options *options,
                                                     tarn_tensor *tensor);

/* --- DLPackExchangeAPI --- */

typedef struct tarn_dl_exchange_header {
  tarn_dl_version version;
  struct tarn_dl_exchange_header *prev_api; /* the table of an older major version, or NULL */
} tarn_dl_exchange_header;

typedef void (*tarn_dl_set_error)(void *error_ctx, const char *kind, const char *message);

/* All return 0, or -1. */
typedef struct tarn_dl_exchange_api {
  tarn_dl_exchange_header header;
  int (*managed_tensor_allocator)(tarn_dl_tensor *prototype, tarn_dl_managed_tensor_versioned **out,
                                  void *error_ctx, tarn_dl_set_error set_error);
  int (*managed_tensor_from_py_object_no_sync)(void *py_object,
                                               tarn_dl_managed_tensor_versioned **out);
  int (*managed_tensor_to_py_object_no_sync)(tarn_dl_managed_tensor_versioned *tensor,
                                             void **out_py_object);
  int (*dltensor_from_py_object_no_sync)(void *py_object, tarn_dl_tensor *out); /* may be NULL */
  int (*current_work_stream)(int32_t device_type, int32_t device_id, void **out_current_stream);
} tarn_dl_exchange_api;

/* Writes version 1.3, tarn's allocator and work stream into a table that the caller keeps as long
 * as the process lives. The three members for Python objects become NULL: they are the binding's,
 * and only the last may stay so.
 *
 * The allocator makes a row-major tensor from the pool set for the prototype's device; dtype, ndim,
 * shape and device are what it reads. It fails with kind "MemoryError" or "BufferError" and the
 * last error's message. The work stream fails with -1 and tarn_last_error; a binding turns that
 * into its exception. Neither waits for a stream. */
TARN_API void tarn_dlpack_exchange_init(tarn_dl_exchange_api *api);

enum { TARN_DLPACK_EXCHANGE_POOLS_MAX = 64 };

/* From now on the allocator takes memory of `device` from `pool`, which lies there and is retained;
 * NULL ends that. Process-wide, because DLPack's call carries no context. TARN_INVALID_ARGUMENT for
 * a pool of another device, TARN_NOT_SUPPORTED beyond so many devices. */
TARN_API TARN_NODISCARD tarn_status tarn_dlpack_set_exchange_pool(tarn_device device,
                                                                  tarn_pool *pool);

/* Which stream the calling thread works on: *stream (borrowed; the order that the allocator's
 * memory is lent in) and *native (a CUstream, what current_work_stream answers). Both are NULL
 * already. Runs on any thread, without a lock. */
typedef tarn_status (*tarn_dlpack_work_stream)(void *context, tarn_device device,
                                               tarn_stream **stream, void **native);

/* Process-wide as well; set it before the table is handed out, `context` lives as long as that.
 * NULL, the default: NULL streams for memory that the CPU reaches, and TARN_UNAVAILABLE else. */
TARN_API void tarn_dlpack_set_work_stream(tarn_dlpack_work_stream work_stream, void *context);

#ifdef __cplusplus
}
#endif
#endif
