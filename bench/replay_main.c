/* replay_main.c: `tarn replay`: its arguments, its files, and what it tells of them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/options.h"
#include "bench/replay.h"
#include "bench/report.h"
#include "bench/trace_file.h"

const char replay_help[] =
    "usage: tarn replay FILE... [--on WHERE] [--streams S] [--verify] [--record FILE] [--json "
    "FILE]\n"
    "\n"
    "Replays recorded allocations through storages of a caching pool.\n"
    "\n"
    "  --on WHERE   " WHERE_VALUES
    " (default host)\n"
    "               sim is the simulated driver: what it says of time is not a GPU's time\n"
    "  --streams S  spread the blocks over S streams: id modulo S, or the stream column modulo S\n"
    "               (default 1, or as many as the column names)\n"
    "  --verify     one more pass, in which asynchronous copies fill each storage with a pattern "
    "of\n"
    "               its own, and every byte is read back linearly and compared before the release\n"
    "  --record FILE  one more pass, of which the pool records a trace of its own (of one FILE)\n"
    "  --json FILE  also write the figures as JSON\n"
    "\n"
    "The streams are always asynchronous (on host and node:N: worker threads), so that the pool's\n"
    "ordering is at work. First come a warm-up and 7 passes that only allocate and free, each on "
    "a\n"
    "fresh pool, in turn with malloc and free of the same events where the memory is the host's:\n"
    "they give the time per event. Peak live is bytes as asked for; peak reserved is what the\n"
    "provider had handed out, the largest of all passes; both are checked against what the trace\n"
    "says and a meter at the provider saw.\n"
    "\n"
    "A trace is CSV, plain or gzip. The header names the columns op,id,bytes, and optionally\n"
    "stream and thread: op is a (allocate), f (free) or u (a stream uses the block); s and r\n"
    "(segments that came and went) are skipped, and, behind m in the second line, what happens\n"
    "to blocks that were there before the trace. An id is a whole number, live at most once at a\n"
    "time, and not freed twice in a row; bytes is as asked for, and may be empty but for a;\n"
    "stream and thread are 0 to 1023. With threads each event happens on its own one, all in the\n"
    "order of the file.\n"
    "\n"
    "Exit status: 0 done; 1 mismatches, a leak, a malformed trace or no such memory; 2 wrong\n"
    "arguments.\n";

/* A file of the command line. */
typedef struct trace_input {
  const char *path;
  char stem[256];
  recorded_trace trace;
} trace_input;

/* "x/mixed_serving.csv.gz" is mixed_serving. */
static void set_stem(trace_input *input) {
  const char *slash = strrchr(input->path, '/');
  snprintf(input->stem, sizeof input->stem, "%s", slash == NULL ? input->path : slash + 1);
  static const char *const endings[] = {".gz", ".csv"};
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
    const size_t length = strlen(input->stem);
    const size_t ending_length = strlen(endings[i]);
    if (length > ending_length && strcmp(input->stem + length - ending_length, endings[i]) == 0) {
      input->stem[length - ending_length] = '\0';
    }
  }
}

static tarn_status add_figure(report_table *report, const trace_input *input, const char *figure,
                              const char *unit, double value) {
  char name[REPORT_NAME_BYTES];
  snprintf(name, sizeof name, "replay.%s.%s", input->stem, figure);
  return report_add_value(report, name, unit, value);
}

/* Of a trace that begins in the middle only. */
static tarn_status add_skipped(report_table *report, const trace_input *input) {
  const recorded_trace *trace = &input->trace;
  if (trace->before_count == 0) return TARN_OK;
  tarn_status status =
      add_figure(report, input, "blocks_from_before", "blocks", (double)trace->before_count);
  if (status == TARN_OK) {
    status =
        add_figure(report, input, "skipped_frees", "events", (double)trace->skipped_free_count);
  }
  if (status != TARN_OK) return status;
  return add_figure(report, input, "skipped_uses", "events", (double)trace->skipped_use_count);
}

static tarn_status add_figures(report_table *report, const trace_input *input,
                               const replay_outcome *outcome, bool verify) {
  const recorded_trace *trace = &input->trace;
  report_row row = {.unit = "ns", .stats = outcome->event_ns};
  snprintf(row.name, sizeof row.name, "replay.%s.ns_per_event", input->stem);
  if (outcome->has_malloc) {
    row.baseline_count = 1;
    row.baselines[0] = (report_baseline){"malloc", outcome->malloc_event_ns.median};
  }
  const double live = (double)trace->peak_live_bytes;
  const double reserved = (double)outcome->peak_reserved_bytes;
  tarn_status status = report_add(report, &row);
  if (status == TARN_OK) {
    status = add_figure(report, input, "events", "events", (double)trace->event_count);
  }
  if (status == TARN_OK) status = add_figure(report, input, "peak_live_bytes", "bytes", live);
  if (status == TARN_OK) {
    status = add_figure(report, input, "peak_reserved_bytes", "bytes", reserved);
  }
  if (status == TARN_OK) {
    status = add_figure(report, input, "reserved_over_live", "ratio", reserved / live);
  }
  if (status == TARN_OK) {
    status = add_figure(report, input, "provider_calls", "calls", (double)outcome->provider_calls);
  }
  if (status == TARN_OK) {
    status = add_figure(report, input, "remapped_bytes", "bytes", (double)outcome->moved_bytes);
  }
  if (status == TARN_OK) status = add_skipped(report, input);
  if (status != TARN_OK || !verify) return status;
  status = add_figure(report, input, "moved_bytes", "bytes", (double)outcome->verified.moved_bytes);
  if (status != TARN_OK) return status;
  return add_figure(report, input, "mismatches", "storages",
                    (double)outcome->verified.mismatch_count);
}

static const char *plural(size_t count) {
  return count == 1 ? "" : "s";
}

static void print_outcome(const trace_input *input, const where_place *where,
                          const replay_options *options, const replay_outcome *outcome) {
  const recorded_trace *trace = &input->trace;
  const char *simulated = where->is_simulated ? " (simulated: not a GPU's time)" : "";
  printf("%s: %zu events on %s, %" PRIu32 " stream%s", input->stem, trace->event_count, where->name,
         options->stream_count, options->stream_count == 1 ? "" : "s");
  if (trace->has_threads) printf(", %" PRIu32 " threads in turn", trace->thread_count);
  printf("\n");
  printf("  %.1f ns per event%s, min %.1f, p95 %.1f of %d passes", outcome->event_ns.median,
         simulated, outcome->event_ns.min, outcome->event_ns.p95, outcome->event_ns.samples);
  if (outcome->has_malloc) printf("; malloc %.1f", outcome->malloc_event_ns.median);
  const double mib = 1 << 20;
  printf("\n  peak live %.1f MiB, peak reserved %.1f MiB", (double)trace->peak_live_bytes / mib,
         (double)outcome->peak_reserved_bytes / mib);
  if (trace->peak_live_bytes > 0) {
    printf(", ratio %.3f", (double)outcome->peak_reserved_bytes / (double)trace->peak_live_bytes);
  }
  printf("; %" PRIu64 " provider calls, %" PRIu64 " fences\n", outcome->provider_calls,
         outcome->fence_count);
  if (outcome->moved_bytes > 0) {
    printf("  %.1f MiB of idle memory moved to where it was needed\n",
           (double)outcome->moved_bytes / mib);
  }
  if (trace->before_count > 0) {
    printf("  skipped %zu free%s and %zu use%s of %zu block%s that were there before the trace\n",
           trace->skipped_free_count, plural(trace->skipped_free_count), trace->skipped_use_count,
           plural(trace->skipped_use_count), trace->before_count, plural(trace->before_count));
  }
  if (trace->left_count > 0) {
    printf("  %zu blocks with %" PRIu64 " bytes live at the end of the trace, released after it\n",
           trace->left_count, trace->left_bytes);
  }
  if (!options->verify) return;
  printf("  %.1f GiB moved by copies, %.1f GiB compared\n",
         (double)outcome->verified.moved_bytes / (1 << 30),
         (double)outcome->verified.compared_bytes / (1 << 30));
  if (outcome->verified.mismatch_count > 0) {
    printf("  first mismatch: %s\n", outcome->verified.first_mismatch);
  }
  printf("  %" PRIu64 " mismatches\n", outcome->verified.mismatch_count);
  fflush(stdout);
}

/* One trace; counts its mismatches. */
static tarn_status replay_input(const trace_input *input, const where_place *where,
                                const command_options *options, report_table *report,
                                uint64_t *mismatch_count) {
  replay_options settings = {
      .name = input->path, .verify = options->verify, .record = options->record};
  settings.stream_count =
      options->streams > 0 ? (uint32_t)options->streams : input->trace.stream_count;
  replay_outcome outcome;
  const tarn_status status = replay_run(&input->trace, where, &settings, &outcome);
  if (status != TARN_OK) return status;
  *mismatch_count += outcome.verified.mismatch_count;
  print_outcome(input, where, &settings, &outcome);
  return add_figures(report, input, &outcome, options->verify);
}

static tarn_status replay_inputs(const trace_input *inputs, const command_options *options,
                                 const where_place *where, report_table *report,
                                 uint64_t *mismatch_count) {
  for (int i = 0; i < options->operand_count; i++) {
    const tarn_status status = replay_input(&inputs[i], where, options, report, mismatch_count);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status read_machine(const where_place *where, machine_info *machine,
                                report_table *report) {
  if (report->json_path == NULL) return TARN_OK;
  if (machine == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the JSON");
  machine_read(machine);
  machine->is_simulated = where->is_simulated;
  snprintf(machine->on, sizeof machine->on, "%s", where->name);
  report->machine = machine;
  return TARN_OK;
}

/* All files are read before the first is replayed: damage is told early. */
static tarn_status read_inputs(const command_options *options, trace_input *inputs) {
  for (int i = 0; i < options->operand_count; i++) {
    inputs[i].path = options->operands[i];
    set_stem(&inputs[i]);
    const tarn_status status = trace_read_file(inputs[i].path, &inputs[i].trace);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static int run_replay(const command_options *options, where_place *where, trace_input *inputs) {
  report_table report = {.rows = NULL};
  uint64_t mismatch_count = 0;
  char cause[TARN_ERROR_MESSAGE_BYTES] = "";
  machine_info *machine = malloc(sizeof *machine);
  tarn_status status = read_inputs(options, inputs);
  if (status == TARN_OK) status = report_init(&report, options->json);
  if (status == TARN_OK) status = where_open(where);
  if (status == TARN_OK) {
    status = read_machine(where, machine, &report);
    if (status == TARN_OK) {
      status = replay_inputs(inputs, options, where, &report, &mismatch_count);
    }
    /* What was measured before a failure is worth keeping; the first cause is the one to tell. */
    memcpy(cause, tarn_last_error()->message, sizeof cause);
    const tarn_status written = report_write_json(&report);
    if (status == TARN_OK && written != TARN_OK) {
      status = written;
      memcpy(cause, tarn_last_error()->message, sizeof cause);
    }
    where_close(where);
  } else {
    memcpy(cause, tarn_last_error()->message, sizeof cause);
  }
  report_deinit(&report);
  free(machine);
  if (status != TARN_OK) return run_error("replay", "%s", cause);
  return mismatch_count == 0 ? EXIT_FINE : EXIT_FAILED;
}

int replay_main(int argc, char **argv) {
  command_options options;
  const int code = options_parse(
      "replay", OPTION_ON | OPTION_STREAMS | OPTION_VERIFY | OPTION_RECORD, argc, argv, &options);
  if (code != EXIT_FINE) return code;
  if (options.help) {
    fputs(replay_help, stdout);
    return EXIT_FINE;
  }
  if (options.operand_count == 0) return usage_error("replay", "name at least one trace file");
  if (options.record != NULL && options.operand_count > 1) {
    return usage_error("replay", "--record takes one trace file, and %d are named",
                       options.operand_count);
  }
  where_place where;
  if (!where_parse(options.on, &where)) {
    return usage_error("replay", "--on is '%s' and not one of " WHERE_VALUES, options.on);
  }
  trace_input *inputs = calloc((size_t)options.operand_count, sizeof *inputs);
  if (inputs == NULL) return run_error("replay", "no memory for %d files", options.operand_count);
  const int result = run_replay(&options, &where, inputs);
  for (int i = 0; i < options.operand_count; i++) trace_deinit(&inputs[i].trace);
  free(inputs);
  return result;
}
