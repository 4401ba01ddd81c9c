/* report.c: the table and the JSON of a run. */
#include "bench/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/json.h"

tarn_status report_init(report_table *report, const char *json_path) {
  memset(report, 0, sizeof *report);
  if (json_path != NULL) {
    FILE *file = fopen(json_path, "ab");
    if (file == NULL) {
      return tarn_fail_native(TARN_SYSTEM_ERROR, "fopen", errno, "cannot write %s: %s", json_path,
                              strerror(errno));
    }
    fclose(file);
  }
  report->json_path = json_path;
  return TARN_OK;
}

void report_deinit(report_table *report) {
  free(report->rows);
  memset(report, 0, sizeof *report);
}

tarn_status report_add(report_table *report, const report_row *row) {
  if (report->row_count == report->row_capacity) {
    const int capacity = report->row_capacity == 0 ? 32 : report->row_capacity * 2;
    report_row *rows = realloc(report->rows, (size_t)capacity * sizeof *rows);
    if (rows == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %d results", capacity);
    report->rows = rows;
    report->row_capacity = capacity;
  }
  report->rows[report->row_count++] = *row;
  return TARN_OK;
}

tarn_status report_add_value(report_table *report, const char *name, const char *unit,
                             double value) {
  report_row row = {.unit = unit, .stats = {value, value, value, 1}};
  snprintf(row.name, sizeof row.name, "%s", name);
  return report_add(report, &row);
}

static void format_number(char *text, size_t text_bytes, double value) {
  const double size = value < 0 ? -value : value;
  snprintf(text, text_bytes, size >= 1000 ? "%.0f" : size >= 10 ? "%.1f" : "%.3g", value);
}

void report_print(const report_table *report, int first_row) {
  if (first_row == report->row_count) return;
  int width = 4;
  for (int i = first_row; i < report->row_count; i++) {
    const int length = (int)strlen(report->rows[i].name);
    if (length > width) width = length;
  }
  printf("%-*s %8s %14s %14s %14s %4s  %s\n", width, "name", "unit", "median", "min", "p95", "n",
         "baseline (ratio)");
  for (int i = first_row; i < report->row_count; i++) {
    const report_row *row = &report->rows[i];
    char median[32];
    char min[32];
    char p95[32];
    format_number(median, sizeof median, row->stats.median);
    format_number(min, sizeof min, row->stats.min);
    format_number(p95, sizeof p95, row->stats.p95);
    printf("%-*s %8s %14s %14s %14s %4d ", width, row->name, row->unit, median, min, p95,
           row->stats.samples);
    for (int b = 0; b < row->baseline_count; b++) {
      char baseline[32];
      format_number(baseline, sizeof baseline, row->baselines[b].median);
      printf("%s%s %s", b == 0 ? " " : ", ", row->baselines[b].name, baseline);
      if (row->baselines[b].median == 0) continue; /* a count of nothing: no ratio */
      printf(" (%.2f)", row->stats.median / row->baselines[b].median);
    }
    putchar('\n');
  }
  fflush(stdout);
}

static void write_baseline(FILE *file, const report_row *row, int index) {
  fputs("{\"name\": ", file);
  json_string(file, row->baselines[index].name);
  fputs(", \"median\": ", file);
  json_number(file, row->baselines[index].median);
  fputs("}", file);
}

static void write_row(FILE *file, const report_row *row) {
  fputs("{\"name\": ", file);
  json_string(file, row->name);
  fputs(", \"unit\": ", file);
  json_string(file, row->unit);
  fputs(", \"median\": ", file);
  json_number(file, row->stats.median);
  fputs(", \"min\": ", file);
  json_number(file, row->stats.min);
  fputs(", \"p95\": ", file);
  json_number(file, row->stats.p95);
  fprintf(file, ", \"samples\": %d, \"baseline\": ", row->stats.samples);
  if (row->baseline_count == 0) {
    fputs("null, \"ratio\": null}", file);
    return;
  }
  write_baseline(file, row, 0);
  fputs(", \"ratio\": ", file);
  json_number(file, row->stats.median / row->baselines[0].median);
  if (row->baseline_count > 1) { /* further rivals of the same row */
    fputs(", \"more_baselines\": [", file);
    for (int i = 1; i < row->baseline_count; i++) {
      if (i > 1) fputs(", ", file);
      write_baseline(file, row, i);
    }
    fputs("]", file);
  }
  fputs("}", file);
}

tarn_status report_write_json(const report_table *report, const machine_info *machine) {
  if (report->json_path == NULL) return TARN_OK;
  FILE *file = fopen(report->json_path, "wb");
  if (file != NULL) {
    fputs("{\n  \"machine\": ", file);
    machine_write_json(machine, file);
    fputs(",\n  \"results\": [", file);
    for (int i = 0; i < report->row_count; i++) {
      fputs(i == 0 ? "\n    " : ",\n    ", file);
      write_row(file, &report->rows[i]);
    }
    fputs(report->row_count == 0 ? "]\n}\n" : "\n  ]\n}\n", file);
    const bool is_written = !ferror(file);
    if (fclose(file) == 0 && is_written) return TARN_OK;
  }
  return tarn_fail_native(TARN_SYSTEM_ERROR, "write", errno, "cannot write %s: %s",
                          report->json_path, strerror(errno));
}
