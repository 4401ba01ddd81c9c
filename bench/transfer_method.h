/* transfer_method.h: how a transfer is timed: held back by a latch, by two clocks, in turn with its
 * rivals, until the median can be trusted.
 *
 * A sample by the device's clock:
 *
 *     stream   [ wait for the latch ][ start ][ copy ][ copy ] ... [ copy ][ end ]
 *     other                          [ wait for start ][ copies the other way ... ][ end ]
 *     host     enqueues all of it, opens the latch, waits; elapsed = end - start
 *
 * so that no time of the host's is in it. A sample by the host's clock is what a program feels:
 * from the first call to the return of the wait, without a latch.
 *
 * Rounds: each round takes one sample of every rival and clock, the next round in the opposite
 * order. After the least number of rounds they go on until each interval is narrow enough, or a cap
 * is reached.
 *
 * A driver's queue has room for some thousand operations, and a call that finds it full waits for
 * the device, which waits for the latch. So few copies are held back at once, and a thread opens
 * the latch where enqueuing takes too long; then the rounds begin anew, that rival without a latch.
 */
#ifndef BENCH_TRANSFER_METHOD_H
#define BENCH_TRANSFER_METHOD_H

#include "bench/statistics.h"
#include "bench/transfer_driver.h"

enum { TRANSFER_SUBJECTS_MAX = 4, TRANSFER_LATCHED_MAX = 128 };

typedef enum transfer_clock {
  TRANSFER_CLOCK_DEVICE = 0, /* events behind a latch */
  TRANSFER_CLOCK_EVENTS = 1, /* events without one: gaps of the host's are in it */
  TRANSFER_CLOCK_HOST = 2,
} transfer_clock;
const char *transfer_clock_name(
    transfer_clock clock); /* "device", "device without latch", "host" */

typedef struct transfer_subject {
  const char *name; /* a literal; the first subject is tarn's */
  /* Enqueues `count` of the thing on the lane's stream, or does it where there is none. */
  tarn_status (*enqueue)(void *context, uint64_t count);
  void *context;
  bool blocks; /* enqueue waits for the device: then all are timed by the host alone */
} transfer_subject;

/* Where a case runs. */
typedef struct transfer_lane {
  transfer_driver *driver; /* NULL: no device, the host's clock alone */
  void *stream;
  tarn_status (*wait)(void *context); /* for all that was enqueued; NULL: nothing is asynchronous */
  void *wait_context;
  /* What runs beside it on other_stream, at least as long as the sample; NULL: nothing. */
  tarn_status (*disturb)(void *context, uint64_t count);
  void *disturb_context;
  void *other_stream;
} transfer_lane;

typedef struct transfer_options {
  int samples_min;
  int samples_max;
  uint64_t sample_ns;   /* what a sample aims at, as far as its copies may be held back */
  uint64_t time_ns_max; /* of a case, once it has samples_min */
  double width_max;     /* of each interval, over its median */
  size_t bytes;         /* moved by one: samples are then GB/s, else ns */
  uint64_t count_max;   /* in a sample; 0: as many as fit */
  bool only_host_clock;
} transfer_options;

/* Of one subject by one clock. */
typedef struct transfer_result {
  int subject;
  transfer_clock clock;
  int count;
  double samples[STATISTICS_SAMPLES_MAX];
  statistics_summary summary;
  const char *stop;       /* why it has no more samples: "precise", "time", "samples" */
  int short_disturbances; /* samples that ran partly undisturbed, however much was enqueued */
} transfer_result;

enum { TRANSFER_RESULTS_MAX = 2 * TRANSFER_SUBJECTS_MAX };

typedef struct transfer_method transfer_method;

/* `driver` may be NULL, else it outlives the method. */
TARN_NODISCARD tarn_status transfer_method_create(transfer_driver *driver,
                                                  transfer_method **method);
void transfer_method_destroy(transfer_method *method);

/* The results come clock by clock, the subjects in their order: results[0] is the first subject by
 * the best clock that it has. `result_count` of TRANSFER_RESULTS_MAX are there. */
TARN_NODISCARD tarn_status transfer_measure(transfer_method *method, const transfer_lane *lane,
                                            const transfer_subject *subjects, int subject_count,
                                            const transfer_options *options,
                                            transfer_result *results, int *result_count);

#endif
