/* order.h: what is known about the order of streams: tickets, knowledge, and one lazy fence each.
 *
 * Every asynchronous stream has a timeline. A *stamp* {timeline, ticket} names a point in its work:
 * everything enqueued before the stamp was taken. Making a stamp is one load; no driver call.
 *
 *     ticket   T    what a stamp taken now carries; recording a fence closes the ticket: T++
 *     covered  <T   the last ticket that the recorded fence lies behind
 *     seen     H    stamps up to here are complete, as the host has observed
 *     known    K[.] per other timeline: stamps up to here lie before any work enqueued from now on
 *
 * A stamp is *covered* for stream d where ticket <= max(H, K_d) of its timeline, or it is d's own.
 *
 * Why closing a ticket is enough: a stamp taken by a thread after it enqueued work carries T. A
 * fence takes `covered = T++` and is recorded after that, so whoever still read the old T had
 * enqueued its work before the record. Results are published only when the record has returned.
 * Invariant: a fence and the snapshot of K taken before its record are published together, so a
 * wait raises K_d to no more than what the fence covered when it was recorded.
 *
 * Timelines are reused after their stream is gone and its last work was seen; tickets go on
 * counting, so a pair {timeline, ticket} never comes back with another meaning.
 *
 * Captures. What is enqueued on a stream while it is captured into a graph does not run then, but
 * whenever the graph is launched, on whatever stream. So every stream that is drawn into a capture
 * gets a private timeline for as long (tarn__order_enter): stream->timeline is swapped by one
 * atomic store, and swapped back in the end. What that brings with it:
 *   - for work in the capture only what the host has seen is covered, and what lies in the capture
 *     itself, by the same rules as ever; nothing that the stream knew from before;
 *   - a stamp of a private timeline is *held*: no fence can be recorded for it, nobody gets behind
 *     it, until the capture is destroyed. So are stamps of the stream's own timeline that its last
 *     fence does not cover, until the capture ends;
 *   - a block that was lent before the capture and is used or freed in it has been used by work
 *     that runs once, and by work that runs at every launch. It gets the *limbo* ticket, beyond all
 *     tickets of its private timeline, which not even that timeline's own stream is behind;
 *   - a capture that continues an earlier one knows all of that one's private timelines up to
 *     limbo: its graph runs behind every launch of the other. What both have used both keep.
 * A slot is private for ever or never, so what is kept by slot of an ordinary stream is out of a
 * capture's reach, and what asks tarn__order_is_private(slot) once need not ask again.
 *
 * One lock, a leaf: nothing is called under it. Tickets, seen and known are read without it. */
#ifndef TARN_ORDER_H
#define TARN_ORDER_H

#include "alloc/tarn_capture.h"
#include "alloc/tarn_stream.h"

typedef struct tarn__timeline tarn__timeline;

typedef struct tarn__stamp {
  uint32_t slot; /* which timeline */
  uint64_t ticket;
} tarn__stamp;

typedef struct tarn__stamps tarn__stamps; /* stamps.h */

/* What an ordering step cost, for statistics. */
typedef struct tarn__order_cost {
  uint64_t fence_count; /* fences recorded */
  uint64_t wait_count;  /* waits enqueued or made by the host */
} tarn__order_cost;

/* Gives an asynchronous stream a timeline; TARN_NOT_SUPPORTED where TARN_STREAMS_MAX are in use. */
tarn_status tarn__order_register(tarn_stream *stream);
/* The stream's last reference is gone: takes a final fence, or waits where none can be had. */
void tarn__order_retire(tarn__timeline *timeline);
/* The same for a stream that somebody still refers to. From here on it is the host to all that asks
 * for order, and a stamp of it is the last one that it has taken. */
void tarn__order_close(tarn_stream *stream);

/* The point that `stream` (asynchronous) has reached. */
tarn__stamp tarn__order_stamp(const tarn_stream *stream);
uint32_t tarn__order_slot(const tarn_stream *stream);

bool tarn__order_is_seen(tarn__stamp stamp);
/* Changes whenever the host sees any stream come further. Looks at every timeline. */
uint64_t tarn__order_progress(void);
/* For work enqueued on `stream` from now on; NULL or a synchronous stream is the host. */
bool tarn__order_is_covered(const tarn_stream *stream, tarn__stamp stamp);

/* The first ticket of a timeline that is not covered for `stream`, NULL or a synchronous one being
 * the host; UINT64_MAX for its own. */
uint64_t tarn__order_first_uncovered(const tarn_stream *stream, uint32_t slot);

/* Asks whether work up to the recorded fence is done and raises `seen`; records a fence where
 * `wanted` is behind the one there is. One driver call at most, never blocks. Leaves the thread's
 * last error alone. */
void tarn__order_observe(tarn__stamp wanted, tarn__order_cost *cost);
/* The same, and at once again where that only recorded a fence: whether the stamp is seen then. */
static inline bool tarn__order_is_done(tarn__stamp wanted, tarn__order_cost *cost) {
  tarn__order_observe(wanted, cost);
  if (!tarn__order_is_seen(wanted)) tarn__order_observe(wanted, cost);
  return tarn__order_is_seen(wanted);
}

/* Makes `stream` (or the host, which blocks) ordered behind the stamp. On failure nothing is known
 * that was not known before. TARN_NOT_READY where the stamp is held, or `stream` is captured. */
tarn_status tarn__order_behind(tarn_stream *stream, tarn__stamp stamp, tarn__order_cost *cost);

/* The host has seen everything enqueued on `stream` before `stamp` was taken. */
void tarn__order_saw(tarn__stamp stamp);
/* Work on `later` enqueued from now on lies behind `stamp`. */
void tarn__order_knows(const tarn_stream *later, tarn__stamp stamp);
/* Work on `later` lies behind all that is enqueued on `earlier`, and behind all that that knows. */
void tarn__order_edge(const tarn_stream *earlier, const tarn_stream *later);

/* For those who wait for everything: timelines are numbered below the first; the last point of one
 * that work may be left before, false where there is none; some stream is captured. */
uint32_t tarn__order_slot_end(void);
bool tarn__order_reached(uint32_t slot, tarn__stamp *stamp);
bool tarn__order_is_any_captured(void);

/* Takes the ticket that a fence recorded next on `stream` will cover. */
tarn__stamp tarn__order_close_ticket(const tarn_stream *stream);

/* --- captures --- */

/* Swaps the stream's timeline for a fresh private one of the capture numbered `capture_id`, which
 * is behind the stamps `earlier`, of captures that have ended. Where the stream may still record,
 * it does so first, so that others can get behind its earlier work meanwhile. `outside` is the
 * point it had reached. TARN_NOT_SUPPORTED where no timeline is left. Nothing is changed on
 * failure. */
tarn_status tarn__order_enter(tarn_stream *stream, tarn_capture *capture, uint64_t capture_id,
                              bool may_record, const tarn__stamps *earlier,
                              tarn__timeline **timeline, tarn__stamp *outside);
/* Swaps it back. The private timeline and its stamps stay. */
void tarn__order_leave(tarn_stream *stream);
/* The capture is destroyed: all stamps of its private timeline are seen. */
void tarn__order_forget(tarn__timeline *timeline);

bool tarn__order_is_captured(const tarn_stream *stream);
bool tarn__order_is_private(uint32_t slot);
/* Of the capture that the private timeline belongs to until that is destroyed; else 0. */
uint64_t tarn__order_capture_number(uint32_t slot);
/* The capture that the private timeline belongs to while its stream is captured; else NULL. */
tarn_capture *tarn__order_capture_of(uint32_t slot);
/* The ticket is of the capture that `stream` is in, or of one that this continues, and not
 * limbo. */
bool tarn__order_is_of_capture(const tarn_stream *stream, tarn__stamp stamp);
/* It is of a capture, not destroyed yet, that `stream` is not in. */
bool tarn__order_is_of_another(const tarn_stream *stream, tarn__stamp stamp);
/* The last ticket that the private timeline can take. */
tarn__stamp tarn__order_end(const tarn__timeline *timeline);
/* Counts bytes that the capture keeps in some pool, at one of its timelines; what wraps around
 * takes back. Nothing where the capture is gone. */
void tarn__order_keep(uint32_t slot, uint64_t capture_number, size_t size_bytes);
/* A timeline of a capture that is not destroyed. */
bool tarn__order_find_capture(uint64_t capture_number, uint32_t *slot);
/* The sum over a capture's timelines is what it keeps; one of them may have wrapped around. */
size_t tarn__order_kept_bytes(const tarn__timeline *timeline);
tarn__stamp tarn__order_limbo(const tarn_stream *stream);
bool tarn__order_is_limbo(tarn__stamp stamp);
/* Nobody can get behind it now but by what is known already. */
bool tarn__order_is_held(tarn__stamp stamp);

#endif
