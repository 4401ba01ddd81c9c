/* bench.h: what the benches share: the run, its filter, its place and its results. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "alloc/tarn_pool.h"
#include "bench/options.h"
#include "bench/report.h"
#include "bench/where.h"
#include "tensor/tarn_tensor.h"

typedef struct bench_run {
  const command_options *options;
  where_place where; /* open, unless the cases are only listed */
  report_table *report;
  int case_count;     /* that the filter let through */
  bool is_refused;    /* no figure may be given: the link is downgraded */
  bool is_downgraded; /* it is, and figures are wanted all the same */
} bench_run;

/* Whether the filter lets a case of that name through: it contains one of the filter's words, which
 * commas divide. Counts and prints nothing. */
bool bench_filter_fits(const bench_run *bench, const char *name);

/* Names a case. True where it is to be run; --list prints it instead, --filter may drop it. */
bool bench_wants(bench_run *bench, const char *name);

/* Measures the subjects in turn and adds the row `name`: the first subject is tarn's. */
TARN_NODISCARD tarn_status bench_measure(bench_run *bench, const char *name, const char *unit,
                                         const measure_subject *subjects, int subject_count,
                                         const measure_options *options);

/* Like tarn_fail, for a result that is wrong: TARN_DEVICE_ERROR with the case's name. */
tarn_status bench_wrong(const char *name, const char *what);

/* Wrong where the pool still lends a block out. */
TARN_NODISCARD tarn_status bench_check_nothing_left(const char *name, tarn_pool *pool);

/* Memory of the place that the CPU may touch: its own, or the pinned memory beside a device. */
tarn_provider *bench_host_memory(const bench_run *bench);

/* "64B", "1KiB", "16MiB": for names. */
typedef struct size_name {
  char text[24];
} size_name;
size_name bench_size_name(size_t size_bytes);

/* Each runs all of its cases that are wanted. */
TARN_NODISCARD tarn_status bench_alloc(bench_run *bench);
TARN_NODISCARD tarn_status bench_adapter(bench_run *bench);      /* a part of bench_alloc */
TARN_NODISCARD tarn_status bench_alloc_many(bench_run *bench);   /* a part of bench_alloc */
TARN_NODISCARD tarn_status bench_device_alloc(bench_run *bench); /* a part of bench_alloc */
TARN_NODISCARD tarn_status bench_numa(bench_run *bench);         /* a part of bench_alloc */
TARN_NODISCARD tarn_status bench_pin(bench_run *bench);          /* likewise */
TARN_NODISCARD tarn_status bench_touch(bench_run *bench);        /* a part of bench_alloc */
TARN_NODISCARD tarn_status bench_pause(bench_run *bench);        /* a part of bench_alloc */
TARN_NODISCARD tarn_status bench_virtual(bench_run *bench);      /* likewise, on a GPU */
TARN_NODISCARD tarn_status bench_view(bench_run *bench);
/* A part of bench_view; `base` is any float32 tensor of the host. */
TARN_NODISCARD tarn_status bench_dlpack(bench_run *bench, const tarn_tensor *base);
TARN_NODISCARD tarn_status bench_values(bench_run *bench); /* a part of bench_view */
TARN_NODISCARD tarn_status bench_copy(bench_run *bench);
TARN_NODISCARD tarn_status bench_copy_device(bench_run *bench); /* a part of bench_copy */
TARN_NODISCARD tarn_status bench_transfer(bench_run *bench);
TARN_NODISCARD tarn_status bench_order(bench_run *bench);

#endif
