/* bench_dlpack.c: what handing a tensor to another library costs; a part of `tarn bench view`. */
#include "bench/bench.h"
#include "tensor/tarn_dlpack.h"

typedef struct dlpack_run {
  const tarn_tensor *base;
} dlpack_run;

static tarn_status run_export_delete(void *context, uint64_t iterations) {
  const dlpack_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_dl_managed_tensor_versioned *managed;
    const tarn_status status = tarn_dlpack_export(run->base, NULL, &managed);
    if (status != TARN_OK) return status;
    measure_keep(managed);
    managed->deleter(managed);
  }
  return TARN_OK;
}

static tarn_status run_round_trip(void *context, uint64_t iterations) {
  const dlpack_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_dl_managed_tensor_versioned *managed;
    tarn_tensor tensor;
    tarn_status status = tarn_dlpack_export(run->base, NULL, &managed);
    if (status != TARN_OK) return status;
    measure_keep(managed);
    status = tarn_dlpack_import(managed, NULL, &tensor);
    if (status != TARN_OK) return status;
    measure_keep(&tensor);
    tarn_tensor_release(&tensor);
  }
  return TARN_OK;
}

/* A producer that is not tarn: its deleter is a stranger's, so a storage is made around it. */
static void delete_nothing(tarn_dl_managed_tensor_versioned *managed) {
  measure_keep(managed);
}

static tarn_status run_import_foreign(void *context, uint64_t iterations) {
  const dlpack_run *run = context;
  tarn_tensor base = *run->base;
  tarn_dl_managed_tensor_versioned managed = {.version = {TARN_DLPACK_MAJOR, TARN_DLPACK_MINOR},
                                              .deleter = delete_nothing};
  tarn_status status = tarn_dlpack_describe(&base, &managed.dl_tensor);
  for (uint64_t i = 0; status == TARN_OK && i < iterations; i++) {
    tarn_tensor tensor;
    measure_keep(&managed);
    status = tarn_dlpack_import(&managed, NULL, &tensor);
    if (status != TARN_OK) return status;
    measure_keep(&tensor);
    tarn_tensor_release(&tensor);
  }
  return status;
}

static tarn_status run_struct_copy(void *context, uint64_t iterations) {
  const dlpack_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_tensor tensor = *run->base;
    measure_keep(&tensor);
  }
  return TARN_OK;
}

tarn_status bench_dlpack(bench_run *bench, const tarn_tensor *base) {
  static const struct {
    const char *name;
    measure_body body;
  } rows[] = {{"view.dlpack_export_delete", run_export_delete},
              {"view.dlpack_round_trip", run_round_trip},
              {"view.dlpack_import_foreign", run_import_foreign}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (!bench_wants(bench, rows[i].name)) continue;
    dlpack_run run = {base};
    const measure_subject subjects[] = {{"tarn", rows[i].body, &run},
                                        {"copy of the value", run_struct_copy, &run}};
    const measure_options options = {.samples = 0};
    const tarn_status status = bench_measure(bench, rows[i].name, "ns", subjects, 2, &options);
    if (status != TARN_OK) return status;
    if (tarn_storage_use_count(base->storage) != 1) {
      return bench_wrong(rows[i].name, "the storage's use count is not what it was");
    }
  }
  return TARN_OK;
}
