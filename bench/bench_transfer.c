/* bench_transfer.c: `tarn bench transfer`: opens what its cases share, and runs them. */
#include <string.h>

#include "bench/bench.h"
#include "bench/transfer_cases.h"

/* With a device, what reaches it; and the host's own memory everywhere. */
static tarn_status run_cases(transfer_session *session) {
  const where_place *where = &session->bench->where;
  tarn_status status = TARN_OK;
  if (!where_is_host(where)) status = transfer_cases_sweep(session);
  if (status == TARN_OK && where_is_device(where)) {
    status = transfer_cases_beside(session);
    if (status == TARN_OK) status = transfer_cases_small(session);
    if (status == TARN_OK) status = transfer_cases_around(session);
  }
  if (status == TARN_OK) status = transfer_cases_host(session);
  return status;
}

/* The way that a row's bytes go: "h2d."; NULL where it is no rate of copies. */
static const char *way_of(const report_row *row) {
  static const char *const ways[] = {"transfer.h2d.", "transfer.d2h.", "transfer.d2d.",
                                     "transfer.h2h."};
  for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
    if (strncmp(row->name, ways[i], strlen(ways[i])) == 0) return ways[i];
  }
  return NULL;
}

static double fastest(const report_table *report, int first_row, const char *way) {
  double peak = 0;
  for (int i = first_row; i < report->row_count; i++) {
    const report_row *row = &report->rows[i];
    if (way_of(row) != way) continue;
    if (row->stats.median > peak) peak = row->stats.median;
    for (int b = 0; b < row->baseline_count; b++) {
      if (row->baselines[b].median > peak) peak = row->baselines[b].median;
    }
  }
  return peak;
}

static void set_peaks(report_table *report, int first_row) {
  for (int i = first_row; i < report->row_count; i++) {
    report_row *row = &report->rows[i];
    const char *way = way_of(row);
    if (way != NULL) row->detail.of_peak = row->stats.median / fastest(report, first_row, way);
  }
}

tarn_status bench_transfer(bench_run *bench) {
  transfer_session session = {
      .bench = bench, .is_quick = bench->options->quick, .nodes = {-1}, .node_count = 1};
  if (bench->options->list) return run_cases(&session);
  tarn_status status = transfer_session_open(bench, &session);
  if (status != TARN_OK) return status;
  const int first_row = bench->report->row_count;
  status = run_cases(&session);
  set_peaks(bench->report, first_row);
  transfer_session_close(&session);
  return status;
}
