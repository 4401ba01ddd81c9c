/* test_dlpack_import.c: tests of tensor/dlpack_import.c: good producers, and forty bad ones. */
#include "tests/tensor/dlpack_foreign.h"

#include <stdlib.h>
#include <string.h>

static bool is_zeroed(const tarn_tensor *tensor) {
  static const tarn_tensor zero;
  return memcmp(tensor, &zero, sizeof zero) == 0;
}

/* Imports the versioned form and looks whether all is given back once. */
static void is_accepted(foreign *self, tarn_tensor *tensor) {
  foreign_finish(self);
  assert_ok(tarn_dlpack_import(&self->versioned, NULL, tensor));
  assert_int_equal(self->deleted_count, 0);
}

static void is_given_back(foreign *self, tarn_tensor *tensor) {
  assert_int_equal(self->deleted_count, 0);
  tarn_tensor_release(tensor);
  assert_int_equal(self->deleted_count, self->versioned.deleter != NULL ? 1 : 0);
}

/* --- good producers --- */

TEST(an_import_wraps_the_producers_memory_and_deletes_once) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  is_accepted(&self, &tensor);
  assert_ptr_equal(tarn_tensor_data(&tensor), self.bytes);
  assert_ptr_equal(tarn_tensor_data_mutable(&tensor), self.bytes);
  assert_int_equal(tarn_storage_size_bytes(tensor.storage), 48);
  assert_null(tarn_storage_pool(tensor.storage));
  tarn_tensor view = tensor;
  tarn_tensor_retain(&view);
  tarn_tensor_release(&tensor);
  is_given_back(&self, &view);
}

TEST(the_legacy_form_is_wrapped_as_well) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  self.strides[0] = -4; /* from the end backwards */
  self.versioned.dl_tensor.data = self.bytes + 32;
  foreign_finish(&self);
  assert_ok(tarn_dlpack_import_legacy(&self.legacy, NULL, &tensor));
  assert_ptr_equal(tarn_tensor_data(&tensor), self.bytes + 32);
  assert_ptr_equal(tarn_storage_data(tensor.storage), self.bytes);
  is_given_back(&self, &tensor);
}

TEST(no_strides_are_row_major) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  self.versioned.dl_tensor.strides = NULL;
  is_accepted(&self, &tensor);
  assert_true(tarn_tensor_is_contiguous(&tensor));
  assert_int_equal(tensor.layout.strides[0], 4);
  assert_int_equal(tensor.layout.strides[1], 1);
  is_given_back(&self, &tensor);
  foreign_begin(&self);
  self.versioned.dl_tensor.strides = NULL;
  self.versioned.dl_tensor.ndim = 3;
  memcpy(self.shape, (int64_t[]){2, 0, 3}, 24);
  is_accepted(&self, &tensor);
  assert_int_equal(tensor.layout.strides[0], 3);
  assert_int_equal(tensor.layout.strides[1], 3);
  is_given_back(&self, &tensor);
}

TEST(a_scalar_needs_neither_shape_nor_strides) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  self.versioned.dl_tensor.ndim = 0;
  self.versioned.dl_tensor.shape = NULL;
  self.versioned.dl_tensor.strides = NULL;
  is_accepted(&self, &tensor);
  assert_int_equal(tarn_tensor_element_count(&tensor), 1);
  assert_int_equal(tarn_storage_size_bytes(tensor.storage), 4);
  is_given_back(&self, &tensor);
}

TEST(without_elements_the_address_does_not_matter) {
  static char *const addresses[] = {NULL, (char *)1, (char *)UINTPTR_MAX};
  for (size_t i = 0; i < COUNT_OF(addresses); i++) {
    foreign self;
    tarn_tensor tensor;
    foreign_begin(&self);
    self.shape[1] = 0;
    self.versioned.dl_tensor.data = addresses[i];
    is_accepted(&self, &tensor);
    assert_null(tarn_tensor_data(&tensor));
    assert_int_equal(tarn_storage_size_bytes(tensor.storage), 0);
    assert_int_equal(tensor.layout.shape[0], 3);
    assert_int_equal(tensor.layout.strides[0], 4);
    is_given_back(&self, &tensor);
  }
}

TEST(byte_offset_is_counted_from_the_data) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  self.versioned.dl_tensor.byte_offset = 8;
  is_accepted(&self, &tensor);
  assert_ptr_equal(tarn_tensor_data(&tensor), self.bytes + 8);
  is_given_back(&self, &tensor);
}

TEST(negative_strides_reach_below_the_first_element) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  memcpy(self.strides, (int64_t[]){-4, -1}, 16);
  self.versioned.dl_tensor.byte_offset = 64; /* the 17th float; the lowest is the 6th */
  is_accepted(&self, &tensor);
  assert_ptr_equal(tarn_tensor_data(&tensor), self.bytes + 64);
  assert_ptr_equal(tarn_storage_data(tensor.storage), self.bytes + 20);
  assert_int_equal(tarn_storage_size_bytes(tensor.storage), 48);
  assert_int_equal(tensor.layout.offset, 11);
  assert_ok(tarn_tensor_slice(&tensor, 0, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1));
  assert_ptr_equal(tarn_tensor_data(&tensor), self.bytes + 64 - 32);
  is_given_back(&self, &tensor);
}

TEST(broadcast_and_odd_strides_are_kept) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  self.versioned.dl_tensor.ndim = 4;
  memcpy(self.shape, (int64_t[]){7, 1, 2, 1}, 32);
  memcpy(self.strides, (int64_t[]){0, 99, 5, -1234}, 32);
  is_accepted(&self, &tensor);
  assert_memory_equal(tensor.layout.strides, self.strides, 32);
  assert_int_equal(tarn_storage_size_bytes(tensor.storage), 24);
  is_given_back(&self, &tensor);
}

TEST(any_minor_version_is_read) {
  static const uint32_t minors[] = {0, 1, 3, 4, UINT32_MAX};
  for (size_t i = 0; i < COUNT_OF(minors); i++) {
    foreign self;
    tarn_tensor tensor;
    foreign_begin(&self);
    self.versioned.version.minor = minors[i];
    is_accepted(&self, &tensor);
    is_given_back(&self, &tensor);
  }
}

TEST(a_missing_deleter_is_nobody_to_call) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  self.versioned.deleter = NULL;
  is_accepted(&self, &tensor);
  is_given_back(&self, &tensor);
  assert_ok(tarn_dlpack_import_legacy(&self.legacy, NULL, &tensor));
  is_given_back(&self, &tensor);
}

TEST(devices_keep_their_type_and_host_memory_is_number_zero) {
  static const tarn_device given[] = {{TARN_DEVICE_CPU, 7},
                                      {TARN_DEVICE_CUDA, 7},
                                      {TARN_DEVICE_CUDA_HOST, 7},
                                      {TARN_DEVICE_CUDA_MANAGED, -1}};
  for (size_t i = 0; i < COUNT_OF(given); i++) {
    foreign self;
    tarn_tensor tensor;
    foreign_begin(&self);
    self.versioned.dl_tensor.device = given[i];
    is_accepted(&self, &tensor);
    assert_int_equal(tarn_tensor_device(&tensor).type, given[i].type);
    assert_int_equal(tarn_tensor_device(&tensor).index, given[i].type == TARN_DEVICE_CUDA ? 7 : 0);
    is_given_back(&self, &tensor);
  }
}

TEST(read_only_memory_is_not_written) {
  const tarn_dlpack_import_options ours = {.struct_size = sizeof ours,
                                           .flags = TARN_DLPACK_IMPORT_READ_ONLY};
  foreign self;
  tarn_tensor tensor;
  tarn_dl_managed_tensor_versioned *again;
  foreign_begin(&self);
  self.versioned.flags = TARN_DL_READ_ONLY;
  is_accepted(&self, &tensor);
  assert_non_null(tarn_tensor_data(&tensor));
  assert_null(tarn_tensor_data_mutable(&tensor));
  assert_ok(tarn_dlpack_export(&tensor, NULL, &again)); /* and says so to the next */
  assert_int_equal(again->flags, TARN_DL_READ_ONLY);
  again->deleter(again);
  is_given_back(&self, &tensor);
  foreign_begin(&self);
  foreign_finish(&self);
  assert_ok(tarn_dlpack_import_legacy(&self.legacy, &ours, &tensor));
  assert_null(tarn_tensor_data_mutable(&tensor));
  is_given_back(&self, &tensor);
  foreign_begin(&self);
  assert_ok(tarn_dlpack_view(&self.versioned.dl_tensor, &ours, &tensor));
  assert_null(tarn_tensor_data_mutable(&tensor));
  tarn_tensor_release(&tensor);
}

TEST(several_lanes_and_opaque_elements_are_taken_where_they_are_asked_for) {
  const tarn_dlpack_import_options any = {.struct_size = sizeof any,
                                          .flags = TARN_DLPACK_IMPORT_ANY_DTYPE};
  static const tarn_dtype dtypes[] = {
      {TARN_CODE_FLOAT, 32, 4}, {TARN_CODE_UINT, 8, 3}, {TARN_CODE_OPAQUE, 64, 1}};
  for (size_t i = 0; i < COUNT_OF(dtypes); i++) {
    foreign self;
    tarn_tensor tensor;
    foreign_begin(&self);
    self.versioned.dl_tensor.dtype = dtypes[i];
    assert_status(tarn_dlpack_import(&self.versioned, NULL, &tensor), TARN_NOT_SUPPORTED);
    assert_ok(tarn_dlpack_import(&self.versioned, &any, &tensor));
    assert_true(tarn_dtype_equal(tensor.dtype, dtypes[i]));
    is_given_back(&self, &tensor);
  }
}

TEST(values_below_a_byte_are_packed_and_only_six_bits_are_padded) {
  static const struct {
    tarn_dtype dtype;
    uint64_t flags;
    tarn_status status;
  } rows[] = {{{TARN_CODE_FLOAT4_E2M1FN, 4, 2}, 0, TARN_OK},
              {{TARN_CODE_UINT, 1, 8}, 0, TARN_OK},
              {{TARN_CODE_INT, 2, 4}, TARN_DL_SUBBYTE_PADDED, TARN_NOT_SUPPORTED},
              {{TARN_CODE_FLOAT4_E2M1FN, 4, 2}, TARN_DL_SUBBYTE_PADDED, TARN_NOT_SUPPORTED},
              {{TARN_CODE_FLOAT4_E2M1FN, 4, 1}, 0, TARN_NOT_SUPPORTED},
              {{TARN_CODE_FLOAT6_E2M3FN, 6, 1}, TARN_DL_SUBBYTE_PADDED, TARN_OK},
              {{TARN_CODE_FLOAT6_E2M3FN, 6, 1}, 0, TARN_NOT_SUPPORTED},
              {{TARN_CODE_FLOAT6_E2M3FN, 6, 4}, 0, TARN_NOT_SUPPORTED},
              {{TARN_CODE_FLOAT, 32, 1}, TARN_DL_SUBBYTE_PADDED, TARN_OK}};
  for (size_t i = 0; i < COUNT_OF(rows); i++) {
    foreign self;
    tarn_tensor tensor;
    foreign_begin(&self);
    self.versioned.dl_tensor.dtype = rows[i].dtype;
    self.versioned.flags = rows[i].flags;
    assert_status(tarn_dlpack_import(&self.versioned, NULL, &tensor), rows[i].status);
    if (rows[i].status == TARN_OK) is_given_back(&self, &tensor);
    assert_int_equal(self.deleted_count, rows[i].status == TARN_OK ? 1 : 0);
  }
}

/* --- other major versions --- */

TEST(another_major_version_is_deleted_and_nothing_else_is_read) {
  static const uint32_t majors[] = {0, 2, UINT32_MAX};
  for (size_t i = 0; i < COUNT_OF(majors); i++) {
    /* Only the first three fields are there: the sanitizer and valgrind see a read behind them. */
    volatile size_t size_bytes = offsetof(tarn_dl_managed_tensor_versioned, flags);
    tarn_dl_managed_tensor_versioned *managed = malloc(size_bytes);
    foreign self;
    tarn_tensor tensor;
    foreign_begin(&self);
    assert_non_null(managed);
    memcpy(managed, &self.versioned, size_bytes);
    managed->version.major = majors[i];
    managed->version.minor = 3;
    assert_status(tarn_dlpack_import(managed, NULL, &tensor), TARN_NOT_SUPPORTED);
    assert_true(is_zeroed(&tensor));
    assert_int_equal(self.deleted_count, 1);
    managed->deleter = NULL;
    assert_status(tarn_dlpack_import(managed, NULL, &tensor), TARN_NOT_SUPPORTED);
    assert_int_equal(self.deleted_count, 1);
    free(managed);
  }
}

TEST(another_major_version_is_judged_before_its_tensor) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  self.versioned.version.major = 2;
  self.versioned.flags = UINT64_MAX;
  self.versioned.dl_tensor.ndim = -1;
  assert_status(tarn_dlpack_import(&self.versioned, NULL, &tensor), TARN_NOT_SUPPORTED);
  assert_int_equal(self.deleted_count, 1);
  assert_non_null(strstr(tarn_last_error()->message, "2.3"));
}

/* --- bad producers --- */

typedef struct bad_producer {
  const char *what;
  tarn_status status;
  void (*spoil)(tarn_dl_managed_tensor_versioned *managed);
  bool is_versioned_only;
} bad_producer;

#define BAD(name, ...)                                    \
  static void name(tarn_dl_managed_tensor_versioned *m) { \
    tarn_dl_tensor *t = &m->dl_tensor;                    \
    (void)t;                                              \
    __VA_ARGS__;                                          \
  }

BAD(ndim_negative, t->ndim = -1)
BAD(ndim_lowest, t->ndim = INT32_MIN)
BAD(ndim_beyond, t->ndim = TARN_RANK_MAX + 1)
BAD(ndim_highest, t->ndim = INT32_MAX)
BAD(shape_missing, t->shape = NULL)
BAD(size_negative, t->shape[1] = -1)
BAD(size_lowest, t->shape[0] = INT64_MIN)
BAD(size_negative_beside_zero, (t->shape[0] = 0, t->shape[1] = -1))
BAD(size_negative_without_strides, (t->shape[0] = -1, t->strides = NULL))
BAD(count_overflows, (t->shape[0] = INT64_MAX, t->shape[1] = 2, t->strides[0] = 0))
BAD(count_overflows_beside_zero,
    (t->ndim = 3, t->shape[0] = INT64_MAX, t->shape[1] = INT64_MAX, t->shape[2] = 0,
     t->strides[0] = t->strides[1] = t->strides[2] = 0))
BAD(row_major_overflows, (t->shape[0] = INT64_MAX, t->strides = NULL))
BAD(span_overflows, (t->shape[0] = 3, t->strides[0] = INT64_MAX))
BAD(span_overflows_downwards, (t->shape[0] = 3, t->strides[0] = INT64_MIN))
BAD(spans_overflow_together, (t->shape[0] = t->shape[1] = 2, t->strides[0] = INT64_MAX))
BAD(spans_overflow_together_downwards,
    (t->shape[0] = t->shape[1] = 2, t->strides[0] = INT64_MIN, t->strides[1] = -1))
BAD(span_overflows_without_elements,
    (t->ndim = 3, t->shape[2] = 0, t->strides[0] = INT64_MAX, t->strides[2] = 1))
BAD(bytes_overflow, (t->shape[0] = 2, t->strides[0] = INT64_MAX / 2))
BAD(bytes_overflow_downwards, (t->shape[0] = 2, t->strides[0] = INT64_MIN / 2))
BAD(end_of_the_address_space, (t->shape[0] = 2, t->strides[0] = INT64_MAX / 4))
BAD(wider_than_half_the_address_space,
    (t->shape[0] = t->shape[1] = 2, t->strides[0] = INT64_MAX / 8 + 1,
     t->strides[1] = -t->strides[0], t->data = (void *)(UINTPTR_MAX / 2 + 1)))
BAD(below_the_address_space, (t->strides[0] = -4, t->data = (void *)16))
BAD(data_at_the_end, t->data = (void *)(UINTPTR_MAX - 3))
BAD(byte_offset_wraps, t->byte_offset = UINT64_MAX - 3)
BAD(byte_offset_odd, t->byte_offset = 2)
BAD(byte_offset_odd_without_elements, (t->byte_offset = 3, t->shape[0] = 0))
BAD(data_missing, t->data = NULL)
BAD(data_missing_with_an_offset, (t->data = NULL, t->byte_offset = 64))
BAD(data_missing_of_a_scalar, (t->data = NULL, t->ndim = 0))
BAD(address_misaligned, t->data = (char *)t->data + 2)
BAD(code_unknown, t->dtype.code = 18)
BAD(code_highest, t->dtype.code = UINT8_MAX)
BAD(bits_none, t->dtype.bits = 0)
BAD(bits_odd, t->dtype = tarn_dtype_make(TARN_CODE_INT, 12, 1))
BAD(bits_of_a_bool, t->dtype = tarn_dtype_make(TARN_CODE_BOOL, 1, 1))
BAD(bits_of_a_bfloat, t->dtype = tarn_dtype_make(TARN_CODE_BFLOAT, 8, 1))
BAD(lanes_none, t->dtype.lanes = 0)
BAD(lanes_three, t->dtype.lanes = 3)
BAD(lanes_most, t->dtype.lanes = UINT16_MAX)
BAD(opaque, t->dtype = tarn_dtype_make(TARN_CODE_OPAQUE, 64, 1))
BAD(four_bits_alone, t->dtype = tarn_dtype_make(TARN_CODE_FLOAT4_E2M1FN, 4, 1))
BAD(device_zero, t->device = tarn_device_make(0, 0))
BAD(device_hexagon, t->device = tarn_device_make(16, 0))
BAD(device_rocm, t->device = tarn_device_make(10, 0))
BAD(device_unknown, t->device = tarn_device_make(INT32_MAX, 0))
BAD(device_negative, t->device = tarn_device_make(-1, 0))
BAD(device_index_negative, t->device = tarn_device_make(TARN_DEVICE_CUDA, -1))
BAD(flag_of_the_future, m->flags = 8)
BAD(all_flags, m->flags = UINT64_MAX)

static const bad_producer bad_producers[] = {
    {"ndim -1", TARN_BAD_FORMAT, ndim_negative, false},
    {"the lowest ndim", TARN_BAD_FORMAT, ndim_lowest, false},
    {"ndim 13", TARN_NOT_SUPPORTED, ndim_beyond, false},
    {"the highest ndim", TARN_NOT_SUPPORTED, ndim_highest, false},
    {"no shape", TARN_BAD_FORMAT, shape_missing, false},
    {"a size of -1", TARN_BAD_FORMAT, size_negative, false},
    {"the lowest size", TARN_BAD_FORMAT, size_lowest, false},
    {"-1 beside 0", TARN_BAD_FORMAT, size_negative_beside_zero, false},
    {"-1 without strides", TARN_BAD_FORMAT, size_negative_without_strides, false},
    {"too many elements", TARN_TOO_LARGE, count_overflows, false},
    {"too many, but for a 0", TARN_TOO_LARGE, count_overflows_beside_zero, false},
    {"row-major beyond 63 bits", TARN_TOO_LARGE, row_major_overflows, false},
    {"a span beyond 63 bits", TARN_TOO_LARGE, span_overflows, false},
    {"the same downwards", TARN_TOO_LARGE, span_overflows_downwards, false},
    {"two spans beyond 63 bits", TARN_TOO_LARGE, spans_overflow_together, false},
    {"two spans downwards", TARN_TOO_LARGE, spans_overflow_together_downwards, false},
    {"a span of no elements", TARN_TOO_LARGE, span_overflows_without_elements, false},
    {"bytes beyond 63 bits", TARN_TOO_LARGE, bytes_overflow, false},
    {"bytes downwards", TARN_TOO_LARGE, bytes_overflow_downwards, false},
    {"more than PTRDIFF_MAX bytes", TARN_TOO_LARGE, end_of_the_address_space, false},
    {"both sides together", TARN_TOO_LARGE, wider_than_half_the_address_space, false},
    {"below address 0", TARN_TOO_LARGE, below_the_address_space, false},
    {"behind the last address", TARN_TOO_LARGE, data_at_the_end, false},
    {"byte_offset that wraps", TARN_TOO_LARGE, byte_offset_wraps, false},
    {"byte_offset 2", TARN_BAD_FORMAT, byte_offset_odd, false},
    {"byte_offset 3 of nothing", TARN_BAD_FORMAT, byte_offset_odd_without_elements, false},
    {"no data", TARN_BAD_FORMAT, data_missing, false},
    {"no data at byte_offset 64", TARN_BAD_FORMAT, data_missing_with_an_offset, false},
    {"no data of a scalar", TARN_BAD_FORMAT, data_missing_of_a_scalar, false},
    {"a misaligned address", TARN_NOT_SUPPORTED, address_misaligned, false},
    {"code 18", TARN_NOT_SUPPORTED, code_unknown, false},
    {"code 255", TARN_NOT_SUPPORTED, code_highest, false},
    {"0 bits", TARN_NOT_SUPPORTED, bits_none, false},
    {"12 bits", TARN_NOT_SUPPORTED, bits_odd, false},
    {"a bool of 1 bit", TARN_NOT_SUPPORTED, bits_of_a_bool, false},
    {"a bfloat of 8 bits", TARN_NOT_SUPPORTED, bits_of_a_bfloat, false},
    {"0 lanes", TARN_NOT_SUPPORTED, lanes_none, false},
    {"3 lanes", TARN_NOT_SUPPORTED, lanes_three, false},
    {"65535 lanes", TARN_NOT_SUPPORTED, lanes_most, false},
    {"opaque elements", TARN_NOT_SUPPORTED, opaque, false},
    {"half a byte", TARN_NOT_SUPPORTED, four_bits_alone, false},
    {"device type 0", TARN_NOT_SUPPORTED, device_zero, false},
    {"Hexagon", TARN_NOT_SUPPORTED, device_hexagon, false},
    {"ROCm", TARN_NOT_SUPPORTED, device_rocm, false},
    {"device type 2^31 - 1", TARN_NOT_SUPPORTED, device_unknown, false},
    {"device type -1", TARN_NOT_SUPPORTED, device_negative, false},
    {"CUDA device -1", TARN_BAD_FORMAT, device_index_negative, false},
    {"a flag of version 1.4", TARN_NOT_SUPPORTED, flag_of_the_future, true},
    {"all flags", TARN_NOT_SUPPORTED, all_flags, true},
};

static void check_refusal(const bad_producer *bad, const foreign *self, tarn_status status,
                          const tarn_tensor *tensor) {
  if (status != bad->status) {
    fail_msg("%s: %s instead of %s", bad->what, tarn_status_name(status),
             tarn_status_name(bad->status));
  }
  if (!is_zeroed(tensor)) fail_msg("%s: left a tensor behind", bad->what);
  if (self->deleted_count != 0) fail_msg("%s: deleted what the caller still owns", bad->what);
  if (tarn_last_error()->status != status) fail_msg("%s: no words for it", bad->what);
}

TEST(bad_producers_are_refused_and_keep_what_they_own) {
  for (size_t i = 0; i < COUNT_OF(bad_producers); i++) {
    const bad_producer *bad = &bad_producers[i];
    foreign self;
    tarn_tensor tensor;
    foreign_begin(&self);
    bad->spoil(&self.versioned);
    foreign_finish(&self);
    check_refusal(bad, &self, tarn_dlpack_import(&self.versioned, NULL, &tensor), &tensor);
    if (bad->is_versioned_only) continue;
    check_refusal(bad, &self, tarn_dlpack_import_legacy(&self.legacy, NULL, &tensor), &tensor);
    check_refusal(bad, &self, tarn_dlpack_view(&self.legacy.dl_tensor, NULL, &tensor), &tensor);
  }
}

TEST(the_last_byte_of_the_address_space_may_be_reached) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  /* The end behind it is still a number. */
  self.versioned.dl_tensor.data = (void *)(UINTPTR_MAX - 63);
  self.versioned.dl_tensor.byte_offset = 12;
  is_accepted(&self, &tensor);
  assert_int_equal(tarn_storage_size_bytes(tensor.storage), 48);
  is_given_back(&self, &tensor);
  foreign_begin(&self);
  self.versioned.dl_tensor.data = (void *)(UINTPTR_MAX - 63);
  self.versioned.dl_tensor.byte_offset = 16; /* and here it is one too many */
  assert_status(tarn_dlpack_import(&self.versioned, NULL, &tensor), TARN_TOO_LARGE);
}

TEST(bad_arguments_of_an_import_are_refused) {
  foreign self;
  tarn_tensor tensor;
  tarn_dlpack_import_options options = {.struct_size = sizeof options};
  foreign_begin(&self);
  foreign_finish(&self);
  assert_status(tarn_dlpack_import(&self.versioned, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_dlpack_import_legacy(&self.legacy, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_dlpack_view(&self.legacy.dl_tensor, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_dlpack_import(NULL, NULL, &tensor), TARN_INVALID_ARGUMENT);
  assert_true(is_zeroed(&tensor));
  assert_status(tarn_dlpack_import_legacy(NULL, NULL, &tensor), TARN_INVALID_ARGUMENT);
  assert_status(tarn_dlpack_view(NULL, NULL, &tensor), TARN_INVALID_ARGUMENT);
  options.flags = 1u << 31;
  assert_status(tarn_dlpack_import(&self.versioned, &options, &tensor), TARN_INVALID_ARGUMENT);
  options = (tarn_dlpack_import_options){.struct_size = 1};
  assert_status(tarn_dlpack_import(&self.versioned, &options, &tensor), TARN_INVALID_ARGUMENT);
  assert_int_equal(self.deleted_count, 0);
}

/* --- verification --- */

typedef struct verification {
  tarn_status answer;
  int call_count;
  const void *address;
  size_t size_bytes;
  tarn_device device;
} verification;

static tarn_status verify(void *context, const void *address, size_t size_bytes,
                          tarn_device device) {
  verification *self = context;
  self->call_count++;
  self->address = address;
  self->size_bytes = size_bytes;
  self->device = device;
  return self->answer == TARN_OK ? TARN_OK : tarn_fail(self->answer, "the test says no");
}

TEST(memory_is_verified_before_it_is_taken) {
  verification seen = {.answer = TARN_DEVICE_ERROR};
  const tarn_dlpack_import_options options = {
      .struct_size = sizeof options, .verify = verify, .verify_context = &seen};
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  self.strides[0] = -4;
  self.versioned.dl_tensor.data = self.bytes + 32;
  self.versioned.dl_tensor.device = tarn_device_make(TARN_DEVICE_CUDA, 2);
  assert_status(tarn_dlpack_import(&self.versioned, &options, &tensor), TARN_DEVICE_ERROR);
  assert_int_equal(self.deleted_count, 0);
  assert_ptr_equal(seen.address, self.bytes);
  assert_int_equal(seen.size_bytes, 48);
  assert_int_equal(seen.device.index, 2);
  seen.answer = TARN_OK;
  assert_ok(tarn_dlpack_import(&self.versioned, &options, &tensor));
  is_given_back(&self, &tensor);
  self.shape[0] = 0;
  self.deleted_count = 0;
  assert_ok(tarn_dlpack_import(&self.versioned, &options, &tensor));
  assert_int_equal(seen.call_count, 2); /* nothing lies anywhere */
  is_given_back(&self, &tensor);
}

/* --- what tarn exported itself --- */

static tarn_tensor wrapped(float *values, int64_t count) {
  const tarn_blob blob = {
      .struct_size = sizeof blob, .address = values, .size_bytes = (size_t)count * sizeof *values};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_F32, 1, &count, NULL, 0, &tensor));
  return tensor;
}

TEST(what_tarn_exported_comes_back_as_the_same_storage) {
  float values[8] = {0};
  tarn_tensor tensor = wrapped(values, 8), back;
  tarn_dl_managed_tensor_versioned *managed;
  tarn_dl_managed_tensor *legacy;
  assert_ok(tarn_tensor_slice(&tensor, 0, 6, TARN_SLICE_OPEN, -2)); /* 6, 4, 2, 0 */
  assert_ok(tarn_dlpack_export(&tensor, NULL, &managed));
  assert_ok(tarn_dlpack_import(managed, NULL, &back));
  assert_ptr_equal(back.storage, tensor.storage);
  assert_int_equal(back.layout.offset, 6);
  assert_int_equal(tarn_storage_use_count(tensor.storage), 2);
  tarn_tensor_release(&back);
  assert_ok(tarn_dlpack_export_legacy(&tensor, NULL, &legacy));
  assert_ok(tarn_dlpack_import_legacy(legacy, NULL, &back));
  assert_ptr_equal(back.storage, tensor.storage);
  tarn_tensor_release(&back);
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  tarn_tensor_release(&tensor);
}

/* Nobody has to leave a managed tensor as it was on its way. */
TEST(an_export_that_was_changed_on_the_way_is_judged_by_what_it_says) {
  float values[8] = {0}, others[8] = {0};
  tarn_tensor tensor = wrapped(values, 8), back;
  tarn_dl_managed_tensor_versioned *managed;
  float *const places[] = {others, values + 1, values + 8};
  for (size_t i = 0; i < COUNT_OF(places); i++) {
    assert_ok(tarn_dlpack_export(&tensor, NULL, &managed));
    managed->dl_tensor.data = places[i];
    assert_ok(tarn_dlpack_import(managed, NULL, &back));
    assert_ptr_not_equal(back.storage, tensor.storage); /* not all of it lies in there */
    assert_ptr_equal(tarn_tensor_data(&back), places[i]);
    assert_int_equal(tarn_storage_use_count(tensor.storage), 2);
    tarn_tensor_release(&back);
    assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  }
  assert_ok(tarn_dlpack_export(&tensor, NULL, &managed));
  managed->flags |= TARN_DL_READ_ONLY;
  assert_ok(tarn_dlpack_import(managed, NULL, &back));
  assert_null(tarn_tensor_data_mutable(&back));
  tarn_tensor_release(&back);
  assert_ok(tarn_dlpack_export(&tensor, NULL, &managed));
  managed->dl_tensor.shape[0] = 3;
  assert_ok(tarn_dlpack_import(managed, NULL, &back));
  assert_int_equal(tarn_tensor_element_count(&back), 3);
  assert_ptr_equal(back.storage, tensor.storage);
  tarn_tensor_release(&back);
  tarn_tensor_release(&tensor);
}

TEST(a_view_borrows_and_needs_its_description_no_more) {
  foreign self;
  tarn_tensor tensor;
  foreign_begin(&self);
  assert_ok(tarn_dlpack_view(&self.versioned.dl_tensor, NULL, &tensor));
  memset(self.shape, 0xff, sizeof self.shape);
  memset(self.strides, 0xff, sizeof self.strides);
  memset(&self.versioned, 0xff, sizeof self.versioned);
  assert_int_equal(tarn_tensor_element_count(&tensor), 12);
  assert_ptr_equal(tarn_tensor_data_mutable(&tensor), self.bytes);
  tarn_tensor_release(&tensor);
  assert_int_equal(self.deleted_count, 0);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
