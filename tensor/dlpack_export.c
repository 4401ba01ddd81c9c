/* dlpack_export.c: tensors handed to other libraries: copies where one is needed, streams ordered,
 * one block of memory for each. */
#include "tensor/dlpack.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tensor/layout.h"
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

/* What the export says, and the one reference that it takes. */
typedef struct export_plan {
  const tarn_tensor *tensor; /* the caller's, or a copy */
  size_t element_bytes;
  tarn_device device;
  uint64_t flags;
  tarn_stream *consumer; /* borrowed */
} export_plan;

static __attribute__((noinline)) tarn_status refuse_outside(const tarn_tensor *tensor) {
  char shape[TARN__NUMBERS_BYTES], strides[TARN__NUMBERS_BYTES];
  const tarn_layout *layout = &tensor->layout;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "sizes %s, strides %s and offset %" PRId64 " leave a storage of %zu bytes",
                   tarn__numbers_text(layout->shape, layout->rank, shape),
                   tarn__numbers_text(layout->strides, layout->rank, strides), layout->offset,
                   tarn_storage_size_bytes(tensor->storage));
}

/* A tensor is a value, so somebody may have written any numbers into it: first those that a walk
 * over its layout relies on, then those that the walk finds. */
static tarn_status check_value(const tarn_tensor *tensor, size_t *element_bytes) {
  if (tensor == NULL || tensor->storage == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "an export of a tensor without a storage");
  }
  if ((uint32_t)tensor->layout.rank > TARN_RANK_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "an export of a tensor of rank %d",
                     tensor->layout.rank);
  }
  *element_bytes = tarn_dtype_size_bytes(tensor->dtype);
  return *element_bytes != 0 ? TARN_OK : tarn_dtype_check(tensor->dtype);
}

/* Copies shape and strides to `numbers` on the way. *data is NULL where there are no elements. */
static inline tarn_status find_elements(const tarn_tensor *tensor, size_t element_bytes,
                                        int64_t *numbers, void **data) {
  const tarn_layout *layout = &tensor->layout;
  const int32_t rank = layout->rank;
  int64_t low = layout->offset, high = low, span;
  bool has_elements = true;
  for (int32_t d = 0; d < rank; d++) {
    const int64_t size = numbers[d] = layout->shape[d];
    const int64_t stride = numbers[rank + d] = layout->strides[d];
    if (size <= 0) {
      if (size < 0) return refuse_outside(tensor);
      has_elements = false;
      continue;
    }
    if (!tarn_int64_mul(size - 1, stride, &span)) return refuse_outside(tensor);
    /* Not by a pointer to one of the two, which would keep both out of registers. */
    const bool fits =
        span < 0 ? tarn_int64_add(low, span, &low) : tarn_int64_add(high, span, &high);
    if (!fits) return refuse_outside(tensor);
  }
  *data = NULL;
  if (!has_elements) return TARN_OK;
  size_t end_bytes;
  if (low < 0 || !tarn_size_mul((size_t)high + 1, element_bytes, &end_bytes) ||
      end_bytes > tarn_storage_size_bytes(tensor->storage)) {
    return refuse_outside(tensor);
  }
  /* Whether the consumer may write is said beside it. */
  *data = (char *)(uintptr_t)tarn_storage_data(tensor->storage) +
          layout->offset * (int64_t)element_bytes;
  return TARN_OK;
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

/* A packed copy that the export will own. */
static tarn_status copy_out(const tarn_tensor *tensor, const tarn_dlpack_export_options *options,
                            export_plan *plan, tarn_tensor *copy) {
  tarn_status status = check_copy_pool(options, plan->device);
  if (status != TARN_OK) return status;
  status = tarn_tensor_create(options->pool, tensor->dtype, tensor->layout.rank,
                              tensor->layout.shape, options->producer, copy);
  if (status != TARN_OK) return status;
  status = tarn_tensor_copy(copy, tensor, options->producer, NULL);
  if (status != TARN_OK) {
    tarn_tensor_release(copy);
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

static uint64_t flags_of(const tarn_tensor *tensor) {
  return (tarn_storage_is_read_only(tensor->storage) ? TARN_DL_READ_ONLY : 0) |
         (tensor->dtype.bits == 6 ? TARN_DL_SUBBYTE_PADDED : 0);
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

/* What an export says that is neither copied nor ordered. */
static inline export_plan plain_plan(const tarn_tensor *tensor, size_t element_bytes) {
  return (export_plan){.tensor = tensor,
                       .element_bytes = element_bytes,
                       .device = tarn_storage_device(tensor->storage),
                       .flags = flags_of(tensor)};
}

static tarn_status refuse_copy(tarn_device from, tarn_device to) {
  return tarn_fail(
      TARN_NOT_SUPPORTED,
      "an export of device type %d index %d to type %d index %d needs a copy, and none "
      "is allowed",
      (int)from.type, (int)from.index, (int)to.type, (int)to.index);
}

/* On success the plan holds a reference for the export; `copy` has to live as long as the plan. */
static tarn_status make_plan(const tarn_tensor *tensor, const tarn_dlpack_export_options *options,
                             bool is_legacy, export_plan *plan, tarn_tensor *copy) {
  int64_t numbers[2 * TARN_RANK_MAX];
  size_t element_bytes;
  void *data;
  tarn_status status = check_options(options);
  if (status == TARN_OK) status = check_value(tensor, &element_bytes);
  if (status == TARN_OK) status = find_elements(tensor, element_bytes, numbers, &data);
  if (status != TARN_OK) return status;
  *plan = plain_plan(tensor, element_bytes);
  const tarn_device from = plan->device;
  const bool is_copy = must_copy(options, from);
  if (is_legacy) status = check_sayable(tensor, options->flags, is_copy);
  if (status != TARN_OK) return status;
  if (is_copy && options->copy == TARN_DLPACK_COPY_NEVER) return refuse_copy(from, options->device);
  if (options->device.type != 0) plan->device = options->device;
  if (is_copy) {
    plan->flags &= ~(uint64_t)TARN_DL_READ_ONLY;
    status = copy_out(tensor, options, plan, copy);
    if (status != TARN_OK) return status;
  } else {
    tarn_storage_retain(tensor->storage);
  }
  status = order_streams(options->producer, options->consumer);
  if (status != TARN_OK) {
    tarn_storage_release(plan->tensor->storage);
    return status;
  }
  if (!tarn_stream_is_synchronous(options->consumer)) plan->consumer = options->consumer;
  if (options->flags & TARN_DLPACK_EXPORT_COPIED) plan->flags |= TARN_DL_IS_COPIED;
  if (options->flags & TARN_DLPACK_EXPORT_READ_ONLY) plan->flags |= TARN_DL_READ_ONLY;
  return TARN_OK;
}

/* --- writing it down --- */

static inline tarn_status write_tensor(export_plan plan, int64_t *numbers,
                                       tarn_dl_tensor *described) {
  const int32_t rank = plan.tensor->layout.rank;
  described->device = exported_device(plan.device);
  described->ndim = rank;
  described->dtype = plan.tensor->dtype;
  described->shape = rank > 0 ? numbers : NULL;
  described->strides = rank > 0 ? numbers + rank : NULL;
  described->byte_offset = 0;
  return find_elements(plan.tensor, plan.element_bytes, numbers, &described->data);
}

static size_t numbers_bytes(const tarn_tensor *tensor) {
  return sizeof(int64_t) * 2 * (size_t)tensor->layout.rank;
}

/* Frees what was made, and drops the plan's reference. */
static __attribute__((noinline)) tarn_status give_up(tarn_storage *storage, void *made,
                                                     tarn_status status) {
  if (made == NULL) status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a managed tensor");
  tarn_storage_release(storage);
  free(made);
  return status;
}

/* The plan comes by value, so that the compiler knows what is in it. */
static inline tarn_status write_versioned(export_plan plan,
                                          tarn_dl_managed_tensor_versioned **managed) {
  tarn_storage *storage = plan.tensor->storage;
  versioned_export *made = malloc(sizeof *made + numbers_bytes(plan.tensor));
  if (made == NULL) return give_up(storage, NULL, TARN_OUT_OF_MEMORY);
  made->managed.version = (tarn_dl_version){TARN_DLPACK_MAJOR, TARN_DLPACK_MINOR};
  made->managed.manager_ctx = storage;
  made->managed.deleter = delete_versioned;
  made->managed.flags = plan.flags;
  made->consumer = plan.consumer;
  const tarn_status status = write_tensor(plan, made->numbers, &made->managed.dl_tensor);
  if (status != TARN_OK) return give_up(storage, made, status);
  if (plan.consumer != NULL) tarn_stream_retain(plan.consumer);
  *managed = &made->managed;
  return TARN_OK;
}

static tarn_status write_legacy(export_plan plan, tarn_dl_managed_tensor **managed) {
  tarn_storage *storage = plan.tensor->storage;
  legacy_export *made = malloc(sizeof *made + numbers_bytes(plan.tensor));
  if (made == NULL) return give_up(storage, NULL, TARN_OUT_OF_MEMORY);
  made->managed.manager_ctx = storage;
  made->managed.deleter = delete_legacy;
  made->consumer = plan.consumer;
  const tarn_status status = write_tensor(plan, made->numbers, &made->managed.dl_tensor);
  if (status != TARN_OK) return give_up(storage, made, status);
  if (plan.consumer != NULL) tarn_stream_retain(plan.consumer);
  *managed = &made->managed;
  return TARN_OK;
}

/* --- the calls --- */

static __attribute__((noinline)) tarn_status export_with(
    const tarn_tensor *tensor, const tarn_dlpack_export_options *options,
    tarn_dl_managed_tensor_versioned **managed) {
  export_plan plan;
  tarn_tensor copy;
  const tarn_status status = make_plan(tensor, options, /*is_legacy=*/false, &plan, &copy);
  return status == TARN_OK ? write_versioned(plan, managed) : status;
}

tarn_status tarn_dlpack_export(const tarn_tensor *tensor, const tarn_dlpack_export_options *options,
                               tarn_dl_managed_tensor_versioned **managed) {
  size_t element_bytes;
  if (managed == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the managed tensor");
  *managed = NULL;
  if (options != NULL) return export_with(tensor, options, managed);
  const tarn_status status = check_value(tensor, &element_bytes);
  if (status != TARN_OK) return status;
  tarn_storage_retain(tensor->storage);
  return write_versioned(plain_plan(tensor, element_bytes), managed);
}

tarn_status tarn_dlpack_export_legacy(const tarn_tensor *tensor,
                                      const tarn_dlpack_export_options *options,
                                      tarn_dl_managed_tensor **managed) {
  const tarn_dlpack_export_options defaults = {.struct_size = sizeof defaults};
  export_plan plan;
  tarn_tensor copy;
  if (managed == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the managed tensor");
  *managed = NULL;
  if (options == NULL) options = &defaults;
  const tarn_status status = make_plan(tensor, options, /*is_legacy=*/true, &plan, &copy);
  return status == TARN_OK ? write_legacy(plan, managed) : status;
}

tarn_status tarn_dlpack_describe(tarn_tensor *tensor, tarn_dl_tensor *described) {
  int64_t numbers[2 * TARN_RANK_MAX];
  size_t element_bytes;
  void *data;
  if (described == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the description");
  *described = (tarn_dl_tensor){0};
  tarn_status status = check_value(tensor, &element_bytes);
  if (status == TARN_OK) status = find_elements(tensor, element_bytes, numbers, &data);
  if (status == TARN_OK) status = check_sayable(tensor, /*flags=*/0, /*is_copy=*/false);
  if (status != TARN_OK) return status;
  const bool has_numbers = tensor->layout.rank > 0;
  *described = (tarn_dl_tensor){.data = data,
                                .device = exported_device(tarn_storage_device(tensor->storage)),
                                .ndim = tensor->layout.rank,
                                .dtype = tensor->dtype,
                                .shape = has_numbers ? tensor->layout.shape : NULL,
                                .strides = has_numbers ? tensor->layout.strides : NULL};
  return TARN_OK;
}
