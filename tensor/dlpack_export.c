/* dlpack_export.c: tensors handed to other libraries: copies where one is needed, streams ordered,
 * one block of memory for each. */
#include "tensor/dlpack.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tarn_copy.h"

/* An export: what the consumer sees, then what the deleter needs, then shape and strides. The
 * storage is managed.manager_ctx. */
typedef struct versioned_export {
  tarn_dl_managed_tensor_versioned managed;
  tarn_stream *consumer; /* a reference; NULL: nothing to wait for */
  int64_t numbers[];
} versioned_export;

typedef struct legacy_export {
  tarn_dl_managed_tensor managed;
  tarn_stream *consumer;
  int64_t numbers[];
} legacy_export;

/* --- the end of an export --- */

/* The consumer may have work pending on its stream, which DLPack has no words for: the memory goes
 * behind it. */
static __attribute__((noinline)) void end_behind(tarn_storage *storage, tarn_stream *consumer) {
  const bool is_noted = tarn_storage_note_use(storage, consumer) == TARN_OK ||
                        tarn_stream_synchronize(consumer) == TARN_OK;
  tarn_stream_release(consumer);
  /* A stream that can neither be noted nor waited for may still be at work: memory that is never
   * freed is the lesser evil. */
  if (is_noted) tarn_storage_release(storage);
}

static void end_export(tarn_storage *storage, tarn_stream *consumer) {
  if (consumer == NULL) {
    tarn_storage_release(storage);
  } else {
    end_behind(storage, consumer);
  }
}

static void delete_versioned(tarn_dl_managed_tensor_versioned *managed) {
  versioned_export *self = (versioned_export *)managed;
  end_export(managed->manager_ctx, self->consumer);
  free(self);
}

static void delete_legacy(tarn_dl_managed_tensor *managed) {
  legacy_export *self = (legacy_export *)managed;
  end_export(managed->manager_ctx, self->consumer);
  free(self);
}

tarn_storage *tarn__dlpack_storage_of(const tarn_dl_managed_tensor_versioned *managed) {
  if (managed->deleter != delete_versioned) return NULL;
  return ((const versioned_export *)managed)->consumer == NULL ? managed->manager_ctx : NULL;
}

tarn_storage *tarn__dlpack_storage_of_legacy(const tarn_dl_managed_tensor *managed) {
  if (managed->deleter != delete_legacy) return NULL;
  return ((const legacy_export *)managed)->consumer == NULL ? managed->manager_ctx : NULL;
}

void tarn__dlpack_forget(void *managed) {
  free(managed);
}

/* --- what is exported --- */

typedef struct export_plan {
  tarn_tensor tensor; /* owns one reference, which the export takes */
  tarn_device device;
  uint64_t flags;
  tarn_stream *consumer; /* borrowed */
} export_plan;

/* A tensor is a value, so somebody may have written any numbers into it. */
static tarn_status check_tensor(const tarn_tensor *tensor) {
  if (tensor == NULL || tensor->storage == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "an export of a tensor without a storage");
  }
  const size_t element_bytes = tarn_dtype_size_bytes(tensor->dtype);
  if (element_bytes == 0) return tarn_dtype_check(tensor->dtype);
  if (tensor->layout.rank < 0 || tensor->layout.rank > TARN_RANK_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "an export of a tensor of rank %d",
                     tensor->layout.rank);
  }
  int64_t first, end;
  tarn_layout_bounds(&tensor->layout, &first, &end);
  const size_t size_bytes = tarn_storage_size_bytes(tensor->storage);
  if (first >= 0 && (uint64_t)end <= size_bytes / element_bytes) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "elements %" PRId64 " to %" PRId64 " do not lie in a storage of %zu bytes",
                   first, end - 1, size_bytes);
}

/* As DLPack numbers them: memory that the CPU reaches has index 0. */
static tarn_device exported_device(tarn_device device) {
  return tarn_device_is_host(device) ? tarn_device_make(device.type, 0) : device;
}

/* Whether memory of `from` is memory of `wanted` as it is. */
static bool is_reachable(tarn_device from, tarn_device wanted) {
  if (wanted.type == TARN_DEVICE_CPU) return tarn_device_is_host(from);
  return tarn_device_equal(exported_device(from), exported_device(wanted));
}

static tarn_status check_options(const tarn_dlpack_export_options *options) {
  const uint32_t known =
      TARN_DLPACK_EXPORT_COPIED | TARN_DLPACK_EXPORT_READ_ONLY | TARN_DLPACK_EXPORT_UNMARKED;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_dlpack_export_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  if ((options->flags & ~known) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown export flags 0x%x", options->flags);
  }
  if ((uint32_t)options->copy > TARN_DLPACK_COPY_ALWAYS) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown way to copy %d", (int)options->copy);
  }
  return TARN_OK;
}

static tarn_status check_copy_pool(const tarn_dlpack_export_options *options, tarn_device wanted) {
  if (options->pool == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "an export that has to copy, and no pool for the copy");
  }
  const tarn_device device = tarn_pool_attributes_of(options->pool)->device;
  if (is_reachable(device, wanted)) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "a copy for device type %d index %d, and pool %s lies on type %d index %d",
                   (int)wanted.type, (int)wanted.index, tarn_pool_name(options->pool),
                   (int)device.type, (int)device.index);
}

/* Replaces the plan's borrowed tensor by a packed copy that it owns. */
static tarn_status copy_out(const tarn_dlpack_export_options *options, export_plan *plan) {
  tarn_tensor copy;
  tarn_status status = check_copy_pool(options, plan->device);
  if (status != TARN_OK) return status;
  status = tarn_tensor_create(options->pool, plan->tensor.dtype, plan->tensor.layout.rank,
                              plan->tensor.layout.shape, options->producer, &copy);
  if (status != TARN_OK) return status;
  status = tarn_tensor_copy(&copy, &plan->tensor, options->producer, NULL);
  if (status != TARN_OK) {
    tarn_tensor_release(&copy);
    return status;
  }
  plan->tensor = copy;
  plan->flags |= TARN_DL_IS_COPIED;
  return TARN_OK;
}

/* Work enqueued on the consumer's stream from now on lies behind that on the producer's. */
static tarn_status order_streams(tarn_stream *producer, tarn_stream *consumer) {
  tarn_fence *fence;
  if (producer == consumer || tarn_stream_is_synchronous(producer)) return TARN_OK;
  tarn_status status = tarn_fence_create(producer, &fence);
  if (status != TARN_OK) return status;
  status = tarn_fence_record(fence, producer);
  if (status == TARN_OK) status = tarn_stream_wait(consumer, fence);
  tarn_fence_destroy(fence);
  return status;
}

static bool must_copy(const tarn_dlpack_export_options *options, tarn_device from) {
  if (options->copy == TARN_DLPACK_COPY_ALWAYS) return true;
  return options->device.type != 0 && !is_reachable(from, options->device);
}

/* What the flags of the export say, once it is known which storage it is. */
static void mark(uint32_t option_flags, export_plan *plan) {
  if (option_flags & TARN_DLPACK_EXPORT_COPIED) plan->flags |= TARN_DL_IS_COPIED;
  if (option_flags & TARN_DLPACK_EXPORT_READ_ONLY) plan->flags |= TARN_DL_READ_ONLY;
  if (tarn_storage_is_read_only(plan->tensor.storage)) plan->flags |= TARN_DL_READ_ONLY;
  if (plan->tensor.dtype.bits == 6) plan->flags |= TARN_DL_SUBBYTE_PADDED;
}

/* The legacy form has no flags: what it cannot say is refused. Before anything is copied. */
static tarn_status check_sayable(const tarn_tensor *tensor, uint32_t flags, bool is_copy) {
  if (tensor->dtype.bits == 6) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "an unversioned managed tensor cannot say that six-bit floats are padded");
  }
  if (flags & TARN_DLPACK_EXPORT_UNMARKED) return TARN_OK;
  const bool is_read_only = (flags & TARN_DLPACK_EXPORT_READ_ONLY) != 0 ||
                            (!is_copy && tarn_storage_is_read_only(tensor->storage));
  if (!is_read_only) return TARN_OK;
  return tarn_fail(TARN_READ_ONLY,
                   "an unversioned managed tensor cannot say that its memory is read-only");
}

/* The general case. On success the plan holds a reference for the export. */
static __attribute__((noinline)) tarn_status plan_export(const tarn_tensor *tensor,
                                                         const tarn_dlpack_export_options *options,
                                                         bool is_legacy, export_plan *plan) {
  tarn_status status = check_options(options);
  if (status != TARN_OK) return status;
  const tarn_device from = tarn_storage_device(tensor->storage);
  const bool is_copy = must_copy(options, from);
  if (is_legacy) status = check_sayable(tensor, options->flags, is_copy);
  if (status != TARN_OK) return status;
  if (is_copy && options->copy == TARN_DLPACK_COPY_NEVER) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "an export of device type %d index %d to type %d index %d needs a copy, and "
                     "none is allowed",
                     (int)from.type, (int)from.index, (int)options->device.type,
                     (int)options->device.index);
  }
  plan->tensor = *tensor;
  plan->device = options->device.type != 0 ? options->device : from;
  if (is_copy) {
    status = copy_out(options, plan);
  } else {
    tarn_tensor_retain(&plan->tensor);
  }
  if (status != TARN_OK) return status;
  status = order_streams(options->producer, options->consumer);
  if (status != TARN_OK) {
    tarn_tensor_release(&plan->tensor);
    return status;
  }
  plan->device = exported_device(plan->device);
  if (!tarn_stream_is_synchronous(options->consumer)) plan->consumer = options->consumer;
  mark(options->flags, plan);
  return TARN_OK;
}

/* The common one: the same memory, no stream. */
static void plan_plainly(const tarn_tensor *tensor, export_plan *plan) {
  plan->tensor = *tensor;
  plan->device = exported_device(tarn_storage_device(tensor->storage));
  mark(0, plan);
  tarn_storage_retain(tensor->storage);
}

/* --- writing it down --- */

static size_t numbers_bytes(const tarn_tensor *tensor) {
  return sizeof(int64_t) * 2 * (size_t)tensor->layout.rank;
}

static void *first_element(const tarn_tensor *tensor) {
  /* Whoever may write says the flag, or the caller of the legacy form. */
  return (void *)(uintptr_t)tarn_tensor_data(tensor);
}

static void write_tensor(const tarn_tensor *tensor, tarn_device device, int64_t *shape,
                         int64_t *strides, tarn_dl_tensor *described) {
  *described = (tarn_dl_tensor){.data = first_element(tensor),
                                .device = device,
                                .ndim = tensor->layout.rank,
                                .dtype = tensor->dtype,
                                .shape = tensor->layout.rank > 0 ? shape : NULL,
                                .strides = tensor->layout.rank > 0 ? strides : NULL};
}

static void write_numbers(const tarn_layout *layout, int64_t *numbers) {
  for (int32_t d = 0; d < layout->rank; d++) {
    numbers[d] = layout->shape[d];
    numbers[layout->rank + d] = layout->strides[d];
  }
}

static tarn_status no_memory(export_plan *plan) {
  tarn_tensor_release(&plan->tensor);
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a managed tensor");
}

tarn_status tarn_dlpack_export(const tarn_tensor *tensor, const tarn_dlpack_export_options *options,
                               tarn_dl_managed_tensor_versioned **managed) {
  if (managed == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the managed tensor");
  *managed = NULL;
  tarn_status status = check_tensor(tensor);
  if (status != TARN_OK) return status;
  export_plan plan = {.flags = 0};
  if (options == NULL) {
    plan_plainly(tensor, &plan);
  } else {
    status = plan_export(tensor, options, /*is_legacy=*/false, &plan);
    if (status != TARN_OK) return status;
  }
  versioned_export *made = malloc(sizeof *made + numbers_bytes(&plan.tensor));
  if (made == NULL) return no_memory(&plan);
  made->managed.version = (tarn_dl_version){TARN_DLPACK_MAJOR, TARN_DLPACK_MINOR};
  made->managed.manager_ctx = plan.tensor.storage;
  made->managed.deleter = delete_versioned;
  made->managed.flags = plan.flags;
  made->consumer = plan.consumer;
  tarn_stream_retain(plan.consumer);
  write_numbers(&plan.tensor.layout, made->numbers);
  write_tensor(&plan.tensor, plan.device, made->numbers, made->numbers + plan.tensor.layout.rank,
               &made->managed.dl_tensor);
  *managed = &made->managed;
  return TARN_OK;
}

tarn_status tarn_dlpack_export_legacy(const tarn_tensor *tensor,
                                      const tarn_dlpack_export_options *options,
                                      tarn_dl_managed_tensor **managed) {
  const tarn_dlpack_export_options defaults = {.struct_size = sizeof defaults};
  if (managed == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the managed tensor");
  *managed = NULL;
  tarn_status status = check_tensor(tensor);
  if (status != TARN_OK) return status;
  export_plan plan = {.flags = 0};
  status = plan_export(tensor, options != NULL ? options : &defaults, /*is_legacy=*/true, &plan);
  if (status != TARN_OK) return status;
  legacy_export *made = malloc(sizeof *made + numbers_bytes(&plan.tensor));
  if (made == NULL) return no_memory(&plan);
  made->managed.manager_ctx = plan.tensor.storage;
  made->managed.deleter = delete_legacy;
  made->consumer = plan.consumer;
  tarn_stream_retain(plan.consumer);
  write_numbers(&plan.tensor.layout, made->numbers);
  write_tensor(&plan.tensor, plan.device, made->numbers, made->numbers + plan.tensor.layout.rank,
               &made->managed.dl_tensor);
  *managed = &made->managed;
  return TARN_OK;
}

tarn_status tarn_dlpack_describe(tarn_tensor *tensor, tarn_dl_tensor *described) {
  if (described == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the description");
  *described = (tarn_dl_tensor){0};
  tarn_status status = check_tensor(tensor);
  if (status == TARN_OK) status = check_sayable(tensor, /*flags=*/0, /*is_copy=*/false);
  if (status != TARN_OK) return status;
  write_tensor(tensor, exported_device(tarn_storage_device(tensor->storage)), tensor->layout.shape,
               tensor->layout.strides, described);
  return TARN_OK;
}
