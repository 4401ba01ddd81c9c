/* manual_stream.h: a stream that works only when the test says so, and counts what is asked of
 * it. */
#ifndef TARN_MANUAL_STREAM_H
#define TARN_MANUAL_STREAM_H

#include "alloc/tarn_stream.h"

/* All manual streams are of one kind. Not for several threads at once. Every operation is one step;
 * a step that waits for another stream's fence cannot run before that has passed. */
typedef struct manual_calls {
  int records;
  int waits;
  int queries;
  int synchronizes; /* of fences and streams */
} manual_calls;

extern manual_calls manual_called;   /* since the test zeroed it */
extern int manual_fail_synchronizes; /* the same for waiting for a stream */
extern int manual_fail_waits;        /* and for making a stream wait for a fence */
extern int manual_fail_records;      /* the next so many records fail with TARN_DEVICE_ERROR */
extern bool manual_is_capturing;     /* what a pretended driver says of every stream */

/* What another thread may do in the middle of a call: each is called once, at the next such call,
 * and forgotten. */
typedef struct manual_interludes {
  void (*before_record)(void);
  void (*after_record)(void);
  void (*before_wait)(void);
} manual_interludes;

extern manual_interludes manual_interlude;

/* The device whose memory such a stream copies: any, as the memory is the host's. */
tarn_status manual_stream_create(tarn_stream **stream);

/* Runs up to `step_count` steps; returns how many ran (fewer where a wait blocks or work ends). */
int manual_stream_advance(tarn_stream *stream, int step_count);
int manual_stream_pending(const tarn_stream *stream);

/* Makes the streams of `device` type: copies and fills then accept memory of that type too. */
tarn_status manual_stream_create_on(tarn_device device, tarn_stream **stream);

#endif
