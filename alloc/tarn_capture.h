/* tarn_capture.h: streams that are captured into a graph, and the memory that the graph keeps.
 *
 * A graph runs whenever it is launched, with the addresses that it was captured with. So memory
 * lent out on a captured stream belongs to the capture until that is destroyed: a block freed in
 * the capture is lent out again in the capture, behind the same rules as ever, and to nobody else.
 *
 *     tarn_capture_begin(stream, &capture)      then the driver's cuStreamBeginCapture
 *     ... copies, fills, allocations and frees on `stream`, fences to and from other streams
 *     the driver's cuStreamEndCapture, then     tarn_capture_end(capture)
 *     launches of the graph, each followed by   tarn_capture_note_launch(capture, stream)
 *     the graph and its executables go, then    tarn_capture_destroy(capture)
 *
 * In numbered sentences:
 *
 * 1. tarn is told; it never begins or ends a capture of the driver's. Told after the driver it
 *    works as well (a CUDA stream is asked whether it is being captured), but then other streams
 *    cannot get behind the earlier work of the stream before the capture ends, and look for other
 *    memory.
 * 2. A stream joins the capture by tarn_stream_wait for a fence that was recorded in it. One that
 *    the application draws in by an event of its own is told by tarn_capture_join, before any use.
 * 3. In a capture a pool lends what the host has seen to be unused, what lies in the capture
 *    itself, and fresh memory. It asks no stream and waits for none: out of memory comes sooner,
 *    and is an answer like any other: the capture goes on, or is ended and begun again.
 * 4. On a captured stream these are refused with TARN_NOT_SUPPORTED, before the driver sees them
 *    and spoils the capture: tarn_stream_synchronize; copies and fills of pageable memory on a
 *    device's stream, or by a host function of tarn's; waits for fences recorded outside of the
 *    capture. So are tarn_fence_query and tarn_fence_synchronize for a fence recorded in a capture,
 *    until that is destroyed; it may be recorded again elsewhere. tarn_stream_edge says nothing
 *    across a capture's boundary.
 * 5. tarn_pool_note_use on a captured stream keeps the block from everybody until the capture is
 *    destroyed, and so does freeing a block in a capture that was lent before it. A blob
 *    (tarn_storage_wrap) used by a capture has to outlive the graph: its release does not wait.
 * 6. A host function given to a captured stream runs at every launch.
 * 7. A pool whose last reference goes takes its memory along, captured or not.
 * 8. Graphs that are launched one behind the other, never two at once and always in the order of
 *    their captures, may share memory: a capture begun by tarn_capture_begin_after takes what the
 *    earlier one has freed, and so does one that continues it in turn. What the earlier one still
 *    had lent out when it ended stays the earlier graph's; a block of it freed in the later capture
 *    is the later one's to use again. What a graph leaves in shared memory is good until an earlier
 *    one is launched again. A block that several captures have used goes when all are destroyed, in
 *    any order.
 *
 * 9. The driver's capture may have any mode. What tarn calls while somebody captures it declares to
 *    be apart from that (relaxed: cuThreadExchangeStreamCaptureMode), so all calls that have
 *    nothing to do with the captured streams are legal in every mode, in the capturing thread and
 *    in others: allocating and freeing elsewhere, growing, trimming and asking pools, fences and
 *    copies of other streams, making and destroying streams, providers and pools.
 * 10. A graph captured anew that takes the place of an executable's earlier one (cuGraphExecUpdate)
 *    has a capture of its own; the earlier one is destroyed once the executable is updated, and
 *    waits for the launches from before, which were noted there.
 *
 * One thread at a time uses a capture and the streams in it. */
#ifndef TARN_CAPTURE_H
#define TARN_CAPTURE_H

#include "alloc/tarn_stream.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_capture tarn_capture;

/* Begins with one stream, an asynchronous one; the capture retains its streams until it ends.
 * TARN_BUSY where the stream is captured already; TARN_NOT_SUPPORTED where as many streams and
 * captured streams as TARN_STREAMS_MAX are alive: one of a capture's counts until that is
 * destroyed. A place once a stream's stays a place for streams, and the same for captures: where
 * TARN_STREAMS_MAX streams have been alive at once there is none left. Records one fence on the
 * stream. On failure nothing has changed. */
TARN_API TARN_NODISCARD tarn_status tarn_capture_begin(tarn_stream *stream, tarn_capture **capture);

/* The same for a graph that will only be launched behind every launch of `earlier`, whose capture
 * has ended, and of those which that continues: see sentence 8. The order is the application's to
 * keep, by launches on one stream or by events. TARN_INVALID_ARGUMENT where `earlier` has not
 * ended. It is not kept: it may be destroyed before. */
TARN_API TARN_NODISCARD tarn_status tarn_capture_begin_after(tarn_stream *stream,
                                                             const tarn_capture *earlier,
                                                             tarn_capture **capture);

typedef struct tarn_capture_stats {
  size_t struct_size;
  uint64_t number;   /* names it in snapshots (tarn_pool_snapshot.h); never 0, never used again */
  size_t kept_bytes; /* in all pools: lent or freed in it, or noted to be used by it; what several
                        captures have used counts at each */
} tarn_capture_stats;

/* Costs a sum over the capture's streams, and no lock. The caller sets stats->struct_size. What a
 * pool keeps for all captures together is in tarn_pool_stats. */
TARN_API TARN_NODISCARD tarn_status tarn_capture_stats_of(const tarn_capture *capture,
                                                          tarn_capture_stats *stats);

/* Draws another stream in, before it waits for anything in the capture; TARN_OK where it is in
 * already. TARN_INVALID_ARGUMENT where the capture has ended; the rest as above. */
TARN_API TARN_NODISCARD tarn_status tarn_capture_join(tarn_capture *capture, tarn_stream *stream);

/* The driver's capture is over, with a graph or without: the streams are as they were before.
 * TARN_INVALID_ARGUMENT where it had ended. */
TARN_API TARN_NODISCARD tarn_status tarn_capture_end(tarn_capture *capture);

/* The graph was launched on `stream` (NULL: it has run): tarn_capture_destroy will wait for
 * that. */
TARN_API TARN_NODISCARD tarn_status tarn_capture_note_launch(tarn_capture *capture,
                                                             tarn_stream *stream);

/* The graph is gone, or there was none: ends the capture where that was not done, waits for the
 * launches that were noted and for the work before the capture, and gives the memory free: what is
 * still lent out stays so, like any other block. NULL does nothing. TARN_BUSY, with nothing
 * changed, where that work cannot be waited for because its stream is being captured. */
TARN_API TARN_NODISCARD tarn_status tarn_capture_destroy(tarn_capture *capture);

/* Whether tarn was told so. */
TARN_API bool tarn_stream_is_captured(const tarn_stream *stream);

/* For those who implement a pool, which has to keep what captures use until they are destroyed. The
 * number of the capture that the stream is in, or 0; whether the capture numbered so is destroyed,
 * as 0 always is; and what tarn_capture_stats counts as kept of it, more or less than before. */
TARN_API uint64_t tarn_stream_capture(const tarn_stream *stream);
TARN_API bool tarn_capture_is_destroyed(uint64_t number);
TARN_API void tarn_capture_keep(uint64_t number, size_t size_bytes);
TARN_API void tarn_capture_let_go(uint64_t number, size_t size_bytes);

#ifdef __cplusplus
}
#endif
#endif
