/* trace_file.h: reads a trace from a file, plain or gzip. */
#ifndef BENCH_TRACE_FILE_H
#define BENCH_TRACE_FILE_H

#include "bench/trace.h"

/* What begins with gzip's two bytes is unpacked; a name that ends in .gz demands them. Reads the
 * file to its end, so /dev/stdin will do. The caller owns *out. */
TARN_NODISCARD tarn_status trace_read_file(const char *path, recorded_trace *out);

#endif
