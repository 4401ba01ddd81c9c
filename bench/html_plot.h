/* html_plot.h: curves over a logarithmic axis of sizes, as inline SVG. */
#ifndef BENCH_HTML_PLOT_H
#define BENCH_HTML_PLOT_H

#include "bench/report.h"

/* The curves of one plot by one clock, with a legend beside it; what it does not have is not drawn.
 * True where there was something to draw. */
bool html_plot_write(FILE *file, const report_table *report, const char *plot, bool by_host_clock);

#endif
