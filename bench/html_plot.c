/* html_plot.c: axes, bands, curves and the legend of one plot.
 *
 * Colours are classes (c0 ... c7) that the page's style sheet fills in, for light and for dark.
 * Beyond eight curves the marks differ. */
#include "bench/html_plot.h"

#include <math.h>
#include <string.h>

#include "bench/html.h"

enum {
  WIDTH = 720,
  HEIGHT = 430,
  LEFT = 78,
  RIGHT = 20,
  TOP = 16,
  BOTTOM = 72,
  COLOURS = 8,
  CURVES_MAX = 48,
};

typedef struct plot_range {
  double low; /* logarithms to the base 10 */
  double high;
} plot_range;

typedef struct plot_state {
  FILE *file;
  const report_table *report;
  const char *plot;
  bool by_host_clock;
  const char *curves[CURVES_MAX]; /* by either clock, so that a curve has one colour in both */
  bool is_shown[CURVES_MAX];
  int curve_count;
  plot_range x;
  plot_range y;
} plot_state;

static bool is_in_plot(const plot_state *state, const report_row *row) {
  return row->detail.clock != NULL && row->detail.size_bytes > 0 && row->stats.median > 0 &&
         strcmp(row->detail.plot, state->plot) == 0;
}

static bool belongs(const plot_state *state, const report_row *row) {
  return is_in_plot(state, row) && (strcmp(row->detail.clock, "host") == 0) == state->by_host_clock;
}

static int curve_of(const plot_state *state, const report_row *row) {
  for (int i = 0; i < state->curve_count; i++) {
    if (strcmp(state->curves[i], row->detail.curve) == 0) return i;
  }
  return -1;
}

static void widen(plot_range *range, double value) {
  if (value <= 0) return;
  const double logarithm = log10(value);
  if (logarithm < range->low) range->low = logarithm;
  if (logarithm > range->high) range->high = logarithm;
}

/* The curves, and what the axes have to hold. */
static void look(plot_state *state) {
  state->x = state->y = (plot_range){INFINITY, -INFINITY};
  for (int i = 0; i < state->report->row_count; i++) {
    const report_row *row = &state->report->rows[i];
    if (!is_in_plot(state, row)) continue;
    if (curve_of(state, row) < 0 && state->curve_count < CURVES_MAX) {
      state->curves[state->curve_count++] = row->detail.curve;
    }
    const int curve = curve_of(state, row);
    if (curve < 0 || !belongs(state, row)) continue;
    state->is_shown[curve] = true;
    widen(&state->x, (double)row->detail.size_bytes);
    widen(&state->y, row->detail.interval.low);
    widen(&state->y, row->detail.interval.high);
    widen(&state->y, row->stats.median);
    if (row->baseline_count > 0) widen(&state->y, row->baselines[0].median);
  }
}

/* --- axes --- */

/* The next of 1, 2, 5, 10 ... at or below, or above. */
static double round_to_step(double logarithm, bool is_up) {
  static const double steps[] = {0, 0.30103, 0.69897, 1};
  const double decade = floor(logarithm);
  double found = decade + (is_up ? 1 : 0);
  for (int i = 0; i < 4; i++) {
    const double step = decade + steps[i];
    if (is_up && step >= logarithm - 1e-9) return step;
    if (!is_up && step <= logarithm + 1e-9) found = step;
  }
  return found;
}

static void fit_axes(plot_state *state) {
  const double span = state->x.high - state->x.low;
  const double margin = span > 0 ? span / 24 : 0.15;
  state->x.low -= margin;
  state->x.high += margin;
  state->y.low = round_to_step(state->y.low - 0.02, /*is_up=*/false);
  state->y.high = round_to_step(state->y.high + 0.02, /*is_up=*/true);
}

static double x_of(const plot_state *state, double value) {
  const double part = (log10(value) - state->x.low) / (state->x.high - state->x.low);
  return LEFT + part * (WIDTH - LEFT - RIGHT);
}

static double y_of(const plot_state *state, double value) {
  const double least = pow(10, state->y.low);
  const double shown = value > least ? value : least;
  const double part = (log10(shown) - state->y.low) / (state->y.high - state->y.low);
  return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
}

static void name_size(char *text, size_t text_bytes, double bytes) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  for (; bytes >= 1024 && unit < 4; unit++) bytes /= 1024;
  snprintf(text, text_bytes, "%.0f %s", bytes, units[unit]);
}

/* Powers of two, so far apart that their names have room. */
static void write_x_axis(const plot_state *state) {
  const double octave = 0.30102999566398;
  const double octaves = (state->x.high - state->x.low) / octave;
  const int step = octaves > 14 ? 4 : octaves > 7 ? 2 : 1;
  int shown_count = 0; /* every second one gives way on a narrow page */
  const int first = (int)ceil(state->x.low / octave - 1e-9);
  for (int exponent = first; exponent * octave <= state->x.high + 1e-9; exponent++) {
    char name[32];
    if (exponent < 0 || (exponent + 2) % step != 0) continue;
    const double bytes = exp2(exponent);
    const double x = x_of(state, bytes);
    name_size(name, sizeof name, bytes);
    fprintf(state->file,
            "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
            "<text class=\"tick%s\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
            x, x, TOP, HEIGHT - BOTTOM, shown_count++ % 2 == 1 ? " minor" : "", x,
            HEIGHT - BOTTOM + 28, name);
  }
  fprintf(state->file,
          "<text class=\"axis\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">size of one copy</text>\n",
          (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8);
}

/* Whole decades; 2 and 5 between them where there are few. */
static void write_y_axis(const plot_state *state) {
  static const double parts[] = {1, 2, 5};
  const double decades = state->y.high - state->y.low;
  const int part_count = decades <= 3 ? 3 : 1;
  const int skip = decades > 9 ? 2 : 1;
  const int last = (int)floor(state->y.high + 1e-9);
  for (int decade = (int)floor(state->y.low); decade <= last; decade += skip) {
    for (int i = 0; i < part_count; i++) {
      const double value = parts[i] * pow(10, decade);
      const double logarithm = log10(value);
      if (logarithm < state->y.low - 1e-6 || logarithm > state->y.high + 1e-6) continue;
      char name[32];
      snprintf(name, sizeof name, "%.3g", value);
      const double y = y_of(state, value);
      fprintf(state->file,
              "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
              "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\" "
              "dominant-baseline=\"middle\">%s</text>\n",
              LEFT, WIDTH - RIGHT, y, y, LEFT - 8, y, name);
    }
  }
  fprintf(state->file,
          "<text class=\"axis\" transform=\"translate(20 %d) rotate(-90)\" "
          "text-anchor=\"middle\">GB/s</text>\n",
          (TOP + HEIGHT - BOTTOM) / 2);
}

/* --- curves --- */

static void write_points(const plot_state *state, int curve, double (*value)(const report_row *),
                         bool is_backwards) {
  const int count = state->report->row_count;
  for (int i = 0; i < count; i++) {
    const report_row *row = &state->report->rows[is_backwards ? count - 1 - i : i];
    if (!belongs(state, row) || curve_of(state, row) != curve) continue;
    if (value(row) <= 0) continue;
    fprintf(state->file, "%.1f,%.1f ", x_of(state, (double)row->detail.size_bytes),
            y_of(state, value(row)));
  }
}

static double median_of(const report_row *row) {
  return row->stats.median;
}

static double low_of(const report_row *row) {
  return row->detail.interval.low;
}

static double high_of(const report_row *row) {
  return row->detail.interval.high;
}

static double baseline_of(const report_row *row) {
  return row->baseline_count == 0 ? 0 : row->baselines[0].median;
}

static void write_mark(FILE *file, int curve, double x, double y) {
  switch (curve / COLOURS) {
    case 0:
      fprintf(file, "<circle class=\"mark c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\">", curve % COLOURS,
              x, y);
      break;
    case 1:
      fprintf(file, "<rect class=\"mark c%d\" x=\"%.1f\" y=\"%.1f\" width=\"8\" height=\"8\">",
              curve % COLOURS, x - 4, y - 4);
      break;
    default:
      fprintf(file, "<path class=\"mark c%d\" d=\"M%.1f %.1fl5 9h-10z\">", curve % COLOURS, x,
              y - 5);
      break;
  }
}

static void close_mark(FILE *file, int curve) {
  static const char *const names[] = {"circle", "rect", "path"};
  fprintf(file, "</%s>\n", names[curve / COLOURS < 2 ? curve / COLOURS : 2]);
}

static void write_curve(const plot_state *state, int curve) {
  FILE *file = state->file;
  fprintf(file, "<polygon class=\"band c%d\" points=\"", curve % COLOURS);
  write_points(state, curve, low_of, /*is_backwards=*/false);
  write_points(state, curve, high_of, /*is_backwards=*/true);
  fprintf(file, "\"/>\n<polyline class=\"rival c%d\" points=\"", curve % COLOURS);
  write_points(state, curve, baseline_of, /*is_backwards=*/false);
  fprintf(file, "\"/>\n<polyline class=\"curve c%d\" points=\"", curve % COLOURS);
  write_points(state, curve, median_of, /*is_backwards=*/false);
  fputs("\"/>\n", file);
  for (int i = 0; i < state->report->row_count; i++) {
    const report_row *row = &state->report->rows[i];
    if (!belongs(state, row) || curve_of(state, row) != curve) continue;
    char median[32];
    report_format(median, sizeof median, row->stats.median);
    write_mark(file, curve, x_of(state, (double)row->detail.size_bytes),
               y_of(state, row->stats.median));
    fputs("<title>", file);
    html_text(file, row->name);
    fprintf(file, ": %s %s%s</title>", median, row->unit, row->is_simulated ? ", simulated" : "");
    close_mark(file, curve);
  }
}

static void write_legend(const plot_state *state, const char *rival) {
  FILE *file = state->file;
  fputs("<ul class=\"legend\">\n", file);
  for (int curve = 0; curve < state->curve_count; curve++) {
    if (!state->is_shown[curve]) continue;
    fputs("<li><svg class=\"key\" viewBox=\"0 0 28 14\" aria-hidden=\"true\">", file);
    fprintf(file, "<line class=\"curve c%d\" x1=\"0\" x2=\"28\" y1=\"7\" y2=\"7\"/>",
            curve % COLOURS);
    write_mark(file, curve, 14, 7);
    close_mark(file, curve);
    fputs("</svg>", file);
    html_text(file, state->curves[curve]);
    fputs("</li>\n", file);
  }
  if (rival != NULL) {
    fputs(
        "<li><svg class=\"key\" viewBox=\"0 0 28 14\" aria-hidden=\"true\"><line class=\"rival "
        "plain\" x1=\"0\" x2=\"28\" y1=\"7\" y2=\"7\"/></svg>the same by ",
        file);
    html_text(file, rival);
    fputs("</li>\n", file);
  }
  fputs("</ul>\n", file);
}

bool html_plot_write(FILE *file, const report_table *report, const char *plot, bool by_host_clock) {
  plot_state state = {.file = file, .report = report, .plot = plot, .by_host_clock = by_host_clock};
  const char *rival = NULL;
  bool is_simulated = false;
  look(&state);
  if (!isfinite(state.y.low)) return false; /* nothing by this clock */
  fit_axes(&state);
  for (int i = 0; i < report->row_count; i++) {
    if (!belongs(&state, &report->rows[i])) continue;
    is_simulated = is_simulated || report->rows[i].is_simulated;
    if (rival == NULL && report->rows[i].baseline_count > 0) {
      rival = report->rows[i].baselines[0].name;
    }
  }
  fputs("<figure>\n<figcaption>by the ", file);
  fputs(by_host_clock ? "host's clock: what a program feels" : "device's clock", file);
  fputs("</figcaption>\n", file);
  fprintf(file, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
  html_text(file, plot);
  fputs(", GB/s over the size of a copy\">\n", file);
  write_x_axis(&state);
  write_y_axis(&state);
  if (is_simulated) {
    fprintf(file,
            "<text class=\"watermark\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">simulated"
            "</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2 + 24);
  }
  for (int curve = 0; curve < state.curve_count; curve++) {
    if (state.is_shown[curve]) write_curve(&state, curve);
  }
  fputs("</svg>\n", file);
  write_legend(&state, rival);
  fputs("</figure>\n", file);
  return true;
}
