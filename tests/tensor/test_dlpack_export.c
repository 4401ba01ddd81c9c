/* test_dlpack_export.c: tests of tensor/dlpack_export.c, and of what comes back from an import. */
#include "tests/support/pools.h"

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "tensor/tarn_dlpack.h"

#define SHAPE(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), ((int64_t[]){__VA_ARGS__})

static tarn_pool *pool;

static int make_pool(void **state) {
  (void)state;
  pool = pages_pool(NULL);
  return 0;
}

static int drop_pool(void **state) {
  (void)state;
  tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.alloc_count, stats.free_count);
  tarn_pool_release(pool);
  return 0;
}

/* A pool whose memory says that it lies on `device`. It really is the host's. */
static tarn_pool *pool_on(tarn_device device, void *range, size_t size_bytes) {
  const tarn_fixed_options options = {.struct_size = sizeof options, .device = device};
  tarn_provider *provider;
  assert_ok(tarn_fixed_provider_create(range, size_bytes, &options, &provider));
  return pool_over(provider, NULL);
}

static tarn_tensor counting_matrix(void) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, TARN_F32, SHAPE(3, 4), NULL, &tensor));
  float *values = tarn_tensor_data_mutable(&tensor);
  for (int i = 0; i < 12; i++) values[i] = (float)i;
  return tensor;
}

static tarn_tensor read_only_values(const float *values, size_t size_bytes) {
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = (void *)(uintptr_t)values,
                          .size_bytes = size_bytes,
                          .flags = TARN_STORAGE_READ_ONLY};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_F32, SHAPE((int64_t)(size_bytes / 4)), NULL, 0, &tensor));
  return tensor;
}

/* Exports and checks against the tensor; the caller deletes. */
static tarn_dl_managed_tensor_versioned *exported(const tarn_tensor *tensor) {
  tarn_dl_managed_tensor_versioned *managed;
  assert_ok(tarn_dlpack_export(tensor, NULL, &managed));
  const tarn_dl_tensor *dl = &managed->dl_tensor;
  assert_int_equal(managed->version.major, 1);
  assert_int_equal(managed->version.minor, 3);
  assert_int_equal(dl->ndim, tensor->layout.rank);
  assert_int_equal(dl->byte_offset, 0);
  assert_ptr_equal(dl->data, tarn_tensor_data(tensor));
  assert_true(tarn_dtype_equal(dl->dtype, tensor->dtype));
  for (int32_t d = 0; d < dl->ndim; d++) {
    assert_int_equal(dl->shape[d], tensor->layout.shape[d]);
    assert_int_equal(dl->strides[d], tensor->layout.strides[d]);
  }
  return managed;
}

/* There and back again: the same bytes, shape, strides. Takes and releases nothing of `tensor`. */
static void goes_round(const tarn_tensor *tensor) {
  const tarn_dlpack_import_options any = {.struct_size = sizeof any,
                                          .flags = TARN_DLPACK_IMPORT_ANY_DTYPE};
  const size_t use_count = tarn_storage_use_count(tensor->storage);
  tarn_tensor back;
  tarn_dl_managed_tensor_versioned *managed = exported(tensor);
  assert_int_equal(tarn_storage_use_count(tensor->storage), use_count + 1);
  assert_ok(tarn_dlpack_import(managed, &any, &back));
  assert_ptr_equal(tarn_tensor_data(&back), tarn_tensor_data(tensor));
  assert_true(tarn_layout_equal(&back.layout, &tensor->layout));
  assert_true(tarn_dtype_equal(back.dtype, tensor->dtype));
  tarn_tensor_release(&back);
  assert_int_equal(tarn_storage_use_count(tensor->storage), use_count);
}

/* --- what an export says --- */

TEST(an_export_holds_one_reference_until_it_is_deleted) {
  tarn_tensor tensor = counting_matrix();
  tarn_storage *storage = tensor.storage;
  tarn_dl_managed_tensor_versioned *managed = exported(&tensor);
  assert_int_equal(managed->flags, 0);
  assert_int_equal(managed->dl_tensor.device.type, TARN_DEVICE_CPU);
  assert_int_equal(tarn_storage_use_count(storage), 2);
  tarn_storage_weak_retain(storage);
  tarn_tensor_release(&tensor);
  ((float *)managed->dl_tensor.data)[11] = 5; /* the export keeps the bytes */
  managed->deleter(managed);
  assert_false(tarn_storage_lock(storage));
  tarn_storage_weak_release(storage);
}

TEST(every_element_type_goes_round) {
  int seen = 0;
  for (int code = 0; code < 20; code++) {
    for (int bits = 1; bits <= 128; bits++) {
      for (int lanes = 1; lanes <= 8; lanes++) {
        tarn_tensor tensor;
        const tarn_dtype dtype = tarn_dtype_make((tarn_dtype_code)code, bits, lanes);
        if (tarn_dtype_size_bytes(dtype) == 0) continue;
        assert_ok(tarn_tensor_create(pool, dtype, SHAPE(2, 3), NULL, &tensor));
        goes_round(&tensor);
        tarn_tensor_release(&tensor);
        seen++;
      }
    }
  }
  assert_true(seen > 200);
}

TEST(writes_are_seen_on_both_sides) {
  tarn_tensor tensor = counting_matrix();
  tarn_tensor back;
  assert_ok(tarn_dlpack_import(exported(&tensor), NULL, &back));
  ((float *)tarn_tensor_data_mutable(&back))[5] = 50;
  ((float *)tarn_tensor_data_mutable(&tensor))[6] = 60;
  assert_true(((const float *)tarn_tensor_data(&tensor))[5] == 50);
  assert_true(((const float *)tarn_tensor_data(&back))[6] == 60);
  tarn_tensor_release(&back);
  tarn_tensor_release(&tensor);
}

TEST(views_keep_their_shape_and_strides) {
  tarn_tensor matrix = counting_matrix();
  tarn_tensor view = matrix;
  assert_ok(tarn_tensor_transpose(&view, 0, 1));
  goes_round(&view);
  view = matrix;
  assert_ok(tarn_tensor_slice(&view, 1, 1, 4, 2)); /* with an offset */
  goes_round(&view);
  view = matrix;
  assert_ok(tarn_tensor_slice(&view, 0, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1)); /* flipped */
  assert_ok(tarn_tensor_slice(&view, 1, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -3));
  goes_round(&view);
  view = matrix;
  assert_ok(tarn_tensor_expand(&view, SHAPE(5, 3, 4)));
  goes_round(&view);
  tarn_tensor_release(&matrix);
}

TEST(a_scalar_has_neither_shape_nor_strides) {
  tarn_tensor tensor = counting_matrix();
  assert_ok(tarn_tensor_select(&tensor, 0, 1));
  assert_ok(tarn_tensor_select(&tensor, 0, 2));
  tarn_dl_managed_tensor_versioned *managed = exported(&tensor);
  assert_null(managed->dl_tensor.shape);
  assert_null(managed->dl_tensor.strides);
  assert_true(*(float *)managed->dl_tensor.data == 6);
  managed->deleter(managed);
  goes_round(&tensor);
  tarn_tensor_release(&tensor);
}

TEST(a_tensor_without_elements_has_no_data_and_its_shape) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, TARN_F32, SHAPE(0, 2), NULL, &tensor));
  tarn_dl_managed_tensor_versioned *managed = exported(&tensor);
  assert_null(managed->dl_tensor.data);
  managed->deleter(managed);
  goes_round(&tensor);
  tarn_tensor_release(&tensor);
  tensor = counting_matrix(); /* bytes, and a view of none of them */
  assert_ok(tarn_tensor_narrow(&tensor, 1, 3, 0));
  goes_round(&tensor);
  tarn_tensor_release(&tensor);
}

TEST(strides_of_size_one_stay_as_they_are) {
  tarn_tensor tensor = counting_matrix();
  assert_ok(tarn_tensor_as_strided(&tensor, SHAPE(1, 4, 1), ((int64_t[]){77, 1, -9}), 0));
  goes_round(&tensor);
  tarn_tensor_release(&tensor);
}

TEST(the_largest_rank_goes_round) {
  tarn_tensor tensor;
  assert_ok(
      tarn_tensor_create(pool, TARN_I16, SHAPE(1, 2, 1, 2, 1, 2, 3, 1, 1, 2, 1, 2), NULL, &tensor));
  assert_int_equal(tensor.layout.rank, TARN_RANK_MAX);
  goes_round(&tensor);
  tarn_tensor_release(&tensor);
}

TEST(devices_are_told_by_their_storage) {
  static _Alignas(4096) char range[1 << 16];
  static const tarn_device devices[] = {
      {TARN_DEVICE_CUDA, 3}, {TARN_DEVICE_CUDA_HOST, 0}, {TARN_DEVICE_CUDA_MANAGED, 2}};
  for (size_t i = 0; i < COUNT_OF(devices); i++) {
    tarn_pool *other = pool_on(devices[i], range, sizeof range);
    tarn_tensor tensor;
    assert_ok(tarn_tensor_create(other, TARN_U8, SHAPE(5), NULL, &tensor));
    tarn_dl_managed_tensor_versioned *managed = exported(&tensor);
    assert_int_equal(managed->dl_tensor.device.type, devices[i].type);
    /* DLPack numbers memory that the CPU reaches 0, managed memory as well. */
    assert_int_equal(managed->dl_tensor.device.index, devices[i].type == TARN_DEVICE_CUDA ? 3 : 0);
    managed->deleter(managed);
    goes_round(&tensor);
    tarn_tensor_release(&tensor);
    tarn_pool_release(other);
  }
}

/* --- flags --- */

TEST(read_only_is_told_and_kept_over_a_second_export) {
  static const float values[4] = {1, 2, 3, 4};
  tarn_tensor tensor = read_only_values(values, sizeof values);
  tarn_dl_managed_tensor_versioned *managed = exported(&tensor);
  assert_int_equal(managed->flags, TARN_DL_READ_ONLY);
  tarn_tensor back, again;
  assert_ok(tarn_dlpack_import(managed, NULL, &back));
  assert_null(tarn_tensor_data_mutable(&back));
  managed = exported(&back);
  assert_int_equal(managed->flags, TARN_DL_READ_ONLY);
  assert_ok(tarn_dlpack_import(managed, NULL, &again));
  assert_true(tarn_storage_is_read_only(again.storage));
  tarn_tensor_release(&again);
  tarn_tensor_release(&back);
  tarn_tensor_release(&tensor);
}

TEST(a_flag_makes_an_export_read_only_though_tarn_may_write) {
  const tarn_dlpack_export_options options = {.struct_size = sizeof options,
                                              .flags = TARN_DLPACK_EXPORT_READ_ONLY};
  tarn_tensor tensor = counting_matrix(), back;
  tarn_dl_managed_tensor_versioned *managed;
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  assert_int_equal(managed->flags, TARN_DL_READ_ONLY);
  assert_ok(tarn_dlpack_import(managed, NULL, &back));
  assert_non_null(tarn_tensor_data(&back));
  assert_null(tarn_tensor_data_mutable(&back)); /* so it is not the storage that may be written */
  tarn_tensor_release(&tensor);
  assert_true(((const float *)tarn_tensor_data(&back))[11] == 11);
  tarn_tensor_release(&back);
}

TEST(what_the_caller_has_copied_is_marked_as_such) {
  const tarn_dlpack_export_options options = {.struct_size = sizeof options,
                                              .flags = TARN_DLPACK_EXPORT_COPIED};
  tarn_tensor tensor = counting_matrix();
  tarn_dl_managed_tensor_versioned *managed;
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  assert_int_equal(managed->flags, TARN_DL_IS_COPIED);
  assert_ptr_equal(managed->dl_tensor.data, tarn_tensor_data(&tensor));
  managed->deleter(managed);
  tarn_tensor_release(&tensor);
}

TEST(six_bit_floats_say_that_they_are_padded) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, tarn_dtype_make(TARN_CODE_FLOAT6_E3M2FN, 6, 1), SHAPE(7), NULL,
                               &tensor));
  tarn_dl_managed_tensor_versioned *managed = exported(&tensor);
  assert_int_equal(managed->flags, TARN_DL_SUBBYTE_PADDED);
  managed->deleter(managed);
  tarn_dl_managed_tensor *legacy;
  assert_status(tarn_dlpack_export_legacy(&tensor, NULL, &legacy), TARN_NOT_SUPPORTED);
  tarn_tensor_release(&tensor);
  assert_ok(tarn_tensor_create(pool, tarn_dtype_make(TARN_CODE_FLOAT4_E2M1FN, 4, 2), SHAPE(7), NULL,
                               &tensor));
  managed = exported(&tensor);
  assert_int_equal(managed->flags, 0); /* two to a byte is packed */
  managed->deleter(managed);
  tarn_tensor_release(&tensor);
}

/* --- copies --- */

TEST(a_copy_is_other_memory_packed_and_marked) {
  const tarn_dlpack_export_options options = {
      .struct_size = sizeof options, .copy = TARN_DLPACK_COPY_ALWAYS, .pool = pool};
  tarn_tensor tensor = counting_matrix();
  assert_ok(tarn_tensor_transpose(&tensor, 0, 1));
  tarn_dl_managed_tensor_versioned *managed;
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  assert_int_equal(managed->flags, TARN_DL_IS_COPIED);
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  assert_ptr_not_equal(managed->dl_tensor.data, tarn_tensor_data(&tensor));
  assert_int_equal(managed->dl_tensor.strides[0], 3);
  assert_int_equal(managed->dl_tensor.strides[1], 1);
  tarn_tensor_release(&tensor);
  const float *values = managed->dl_tensor.data;
  for (int row = 0; row < 4; row++) {
    for (int column = 0; column < 3; column++) {
      assert_true(values[row * 3 + column] == (float)(column * 4 + row));
    }
  }
  managed->deleter(managed);
}

TEST(a_copy_of_read_only_memory_may_be_written) {
  static const float constants[4] = {1, 2, 3, 4};
  const tarn_dlpack_export_options options = {
      .struct_size = sizeof options, .copy = TARN_DLPACK_COPY_ALWAYS, .pool = pool};
  tarn_tensor tensor = read_only_values(constants, sizeof constants);
  tarn_dl_managed_tensor_versioned *managed;
  tarn_dl_managed_tensor *legacy;
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  assert_int_equal(managed->flags, TARN_DL_IS_COPIED);
  assert_ok(tarn_dlpack_export_legacy(&tensor, &options, &legacy));
  assert_memory_equal(legacy->dl_tensor.data, constants, sizeof constants);
  managed->deleter(managed);
  legacy->deleter(legacy);
  tarn_tensor_release(&tensor);
}

TEST(another_device_needs_a_copy_and_never_refuses_it) {
  static _Alignas(4096) char range[1 << 16];
  tarn_pool *pinned = pool_on(tarn_device_make(TARN_DEVICE_CUDA_HOST, 0), range, sizeof range);
  tarn_dlpack_export_options options = {.struct_size = sizeof options,
                                        .copy = TARN_DLPACK_COPY_NEVER,
                                        .device = {TARN_DEVICE_CUDA_HOST, 0},
                                        .pool = pinned};
  tarn_tensor tensor = counting_matrix();
  tarn_dl_managed_tensor_versioned *managed = (void *)&managed;
  assert_status(tarn_dlpack_export(&tensor, &options, &managed), TARN_NOT_SUPPORTED);
  assert_null(managed);
  options.copy = TARN_DLPACK_COPY_IF_NEEDED;
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  assert_int_equal(managed->flags, TARN_DL_IS_COPIED);
  assert_int_equal(managed->dl_tensor.device.type, TARN_DEVICE_CUDA_HOST);
  assert_memory_equal(managed->dl_tensor.data, tarn_tensor_data(&tensor), 48);
  managed->deleter(managed);
  options.pool = pool; /* lies elsewhere */
  assert_status(tarn_dlpack_export(&tensor, &options, &managed), TARN_INVALID_ARGUMENT);
  options.pool = NULL;
  assert_status(tarn_dlpack_export(&tensor, &options, &managed), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  tarn_tensor_release(&tensor);
  tarn_pool_release(pinned);
}

TEST(memory_that_the_cpu_reaches_is_the_cpus_without_a_copy) {
  static _Alignas(4096) char range[1 << 16];
  const tarn_dlpack_export_options options = {.struct_size = sizeof options,
                                              .copy = TARN_DLPACK_COPY_NEVER,
                                              .device = {TARN_DEVICE_CPU, 0}};
  tarn_pool *pinned = pool_on(tarn_device_make(TARN_DEVICE_CUDA_HOST, 0), range, sizeof range);
  tarn_tensor tensor;
  tarn_dl_managed_tensor_versioned *managed;
  assert_ok(tarn_tensor_create(pinned, TARN_U8, SHAPE(5), NULL, &tensor));
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  assert_int_equal(managed->dl_tensor.device.type, TARN_DEVICE_CPU);
  assert_int_equal(managed->flags, 0);
  assert_ptr_equal(managed->dl_tensor.data, tarn_tensor_data(&tensor));
  managed->deleter(managed);
  tarn_tensor_release(&tensor);
  tarn_pool_release(pinned);
}

/* --- the unversioned form --- */

TEST(the_legacy_form_goes_round) {
  tarn_tensor tensor = counting_matrix(), back;
  assert_ok(tarn_tensor_transpose(&tensor, 0, 1));
  tarn_dl_managed_tensor *managed;
  assert_ok(tarn_dlpack_export_legacy(&tensor, NULL, &managed));
  assert_int_equal(tarn_storage_use_count(tensor.storage), 2);
  assert_int_equal(managed->dl_tensor.strides[0], 1);
  assert_int_equal(managed->dl_tensor.strides[1], 4);
  managed->deleter(managed);
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  assert_ok(tarn_dlpack_export_legacy(&tensor, NULL, &managed));
  assert_ok(tarn_dlpack_import_legacy(managed, NULL, &back));
  assert_ptr_equal(tarn_tensor_data(&back), tarn_tensor_data(&tensor));
  assert_true(tarn_layout_equal(&back.layout, &tensor.layout));
  tarn_tensor_release(&back);
  tarn_tensor_release(&tensor);
}

TEST(the_legacy_form_of_read_only_memory_needs_a_word_of_the_callers) {
  static const float values[4] = {1, 2, 3, 4};
  tarn_dlpack_export_options options = {.struct_size = sizeof options};
  tarn_tensor tensor = read_only_values(values, sizeof values);
  tarn_dl_managed_tensor *managed;
  assert_status(tarn_dlpack_export_legacy(&tensor, NULL, &managed), TARN_READ_ONLY);
  assert_status(tarn_dlpack_export_legacy(&tensor, &options, &managed), TARN_READ_ONLY);
  assert_null(managed);
  options.flags = TARN_DLPACK_EXPORT_UNMARKED;
  assert_ok(tarn_dlpack_export_legacy(&tensor, &options, &managed));
  assert_ptr_equal(managed->dl_tensor.data, values);
  managed->deleter(managed);
  tarn_tensor_release(&tensor);
  tensor = counting_matrix();
  options.flags = TARN_DLPACK_EXPORT_READ_ONLY;
  assert_status(tarn_dlpack_export_legacy(&tensor, &options, &managed), TARN_READ_ONLY);
  tarn_tensor_release(&tensor);
}

/* --- descriptions --- */

TEST(a_description_points_into_the_tensor_and_owns_nothing) {
  tarn_tensor tensor = counting_matrix(), again;
  tarn_dl_tensor described;
  assert_ok(tarn_tensor_slice(&tensor, 0, 1, 3, 1));
  assert_ok(tarn_dlpack_describe(&tensor, &described));
  assert_ptr_equal(described.shape, tensor.layout.shape);
  assert_ptr_equal(described.strides, tensor.layout.strides);
  assert_ptr_equal(described.data, tarn_tensor_data(&tensor));
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  assert_ok(tarn_dlpack_view(&described, NULL, &again));
  assert_ptr_equal(tarn_tensor_data(&again), tarn_tensor_data(&tensor));
  assert_ptr_not_equal(again.storage, tensor.storage);
  tarn_tensor_release(&again);
  tarn_tensor_release(&tensor);
  static const float values[1] = {1};
  tensor = read_only_values(values, sizeof values);
  assert_status(tarn_dlpack_describe(&tensor, &described), TARN_READ_ONLY);
  assert_null(described.data);
  tarn_tensor_release(&tensor);
}

/* --- what is refused --- */

TEST(a_tensor_that_leaves_its_storage_is_not_exported) {
  tarn_dl_managed_tensor_versioned *managed;
  tarn_dl_tensor described;
  tarn_tensor good = counting_matrix();
  for (int kind = 0; kind < 9; kind++) {
    tarn_tensor bad = good;
    if (kind == 0) bad.layout.offset = 1;
    if (kind == 1) bad.layout.offset = -1;
    if (kind == 2) bad.layout.shape[0] = 4;
    if (kind == 3) bad.layout.strides[1] = -1;
    if (kind == 4) bad.layout.rank = TARN_RANK_MAX + 1;
    if (kind == 5) bad.layout.rank = -1;
    if (kind == 6) bad.layout.shape[1] = -2;
    if (kind == 7) bad.layout.strides[0] = INT64_MAX;
    if (kind == 8) bad.layout.offset = INT64_MAX;
    assert_status(tarn_dlpack_export(&bad, NULL, &managed), TARN_INVALID_ARGUMENT);
    assert_null(managed);
    const tarn_dlpack_export_options options = {.struct_size = sizeof options};
    assert_status(tarn_dlpack_export(&bad, &options, &managed), TARN_INVALID_ARGUMENT);
    assert_status(tarn_dlpack_describe(&bad, &described), TARN_INVALID_ARGUMENT);
  }
  assert_int_equal(tarn_storage_use_count(good.storage), 1);
  tarn_tensor_release(&good);
}

TEST(bad_arguments_of_an_export_are_refused) {
  tarn_dl_managed_tensor_versioned *managed;
  tarn_dl_managed_tensor *legacy;
  tarn_dl_tensor described;
  tarn_tensor tensor = counting_matrix(), none = {0};
  tarn_dlpack_export_options options = {.struct_size = sizeof options};
  assert_status(tarn_dlpack_export(&tensor, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_dlpack_export_legacy(&tensor, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_dlpack_describe(&tensor, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_dlpack_export(NULL, NULL, &managed), TARN_INVALID_ARGUMENT);
  assert_status(tarn_dlpack_export_legacy(NULL, NULL, &legacy), TARN_INVALID_ARGUMENT);
  assert_status(tarn_dlpack_describe(NULL, &described), TARN_INVALID_ARGUMENT);
  assert_status(tarn_dlpack_export(&none, NULL, &managed), TARN_INVALID_ARGUMENT);
  options.flags = 1u << 9;
  assert_status(tarn_dlpack_export(&tensor, &options, &managed), TARN_INVALID_ARGUMENT);
  options = (tarn_dlpack_export_options){.struct_size = 8};
  assert_status(tarn_dlpack_export(&tensor, &options, &managed), TARN_INVALID_ARGUMENT);
  options =
      (tarn_dlpack_export_options){.struct_size = sizeof options, .copy = (tarn_dlpack_copy)3};
  assert_status(tarn_dlpack_export(&tensor, &options, &managed), TARN_INVALID_ARGUMENT);
  tarn_tensor odd = tensor;
  odd.dtype.bits = 12;
  assert_status(tarn_dlpack_export(&odd, NULL, &managed), TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(make_pool, drop_pool);
}
