/* bench_main.c: `tarn bench`: its arguments, its cases and its table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/command.h"
#include "bench/html.h"
#include "bench/progress.h"

const char bench_help[] =
    "usage: tarn bench alloc|view|copy|transfer|order... [--on WHERE] [--filter S] [--list]\n"
    "                  [--explain] [--measure-table] [--json FILE] [--html FILE] [--quick]\n"
    "                  [--allow-downgraded] [--nvml FILE] [--pci-folder FOLDER]\n"
    "\n"
    "Measures tarn beside its rivals, in turn in one process, and verifies the results.\n"
    "\n"
    "  alloc     allocate and free of one size, churn over many, storages; against malloc and a\n"
    "            private jemalloc (host memory). touch.*: first touch by two threads against\n"
    "            one; numa.*: pairs in a node pool against jemalloc; pin.*: bytes of page-locked\n"
    "            memory for each byte asked for, against powers of two; pin.rate.*: how fast it\n"
    "            is locked, against cuMemHostAlloc; cuda.alloc.pair.*: a GPU's memory in the\n"
    "            order of a stream, against cuMemAllocAsync; virtual.*: memory put behind a GPU's\n"
    "            addresses, against cuMemAlloc, and moved, against made anew; pause.*: a pool's\n"
    "            memory given back and obtained again, with contents and without; adapter.*:\n"
    "            pairs through what plugs tarn into others, against the bare pool\n"
    "  view      views of a tensor value and a wrapped blob; against copying the value\n"
    "  copy      copies of host memory of every kind, with one thread; against memcpy of as many\n"
    "            bytes; 2threads: against one thread. On a device also its own: strided and\n"
    "            converting against a plain copy, scattered against a loop of the driver's\n"
    "  transfer  copies between host and device, of every kind of host memory on every node, 4 B\n"
    "            to 1 GiB, both ways, at once and beside others; small copies and rows; pinning,\n"
    "            allocation, the way there and back; against the driver's own calls. Without a\n"
    "            device: copies in host memory by a worker thread against memcpy\n"
    "  order     records, waits, questions and synchronisations that the simulated driver counts\n"
    "            per allocation and free on several streams, with room and under pressure;\n"
    "            against one event per free\n"
    "\n"
    "  --on WHERE   " WHERE_VALUES
    "\n"
    "               (default: host; transfer: cuda:0 where there is a GPU; order: sim). view and\n"
    "               copy use memory of the CPU: with a device, the pinned memory beside it\n"
    "  --filter S,..  only cases whose name contains one of S\n"
    "  --list       name the cases and measure nothing\n"
    "  --explain    copy: say how each case would be copied and measure nothing: by the CPU, and\n"
    "               with a device, by which table of costs\n"
    "  --measure-table\n"
    "               copy: measure that table, and print the macro of tarn_copy_costs.h\n"
    "  --json FILE  also write the figures as JSON\n"
    "  --html FILE  also write them as one page that needs nothing else: curves, tables, machine\n"
    "  --quick      transfer: few sizes, small buffers, no more samples than the least: to try it\n"
    "  --allow-downgraded   transfer: give figures, marked, though the link is slower or narrower\n"
    "               under load than device and slot can do\n"
    "  --nvml FILE, --pci-folder FOLDER   transfer: who tells the link's state, in place of\n"
    "               libnvidia-ml.so.1 and /sys/bus/pci/devices\n"
    "\n"
    "Each figure is a median of 11 samples of 2 ms or more, after a warm-up, with the least and\n"
    "the 95th percentile; the ratio is tarn's median over the baseline's. ns: less is better.\n"
    "GB/s (1e9 bytes of the destination per second; copy.device.*: of half of what is read and\n"
    "written): more is better. With a simulated driver no figure is a GPU's.\n"
    "\n"
    "transfer: by the device's clock, all of a sample enqueued behind a latch; and by the host's\n"
    "clock (.host_clock), from the first call to the end of the wait. At least 11 samples of each\n"
    "in turn, and more until the bootstrapped 95 % interval of the median is narrower than 1 %\n"
    "(stop: precise), or time or samples are spent. Buffers rotate past the caches; all bytes are\n"
    "compared afterwards.\n"
    "\n"
    "Exit status: 0 done; 1 it failed, or a result was wrong; 2 wrong arguments; 3 transfer: no\n"
    "figure is given of a link that is downgraded under load.\n";

typedef struct bench_row {
  const char *name;
  tarn_status (*run)(bench_run *bench);
} bench_row;

static const bench_row bench_rows[] = {
    {"alloc", bench_alloc},       {"view", bench_view},   {"copy", bench_copy},
    {"transfer", bench_transfer}, {"order", bench_order},
};

static const bench_row *find_bench(const char *name) {
  for (size_t i = 0; i < sizeof bench_rows / sizeof bench_rows[0]; i++) {
    if (strcmp(bench_rows[i].name, name) == 0) return &bench_rows[i];
  }
  return NULL;
}

bool bench_filter_fits(const bench_run *bench, const char *name) {
  for (const char *word = bench->options->filter; word != NULL;) {
    const size_t length = strcspn(word, ",");
    if (memmem(name, strlen(name), word, length) != NULL) return true;
    if (word[length] == '\0') return false;
    word += length + 1;
  }
  return true;
}

bool bench_wants(bench_run *bench, const char *name) {
  if (!bench_filter_fits(bench, name)) return false;
  bench->case_count++;
  if (bench->options->list) {
    puts(name);
    return false;
  }
  if (!bench->options->explain) progress_show("measuring %s", name);
  return true;
}

tarn_status bench_measure(bench_run *bench, const char *name, const char *unit,
                          const measure_subject *subjects, int subject_count,
                          const measure_options *options) {
  measure_stats stats[MEASURE_SUBJECTS_MAX];
  const tarn_status status = measure_interleaved(subjects, subject_count, options, stats);
  if (status != TARN_OK) return status;
  report_row row = {.unit = unit, .stats = stats[0], .baseline_count = subject_count - 1};
  snprintf(row.name, sizeof row.name, "%s", name);
  for (int i = 1; i < subject_count; i++) {
    row.baselines[i - 1] = (report_baseline){subjects[i].name, stats[i].median};
  }
  return report_add(bench->report, &row);
}

tarn_provider *bench_host_memory(const bench_run *bench) {
  return where_is_device(&bench->where) ? bench->where.host_pages : bench->where.provider;
}

tarn_status bench_wrong(const char *name, const char *what) {
  return tarn_fail(TARN_DEVICE_ERROR, "%s: wrong result: %s", name, what);
}

tarn_status bench_check_nothing_left(const char *name, tarn_pool *pool) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  const tarn_status status = tarn_pool_stats_of(pool, &stats);
  if (status != TARN_OK) return status;
  if (stats.requested_bytes != 0 || stats.alloc_count != stats.free_count) {
    return bench_wrong(name, "blocks are still lent out after the last was freed");
  }
  return TARN_OK;
}

size_name bench_size_name(size_t size_bytes) {
  size_name name;
  if (size_bytes >= 1 << 30 && size_bytes % (1 << 30) == 0) {
    snprintf(name.text, sizeof name.text, "%zuGiB", size_bytes >> 30);
  } else if (size_bytes >= 1 << 20 && size_bytes % (1 << 20) == 0) {
    snprintf(name.text, sizeof name.text, "%zuMiB", size_bytes >> 20);
  } else if (size_bytes >= 1 << 10 && size_bytes % (1 << 10) == 0) {
    snprintf(name.text, sizeof name.text, "%zuKiB", size_bytes >> 10);
  } else {
    snprintf(name.text, sizeof name.text, "%zuB", size_bytes);
  }
  return name;
}

/* Where `name` runs without --on: a transfer on a GPU if there is one, order on the simulator. */
static const char *default_where(const char *name) {
  if (strcmp(name, "order") == 0) return "sim";
  if (strcmp(name, "transfer") != 0) return "host";
  tarn_cuda *cuda = NULL;
  if (tarn_cuda_open(NULL, &cuda) != TARN_OK) return "host";
  const bool has_gpu = tarn_cuda_device_count(cuda) > 0;
  tarn_cuda_release(cuda);
  return has_gpu ? "cuda:0" : "host";
}

static tarn_status run_one(bench_run *bench, const bench_row *row, machine_info *machine) {
  const command_options *options = bench->options;
  const char *on = options->on != NULL ? options->on : default_where(row->name);
  if (!where_parse(on, &bench->where)) return tarn_fail(TARN_INVALID_ARGUMENT, "--on %s", on);
  if (options->list || options->explain) return row->run(bench);
  tarn_status status = where_open(&bench->where);
  if (status != TARN_OK) return status;
  const int first_row = bench->report->row_count;
  machine->is_simulated = machine->is_simulated || bench->where.is_simulated;
  bench->report->is_simulated = bench->where.is_simulated;
  if (strstr(machine->on, bench->where.name) == NULL) {
    const size_t length = strlen(machine->on);
    snprintf(machine->on + length, sizeof machine->on - length, "%s%s", length == 0 ? "" : ", ",
             bench->where.name);
  }
  status = row->run(bench);
  progress_clear();
  /* A figure that may not be given, or stands beside one that is wrong. */
  if (row->run == bench_transfer && status != TARN_OK) report_drop(bench->report, first_row);
  if (bench->report->row_count > first_row) {
    printf("%s on %s%s\n", row->name, bench->where.name,
           bench->where.is_simulated ? " (simulated: no figure here is a GPU's)" : "");
    if (row->run == bench_transfer) report_print_facts(bench->report);
    report_print(bench->report, first_row);
  }
  where_close(&bench->where);
  return status;
}

static int run_all(const command_options *options, machine_info *machine, report_table *report) {
  bench_run bench = {.options = options, .report = report};
  if (report_init(report, options->json) != TARN_OK || report_try_path(options->html) != TARN_OK) {
    return run_error("bench", "%s", tarn_last_error()->message);
  }
  machine_read(machine);
  report->machine = machine;
  char cause[TARN_ERROR_MESSAGE_BYTES] = "";
  tarn_status status = TARN_OK;
  for (int i = 0; status == TARN_OK && i < options->operand_count; i++) {
    status = run_one(&bench, find_bench(options->operands[i]), machine);
  }
  if (status != TARN_OK) memcpy(cause, tarn_last_error()->message, sizeof cause);
  if (bench.is_refused) {
    snprintf(report->refusal, sizeof report->refusal, "%.*s", (int)sizeof report->refusal - 1,
             cause);
  }
  tarn_status written = report_write_json(report);
  if (written == TARN_OK) written = html_write(report, machine, options->html);
  if (status == TARN_OK && written != TARN_OK) {
    memcpy(cause, tarn_last_error()->message, sizeof cause);
    status = written;
  }
  if (status != TARN_OK) {
    const int code = run_error("bench", "%s", cause);
    return bench.is_refused ? EXIT_REFUSED : code;
  }
  if (bench.case_count == 0) {
    return run_error("bench", "no case's name contains '%s' (--list names them)", options->filter);
  }
  return EXIT_FINE;
}

/* One that was given and says nothing to the other benchmarks. */
static const char *transfer_option(const command_options *options) {
  if (options->quick) return "--quick";
  if (options->allow_downgraded) return "--allow-downgraded";
  if (options->nvml != NULL) return "--nvml";
  return options->pci_folder != NULL ? "--pci-folder" : NULL;
}

int bench_main(int argc, char **argv) {
  command_options options;
  const int code = options_parse("bench",
                                 OPTION_ON | OPTION_FILTER | OPTION_LIST | OPTION_EXPLAIN |
                                     OPTION_MEASURE_TABLE | OPTION_TRANSFER,
                                 argc, argv, &options);
  if (code != EXIT_FINE) return code;
  if (options.help) {
    fputs(bench_help, stdout);
    return EXIT_FINE;
  }
  if (options.operand_count == 0) {
    return usage_error("bench", "say what to measure: alloc, view, copy, transfer or order");
  }
  for (int i = 0; i < options.operand_count; i++) {
    if (find_bench(options.operands[i]) != NULL) continue;
    return usage_error("bench", "'%s' is not one of alloc, view, copy, transfer, order",
                       options.operands[i]);
  }
  for (int i = 0; i < options.operand_count && (options.explain || options.measure_table); i++) {
    if (strcmp(options.operands[i], "copy") == 0) continue;
    return usage_error("bench", "%s is for copy, not for %s",
                       options.explain ? "--explain" : "--measure-table", options.operands[i]);
  }
  const char *foreign = transfer_option(&options);
  for (int i = 0; i < options.operand_count && foreign != NULL; i++) {
    if (strcmp(options.operands[i], "transfer") == 0) continue;
    return usage_error("bench", "%s is for transfer, not for %s", foreign, options.operands[i]);
  }
  where_place where;
  if (!where_parse(options.on, &where)) {
    return usage_error("bench", "--on is '%s' and not one of " WHERE_VALUES, options.on);
  }
  if (where_has_own_pool(&where)) {
    return usage_error("bench", "--on %s is for tarn replay: no benchmark measures that pool",
                       options.on);
  }
  report_table report = {.rows = NULL};
  machine_info *machine = malloc(sizeof *machine);
  if (machine == NULL) return run_error("bench", "no memory");
  const int result = run_all(&options, machine, &report);
  report_deinit(&report);
  free(machine);
  return result;
}
