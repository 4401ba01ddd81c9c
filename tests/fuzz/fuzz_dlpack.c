/* fuzz_dlpack.c: what any producer may write into a managed tensor: refused, or every element that
 * is read lies where it says. */
#include "tensor/tarn_copy.h"
#include "tensor/tarn_dlpack.h"
#include "tests/fuzz/fuzz.h"

__extension__ typedef __int128 wide;

enum { BUFFER_BYTES = 256, PACKED_BYTES = 1 << 14, RANK = TARN_RANK_MAX + 2 };

/* A producer with a small buffer of its own. The arrays are as long as ndim says, and no longer. */
typedef struct producer {
  tarn_dl_managed_tensor_versioned managed;
  tarn_dl_managed_tensor legacy;
  uint8_t form; /* 0 versioned, 1 legacy, 2 a bare tensor */
  uint32_t import_flags;
  char *buffer;
  int deleted_count;
} producer;

static void delete_versioned(tarn_dl_managed_tensor_versioned *managed) {
  ((producer *)managed->manager_ctx)->deleted_count++;
}

static void delete_legacy(tarn_dl_managed_tensor *managed) {
  ((producer *)managed->manager_ctx)->deleted_count++;
}

/* --- building --- */

static int64_t *take_array(fuzz_input *input, int32_t count) {
  int64_t *numbers = malloc(sizeof *numbers * (size_t)count);
  fuzz_check(numbers != NULL);
  for (int32_t d = 0; d < count; d++) numbers[d] = fuzz_take_number(input);
  return numbers;
}

static tarn_dtype take_dtype(fuzz_input *input) {
  static const tarn_dtype common[] = {{TARN_CODE_UINT, 8, 1},         {TARN_CODE_FLOAT, 16, 1},
                                      {TARN_CODE_FLOAT, 32, 1},       {TARN_CODE_FLOAT, 64, 1},
                                      {TARN_CODE_COMPLEX, 128, 1},    {TARN_CODE_UINT, 8, 3},
                                      {TARN_CODE_FLOAT6_E2M3FN, 6, 1}};
  const uint8_t kind = fuzz_take_byte(input);
  if (kind < 224) return common[kind % (sizeof common / sizeof common[0])];
  tarn_dtype dtype;
  dtype.code = fuzz_take_byte(input);
  dtype.bits = fuzz_take_byte(input);
  fuzz_take(input, &dtype.lanes, sizeof dtype.lanes);
  return dtype;
}

/* Mostly in the buffer, sometimes anywhere. */
static void *take_address(fuzz_input *input, char *buffer) {
  uintptr_t anywhere;
  const uint8_t kind = fuzz_take_byte(input);
  if (kind == 0) return NULL;
  if (kind < 240) return buffer + fuzz_take_byte(input);
  fuzz_take(input, &anywhere, sizeof anywhere);
  return (void *)anywhere;
}

static void build(fuzz_input *input, producer *self) {
  static const int32_t devices[] = {1, 1, 1, 1, 1, 2, 3, 13};
  tarn_dl_tensor *dl = &self->managed.dl_tensor;
  const uint8_t rare = fuzz_take_byte(input);
  self->form = fuzz_take_byte(input) % 3;
  self->import_flags = fuzz_take_byte(input) % 4;
  self->managed.version.major = (rare & 1) ? fuzz_take_byte(input) : TARN_DLPACK_MAJOR;
  self->managed.manager_ctx = self;
  self->managed.deleter = (rare & 2) ? NULL : delete_versioned;
  self->managed.flags = fuzz_take_byte(input) % 8;
  if (rare & 4) fuzz_take(input, &self->managed.flags, sizeof self->managed.flags);
  dl->data = take_address(input, self->buffer);
  dl->device.type = (rare & 8) ? (int32_t)fuzz_take_number(input) : devices[rare / 32];
  dl->device.index = (rare & 16) ? (int32_t)fuzz_take_number(input) : 0;
  dl->dtype = take_dtype(input);
  dl->byte_offset = fuzz_take_byte(input) < 128 ? 0 : (uint64_t)fuzz_take_number(input);
  dl->ndim = fuzz_take_byte(input) % 4;
  if (dl->ndim == 3) dl->ndim = fuzz_take_byte(input) % RANK;
  const uint8_t missing = fuzz_take_byte(input);
  dl->shape = missing == 1 ? NULL : take_array(input, dl->ndim);
  dl->strides = missing < 64 ? NULL : take_array(input, dl->ndim);
  if (missing == 255) dl->ndim = (int32_t)fuzz_take_number(input) | INT32_MIN; /* negative */
  self->legacy = (tarn_dl_managed_tensor){
      .dl_tensor = *dl, .manager_ctx = self, .deleter = (rare & 2) ? NULL : delete_legacy};
}

/* --- what is right, in 128 bits --- */

typedef struct extent {
  wide first_bytes, end_bytes; /* as addresses */
  bool is_empty;
} extent;

static bool fits(wide number) {
  return number >= INT64_MIN && number <= INT64_MAX;
}

static bool is_known_dtype(const producer *self) {
  const tarn_dtype dtype = self->managed.dl_tensor.dtype;
  const bool is_padded = self->form == 0 && (self->managed.flags & TARN_DL_SUBBYTE_PADDED) != 0;
  if (tarn_dtype_check(dtype) != TARN_OK) return false;
  if (dtype.bits < 8 && is_padded != (dtype.bits == 6)) return false;
  if (self->import_flags & TARN_DLPACK_IMPORT_ANY_DTYPE) return true;
  return dtype.code != TARN_CODE_OPAQUE && (dtype.lanes == 1 || dtype.bits < 8);
}

static bool is_known_device(tarn_device device) {
  return device.type == 1 || device.type == 3 || device.type == 13 ||
         (device.type == 2 && device.index >= 0);
}

static bool reach(const tarn_dl_tensor *dl, wide element_bytes, extent *found) {
  wide count = 1, first = 0, end = 1;
  found->is_empty = false;
  for (int32_t d = dl->ndim - 1; d >= 0; d--) {
    const wide size = dl->shape[d] > 1 ? dl->shape[d] : 1;
    const wide span = (size - 1) * (dl->strides != NULL ? dl->strides[d] : count);
    if (dl->shape[d] < 0) return false;
    if (dl->shape[d] == 0) found->is_empty = true;
    count *= size;
    *(span < 0 ? &first : &end) += span;
    if (!fits(count) || !fits(span) || !fits(first) || !fits(end)) return false;
  }
  const wide origin = (wide)(uintptr_t)dl->data + dl->byte_offset;
  found->first_bytes = origin + first * element_bytes;
  found->end_bytes = origin + end * element_bytes;
  return true;
}

/* Whether a consumer may take it. */
static bool is_right(const producer *self, extent *found) {
  const tarn_dl_tensor *dl = &self->managed.dl_tensor;
  if (self->form == 0 && self->managed.version.major != TARN_DLPACK_MAJOR) return false;
  if (self->form == 0 && self->managed.flags > 7) return false;
  if (dl->ndim < 0 || dl->ndim > TARN_RANK_MAX || (dl->ndim > 0 && dl->shape == NULL)) return false;
  if (!is_known_dtype(self) || !is_known_device(dl->device)) return false;
  const wide element_bytes = (wide)tarn_dtype_size_bytes(dl->dtype);
  if (!reach(dl, element_bytes, found) || dl->byte_offset % (uint64_t)element_bytes != 0) {
    return false;
  }
  if (found->is_empty) return true;
  const wide origin = (wide)(uintptr_t)dl->data + dl->byte_offset;
  return dl->data != NULL && origin <= UINTPTR_MAX && found->first_bytes >= 0 &&
         found->end_bytes <= UINTPTR_MAX && found->end_bytes - found->first_bytes <= PTRDIFF_MAX &&
         origin % tarn_dtype_alignment_bytes(dl->dtype) == 0 && fits(found->first_bytes - origin) &&
         fits(found->end_bytes - origin);
}

/* --- using what was accepted --- */

static void check_extent(const tarn_tensor *tensor, const extent *found) {
  const uintptr_t address = (uintptr_t)tarn_storage_data(tensor->storage);
  const size_t size_bytes = tarn_storage_size_bytes(tensor->storage);
  if (found->is_empty) {
    fuzz_check(address == 0 && size_bytes == 0);
  } else {
    fuzz_check(address == (uintptr_t)found->first_bytes);
    fuzz_check(size_bytes == (size_t)(found->end_bytes - found->first_bytes));
  }
}

/* Reads every element, where they lie in the producer's buffer as a true producer's do. */
static void read_elements(const tarn_tensor *tensor, const producer *self) {
  const uintptr_t address = (uintptr_t)tarn_storage_data(tensor->storage);
  const size_t size_bytes = tarn_storage_size_bytes(tensor->storage);
  const uintptr_t distance = address - (uintptr_t)self->buffer;
  const size_t packed_bytes = tarn_tensor_size_bytes(tensor);
  if (distance > BUFFER_BYTES || size_bytes > BUFFER_BYTES - distance) return;
  if (packed_bytes == 0 || packed_bytes > PACKED_BYTES) return;
  if (tarn_tensor_device(tensor).type != TARN_DEVICE_CPU) return;
  char *bytes = malloc(packed_bytes); /* as long as it has to be: the sanitizer sees one more */
  const tarn_blob owned = {.struct_size = sizeof owned,
                           .address = bytes,
                           .size_bytes = packed_bytes,
                           .deleter = free,
                           .context = bytes};
  tarn_tensor packed;
  fuzz_check(bytes != NULL);
  fuzz_check(tarn_tensor_wrap(&owned, tensor->dtype, tensor->layout.rank, tensor->layout.shape,
                              NULL, 0, &packed) == TARN_OK);
  fuzz_check(tarn_tensor_copy(&packed, tensor, NULL, NULL) == TARN_OK);
  tarn_tensor_release(&packed);
}

/* Out again and in again is the same tensor. */
static void go_round(const tarn_tensor *tensor) {
  const tarn_dlpack_import_options any = {.struct_size = sizeof any,
                                          .flags = TARN_DLPACK_IMPORT_ANY_DTYPE};
  tarn_dl_managed_tensor_versioned *managed;
  tarn_tensor back;
  fuzz_check(tarn_dlpack_export(tensor, NULL, &managed) == TARN_OK);
  fuzz_check(((managed->flags & TARN_DL_READ_ONLY) != 0) ==
             tarn_storage_is_read_only(tensor->storage));
  fuzz_check(tarn_dlpack_import(managed, &any, &back) == TARN_OK);
  fuzz_check(back.storage == tensor->storage);
  fuzz_check(tarn_layout_equal(&back.layout, &tensor->layout));
  fuzz_check(tarn_tensor_data(&back) == tarn_tensor_data(tensor));
  tarn_tensor_release(&back);
}

static tarn_status import(producer *self, tarn_tensor *tensor) {
  const tarn_dlpack_import_options options = {.struct_size = sizeof options,
                                              .flags = self->import_flags};
  if (self->form == 0) return tarn_dlpack_import(&self->managed, &options, tensor);
  if (self->form == 1) return tarn_dlpack_import_legacy(&self->legacy, &options, tensor);
  return tarn_dlpack_view(&self->managed.dl_tensor, &options, tensor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_input input = {data, size};
  producer self = {.buffer = aligned_alloc(16, BUFFER_BYTES)};
  tarn_tensor tensor;
  extent found;
  fuzz_check(self.buffer != NULL);
  memset(self.buffer, 1, BUFFER_BYTES);
  build(&input, &self);
  const bool has_deleter = self.form != 2 && self.managed.deleter != NULL;
  const bool is_foreign_major = self.form == 0 && self.managed.version.major != TARN_DLPACK_MAJOR;
  const tarn_status status = import(&self, &tensor);
  fuzz_check((status == TARN_OK) == is_right(&self, &found));
  fuzz_check(self.deleted_count == (has_deleter && is_foreign_major ? 1 : 0));
  if (status == TARN_OK) {
    check_extent(&tensor, &found);
    read_elements(&tensor, &self);
    go_round(&tensor);
    fuzz_check(self.deleted_count == 0);
    tarn_tensor_release(&tensor);
    fuzz_check(self.deleted_count == (has_deleter ? 1 : 0));
  }
  free(self.managed.dl_tensor.shape);
  free(self.managed.dl_tensor.strides);
  free(self.buffer);
  return 0;
}
