/* report.h: collects the figures of one run and shows them, as a table and as JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/machine.h"
#include "bench/measure.h"
#include "bench/statistics.h"

enum {
  REPORT_NAME_BYTES = 320,
  REPORT_BASELINES_MAX = MEASURE_SUBJECTS_MAX - 1,
  REPORT_FACTS_MAX = 48,
  REPORT_TEXT_BYTES = 192,
};

typedef struct report_baseline {
  const char *name;             /* a literal */
  double median;                /* in the unit of the row */
  statistics_interval interval; /* of the median; with report_detail alone */
  statistics_interval ratio;    /* of the row's median over this one; both 0: not known */
} report_baseline;

/* What a row has besides where it was measured until its median could be trusted. */
typedef struct report_detail {
  const char *clock;            /* a literal: "device", "host"; NULL: the row has no detail */
  const char *stop;             /* a literal: why there are no more samples */
  statistics_interval interval; /* of the median, 95 % */
  double cv;
  double of_peak; /* the median over the fastest copy of the run that goes the same way; 0 none */
  size_t size_bytes; /* of one copy; 0: the row belongs to no curve */
  char plot[64];     /* title of the plot that the row's curve is in; "" none */
  char curve[64];
  char placed[REPORT_TEXT_BYTES]; /* where its host memory lies; "" none */
  char note[REPORT_TEXT_BYTES];   /* what must be known of the figure; "" nothing */
} report_detail;

typedef struct report_row {
  char name[REPORT_NAME_BYTES];
  const char *unit; /* a literal */
  measure_stats stats;
  report_baseline baselines[REPORT_BASELINES_MAX]; /* JSON's "baseline" is the first */
  int baseline_count;
  bool is_simulated;
  report_detail detail;
} report_row;

typedef struct report_fact {
  const char *name; /* a literal */
  char value[REPORT_TEXT_BYTES];
} report_fact;

typedef struct report_table {
  report_row *rows;
  int row_count;
  int row_capacity;
  const char *json_path;       /* NULL: no JSON */
  const machine_info *machine; /* borrowed; from then on the JSON is written after each row, too,
                                  where it is a file: whoever ends this program has them */
  bool is_json_file;
  bool is_simulated; /* of the rows that are added from now on */
  report_fact facts[REPORT_FACTS_MAX];
  int fact_count;
  char refusal[256]; /* why no figure is given; "" where they are */
} report_table;

/* Opens the path (may be NULL) once for writing, so that a wrong one is told before the work. */
TARN_NODISCARD tarn_status report_try_path(const char *path);

/* Tries json_path (may be NULL). */
TARN_NODISCARD tarn_status report_init(report_table *report, const char *json_path);
void report_deinit(report_table *report);

TARN_NODISCARD tarn_status report_add(report_table *report, const report_row *row);
/* One figure that needs no statistics. */
TARN_NODISCARD tarn_status report_add_value(report_table *report, const char *name,
                                            const char *unit, double value);
/* Something that figures have to be read with: replaces what stood there of the same name. */
void report_fact_set(report_table *report, const char *name, const char *format, ...)
    TARN_PRINTF(3, 4);
/* Drops the rows from first_row on: a figure that must not be given. */
void report_drop(report_table *report, int first_row);

void report_print_facts(const report_table *report);
/* The rows [first_row, row_count) on standard output. */
void report_print(const report_table *report, int first_row);
/* Three digits, more before the point. */
void report_format(char *text, size_t text_bytes, double value);
/* {"machine": {...}, "facts": {...}, "results": [...]}; nothing without json_path or machine. A
 * row's "ratio" is its median divided by the first baseline's. A row with detail has in addition
 * "clock", "interval" [low, high], "cv", "of_peak", "stop", "size_bytes", "placed" and "note", its
 * baselines "interval" and "ratio_interval"; a simulated one has "simulated": true. */
TARN_NODISCARD tarn_status report_write_json(const report_table *report);

#endif
