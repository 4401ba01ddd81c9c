/* copy_table.h: the costs by which copies with a device are planned: told, and measured. */
#ifndef BENCH_COPY_TABLE_H
#define BENCH_COPY_TABLE_H

#include "bench/bench.h"

/* The table as it is now, and which way a copy of two layouts would go between a device's memory
 * and each other kind, with the sums. */
void copy_table_print(void);
TARN_NODISCARD tarn_status copy_table_explain(const tarn_tensor *dst, const tarn_tensor *src);

/* Measures every cost that is one on the place's device, and prints values to set. */
TARN_NODISCARD tarn_status copy_table_measure(const where_place *where);

#endif
