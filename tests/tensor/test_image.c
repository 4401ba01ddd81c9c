/* test_image.c: tests of tensor/image.c: rows of pixels with padding as tensors. */
#include "tests/support/test.h"

#include "tensor/tarn_image.h"

enum { PITCH = 32, HEIGHT = 5, WIDTH = 7 };
static _Alignas(16) unsigned char memory[HEIGHT * PITCH + 16];

static int deleted_count;
static void count_delete(void *context) {
  (void)context;
  deleted_count++;
}

static tarn_image image_of(void *address, int64_t channels, int64_t row_pitch_bytes) {
  return (tarn_image){.struct_size = sizeof(tarn_image),
                      .address = address,
                      .height = HEIGHT,
                      .width = WIDTH,
                      .channels = channels,
                      .dtype = TARN_U8,
                      .row_pitch_bytes = row_pitch_bytes,
                      .deleter = count_delete};
}

static int number_bytes(void **state) {
  (void)state;
  deleted_count = 0;
  for (size_t i = 0; i < sizeof memory; i++) memory[i] = (unsigned char)i;
  return 0;
}

static void *element(const tarn_tensor *tensor, int64_t row, int64_t column, int64_t channel) {
  int64_t strides[TARN_RANK_MAX];
  tarn_tensor_strides_bytes(tensor, strides);
  char *data = (char *)(uintptr_t)tarn_tensor_data(tensor);
  return data + row * strides[0] + column * strides[1] +
         (tensor->layout.rank > 2 ? channel * strides[2] : 0);
}

TEST_WITH(padded_rows_are_wrapped_without_a_copy, number_bytes, NULL) {
  const tarn_image image = image_of(memory, 3, PITCH);
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap_image(&image, &tensor));
  assert_int_equal(tensor.layout.rank, 3);
  assert_int_equal(tensor.layout.shape[2], 3);
  for (int row = 0; row < HEIGHT; row++) {
    for (int column = 0; column < WIDTH; column++) {
      assert_ptr_equal(element(&tensor, row, column, 2), memory + row * PITCH + column * 3 + 2);
    }
  }
  /* The last row's padding may not be there. */
  assert_int_equal(tarn_storage_size_bytes(tensor.storage), (HEIGHT - 1) * PITCH + WIDTH * 3);
  tarn_tensor_retain(&tensor);
  tarn_tensor copy = tensor;
  tarn_tensor_release(&tensor);
  assert_int_equal(deleted_count, 0);
  tarn_tensor_release(&copy);
  assert_int_equal(deleted_count, 1);
}

TEST_WITH(a_bottom_up_image_begins_with_its_top_row, number_bytes, NULL) {
  tarn_image image = image_of(memory + (HEIGHT - 1) * PITCH, 0, -PITCH);
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap_image(&image, &tensor));
  assert_int_equal(tensor.layout.rank, 2);
  assert_ptr_equal(element(&tensor, 0, 0, 0), memory + (HEIGHT - 1) * PITCH);
  assert_ptr_equal(element(&tensor, HEIGHT - 1, 1, 0), memory + 1);
  assert_ptr_equal(tarn_storage_data(tensor.storage), memory);
  tarn_tensor_release(&tensor);
  assert_int_equal(deleted_count, 1);
}

TEST_WITH(padded_pixels_leave_values_out, number_bytes, NULL) {
  tarn_image image = image_of(memory, 3, PITCH);
  image.pixel_pitch_bytes = 4;
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap_image(&image, &tensor));
  assert_ptr_equal(element(&tensor, 1, 2, 1), memory + PITCH + 2 * 4 + 1);
  assert_int_equal(tarn_storage_size_bytes(tensor.storage), (HEIGHT - 1) * PITCH + 6 * 4 + 3);
  tarn_tensor_release(&tensor);
}

TEST_WITH(wide_values_and_packed_rows_need_no_pitch, number_bytes, NULL) {
  tarn_image image = image_of(memory, 2, 0);
  image.dtype = TARN_U16;
  image.flags = TARN_STORAGE_READ_ONLY;
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap_image(&image, &tensor));
  assert_true(tarn_tensor_is_contiguous(&tensor));
  assert_true(tarn_storage_is_read_only(tensor.storage));
  tarn_tensor_release(&tensor);
  image.row_pitch_bytes = 33;
  assert_status(tarn_tensor_wrap_image(&image, &tensor), TARN_NOT_SUPPORTED);
  image.row_pitch_bytes = 32;
  image.pixel_pitch_bytes = 5;
  image.height = 1; /* one row of pixels is 34 bytes then */
  assert_status(tarn_tensor_wrap_image(&image, &tensor), TARN_NOT_SUPPORTED);
  image = image_of(memory + 1, 2, 0);
  image.dtype = TARN_U16;
  assert_status(tarn_tensor_wrap_image(&image, &tensor), TARN_INVALID_ARGUMENT);
  assert_int_equal(deleted_count, 1); /* the first one's: what is refused runs nothing */
}

TEST_WITH(an_image_without_pixels_needs_no_memory, number_bytes, NULL) {
  tarn_image image = image_of(NULL, 3, -PITCH);
  tarn_tensor tensor;
  image.width = 0;
  assert_ok(tarn_tensor_wrap_image(&image, &tensor));
  assert_int_equal(tarn_tensor_element_count(&tensor), 0);
  tarn_tensor_release(&tensor);
  assert_int_equal(deleted_count, 1);
  image = image_of(NULL, 3, PITCH);
  image.height = 0;
  assert_ok(tarn_tensor_wrap_image(&image, &tensor));
  tarn_tensor_release(&tensor);
  image.height = 1;
  assert_status(tarn_tensor_wrap_image(&image, &tensor), TARN_INVALID_ARGUMENT);
}

TEST_WITH(an_image_outside_of_its_memory_is_refused, number_bytes, NULL) {
  tarn_image image = image_of(memory + 3, 3, PITCH);
  const size_t needed = 3 + (HEIGHT - 1) * PITCH + WIDTH * 3;
  tarn_tensor tensor;
  image.memory = memory;
  image.memory_bytes = needed;
  assert_ok(tarn_tensor_wrap_image(&image, &tensor));
  tarn_tensor_release(&tensor);
  image.memory_bytes = needed - 1;
  assert_status(tarn_tensor_wrap_image(&image, &tensor), TARN_INVALID_ARGUMENT);
  assert_null(tensor.storage);
  image.memory = memory + 4;
  image.memory_bytes = sizeof memory;
  assert_status(tarn_tensor_wrap_image(&image, &tensor), TARN_INVALID_ARGUMENT);
  image = image_of(memory + PITCH, 3, -PITCH); /* upwards out of it, though there is room below */
  image.memory = memory;
  image.memory_bytes = 100 * sizeof memory;
  assert_status(tarn_tensor_wrap_image(&image, &tensor), TARN_INVALID_ARGUMENT);
  image = image_of((void *)(uintptr_t)PITCH, 3, -PITCH); /* below address 0 */
  assert_status(tarn_tensor_wrap_image(&image, &tensor), TARN_TOO_LARGE);
}

TEST_WITH(impossible_geometry_is_refused, number_bytes, NULL) {
  static const struct {
    int64_t height, width, channels, row_pitch, pixel_pitch;
    tarn_status status;
  } wrong[] = {
      {-1, 7, 3, 32, 0, TARN_INVALID_ARGUMENT},
      {5, -7, 3, 32, 0, TARN_INVALID_ARGUMENT},
      {5, 7, -3, 32, 0, TARN_INVALID_ARGUMENT},
      {5, 7, 3, 32, -4, TARN_INVALID_ARGUMENT},
      {5, 7, 3, 32, 2, TARN_INVALID_ARGUMENT}, /* pixels would overlap */
      {5, 7, 3, 20, 0, TARN_INVALID_ARGUMENT}, /* rows would */
      {5, 7, 3, -20, 0, TARN_INVALID_ARGUMENT},
      {5, INT64_MAX, 3, 0, 0, TARN_TOO_LARGE},
      {5, 3, INT64_MAX, 0, 0, TARN_TOO_LARGE},
      {INT64_MAX, 7, 3, 32, 0, TARN_TOO_LARGE},
      {2, 7, 3, INT64_MIN, 0, TARN_TOO_LARGE},
      {INT64_MAX, INT64_MAX, INT64_MAX, 1, 1, TARN_INVALID_ARGUMENT},
  };
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    tarn_image image = image_of(memory, wrong[i].channels, wrong[i].row_pitch);
    tarn_tensor tensor;
    image.height = wrong[i].height;
    image.width = wrong[i].width;
    image.pixel_pitch_bytes = wrong[i].pixel_pitch;
    assert_status(tarn_tensor_wrap_image(&image, &tensor), wrong[i].status);
    assert_null(tensor.storage);
  }
  tarn_image image = image_of(memory, 3, PITCH);
  tarn_tensor tensor;
  assert_status(tarn_tensor_wrap_image(&image, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_wrap_image(NULL, &tensor), TARN_INVALID_ARGUMENT);
  image.struct_size = 1;
  assert_status(tarn_tensor_wrap_image(&image, &tensor), TARN_INVALID_ARGUMENT);
  image = image_of(memory, 3, PITCH);
  image.flags = 1u << 9;
  assert_status(tarn_tensor_wrap_image(&image, &tensor), TARN_INVALID_ARGUMENT);
  image.flags = 0;
  image.dtype = (tarn_dtype){0};
  assert_int_not_equal(tarn_tensor_wrap_image(&image, &tensor), TARN_OK);
  assert_int_equal(deleted_count, 0);
}

TEST_WITH(rows_that_have_no_pitch_to_keep_are_wrapped, number_bytes, NULL) {
  tarn_image image = image_of(memory, 3, 1); /* one row: nobody steps along the pitch */
  image.height = 1;
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap_image(&image, &tensor));
  tarn_tensor_release(&tensor);
  image = image_of(memory, 3, 2 * PITCH); /* every other row, as of an interlaced field */
  image.height = 3;
  assert_ok(tarn_tensor_wrap_image(&image, &tensor));
  assert_ptr_equal(element(&tensor, 2, 0, 0), memory + 4 * PITCH);
  tarn_tensor_release(&tensor);
}

TEST_WITH(strides_in_bytes_are_those_of_elements, number_bytes, NULL) {
  const tarn_blob blob = {
      .struct_size = sizeof blob, .address = memory, .size_bytes = sizeof memory};
  const int64_t shape[] = {2, 1, 3}, strides[] = {-8, INT64_MAX, 2};
  int64_t bytes[TARN_RANK_MAX] = {0};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_F32, 3, shape, strides, 32, &tensor));
  tarn_tensor_strides_bytes(&tensor, bytes);
  assert_int_equal(bytes[0], -32);
  assert_int_equal(bytes[1], 0); /* does not fit, and is not stepped along */
  assert_int_equal(bytes[2], 8);
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
