/* tarn_stream.h: the second seam: an order of work, and fences in it.
 *
 * A stream runs what is enqueued on it one after the other; two streams are unordered until a fence
 * orders them. Wherever tarn takes a stream, NULL means *the calling thread, now*: the work is done
 * when the call returns.
 *
 * Ordering, in numbered sentences:
 *
 * 1. tarn_fence_record marks the point that the stream's work has reached by then; work enqueued
 *    later is not covered. Recording again moves the mark.
 * 2. tarn_stream_wait(b, f) orders everything enqueued on b afterwards behind the point that f
 *    marked at the time of the call. A fence that was never recorded is passed at once.
 * 3. A wait between two kinds of streams (a CUDA stream and a host worker) blocks the calling
 *    thread until the fence has passed; between two of one kind it does not.
 * 4. Memory handed to an enqueued copy stays the stream's until the stream has passed it: release
 *    it through a pool (tarn_pool_note_use) or wait.
 * 5. Releasing the last reference of a stream lets the work already enqueued finish. Storages and
 *    pools that used a stream may hold references of their own.
 * 6. A child of fork has nobody who works for the parent's streams. Whatever was enqueued by
 *    then is neither run there nor waited for, and all fences have passed; what it was to write,
 *    its arguments and jobs are lost to the child. A worker stream works again in the child, with a
 *    thread that begins at the first call; streams of a device answer TARN_UNAVAILABLE.
 */
#ifndef TARN_STREAM_H
#define TARN_STREAM_H

#include "alloc/tarn_status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_stream tarn_stream;
typedef struct tarn_fence tarn_fence;
typedef struct tarn_staging tarn_staging; /* tarn_staging.h */

/* tarn_stream_copy.h */
typedef struct tarn_copy_planes tarn_copy_planes;
typedef struct tarn_copy_span tarn_copy_span;
typedef struct tarn_copy_grid tarn_copy_grid;

/* Runs in stream order on a thread of the stream's. It must not block on that stream, and on a CUDA
 * stream it must not call the driver. */
typedef void (*tarn_host_function)(void *argument);

/* `row_count` rows of `row_bytes` each; a pitch is the distance from one row's first byte to the
 * next one's, and may be anything where there is one row. One row is a plain copy. Rows of the
 * destination do not overlap each other nor the source. */
typedef struct tarn_copy_rows {
  void *dst;
  const void *src;
  size_t dst_pitch_bytes;
  size_t src_pitch_bytes;
  size_t row_bytes;
  size_t row_count;
  tarn_device dst_device;
  tarn_device src_device;
} tarn_copy_rows;

enum {
  TARN_STREAM_SYNCHRONOUS = 1u << 0, /* every call has done its work when it returns */
};

/* What an implementation fills in; alloc/examples/crew_stream.c is a whole one. Functions may be
 * called from any thread, several at once, and tarn holds no lock while it calls them; one that
 * fails has enqueued nothing, unless it says otherwise, and tells why by tarn_fail. Arguments
 * arrive checked: what is copied or filled is not empty and lies nowhere at NULL, and where there
 * are several rows, pitches hold them. The structs that describe a copy are the caller's and gone
 * when the call returns. A host function may block for another stream's work, so streams do not
 * line up behind each other's.
 *
 * A native fence belongs to the *kind* of stream (the address of the kind's ops is its identity),
 * so it outlives the stream that recorded it, and another stream of the kind may record it next or
 * wait for it. One that was never recorded has passed. Only one thread at a time records a fence,
 * but others may wait for it meanwhile, and each wait is for the mark that it finds. Of forks,
 * sentence 6 is true of tarn's own streams; an implementation sees its own through.
 *
 * Required: name, copy, call, synchronize. The fence functions are required unless the stream is
 * TARN_STREAM_SYNCHRONOUS. fill may be NULL where host memory is all the stream reaches. */
typedef struct tarn_stream_ops {
  size_t struct_size;
  const char *name; /* "worker", "cuda"; a literal */
  /* TARN_NOT_SUPPORTED where the stream cannot reach one of the devices. Pageable host memory
   * (TARN_DEVICE_CPU) on an asynchronous device copy: the copy is done when the call returns. */
  tarn_status (*copy)(void *context, const tarn_copy_rows *rows);
  tarn_status (*fill)(void *context, void *dst, tarn_device dst_device, uint8_t value,
                      size_t size_bytes);
  tarn_status (*call)(void *context, tarn_host_function function, void *argument);
  tarn_status (*synchronize)(void *context);
  /* Frees the context, once, at the last release or at tarn_stream_close; enqueued work still
   * finishes, and fences go on to tell of it. */
  void (*destroy)(void *context);
  tarn_status (*fence_create)(void *context, void **fence);
  tarn_status (*fence_record)(void *context, void *fence);
  tarn_status (*fence_wait)(void *context, void *fence);
  /* TARN_OK passed; TARN_NOT_READY not yet, without tarn_fail: that is an answer, no failure. */
  tarn_status (*fence_query)(void *fence);
  tarn_status (*fence_synchronize)(void *fence);
  void (*fence_destroy)(void *fence);
  /* Whether the driver captures the stream's work instead of running it, whoever began that. NULL:
   * never. See alloc/tarn_capture.h. */
  tarn_status (*is_capturing)(void *context, bool *is_capturing);
  /* Copies by fewer calls, each NULL where the stream has no such way. What they are given was
   * checked as tarn_stream_copy.h says, is not empty, and no side of it is pageable memory where
   * the stream is a device's, but for the one element that a grid repeats. TARN_NOT_SUPPORTED is an
   * answer to any of them (there is no kernel for it, the driver does not take these pitches, the
   * stream is captured): nothing has been enqueued then, and tarn goes another way. Any other
   * failure may leave a part enqueued. */
  tarn_status (*copy_planes)(void *context, const tarn_copy_planes *planes);
  tarn_status (*copy_batch)(void *context, const tarn_copy_span *spans, size_t count);
  tarn_status (*copy_grid)(void *context, const tarn_copy_grid *grid);
} tarn_stream_ops;

typedef struct tarn_stream_options {
  size_t struct_size;
  tarn_device device; /* whose memory the stream works on besides the host's; zero: the CPU */
  uint32_t flags;     /* TARN_STREAM_* */
} tarn_stream_options;

/* Asynchronous streams at once in a process: alive, or released with work still pending. */
enum { TARN_STREAMS_MAX = 1024 };

/* Makes a stream of an implementation. `ops` is not copied: it is the identity of its kind and must
 * live as long as the process uses tarn, for fences outlive their streams. Takes `context`.
 * TARN_NOT_SUPPORTED beyond TARN_STREAMS_MAX. */
TARN_API TARN_NODISCARD tarn_status tarn_stream_create(const tarn_stream_ops *ops, void *context,
                                                       const tarn_stream_options *options,
                                                       tarn_stream **stream);

TARN_API void tarn_stream_retain(tarn_stream *stream);
TARN_API void tarn_stream_release(tarn_stream *stream);
/* Ends the stream at once, whoever still refers to it: takes the final fence that the last release
 * would take, so that nothing looks at what it wraps any more (a CUstream that is about to be
 * destroyed), and lets the work already enqueued finish. Storages may still be freed in its order,
 * and pools wait for the fence. Whatever would be enqueued on it is refused with
 * TARN_INVALID_ARGUMENT; tarn_stream_synchronize waits for what there was. Memory must not be asked
 * for on it any more, which a pool refuses where it notices. No other thread does either meanwhile;
 * freeing is allowed. Blocks only where no fence is to be had. TARN_BUSY while the stream is
 * captured, TARN_INVALID_ARGUMENT for NULL; a second time, and on a synchronous stream, nothing is
 * done. */
TARN_API TARN_NODISCARD tarn_status tarn_stream_close(tarn_stream *stream);

TARN_API const char *tarn_stream_name(const tarn_stream *stream); /* "now" for NULL */
TARN_API tarn_device tarn_stream_device(const tarn_stream *stream);
TARN_API bool tarn_stream_is_synchronous(const tarn_stream *stream); /* true for NULL */
/* A number for people to tell streams apart: 1 to TARN_STREAMS_MAX, unique among the asynchronous
 * streams that are alive or still have work; 0 for NULL and for synchronous streams. */
TARN_API uint32_t tarn_stream_number(const tarn_stream *stream);
/* For an implementation of streams: the context it gave, where `stream` is of its kind; else
 * NULL. */
TARN_API void *tarn_stream_context(const tarn_stream *stream, const tarn_stream_ops *kind);

/* Enqueues. Both sides stay alive, and the source unchanged, until `stream` has passed the copy.
 * row_bytes or row_count 0 does nothing. */
TARN_API TARN_NODISCARD tarn_status tarn_stream_copy_rows(tarn_stream *stream,
                                                          const tarn_copy_rows *rows);
TARN_API TARN_NODISCARD tarn_status tarn_stream_copy(tarn_stream *stream, void *dst,
                                                     tarn_device dst_device, const void *src,
                                                     tarn_device src_device, size_t size_bytes);
TARN_API TARN_NODISCARD tarn_status tarn_stream_fill(tarn_stream *stream, void *dst,
                                                     tarn_device dst_device, uint8_t value,
                                                     size_t size_bytes);
TARN_API TARN_NODISCARD tarn_status tarn_stream_call(tarn_stream *stream,
                                                     tarn_host_function function, void *argument);
/* Copies between pageable memory (TARN_DEVICE_CPU) and a device go through the ring from now on; a
 * NULL ring takes that back. The stream retains the ring. Then a copy
 *
 * - to the device has read its source when it returns, which may be overwritten or freed at once,
 *   and goes on in the stream's order: the destination belongs to the stream until that has passed.
 *   It blocks only where the ring has no slot left, for one that the stream gives back;
 * - from the device is done when it returns, behind all that was enqueued before, its pieces
 *   crossing the bus while the CPU copies earlier ones out;
 * - is refused as ever on a captured stream, and leaves the destination partly written where the
 *   driver fails in the middle.
 *
 * The CPU reads the source during the call. What host functions write there that were enqueued by
 * tarn_stream_call before, on this stream or on one it was made to wait for, is waited for. What
 * tarn was not told of is not: a host function by the driver's own call, or one that an event of
 * the application's orders; then synchronize first.
 *
 * No other thread uses the stream during the call. The stream's last release gives the ring back,
 * and waits for its slots where it was the last to know it. TARN_NOT_SUPPORTED for NULL, a
 * synchronous stream and one of the CPU, which need no ring; TARN_INVALID_ARGUMENT where the ring's
 * own memory is pageable, or the stream is closed. */
TARN_API TARN_NODISCARD tarn_status tarn_stream_set_staging(tarn_stream *stream,
                                                            tarn_staging *staging);

/* For those who put elements in order on their way through a slot: *staging is the stream's ring,
 * borrowed as long as the stream has it, and NULL where it has none or must not use it now, being
 * captured. `reads_host` says that the CPU is about to read pageable memory in the order of the
 * stream: then host functions are waited for as above. */
TARN_API TARN_NODISCARD tarn_status tarn_stream_staging(tarn_stream *stream, bool reads_host,
                                                        tarn_staging **staging);

/* Blocks until everything enqueued on `stream` so far is done. TARN_NOT_SUPPORTED while the stream
 * is captured; see alloc/tarn_capture.h for that and for what else captures change. */
TARN_API TARN_NODISCARD tarn_status tarn_stream_synchronize(tarn_stream *stream);

/* A fence of `stream`'s kind, never recorded. It keeps nothing alive and may outlive the stream. */
TARN_API TARN_NODISCARD tarn_status tarn_fence_create(tarn_stream *stream, tarn_fence **fence);
TARN_API void tarn_fence_destroy(tarn_fence *fence);
/* TARN_INVALID_ARGUMENT where `stream` is of another kind than the fence. One thread at a time
 * records a fence; the other calls may run meanwhile and see the earlier or the later mark. */
TARN_API TARN_NODISCARD tarn_status tarn_fence_record(tarn_fence *fence, tarn_stream *stream);
/* TARN_OK where what lay before the mark is done, or there is no mark; TARN_NOT_READY where it is
 * not, which leaves the thread's last error alone. Does not block. */
TARN_API TARN_NODISCARD tarn_status tarn_fence_query(tarn_fence *fence);
TARN_API TARN_NODISCARD tarn_status tarn_fence_synchronize(tarn_fence *fence);
TARN_API TARN_NODISCARD tarn_status tarn_stream_wait(tarn_stream *stream, tarn_fence *fence);

/* The application says that `later` already waits for all that is enqueued on `earlier` by now (by
 * an event, a graph or a join of its own): pools then reuse across the two without a fence. A false
 * word is a data race, and so is a stale one: a pool may enqueue waits of its own on `earlier`, so
 * no call of a pool may have been given `earlier` between the event's record and this. */
TARN_API TARN_NODISCARD tarn_status tarn_stream_edge(tarn_stream *earlier, tarn_stream *later);

#ifdef __cplusplus
}
#endif
#endif
