/* html.h: the figures of a run as one page: curves as inline SVG, tables, the machine. */
#ifndef BENCH_HTML_H
#define BENCH_HTML_H

#include "bench/report.h"

/* Nothing from outside: no script, no font, no image. NULL for `path` writes nothing. */
TARN_NODISCARD tarn_status html_write(const report_table *report, const machine_info *machine,
                                      const char *path);

/* Text between tags or in a quoted attribute: the five characters of HTML's own as entities, bytes
 * that are no UTF-8 as U+FFFD. */
void html_text(FILE *file, const char *text);

#endif
