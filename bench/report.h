/* report.h: collects the figures of one run and shows them, as a table and as JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/machine.h"
#include "bench/measure.h"

enum { REPORT_NAME_BYTES = 320, REPORT_BASELINES_MAX = MEASURE_SUBJECTS_MAX - 1 };

typedef struct report_baseline {
  const char *name; /* a literal */
  double median;    /* in the unit of the row */
} report_baseline;

typedef struct report_row {
  char name[REPORT_NAME_BYTES];
  const char *unit; /* a literal */
  measure_stats stats;
  report_baseline baselines[REPORT_BASELINES_MAX]; /* JSON's "baseline" is the first */
  int baseline_count;
} report_row;

typedef struct report_table {
  report_row *rows;
  int row_count;
  int row_capacity;
  const char *json_path; /* NULL: no JSON */
} report_table;

/* Opens json_path (may be NULL) once for writing, so that a wrong path is told before the work. */
TARN_NODISCARD tarn_status report_init(report_table *report, const char *json_path);
void report_deinit(report_table *report);

TARN_NODISCARD tarn_status report_add(report_table *report, const report_row *row);
/* One figure that needs no statistics. */
TARN_NODISCARD tarn_status report_add_value(report_table *report, const char *name,
                                            const char *unit, double value);

/* The rows [first_row, row_count) on standard output. */
void report_print(const report_table *report, int first_row);
/* {"machine": {...}, "results": [...]}; nothing where there is no json_path. A row's "ratio" is its
 * median divided by the first baseline's. */
TARN_NODISCARD tarn_status report_write_json(const report_table *report,
                                             const machine_info *machine);

#endif
