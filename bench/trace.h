/* trace.h: reads recorded allocations (op,id,bytes[,stream][,thread]) into events to replay. */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include "alloc/tarn_status.h"

enum {
  TRACE_LINE_BYTES_MAX = 1024,
  TRACE_STREAMS_MAX = 1024,
  TRACE_THREADS_MAX = 1024,
  TRACE_COLUMNS_MAX = 5,
  TRACE_NAME_BYTES = 256,
};
#define TRACE_EVENTS_MAX ((size_t)1 << 30)
/* Beyond the address space of today's machines: a larger number is damage, not a request. */
#define TRACE_BYTES_MAX ((uint64_t)1 << 47)

typedef struct trace_event {
  uint64_t id;
  uint64_t bytes; /* as asked for; of any other event: of its block */
  uint32_t line;
  uint32_t slot;   /* in [0, slot_count): where a replay keeps the block while it lives */
  uint32_t stream; /* 0 where the trace has no such column */
  uint32_t thread; /* the same */
  uint32_t index;  /* which allocation of the trace this is, or is about, from 0 */
  bool is_alloc;
  bool is_use; /* neither an allocation nor a free: a stream uses the block */
} trace_event;

/* A trace that was read: every use and every free belongs to an earlier allocation. Segments that
 * came and went are not kept, nor, in a trace that says that it begins in the middle, what happened
 * to blocks that were there before: that is counted. */
typedef struct recorded_trace {
  trace_event *events;
  size_t event_count;
  size_t alloc_count;
  size_t slot_count; /* the most blocks that were live at once */
  size_t left_count; /* blocks still live at the end */
  uint64_t left_bytes;
  size_t before_count; /* blocks that were there before the trace */
  size_t skipped_free_count;
  size_t skipped_use_count;
  uint64_t peak_live_bytes;
  uint64_t total_bytes; /* sum over all allocations */
  uint64_t largest_bytes;
  bool has_streams;
  uint32_t stream_count; /* largest stream number and 1; 1 where there is no such column */
  bool has_threads;
  uint32_t thread_count; /* the same of threads */
} recorded_trace;

#define TRACE_EVENT_BEFORE UINT32_MAX /* beyond every event: allocated before the trace */

/* One id ever seen: which event allocated it last, and the line that freed it. */
typedef struct trace_id {
  uint64_t id;
  uint32_t event;     /* index and 1; 0: an empty place; or TRACE_EVENT_BEFORE */
  uint32_t free_line; /* 0: live */
} trace_id;

/* Text goes in piece by piece, cut anywhere; whole lines become events. */
typedef struct trace_parser {
  recorded_trace trace;
  size_t event_capacity;
  trace_id *ids; /* open addressing, a power of two of places, at most half full */
  size_t id_capacity;
  size_t id_count;
  uint32_t *free_slots; /* room for slot_count */
  size_t free_slot_count;
  size_t free_slot_capacity;
  uint64_t live_bytes;
  size_t live_count;
  uint64_t before_count_max; /* as the trace says: blocks that may turn up without an allocation */
  uint32_t line;             /* of the line that is being collected, from 1 */
  size_t text_bytes;
  int column_count;
  int columns[TRACE_COLUMNS_MAX]; /* what each column of the file means */
  char name[TRACE_NAME_BYTES];    /* the file's, for messages; its end where it is long */
  char text[TRACE_LINE_BYTES_MAX];
} trace_parser;

void trace_parser_init(trace_parser *parser, const char *name);
/* TARN_BAD_FORMAT with "NAME:LINE: what is wrong"; TARN_OUT_OF_MEMORY. After a failure only deinit
 * may follow. */
TARN_NODISCARD tarn_status trace_parser_feed(trace_parser *parser, const char *text,
                                             size_t text_bytes);
/* The end of the text. Moves the trace out of the parser; the caller owns it. */
TARN_NODISCARD tarn_status trace_parser_finish(trace_parser *parser, recorded_trace *out);
void trace_parser_deinit(trace_parser *parser);
/* Sets the last error to "NAME:LINE: ..." of the line that is being read. */
tarn_status trace_parser_fail(const trace_parser *parser, const char *format, ...)
    TARN_PRINTF(2, 3);

void trace_deinit(recorded_trace *trace);

#endif
