/* report.c: the table and the JSON of a run. */
#include "bench/report.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/json.h"

tarn_status report_try_path(const char *path) {
  FILE *file = path == NULL ? NULL : fopen(path, "ab");
  if (path != NULL && file == NULL) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "fopen", errno, "cannot write %s: %s", path,
                            strerror(errno));
  }
  if (file != NULL) fclose(file);
  return TARN_OK;
}

tarn_status report_init(report_table *report, const char *json_path) {
  memset(report, 0, sizeof *report);
  report->json_path = json_path;
  const tarn_status status = report_try_path(json_path);
  struct stat found;
  report->is_json_file =
      json_path != NULL && stat(json_path, &found) == 0 && S_ISREG(found.st_mode);
  return status;
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
  report->rows[report->row_count] = *row;
  report->rows[report->row_count++].is_simulated = report->is_simulated;
  return report->is_json_file ? report_write_json(report) : TARN_OK;
}

tarn_status report_add_value(report_table *report, const char *name, const char *unit,
                             double value) {
  report_row row = {.unit = unit, .stats = {value, value, value, 1}};
  snprintf(row.name, sizeof row.name, "%s", name);
  return report_add(report, &row);
}

void report_fact_set(report_table *report, const char *name, const char *format, ...) {
  int at = 0;
  while (at < report->fact_count && strcmp(report->facts[at].name, name) != 0) at++;
  if (at == REPORT_FACTS_MAX) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(report->facts[at].value, sizeof report->facts[at].value, format, arguments);
  va_end(arguments);
  report->facts[at].name = name;
  if (at == report->fact_count) report->fact_count++;
}

void report_drop(report_table *report, int first_row) {
  report->row_count = first_row;
}

void report_format(char *text, size_t text_bytes, double value) {
  const double size = value < 0 ? -value : value;
  snprintf(text, text_bytes, size >= 1000 ? "%.0f" : size >= 10 ? "%.1f" : "%.3g", value);
}

static void print_detail(const report_row *row) {
  const report_detail *detail = &row->detail;
  char low[32];
  char high[32];
  char interval[80];
  report_format(low, sizeof low, detail->interval.low);
  report_format(high, sizeof high, detail->interval.high);
  snprintf(interval, sizeof interval, "[%s, %s]", low, high);
  char peak[16] = "";
  if (detail->of_peak > 0) snprintf(peak, sizeof peak, "%.0f%%", 100 * detail->of_peak);
  printf("%20s %5.1f%% %5s  %-8s ", detail->clock == NULL ? "" : interval, 100 * detail->cv, peak,
         detail->clock == NULL ? "" : detail->stop);
}

static void print_row(const report_row *row, int width, bool has_details) {
  char median[32];
  char min[32];
  char p95[32];
  report_format(median, sizeof median, row->stats.median);
  report_format(min, sizeof min, row->stats.min);
  report_format(p95, sizeof p95, row->stats.p95);
  printf("%-*s %8s %14s %14s %14s %4d ", width, row->name, row->unit, median, min, p95,
         row->stats.samples);
  if (has_details) print_detail(row);
  for (int b = 0; b < row->baseline_count; b++) {
    char baseline[32];
    report_format(baseline, sizeof baseline, row->baselines[b].median);
    printf("%s%s %s", b == 0 ? " " : ", ", row->baselines[b].name, baseline);
    if (row->baselines[b].median == 0) continue; /* a count of nothing: no ratio */
    printf(" (%.2f)", row->stats.median / row->baselines[b].median);
  }
  if (row->detail.note[0] != '\0') printf("  [%s]", row->detail.note);
  if (row->is_simulated) printf("  simulated");
  putchar('\n');
}

void report_print(const report_table *report, int first_row) {
  if (first_row == report->row_count) return;
  int width = 4;
  bool has_details = false;
  for (int i = first_row; i < report->row_count; i++) {
    const int length = (int)strlen(report->rows[i].name);
    if (length > width) width = length;
    has_details = has_details || report->rows[i].detail.clock != NULL;
  }
  printf("%-*s %8s %14s %14s %14s %4s  ", width, "name", "unit", "median", "min", "p95", "n");
  if (has_details) printf("%19s %6s %5s  %-8s  ", "95 % of median", "cv", "peak", "stop");
  printf("baseline (ratio)\n");
  for (int i = first_row; i < report->row_count; i++) {
    print_row(&report->rows[i], width, has_details);
  }
  fflush(stdout);
}

void report_print_facts(const report_table *report) {
  for (int i = 0; i < report->fact_count; i++) {
    printf("  %-22s %s\n", report->facts[i].name, report->facts[i].value);
  }
}

static void write_interval(FILE *file, const char *key, statistics_interval interval) {
  fprintf(file, ", \"%s\": [", key);
  json_number(file, interval.low);
  fputs(", ", file);
  json_number(file, interval.high);
  fputs("]", file);
}

static void write_baseline(FILE *file, const report_row *row, int index) {
  fputs("{\"name\": ", file);
  json_string(file, row->baselines[index].name);
  fputs(", \"median\": ", file);
  json_number(file, row->baselines[index].median);
  if (row->detail.clock != NULL) {
    write_interval(file, "interval", row->baselines[index].interval);
    const statistics_interval ratio = row->baselines[index].ratio;
    if (ratio.high != 0) write_interval(file, "ratio_interval", ratio);
  }
  fputs("}", file);
}

static void write_text(FILE *file, const char *key, const char *text) {
  fprintf(file, ", \"%s\": ", key);
  json_string(file, text);
}

static void write_detail(FILE *file, const report_row *row) {
  const report_detail *detail = &row->detail;
  if (row->is_simulated) fputs(", \"simulated\": true", file);
  if (detail->clock == NULL) return;
  write_text(file, "clock", detail->clock);
  write_interval(file, "interval", detail->interval);
  fputs(", \"cv\": ", file);
  json_number(file, detail->cv);
  fputs(", \"of_peak\": ", file);
  json_number(file, detail->of_peak > 0 ? detail->of_peak : NAN);
  write_text(file, "stop", detail->stop);
  fprintf(file, ", \"size_bytes\": %zu", detail->size_bytes);
  write_text(file, "placed", detail->placed[0] == '\0' ? NULL : detail->placed);
  write_text(file, "note", detail->note[0] == '\0' ? NULL : detail->note);
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
  fprintf(file, ", \"samples\": %d", row->stats.samples);
  write_detail(file, row);
  fputs(", \"baseline\": ", file);
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

static void write_facts(FILE *file, const report_table *report) {
  fputs(",\n  \"facts\": {", file);
  for (int i = 0; i < report->fact_count; i++) {
    if (i > 0) fputs(", ", file);
    json_string(file, report->facts[i].name);
    fputs(": ", file);
    json_string(file, report->facts[i].value);
  }
  fputs("}", file);
}

tarn_status report_write_json(const report_table *report) {
  if (report->json_path == NULL || report->machine == NULL) return TARN_OK;
  FILE *file = fopen(report->json_path, "wb");
  if (file != NULL) {
    fputs("{\n  \"machine\": ", file);
    machine_write_json(report->machine, file);
    if (report->fact_count > 0) write_facts(file, report);
    if (report->refusal[0] != '\0') {
      fputs(",\n  \"refused\": ", file);
      json_string(file, report->refusal);
    }
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
