/* sim_clock.h: who is ordered after whom: a vector clock for each stream and each host thread.
 *
 *     timeline --- epoch: how many points it has had
 *        |-------- base:  clock: { timeline -> epoch that is known to come before }, sorted, shared
 *     stamp  ----- a point of a timeline with the base of that time: what a mark carries
 *
 * CUDA fixes the order of work when a call is made: a wait binds what its event marks at that
 * moment. So clocks move when work is enqueued, not when it runs, and are the same on every
 * schedule. A base never changes: a timeline that learns something gets another one, and a stamp is
 * a reference. Who knows a point of a timeline knows all that the point's base holds.
 *
 * Everything here is used with sim.lock held.
 */
#ifndef SIM_CLOCK_H
#define SIM_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sim_clock sim_clock;
typedef struct sim_timeline sim_timeline;
struct sim_op;
struct sim_mark;
struct sim_queue;

typedef struct sim_stamp {
  uint64_t timeline; /* 0: no stamp */
  uint64_t epoch;
  uint64_t call;   /* that made the point */
  sim_clock *base; /* a reference; NULL: nothing is known */
} sim_stamp;

struct sim_timeline {
  sim_timeline *next; /* all timelines, sentinel-free doubly linked list */
  sim_timeline *previous;
  uint64_t id; /* never repeated, never 0 */
  uint64_t epoch;
  uint64_t call; /* of the latest point */
  sim_clock *base;
  uint64_t stream_id; /* 0: a host thread */
  unsigned ordinal;   /* the n-th stream or thread; 0: a default stream, or all threads as one */
  int device;
  bool is_blocking; /* ordered with the default stream of its device */
  bool is_legacy;
  bool is_ended;    /* nothing more comes; kept until everybody knows its last point */
  bool is_released; /* somebody has taken a stamp of the epoch, so what is learned now starts a new
                       one; host threads only */
};

/* --- timelines --- */
void sim_timeline_open(struct sim_queue *queue);
void sim_timeline_end(sim_timeline *timeline);
/* The calling thread's: its own, or the one that all share. NULL on the driver's thread. */
sim_timeline *sim_timeline_of_host(void);
/* All threads as one, or each for itself; a thread begins with what all of them know. */
void sim_clock_split_threads(bool are_split);
bool sim_clock_is_split(void);

/* --- order --- */
/* The operation is the next of its queue: what it comes after goes into the queue's timeline and
 * into the operation's mark. */
void sim_clock_enqueue(struct sim_op *op);
/* The calling thread waited for the mark, or asked and found it passed. */
void sim_clock_host_learns(const struct sim_mark *mark);
/* The same for all streams of a device as they are now, or for those alone that the default stream
 * waits for: gather before waiting, learn after it. Learning takes the clock. */
sim_clock *sim_clock_gather(int device, bool blocking_only);
void sim_clock_host_learns_all(sim_clock *clock);
/* The operation, a host function, starts: where threads are one, they may learn of it from now on
 * by whatever the function does. */
void sim_clock_host_function_starts(const struct sim_op *op);
/* A point of the calling thread, for something that it does now itself. */
sim_stamp sim_clock_host_now(void);
/* What a program tells of the order of its own threads. */
void sim_clock_acquire(const void *object);
void sim_clock_release(const void *object);

/* --- stamps --- */
sim_stamp sim_stamp_copy(const sim_stamp *stamp);
void sim_stamp_drop(sim_stamp *stamp);
/* Whether the point is the stamp's own or comes before it. */
bool sim_stamp_covers(const sim_stamp *stamp, uint64_t timeline, uint64_t epoch);
/* The call that made the latest point of the timeline that the stamp covers; 0: none is. */
uint64_t sim_stamp_last_call(const sim_stamp *stamp, uint64_t timeline);

/* --- forgetting --- */
/* What everybody knows who can still do something; taken, the floor is dropped by
 * sim_stamp_drop. */
sim_stamp sim_clock_floor(void);
/* Forgets ended timelines whose last point the floor covers: no access of theirs is kept any
 * more. */
void sim_clock_retire(const sim_stamp *floor);
size_t sim_clock_timeline_count(void);
/* How many timelines have ended since the last sim_clock_retire. */
size_t sim_clock_ended_count(void);

#endif
