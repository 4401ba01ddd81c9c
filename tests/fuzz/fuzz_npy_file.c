/* fuzz_npy_file.c: any bytes as a .npy file: what can be opened can be touched from end to end, and
 * what is loaded has the same bytes. */
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tensor/tarn_npy.h"
#include "tests/fuzz/fuzz.h"

/* Small, so that a header which promises much meets an answer and not the machine's end. */
enum { POOL_BYTES_MAX = 1 << 20 };

static tarn_pool *make_pool(void) {
  const tarn_caching_options options = {.struct_size = sizeof options,
                                        .limit_bytes = POOL_BYTES_MAX};
  tarn_provider *provider;
  tarn_pool *pool;
  fuzz_check(tarn_pages_provider_create(NULL, &provider) == TARN_OK);
  fuzz_check(tarn_caching_pool_create(provider, &options, &pool) == TARN_OK);
  tarn_provider_release(provider);
  return pool;
}

/* Where the image's data begins: behind the prefix and as many bytes as it says. */
static size_t data_offset(const uint8_t *data) {
  size_t length = 0;
  const size_t fixed_bytes = data[6] == 1 ? 10 : 12;
  for (size_t i = fixed_bytes; i > 8; i--) length = length << 8 | data[i - 1];
  return fixed_bytes + length;
}

static void touch(const tarn_tensor *tensor, const uint8_t *data, size_t size) {
  const size_t data_bytes = tarn_tensor_size_bytes(tensor);
  const size_t offset = data_offset(data);
  fuzz_check(data_bytes == tarn_storage_size_bytes(tensor->storage));
  fuzz_check(offset <= size && data_bytes <= size - offset);
  if (data_bytes == 0) return;
  fuzz_check(memcmp(tarn_tensor_data(tensor), data + offset, data_bytes) == 0);
}

static void write_all(const char *path, tarn_npy_mode mode) {
  const tarn_npy_open_options options = {.struct_size = sizeof options, .mode = mode};
  tarn_tensor tensor;
  fuzz_check(tarn_npy_open(path, &options, &tensor) == TARN_OK);
  void *bytes = tarn_tensor_data_mutable(&tensor);
  if (bytes != NULL) memset(bytes, 0x5a, tarn_tensor_size_bytes(&tensor));
  tarn_tensor_release(&tensor);
}

static void load(const char *path, tarn_pool *pool, const tarn_tensor *opened) {
  tarn_tensor tensor;
  const tarn_status status = tarn_npy_load(path, pool, NULL, &tensor);
  if (opened->storage == NULL) {
    tarn_tensor_release(&tensor);
    return;
  }
  fuzz_check(status == TARN_OK);
  fuzz_check(tarn_dtype_equal(tensor.dtype, opened->dtype));
  fuzz_check(tarn_layout_equal(&tensor.layout, &opened->layout));
  const size_t size_bytes = tarn_tensor_size_bytes(opened);
  fuzz_check(size_bytes == 0 ||
             memcmp(tarn_tensor_data(&tensor), tarn_tensor_data(opened), size_bytes) == 0);
  tarn_tensor_release(&tensor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static tarn_pool *pool; /* one for all inputs: each gives back what it took */
  char path[64];
  tarn_tensor opened;
  if (pool == NULL) pool = make_pool();
  const int file = memfd_create("fuzz", MFD_CLOEXEC);
  fuzz_check(file >= 0);
  fuzz_check(write(file, data, size) == (ssize_t)size);
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  if (tarn_npy_open(path, NULL, &opened) == TARN_OK) touch(&opened, data, size);
  load(path, pool, &opened);
  if (opened.storage != NULL) {
    write_all(path, TARN_NPY_COPY_ON_WRITE);
    write_all(path, TARN_NPY_READ_WRITE);
  }
  tarn_tensor_release(&opened);
  close(file);
  return 0;
}
