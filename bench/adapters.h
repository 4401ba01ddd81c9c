/* adapters.h: the parts of `tarn bench alloc --filter adapter`, one for each client. */
#ifndef BENCH_ADAPTERS_H
#define BENCH_ADAPTERS_H

#include "bench/bench.h"
#include "bench/measure.h"

/* The bare pool of the benchmark's place. With --list there is neither pool nor stream. */
typedef struct adapter_bench {
  tarn_pool *pool;
  tarn_stream *stream; /* NULL on the host */
  size_t size_bytes;   /* of a pair */
} adapter_bench;

/* Measures `body`, which allocates and frees adapter->size_bytes through an adapter over the bare
 * pool, and the bare pool itself in turn: the row adapter.<client>.pair.<size>. */
TARN_NODISCARD tarn_status adapter_measure(bench_run *bench, const adapter_bench *bare,
                                           const char *client, measure_body body, void *context);

TARN_NODISCARD tarn_status adapter_bench_control(bench_run *bench, const adapter_bench *adapter);
TARN_NODISCARD tarn_status adapter_bench_callbacks(bench_run *bench, const adapter_bench *bare);
TARN_NODISCARD tarn_status adapter_bench_umf(bench_run *bench, const adapter_bench *bare);
/* Needs the environment's TARN_BENCH_ORT, the path of libonnxruntime.so; says so without. */
TARN_NODISCARD tarn_status adapter_bench_ort(bench_run *bench, const adapter_bench *bare);
TARN_NODISCARD tarn_status adapter_bench_torch(bench_run *bench, const adapter_bench *bare);
TARN_NODISCARD tarn_status adapter_bench_pools(bench_run *bench, const adapter_bench *adapter);

#endif
