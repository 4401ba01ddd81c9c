/* out_of_memory.c: the last report of each thread, and its words. */
#include "alloc/tarn_out_of_memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static _Thread_local tarn_out_of_memory last_report;

const tarn_out_of_memory *tarn_last_out_of_memory(void) {
  return last_report.struct_size != 0 ? &last_report : NULL;
}

/* Any pool aligns to it: not worth a word. */
enum { NOTABLE_ALIGNMENT_BYTES = 256 };

/* Sentences one behind the other, as long as there is room. */
typedef struct paragraph {
  char text[TARN_ERROR_MESSAGE_BYTES];
  size_t length;
} paragraph;

static TARN_PRINTF(2, 3) void say(paragraph *self, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const size_t room = sizeof self->text - self->length;
  const int length = vsnprintf(self->text + self->length, room, format, arguments);
  va_end(arguments);
  if (length > 0) self->length += (size_t)length < room ? (size_t)length : room - 1;
}

static void say_refusal(paragraph *text, const tarn_out_of_memory *report) {
  if (report->budget[0] == '\0') {
    say(text, "The provider refused: %s. ", report->cause);
  } else {
    say(text, "Budget %s is at %zu of %zu. ", report->budget, report->budget_used_bytes,
        report->budget_limit_bytes);
  }
}

static void say_rows(paragraph *text, const tarn_out_of_memory *report) {
  for (uint32_t row = 0; row < report->stream_count; row++) {
    say(text, "%s%zu on stream %" PRIu32, row == 0 ? "Pending: " : ", ",
        report->streams[row].size_bytes, report->streams[row].stream);
  }
  if (report->stream_count > 0) say(text, ". ");
  for (uint32_t row = 0; row < report->holder_count; row++) {
    const char *name = tarn_tag_name(report->holders[row].tag);
    say(text, "%s%s %zu in %zu", row == 0 ? "Held by: " : ", ", name[0] != '\0' ? name : "(no tag)",
        report->holders[row].size_bytes, report->holders[row].block_count);
  }
  if (report->holder_count > 0) say(text, ".");
}

static tarn_status say_report(const tarn_out_of_memory *report) {
  paragraph text = {.length = 0};
  say(&text, "pool %s: %zu bytes asked for", report->pool, report->asked_bytes);
  if (report->alignment_bytes > NOTABLE_ALIGNMENT_BYTES) {
    say(&text, ", aligned to %zu", report->alignment_bytes);
  }
  say(&text, "; %zu live, %zu cached of which %zu pending, ", report->live_bytes,
      report->cached_bytes, report->pending_bytes);
  if (report->graph_bytes > 0) say(&text, "%zu kept by captures, ", report->graph_bytes);
  if (report->largest_free_bytes > 0 || report->cached_bytes == 0) {
    say(&text, "largest free range %zu, ", report->largest_free_bytes);
  }
  say(&text, "%zu reserved. ", report->reserved_bytes);
  say_refusal(&text, report);
  say(&text, "A trim would give back %zu, a wait %zu more. ", report->trim_bytes,
      report->wait_bytes);
  say_rows(&text, report);
  const tarn_error *cause = tarn_last_error();
  return tarn_fail_native(TARN_OUT_OF_MEMORY, cause->native_call, cause->native_code, "%s",
                          text.text);
}

tarn_status tarn_out_of_memory_report(const tarn_out_of_memory *report) {
  last_report = *report;
  last_report.struct_size = sizeof last_report;
  return say_report(&last_report);
}
