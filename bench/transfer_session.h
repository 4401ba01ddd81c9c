/* transfer_session.h: what the cases of `tarn bench transfer` share, and how one of them is run. */
#ifndef BENCH_TRANSFER_SESSION_H
#define BENCH_TRANSFER_SESSION_H

#include "bench/affinity.h"
#include "bench/bench.h"
#include "bench/link_state.h"
#include "bench/transfer_memory.h"
#include "bench/transfer_method.h"

enum { TRANSFER_NODES_MAX = 16 };

typedef struct transfer_session {
  bench_run *bench;
  bool is_quick;
  tarn_topology *topology;           /* NULL: no node is known, and none is asked for */
  int32_t nodes[TRANSFER_NODES_MAX]; /* the nearest to the device first; -1: any */
  int32_t node_count;
  affinity_saved affinity; /* the thread is on the first node where there are several */
  size_t rotation_bytes;   /* buffers are at least so large, so that no cache serves a copy twice */
  size_t host_bytes_max;   /* of one buffer */
  size_t device_bytes_max;
  /* NULL without a device. */
  transfer_driver *driver;
  tarn_stream *stream;
  void *native_stream;
  void *other_stream;
  transfer_method *method;
  transfer_bytes bytes;
  link_reader *link;
  /* What the link is loaded with while its state is read. */
  transfer_buffer load_host;
  transfer_buffer load_device;
} transfer_session;

TARN_NODISCARD tarn_status transfer_session_open(bench_run *bench, transfer_session *session);
void transfer_session_close(transfer_session *session);

/* One case: what is timed, and what is known of it. */
typedef struct transfer_case {
  const char *name;
  const char *unit; /* "GB/s" with options.bytes, else "ns" */
  const transfer_subject *subjects;
  int subject_count;
  transfer_lane lane;
  transfer_options options;
  const char *plot;  /* title of the page's plot; NULL: only in the table */
  const char *curve; /* its name there */
  size_t size_bytes; /* its place on the axis */
  const char *placed;
  const char *note; /* "" nothing */
  /* Looks at all the bytes that the timed copies have moved, and lets each subject move others. */
  tarn_status (*verify)(void *context, const transfer_subject *subject, const char *name);
  void *verify_context;
} transfer_case;

/* The options that a session begins with. */
transfer_options transfer_default_options(const transfer_session *session);
/* Where the session's stream is, and the wait for it. */
transfer_lane transfer_default_lane(transfer_session *session);

/* Measures, verifies and adds a row for each clock. The case has been asked for by bench_wants. */
TARN_NODISCARD tarn_status transfer_run_case(transfer_session *session, const transfer_case *what);

/* Reads the link while copies run, and refuses to go on where it is downgraded: bench->is_refused,
 * and a failure. */
TARN_NODISCARD tarn_status transfer_check_link(transfer_session *session);

/* --- copies from stretch to stretch of two buffers --- */

typedef struct transfer_copy {
  transfer_session *session;
  const transfer_buffer *dst;
  const transfer_buffer *src;
  size_t size_bytes;
  size_t stride_bytes;
  size_t place_count;
  uint64_t done;   /* copies so far */
  bool is_checked; /* what the timed copies moved was right */
  void *stream;    /* of the driver's copies */
} transfer_copy;

/* The source has the base pattern (transfer_base_seed) all over. */
void transfer_copy_init(transfer_session *session, const transfer_buffer *dst,
                        const transfer_buffer *src, size_t size_bytes, transfer_copy *copy);
extern const uint64_t transfer_base_seed;

/* Subjects' functions; the context is a transfer_copy. */
tarn_status transfer_enqueue_tarn(void *context, uint64_t count);
tarn_status transfer_enqueue_driver(void *context, uint64_t count);
tarn_status transfer_enqueue_memcpy(void *context, uint64_t count);
/* As transfer_case.verify, with a transfer_copy that all subjects move on. */
tarn_status transfer_verify_copy(void *context, const transfer_subject *subject, const char *name);

/* Up to whole pages of 2 MiB, as transfer_buffer_create wants it. */
size_t transfer_round_bytes(size_t size_bytes);

#endif
