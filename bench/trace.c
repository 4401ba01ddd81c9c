/* trace.c: the parser of recorded allocations: checks each line, and that they make sense. */
#include "bench/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN_OP, COLUMN_ID, COLUMN_BYTES, COLUMN_STREAM, COLUMN_THREAD };
static const char *const column_names[TRACE_COLUMNS_MAX] = {"op", "id", "bytes", "stream",
                                                            "thread"};

typedef struct trace_field {
  const char *text;
  size_t length;
} trace_field;

void trace_parser_init(trace_parser *parser, const char *name) {
  memset(parser, 0, sizeof *parser);
  parser->line = 1;
  const size_t length = strlen(name);
  if (length < TRACE_NAME_BYTES) {
    memcpy(parser->name, name, length + 1);
  } else {
    snprintf(parser->name, sizeof parser->name, "...%s", name + length - (TRACE_NAME_BYTES - 4));
  }
}

void trace_parser_deinit(trace_parser *parser) {
  trace_deinit(&parser->trace);
  free(parser->ids);
  free(parser->free_slots);
  memset(parser, 0, sizeof *parser);
}

void trace_deinit(recorded_trace *trace) {
  free(trace->events);
  memset(trace, 0, sizeof *trace);
}

static tarn_status fail_at(const trace_parser *parser, tarn_status status, const char *format,
                           va_list arguments) {
  char text[TARN_ERROR_MESSAGE_BYTES];
  vsnprintf(text, sizeof text, format, arguments);
  return tarn_fail(status, "%s:%" PRIu32 ": %s", parser->name, parser->line, text);
}

tarn_status trace_parser_fail(const trace_parser *parser, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const tarn_status status = fail_at(parser, TARN_BAD_FORMAT, format, arguments);
  va_end(arguments);
  return status;
}

static TARN_PRINTF(2, 3) tarn_status
    fail_memory(const trace_parser *parser, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const tarn_status status = fail_at(parser, TARN_OUT_OF_MEMORY, format, arguments);
  va_end(arguments);
  return status;
}

/* A field as it may be shown on a terminal: cut, and without control characters. */
typedef struct shown_field {
  char text[32];
} shown_field;

static shown_field show_field(trace_field value) {
  shown_field shown;
  const size_t room = sizeof shown.text - 1;
  const size_t length = value.length < room ? value.length : room;
  for (size_t i = 0; i < length; i++) {
    const unsigned char c = (unsigned char)value.text[i];
    shown.text[i] = (char)(c < 0x20 || c >= 0x7f ? '?' : c);
  }
  shown.text[length] = '\0';
  if (value.length > room) memcpy(shown.text + room - 3, "...", 3);
  return shown;
}

static bool field_is(trace_field value, const char *text) {
  return value.length == strlen(text) && memcmp(value.text, text, value.length) == 0;
}

static tarn_status parse_number(const trace_parser *parser, const char *name, trace_field value,
                                uint64_t largest, uint64_t *number) {
  *number = 0;
  if (value.length == 0) return trace_parser_fail(parser, "%s is empty", name);
  for (size_t i = 0; i < value.length; i++) {
    const char c = value.text[i];
    if (i == 0 && c == '-') {
      return trace_parser_fail(parser, "%s is negative: %s", name, show_field(value).text);
    }
    if (c < '0' || c > '9') {
      return trace_parser_fail(parser, "%s is not a whole number: '%s'", name,
                               show_field(value).text);
    }
    const uint64_t digit = (uint64_t)(c - '0');
    if (*number > (largest - digit) / 10) {
      return trace_parser_fail(parser, "%s is %s, more than %" PRIu64, name, show_field(value).text,
                               largest);
    }
    *number = *number * 10 + digit;
  }
  return TARN_OK;
}

/* Cuts a line at its commas. Counts all fields, keeps as many as there can be. */
static int split_line(const char *text, size_t length, trace_field fields[TRACE_COLUMNS_MAX]) {
  int count = 0;
  const char *start = text;
  const char *const end = text + length;
  for (const char *at = text;; at++) {
    if (at < end && *at != ',') continue;
    if (count < TRACE_COLUMNS_MAX) fields[count] = (trace_field){start, (size_t)(at - start)};
    count++;
    if (at == end) return count;
    start = at + 1;
  }
}

/* --- the header --- */

static tarn_status parse_header(trace_parser *parser, const trace_field *fields, int field_count) {
  bool seen[TRACE_COLUMNS_MAX] = {false};
  for (int i = 0; i < field_count && i < TRACE_COLUMNS_MAX; i++) {
    int column = 0;
    while (column < TRACE_COLUMNS_MAX && !field_is(fields[i], column_names[column])) column++;
    if (column == TRACE_COLUMNS_MAX) {
      const shown_field shown = show_field(fields[i]);
      if (i > 0 && seen[COLUMN_OP]) {
        return trace_parser_fail(parser, "unknown column '%s' in the header", shown.text);
      }
      return trace_parser_fail(parser, "no header: expected op,id,bytes and found '%s'",
                               shown.text);
    }
    if (seen[column]) {
      return trace_parser_fail(parser, "column '%s' stands twice in the header",
                               column_names[column]);
    }
    seen[column] = true;
    parser->columns[i] = column;
  }
  if (field_count > TRACE_COLUMNS_MAX) {
    return trace_parser_fail(parser, "the header names %d columns, at most %d are known",
                             field_count, TRACE_COLUMNS_MAX);
  }
  for (int column = 0; column <= COLUMN_BYTES; column++) {
    if (!seen[column]) {
      return trace_parser_fail(parser, "the header lacks column '%s'", column_names[column]);
    }
  }
  parser->column_count = field_count;
  parser->trace.has_streams = seen[COLUMN_STREAM];
  parser->trace.stream_count = 1;
  parser->trace.has_threads = seen[COLUMN_THREAD];
  parser->trace.thread_count = 1;
  return TARN_OK;
}

/* --- ids --- */

static size_t hash_id(uint64_t id, size_t capacity) {
  /* Fibonacci hashing (Knuth): the product's highest bits depend on every bit of the id. */
  return (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> (__builtin_clzll(capacity) + 1));
}

/* The place of `id`, or the empty place where it belongs. */
static trace_id *find_id(trace_id *ids, size_t capacity, uint64_t id) {
  size_t at = hash_id(id, capacity);
  while (ids[at].event != 0 && ids[at].id != id) at = (at + 1) & (capacity - 1);
  return &ids[at];
}

static tarn_status reserve_id(trace_parser *parser) {
  if (parser->id_count * 2 < parser->id_capacity) return TARN_OK;
  const size_t capacity = parser->id_capacity == 0 ? 1024 : parser->id_capacity * 2;
  trace_id *ids = calloc(capacity, sizeof *ids);
  if (ids == NULL) return fail_memory(parser, "no memory for a table of %zu ids", capacity);
  for (size_t i = 0; i < parser->id_capacity; i++) {
    if (parser->ids[i].event != 0) *find_id(ids, capacity, parser->ids[i].id) = parser->ids[i];
  }
  free(parser->ids);
  parser->ids = ids;
  parser->id_capacity = capacity;
  return TARN_OK;
}

static tarn_status reserve_event(trace_parser *parser) {
  const size_t count = parser->trace.event_count;
  if (count < parser->event_capacity) return TARN_OK;
  if (count >= TRACE_EVENTS_MAX) {
    return trace_parser_fail(parser, "more than %zu events", TRACE_EVENTS_MAX);
  }
  const size_t capacity = parser->event_capacity == 0 ? 1024 : parser->event_capacity * 2;
  trace_event *events = realloc(parser->trace.events, capacity * sizeof *events);
  if (events == NULL) return fail_memory(parser, "no memory for %zu events", capacity);
  parser->trace.events = events;
  parser->event_capacity = capacity;
  return TARN_OK;
}

/* Every slot ever made can lie in free_slots at once. */
static tarn_status reserve_slot(trace_parser *parser) {
  if (parser->trace.slot_count < parser->free_slot_capacity) return TARN_OK;
  const size_t capacity = parser->free_slot_capacity == 0 ? 256 : parser->free_slot_capacity * 2;
  uint32_t *slots = realloc(parser->free_slots, capacity * sizeof *slots);
  if (slots == NULL) return fail_memory(parser, "no memory for %zu live blocks", capacity);
  parser->free_slots = slots;
  parser->free_slot_capacity = capacity;
  return TARN_OK;
}

/* --- events --- */

static tarn_status add_alloc(trace_parser *parser, trace_event event) {
  recorded_trace *trace = &parser->trace;
  tarn_status status = reserve_id(parser);
  if (status == TARN_OK) status = reserve_slot(parser);
  if (status != TARN_OK) return status;
  trace_id *place = find_id(parser->ids, parser->id_capacity, event.id);
  if (place->event == TRACE_EVENT_BEFORE && place->free_line == 0) {
    return trace_parser_fail(
        parser, "id %" PRIu64 " is allocated, and is live since before the trace", event.id);
  }
  if (place->event != 0 && place->free_line == 0) {
    return trace_parser_fail(parser,
                             "id %" PRIu64 " is allocated again, and is live since line %" PRIu32,
                             event.id, trace->events[place->event - 1].line);
  }
  if (event.bytes > UINT64_MAX - trace->total_bytes) {
    return trace_parser_fail(parser, "all allocations together pass 2^64 bytes");
  }
  if (place->event == 0) parser->id_count++;
  *place = (trace_id){.id = event.id, .event = (uint32_t)trace->event_count + 1};
  event.slot = parser->free_slot_count > 0 ? parser->free_slots[--parser->free_slot_count]
                                           : (uint32_t)trace->slot_count++;
  event.index = (uint32_t)trace->alloc_count++;
  trace->events[trace->event_count++] = event;
  trace->total_bytes += event.bytes;
  if (event.bytes > trace->largest_bytes) trace->largest_bytes = event.bytes;
  parser->live_count++;
  parser->live_bytes += event.bytes;
  if (parser->live_bytes > trace->peak_live_bytes) trace->peak_live_bytes = parser->live_bytes;
  return TARN_OK;
}

/* The live block that a use or a free is about; `verb` says what is done to it. */
static tarn_status find_live(const trace_parser *parser, const trace_event *event, const char *verb,
                             bool has_bytes, trace_id **place) {
  *place = parser->id_count == 0 ? NULL : find_id(parser->ids, parser->id_capacity, event->id);
  if (*place == NULL || (*place)->event == 0) {
    return trace_parser_fail(parser, "id %" PRIu64 " is %s and was never allocated", event->id,
                             verb);
  }
  if ((*place)->free_line != 0) {
    return trace_parser_fail(parser, "id %" PRIu64 " is %s again, and was freed on line %" PRIu32,
                             event->id, verb, (*place)->free_line);
  }
  const trace_event *alloc = &parser->trace.events[(*place)->event - 1];
  if (!has_bytes || event->bytes == alloc->bytes) return TARN_OK;
  return trace_parser_fail(parser,
                           "id %" PRIu64 " is %s with %" PRIu64
                           " bytes, and was allocated with %" PRIu64 " on line %" PRIu32,
                           event->id, verb, event->bytes, alloc->bytes, alloc->line);
}

/* Whether a use or a free is about a block that was there before the trace, and may be. */
static bool is_from_before(const trace_parser *parser, uint64_t id) {
  if (parser->before_count_max == 0) return false;
  const trace_id *place =
      parser->id_count == 0 ? NULL : find_id(parser->ids, parser->id_capacity, id);
  if (place == NULL || place->event == 0) {
    return parser->trace.before_count < parser->before_count_max;
  }
  return place->event == TRACE_EVENT_BEFORE && place->free_line == 0;
}

static tarn_status skip_from_before(trace_parser *parser, const trace_event *event) {
  const tarn_status status = reserve_id(parser);
  if (status != TARN_OK) return status;
  trace_id *place = find_id(parser->ids, parser->id_capacity, event->id);
  if (place->event == 0) {
    *place = (trace_id){.id = event->id, .event = TRACE_EVENT_BEFORE};
    parser->id_count++;
    parser->trace.before_count++;
  }
  if (event->is_use) {
    parser->trace.skipped_use_count++;
  } else {
    parser->trace.skipped_free_count++;
    place->free_line = parser->line;
  }
  return TARN_OK;
}

static tarn_status add_free_or_use(trace_parser *parser, trace_event event, bool has_bytes) {
  recorded_trace *trace = &parser->trace;
  trace_id *place = NULL;
  const tarn_status status =
      find_live(parser, &event, event.is_use ? "used" : "freed", has_bytes, &place);
  if (status != TARN_OK) return status;
  const trace_event *alloc = &trace->events[place->event - 1];
  event.bytes = alloc->bytes;
  event.slot = alloc->slot;
  event.index = alloc->index;
  if (!trace->has_streams) event.stream = alloc->stream;
  trace->events[trace->event_count++] = event;
  if (event.is_use) return TARN_OK;
  place->free_line = parser->line;
  parser->free_slots[parser->free_slot_count++] = event.slot;
  parser->live_count--;
  parser->live_bytes -= event.bytes;
  return TARN_OK;
}

/* One of a, f, u, those of segments, that only a pool's own figures care about (s, r), and m. */
static tarn_status parse_op(const trace_parser *parser, trace_field op, char *kind) {
  *kind = op.length == 1 ? *op.text : '\0';
  if (*kind != '\0' && strchr("afusrm", *kind) != NULL) return TARN_OK;
  return trace_parser_fail(parser, "op is '%s' and none of a, f, u, s, r and m",
                           show_field(op).text);
}

/* The trace begins in the middle: so many of its blocks were there before. */
static tarn_status begin_in_the_middle(trace_parser *parser, uint64_t block_count) {
  if (parser->line != 2) return trace_parser_fail(parser, "op m comes right behind the header");
  parser->before_count_max = block_count;
  return TARN_OK;
}

static tarn_status parse_event(trace_parser *parser, const trace_field *fields, int field_count) {
  if (field_count != parser->column_count) {
    return trace_parser_fail(parser, "%d fields where the header names %d", field_count,
                             parser->column_count);
  }
  trace_field by_column[TRACE_COLUMNS_MAX] = {{"", 0}, {"", 0}, {"", 0}, {"0", 1}, {"0", 1}};
  for (int i = 0; i < field_count; i++) by_column[parser->columns[i]] = fields[i];
  trace_event event = {.line = parser->line};
  char kind = '\0';
  uint64_t stream = 0;
  uint64_t thread = 0;
  tarn_status status = parse_op(parser, by_column[COLUMN_OP], &kind);
  event.is_alloc = kind == 'a';
  event.is_use = kind == 'u';
  const bool has_bytes = event.is_alloc || by_column[COLUMN_BYTES].length > 0;
  if (status == TARN_OK) {
    status = parse_number(parser, "id", by_column[COLUMN_ID], UINT64_MAX, &event.id);
  }
  if (status == TARN_OK && has_bytes) {
    status = parse_number(parser, "bytes", by_column[COLUMN_BYTES], TRACE_BYTES_MAX, &event.bytes);
  }
  if (status == TARN_OK) {
    status =
        parse_number(parser, "stream", by_column[COLUMN_STREAM], TRACE_STREAMS_MAX - 1, &stream);
  }
  if (status == TARN_OK) {
    status =
        parse_number(parser, "thread", by_column[COLUMN_THREAD], TRACE_THREADS_MAX - 1, &thread);
  }
  if (status != TARN_OK || kind == 's' || kind == 'r') return status;
  if (kind == 'm') return begin_in_the_middle(parser, event.id);
  if (!event.is_alloc && is_from_before(parser, event.id)) return skip_from_before(parser, &event);
  status = reserve_event(parser);
  if (status != TARN_OK) return status;
  event.stream = (uint32_t)stream;
  event.thread = (uint32_t)thread;
  status = event.is_alloc ? add_alloc(parser, event) : add_free_or_use(parser, event, has_bytes);
  if (status != TARN_OK) return status;
  recorded_trace *trace = &parser->trace;
  if (event.stream >= trace->stream_count) trace->stream_count = event.stream + 1;
  if (event.thread >= trace->thread_count) trace->thread_count = event.thread + 1;
  return TARN_OK;
}

/* --- lines --- */

static tarn_status parse_line(trace_parser *parser) {
  size_t length = parser->text_bytes;
  if (length > 0 && parser->text[length - 1] == '\r') length--;
  trace_field fields[TRACE_COLUMNS_MAX];
  const int field_count = split_line(parser->text, length, fields);
  return parser->column_count == 0 ? parse_header(parser, fields, field_count)
                                   : parse_event(parser, fields, field_count);
}

tarn_status trace_parser_feed(trace_parser *parser, const char *text, size_t text_bytes) {
  while (text_bytes > 0) {
    const char *newline = memchr(text, '\n', text_bytes);
    const size_t piece_bytes = newline == NULL ? text_bytes : (size_t)(newline - text);
    if (piece_bytes > sizeof parser->text - parser->text_bytes) {
      return trace_parser_fail(parser, "the line is longer than %zu bytes", sizeof parser->text);
    }
    memcpy(parser->text + parser->text_bytes, text, piece_bytes);
    parser->text_bytes += piece_bytes;
    if (newline == NULL) return TARN_OK;
    const tarn_status status = parse_line(parser);
    if (status != TARN_OK) return status;
    parser->text_bytes = 0;
    parser->line++;
    text += piece_bytes + 1;
    text_bytes -= piece_bytes + 1;
  }
  return TARN_OK;
}

tarn_status trace_parser_finish(trace_parser *parser, recorded_trace *out) {
  memset(out, 0, sizeof *out);
  if (parser->text_bytes > 0) { /* the last line may lack its end */
    const tarn_status status = parse_line(parser);
    if (status != TARN_OK) return status;
    parser->text_bytes = 0;
  }
  if (parser->column_count == 0) {
    return trace_parser_fail(parser, "the file is empty, expected a header op,id,bytes");
  }
  if (parser->trace.event_count == 0 && parser->trace.before_count > 0) {
    return trace_parser_fail(parser, "every event is of a block that was there before the trace");
  }
  if (parser->trace.event_count == 0) {
    return trace_parser_fail(parser, "the header is followed by no event");
  }
  parser->trace.left_count = parser->live_count;
  parser->trace.left_bytes = parser->live_bytes;
  *out = parser->trace;
  memset(&parser->trace, 0, sizeof parser->trace);
  return TARN_OK;
}
