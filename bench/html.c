/* html.c: the page: its style, the machine's facts, a section for each plot, and its table. */
#include "bench/html.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/html_plot.h"
#include "bench/json.h"

enum { PLOTS_MAX = 64 }; /* a few, and three for each node that transfers are measured on */

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b1f24;--faint:#5c6570;--line:#d8dde3;--page:#fff;"
    "--panel:#f6f8fa;--loud:#b3261e;--c0:#0b62c4;--c1:#c2410c;--c2:#15803d;--c3:#a21caf;"
    "--c4:#a16207;--c5:#0e7490;--c6:#be123c;--c7:#5b21b6}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--faint:#9aa4af;--line:#343b43;"
    "--page:#14171b;--panel:#1d2127;--loud:#ff8a80;--c0:#6cb0ff;--c1:#ff9d66;--c2:#63d58d;"
    "--c3:#e48bf0;--c4:#e5b94e;--c5:#58cfe0;--c6:#ff86a0;--c7:#b69bff}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:60rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;"
    "color:var(--ink);background:var(--page)}\n"
    "h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.25rem;margin:2rem 0 .5rem}\n"
    ".loud{color:var(--loud);border:3px solid;border-radius:.5rem;padding:.4rem 1rem;"
    "font-size:1.6rem;font-weight:700;text-align:center;margin:1rem 0}\n"
    ".loud small{display:block;font-size:1rem;font-weight:400}\n"
    "figure{margin:1rem 0 1.5rem;padding:.75rem;background:var(--panel);border-radius:.5rem}\n"
    "figcaption{font-weight:600;margin-bottom:.25rem}\n"
    "figure>svg{display:block;width:100%;height:auto;overflow:visible}\n"
    "svg text{fill:var(--ink);font:14px system-ui,sans-serif}svg .tick{fill:var(--faint)}\n"
    "svg .watermark{fill:var(--loud);opacity:.22;font-size:76px;font-weight:700}\n"
    ".grid{stroke:var(--line);stroke-width:1}\n"
    ".curve{fill:none;stroke:var(--c);stroke-width:2.5;stroke-linejoin:round}\n"
    ".rival{fill:none;stroke:var(--c);stroke-width:1.5;stroke-dasharray:5 4;opacity:.8}\n"
    ".band{fill:var(--c);opacity:.2;stroke:none}.mark{fill:var(--c);stroke:none}\n"
    ".c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}"
    ".c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}"
    ".plain{--c:var(--faint)}\n"
    ".legend{list-style:none;margin:.5rem 0 0;padding:0;display:flex;flex-wrap:wrap;"
    "gap:.25rem 1.25rem}.legend li{display:flex;align-items:center;gap:.4rem}\n"
    ".key{width:28px;height:14px;flex:none}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.875rem}\n"
    "th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid var(--line);"
    "vertical-align:top}thead th{white-space:nowrap}\n"
    ".facts th{font-weight:600;white-space:nowrap}.facts td{overflow-wrap:anywhere}\n"
    ".number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\n"
    ".name{white-space:nowrap}.note,.placed{min-width:11rem;color:var(--faint)}\n"
    ".tag{color:var(--loud);font-weight:600}summary{cursor:pointer;font-weight:600}\n"
    "@media(max-width:38rem){body{padding:.6rem}svg text{font-size:24px}svg .minor{display:none}"
    "figure{padding:.5rem}.facts th{white-space:normal}}\n";

void html_text(FILE *file, const char *text) {
  for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
    const int length = json_utf8_length(at);
    if (length == 0) {
      fputs("\xEF\xBF\xBD", file);
      at++;
      continue;
    }
    switch (*at) {
      case '&':
        fputs("&amp;", file);
        break;
      case '<':
        fputs("&lt;", file);
        break;
      case '>':
        fputs("&gt;", file);
        break;
      case '"':
        fputs("&quot;", file);
        break;
      case '\'':
        fputs("&#39;", file);
        break;
      default:
        /* HTML has no other control characters. */
        fwrite(*at < 0x20 && *at != '\n' && *at != '\t' ? (const unsigned char *)" " : at, 1,
               (size_t)length, file);
        break;
    }
    at += length;
  }
}

/* --- facts --- */

static void write_fact(FILE *file, const char *name, const char *value) {
  fputs("<tr><th scope=\"row\">", file);
  html_text(file, name);
  fputs("</th><td>", file);
  html_text(file, value);
  fputs("</td></tr>\n", file);
}

static void write_facts(FILE *file, const report_table *report, const machine_info *machine) {
  char text[REPORT_TEXT_BYTES];
  fputs("<h2>The machine</h2>\n<div class=\"wide\"><table class=\"facts\"><tbody>\n", file);
  write_fact(file, "measured on", machine->on[0] == '\0' ? "nothing" : machine->on);
  write_fact(file, "system", machine->system);
  snprintf(text, sizeof text, "%.120s, %d online", machine->cpu, machine->cpu_count);
  write_fact(file, "processor", text);
  snprintf(text, sizeof text, "%.1f GiB on %d %s, transparent huge pages: %s",
           (double)machine->memory_bytes / (1 << 30), machine->node_count,
           machine->node_count == 1 ? "node" : "nodes",
           machine->thp[0] == '\0' ? "unknown" : machine->thp);
  write_fact(file, "memory", text);
  snprintf(text, sizeof text, "%d.%d.%d", TARN_VERSION_MAJOR, TARN_VERSION_MINOR,
           TARN_VERSION_PATCH);
  write_fact(file, "tarn", text);
  const time_t now = time(NULL);
  struct tm date;
  if (gmtime_r(&now, &date) != NULL &&
      strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &date) > 0) {
    write_fact(file, "written", text);
  }
  for (int i = 0; i < report->fact_count; i++) {
    write_fact(file, report->facts[i].name, report->facts[i].value);
  }
  fputs("</tbody></table></div>\n", file);
}

/* --- tables --- */

static bool is_in_plot(const report_row *row, const char *plot) {
  return strcmp(row->detail.plot, plot == NULL ? "" : plot) == 0;
}

static void write_number(FILE *file, double value) {
  char text[32];
  report_format(text, sizeof text, value);
  fprintf(file, "<td class=\"number\">%s</td>", text);
}

static void write_rivals(FILE *file, const report_row *row) {
  fputs("<td>", file);
  for (int i = 0; i < row->baseline_count; i++) {
    char text[32];
    report_format(text, sizeof text, row->baselines[i].median);
    if (i > 0) fputs("<br>", file);
    html_text(file, row->baselines[i].name);
    fprintf(file, " %s", text);
    if (row->baselines[i].median == 0) continue;
    fprintf(file, " (%.2f", row->stats.median / row->baselines[i].median);
    const statistics_interval ratio = row->baselines[i].ratio;
    if (ratio.high != 0) fprintf(file, "; %.2f to %.2f", ratio.low, ratio.high);
    fputs(")", file);
  }
  fputs("</td>", file);
}

static void write_row(FILE *file, const report_row *row) {
  const report_detail *detail = &row->detail;
  const bool has_detail = detail->clock != NULL;
  fputs("<tr><td class=\"name\">", file);
  html_text(file, row->name);
  char text[32];
  report_format(text, sizeof text, row->stats.median);
  fprintf(file, "</td><td class=\"number\">%s ", text);
  html_text(file, row->unit);
  fputs(row->is_simulated ? " <span class=\"tag\">simulated</span></td>" : "</td>", file);
  if (has_detail) {
    char low[32];
    char high[32];
    report_format(low, sizeof low, detail->interval.low);
    report_format(high, sizeof high, detail->interval.high);
    fprintf(file, "<td class=\"number\">%s to %s</td><td class=\"number\">%.1f %%</td>", low, high,
            100 * detail->cv);
  } else {
    fputs("<td></td><td></td>", file);
  }
  if (detail->of_peak > 0) {
    fprintf(file, "<td class=\"number\">%.0f %%</td>", 100 * detail->of_peak);
  } else {
    fputs("<td></td>", file);
  }
  fprintf(file, "<td class=\"number\">%d</td><td>%s</td><td>%s</td>", row->stats.samples,
          has_detail ? detail->stop : "", has_detail ? detail->clock : "");
  write_number(file, row->stats.min);
  write_number(file, row->stats.p95);
  write_rivals(file, row);
  fputs("<td class=\"placed\">", file);
  html_text(file, detail->placed);
  fputs("</td><td class=\"note\">", file);
  html_text(file, detail->note);
  fputs("</td></tr>\n", file);
}

static void write_table(FILE *file, const report_table *report, const char *plot) {
  int count = 0;
  for (int i = 0; i < report->row_count; i++) count += is_in_plot(&report->rows[i], plot);
  if (count == 0) return;
  fprintf(file, "<details%s><summary>%d %s</summary>\n", plot == NULL ? " open" : "", count,
          count == 1 ? "figure" : "figures");
  fputs(
      "<div class=\"wide\"><table><thead><tr><th>case</th><th>median</th><th>95 % of the "
      "median</th><th>cv</th><th>of "
      "peak</th><th>n</th><th>stop</th><th>clock</th><th>min</th><th>p95</th>"
      "<th>rivals (ratio; 95 %)</th><th>host memory</th><th>note</th></tr></thead><tbody>\n",
      file);
  for (int i = 0; i < report->row_count; i++) {
    if (is_in_plot(&report->rows[i], plot)) write_row(file, &report->rows[i]);
  }
  fputs("</tbody></table></div></details>\n", file);
}

/* --- the page --- */

static int list_plots(const report_table *report, const char *plots[PLOTS_MAX]) {
  int count = 0;
  for (int i = 0; i < report->row_count; i++) {
    const char *plot = report->rows[i].detail.plot;
    if (plot[0] == '\0') continue;
    int at = 0;
    while (at < count && strcmp(plots[at], plot) != 0) at++;
    if (at == count && count < PLOTS_MAX) plots[count++] = plot;
  }
  return count;
}

static void write_section(FILE *file, const report_table *report, const char *plot) {
  fputs("<section>\n<h2>", file);
  fputc(plot[0] >= 'a' && plot[0] <= 'z' ? plot[0] - 'a' + 'A' : plot[0], file);
  html_text(file, plot + 1);
  fputs("</h2>\n", file);
  html_plot_write(file, report, plot, /*by_host_clock=*/false);
  html_plot_write(file, report, plot, /*by_host_clock=*/true);
  write_table(file, report, plot);
  fputs("</section>\n", file);
}

static bool has_plain_rows(const report_table *report) {
  for (int i = 0; i < report->row_count; i++) {
    if (report->rows[i].detail.plot[0] == '\0') return true;
  }
  return false;
}

static void write_page(FILE *file, const report_table *report, const machine_info *machine) {
  const char *plots[PLOTS_MAX];
  const int plot_count = list_plots(report, plots);
  fputs(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>tarn bench</title>\n<style>\n",
      file);
  fputs(style, file);
  fputs("</style>\n</head>\n<body>\n<h1>tarn bench</h1>\n", file);
  if (machine->is_simulated) {
    fputs(
        "<p class=\"loud\">SIMULATED<small>Every figure here is the simulated driver's and says "
        "nothing of a GPU.</small></p>\n",
        file);
  }
  if (report->refusal[0] != '\0') {
    fputs("<p class=\"loud\">No figures<small>", file);
    html_text(file, report->refusal);
    fputs("</small></p>\n", file);
  }
  fputs(
      "<p>Lines are tarn's medians, bands their bootstrapped 95&nbsp;% intervals; all bytes were "
      "compared. Ratios are tarn's median over the rival's.</p>\n",
      file);
  for (int i = 0; i < plot_count; i++) write_section(file, report, plots[i]);
  if (has_plain_rows(report)) {
    fputs("<section>\n<h2>Other figures</h2>\n", file);
    write_table(file, report, NULL);
    fputs("</section>\n", file);
  }
  write_facts(file, report, machine);
  fputs("</body>\n</html>\n", file);
}

tarn_status html_write(const report_table *report, const machine_info *machine, const char *path) {
  if (path == NULL) return TARN_OK;
  FILE *file = fopen(path, "wb");
  if (file != NULL) {
    write_page(file, report, machine);
    const bool is_written = !ferror(file);
    if (fclose(file) == 0 && is_written) return TARN_OK;
  }
  return tarn_fail_native(TARN_SYSTEM_ERROR, "write", errno, "cannot write %s: %s", path,
                          strerror(errno));
}
