/* sim_shadow.h: who used which bytes last: a balanced tree of byte ranges, each with its history.
 *
 *     addresses  [ span ][ span ]      [ span ][   span   ]
 *                   |       |             \_______/
 *                history  history          history         shared, counted, never changed
 *                   |
 *                last write, and the reads since that no other of them comes after
 *
 * Spans do not overlap; neighbours with the same history are one. What has no span was never used,
 * or forgotten. Everything here is used with sim.lock held.
 */
#ifndef SIM_SHADOW_H
#define SIM_SHADOW_H

#include "cuda/sim/sim_clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sim_actor { ACTOR_STREAM, ACTOR_HOST_FUNCTION, ACTOR_HOST, ACTOR_FREE } sim_actor;

/* One use of memory by one call: shared by all spans that it touched. */
typedef struct sim_access {
  size_t reference_count;
  sim_stamp stamp; /* a copy: where it stands, and what it comes after */
  uint64_t call;   /* its number */
  const char *what;
  const void *site; /* where the program made the call */
  uint64_t stream_id;
  unsigned ordinal;
  int device;
  sim_actor actor;
  bool is_write;
} sim_access;

typedef struct sim_history {
  size_t reference_count;
  sim_access *write; /* a reference, or NULL */
  size_t read_count;
  sim_access *reads[]; /* references */
} sim_history;

typedef struct sim_span sim_span;

sim_access *sim_access_create(void);
void sim_access_release(sim_access *access);
/* A new history; retains what it is given. */
sim_history *sim_history_create(sim_access *write, sim_access *const *reads, size_t read_count);
sim_history *sim_history_retain(sim_history *history);
void sim_history_release(sim_history *history);

/* What becomes of the bytes from `start` to `end`, which have the history `old` or none; answers a
 * reference, or NULL to forget them. */
typedef sim_history *(*sim_shadow_change)(void *context, sim_history *old, uintptr_t start,
                                          uintptr_t end);

/* Changes all bytes of a range, run by run, each of one history. With `hint`, the answer of an
 * earlier call for a range further down, ranges that follow each other cost no search. */
sim_span *sim_shadow_apply(uintptr_t start, uintptr_t end, sim_span *hint, sim_shadow_change change,
                           void *context);
/* The same for every span there is. */
void sim_shadow_apply_all(sim_shadow_change change, void *context);
/* The history of a byte, borrowed, or NULL. */
sim_history *sim_shadow_find(uintptr_t address);
size_t sim_shadow_span_count(void);

#endif
