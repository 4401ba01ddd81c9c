/* sim_report.c: races in words, one paragraph for each pair of places in the program. */
#include "cuda/sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { REPORTS_MAX = 64, REPORT_BYTES = 1024 };

typedef struct report {
  const char *later_what, *earlier_what;
  const void *later_site, *earlier_site;
  char text[REPORT_BYTES];
} report;

static report reports[REPORTS_MAX];
static size_t report_count;
static uint64_t race_count;

typedef struct writer {
  char *text;
  size_t length;
} writer;

static void add(writer *self, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(writer *self, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int added =
      vsnprintf(self->text + self->length, REPORT_BYTES - self->length, format, arguments);
  va_end(arguments);
  self->length += added < 0 ? 0 : (size_t)added;
  if (self->length >= REPORT_BYTES) self->length = REPORT_BYTES - 1;
}

/* --- who --- */

static bool is_on_stream(const sim_access *access) {
  return access->actor == ACTOR_STREAM || access->actor == ACTOR_HOST_FUNCTION;
}

static void add_agent(writer *self, const sim_access *access) {
  if (is_on_stream(access)) {
    add(self, access->ordinal == 0 ? "the default stream, %" PRIu64 : "stream %" PRIu64,
        access->stream_id);
  } else if (access->ordinal == 0) {
    add(self, "the host");
  } else {
    add(self, "host thread %u", access->ordinal);
  }
}

static void add_access(writer *self, const sim_access *access) {
  switch (access->actor) {
    case ACTOR_STREAM:
      add(self, "%s (call %" PRIu64 ", on ", access->what, access->call);
      break;
    case ACTOR_HOST_FUNCTION:
      add(self, "%s in the host function of call %" PRIu64 " (on ", access->what, access->call);
      break;
    case ACTOR_HOST:
    case ACTOR_FREE:
      add(self,
          access->site != NULL ? "%s (call %" PRIu64 ", by " : "%s (after call %" PRIu64 ", by ",
          access->what, access->call);
      break;
  }
  add_agent(self, access);
  if (is_on_stream(access) && access->ordinal != 0) {
    add(self, ", created as number %u", access->ordinal);
  }
  add(self, ")");
}

static void add_place(writer *self, uintptr_t start, uintptr_t end) {
  static const char *const kinds[] = {
      [RANGE_DEVICE] = "device",         [RANGE_PINNED] = "page-locked",
      [RANGE_REGISTERED] = "registered", [RANGE_MAPPED] = "mapped",
      [RANGE_POOL] = "pool's",           [RANGE_OPENED] = "opened",
      [RANGE_COUNTERS] = "events'"};
  const sim_range *range = sim_range_find(start);
  if (range == NULL) {
    add(self, "the %zu bytes at %p, pageable memory", (size_t)(end - start), (void *)start);
    return;
  }
  add(self, "bytes %zu to %zu of the %s block of %zu bytes at %p", (size_t)(start - range->start),
      (size_t)(end - range->start - 1), kinds[range->kind], range->size_bytes,
      (void *)range->start);
}

/* --- what is missing --- */

static void add_missing_edge(writer *self, const sim_access *later, const sim_stamp *now,
                             const sim_access *earlier) {
  const uint64_t known = sim_stamp_last_call(now, earlier->stamp.timeline);
  add_agent(self, later);
  if (!is_on_stream(earlier)) {
    if (known == 0) {
      add(self, " knows nothing of what ");
      add_agent(self, earlier);
      add(self, " did");
    } else {
      add(self, " knows of ");
      add_agent(self, earlier);
      add(self, " only what came up to call %" PRIu64, known);
    }
  } else if (is_on_stream(later)) {
    add(self, known == 0 ? " never waited for anything recorded on "
                         : " never waited for anything recorded after that call on ");
    add_agent(self, earlier);
    if (known != 0) add(self, ", only for what call %" PRIu64 " and those before it did", known);
  } else {
    add(self, known == 0 ? " never waited for " : " has not waited since for ");
    add_agent(self, earlier);
    if (known != 0) add(self, ", only for what call %" PRIu64 " and those before it did", known);
  }
  add(self, ".");
}

static void write_report(report *made, const sim_access *later, const sim_stamp *now,
                         const sim_access *earlier, uintptr_t start, uintptr_t end) {
  writer self = {.text = made->text};
  add_access(&self, later);
  add(&self, " %s ",
      later->actor == ACTOR_FREE ? "takes away"
      : later->is_write          ? "writes"
                                 : "reads");
  add_place(&self, start, end);
  add(&self, ", which ");
  add_access(&self, earlier);
  add(&self, " %s, and nothing orders the two: ", earlier->is_write ? "writes" : "reads");
  add_missing_edge(&self, later, now, earlier);
}

/* --- keeping --- */

static bool is_known(const sim_access *later, const sim_access *earlier) {
  for (size_t i = 0; i < report_count; i++) {
    const report *kept = &reports[i];
    if (kept->later_what == later->what && kept->earlier_what == earlier->what &&
        kept->later_site == later->site && kept->earlier_site == earlier->site) {
      return true;
    }
  }
  return false;
}

void sim_report_race(const sim_access *later, const sim_stamp *now, const sim_access *earlier,
                     uintptr_t start, uintptr_t end) {
  race_count++;
  if (report_count == REPORTS_MAX || is_known(later, earlier)) return;
  report *made = &reports[report_count++];
  made->later_what = later->what;
  made->later_site = later->site;
  made->earlier_what = earlier->what;
  made->earlier_site = earlier->site;
  write_report(made, later, now, earlier, start, end);
  if (sim.races == CUSIM_RACES_COUNT) return;
  fprintf(stderr, "cusim: race: %s\n", made->text);
  if (sim.races == CUSIM_RACES_ABORT) abort();
}

uint64_t cusim_race_count(void) {
  sim_lock();
  const uint64_t count = race_count;
  sim_unlock();
  return count;
}

size_t cusim_race_report(size_t index, char *buffer, size_t size) {
  sim_lock();
  int length = 0;
  if (index < report_count) length = snprintf(buffer, size, "%s", reports[index].text);
  sim_unlock();
  return length < 0 ? 0 : (size_t)length;
}

void cusim_forget_races(void) {
  sim_lock();
  race_count = 0;
  report_count = 0;
  sim_unlock();
}
