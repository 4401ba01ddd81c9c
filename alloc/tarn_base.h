/* tarn_base.h: what every other header of tarn stands on: export marks, devices, checked sizes.
 *
 * House rules of the whole public interface, stated once:
 *
 * - Whatever can fail returns a tarn_status. Outputs are cleared first, and a failure changes
 *   nothing else; where that is not true, the function says so.
 * - Sizes are size_t and in bytes, and their names end in _bytes. Shapes, strides and offsets are
 *   int64_t and count elements.
 * - create/destroy has one owner; retain/release is shared and counts; init/deinit works in the
 *   caller's memory. "takes" means from TARN_OK on.
 * - destroy and release accept NULL. What returns a tarn_status refuses a NULL object and a NULL
 *   output with TARN_INVALID_ARGUMENT. retain and whatever returns no status (accessors like
 *   tarn_storage_data, tarn_pool_name) have no way to refuse: they need a valid object, and so do
 *   tarn_layout_* and the views of a tensor, which work on a value in place. A NULL stream is
 *   one, now and on the CPU (tarn_stream.h), and can be retained. What differs says so.
 * - Every function may be called from any thread at any time, unless it says otherwise; a value
 *   (tarn_tensor, tarn_layout, an options struct) is the caller's and is not locked.
 * - An options or operations struct starts with struct_size = sizeof(the struct). A zero in any
 *   other field means the default. Unknown flags are an error.
 * - The library never prints and never exits. It does not read the environment, but for what
 *   adapters/torch/tarn_torch.h names.
 */
#ifndef TARN_BASE_H
#define TARN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TARN_VERSION_MAJOR 0
#define TARN_VERSION_MINOR 1
#define TARN_VERSION_PATCH 0

#if defined(__GNUC__)
#define TARN_API __attribute__((visibility("default")))
#define TARN_NODISCARD __attribute__((warn_unused_result))
#define TARN_PRINTF(format_index, first_index) \
  __attribute__((format(printf, format_index, first_index)))
#else
#define TARN_API
#define TARN_NODISCARD
#define TARN_PRINTF(format_index, first_index)
#endif

/* 0 release; 1 contracts are asserted; 2 whole structures are validated at every change. */
#ifndef TARN_DEBUG
#define TARN_DEBUG 0
#endif

/* Checks a belief of the library about itself, never a caller's argument: those get a status. */
#define TARN_ASSERT(condition) \
  ((TARN_DEBUG > 0 && !(condition)) ? tarn_assert_failed(#condition, __FILE__, __LINE__) : (void)0)
TARN_API void tarn_assert_failed(const char *condition, const char *file, int line);

/* Where memory lies. The numbers of `type` are DLPack's DLDeviceType (dlpack.h 1.3), so a device
 * crosses into another framework unchanged. */
typedef enum tarn_device_type {
  TARN_DEVICE_CPU = 1,
  TARN_DEVICE_CUDA = 2,
  TARN_DEVICE_CUDA_HOST = 3, /* page-locked host memory that every GPU can reach */
  TARN_DEVICE_CUDA_MANAGED = 13,
} tarn_device_type;

typedef struct tarn_device {
  int32_t type;  /* tarn_device_type, or another of DLPack's numbers */
  int32_t index; /* which of them; 0 for host memory */
} tarn_device;

static inline tarn_device tarn_device_make(int32_t type, int32_t index) {
  tarn_device device = {type, index};
  return device;
}

static inline bool tarn_device_equal(tarn_device a, tarn_device b) {
  return a.type == b.type && a.index == b.index;
}

/* True where a CPU instruction may load and store at the address. */
static inline bool tarn_device_is_host(tarn_device device) {
  return device.type == TARN_DEVICE_CPU || device.type == TARN_DEVICE_CUDA_HOST ||
         device.type == TARN_DEVICE_CUDA_MANAGED;
}

/* Checked arithmetic: false where the result does not fit, and then *out is not to be used. */
static inline bool tarn_size_add(size_t a, size_t b, size_t *out) {
  return !__builtin_add_overflow(a, b, out);
}
static inline bool tarn_size_mul(size_t a, size_t b, size_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}
static inline bool tarn_int64_add(int64_t a, int64_t b, int64_t *out) {
  return !__builtin_add_overflow(a, b, out);
}
static inline bool tarn_int64_mul(int64_t a, int64_t b, int64_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}
static inline bool tarn_is_power_of_two(size_t value) {
  return value != 0 && (value & (value - 1)) == 0;
}
/* Rounds up to a multiple of `step`, a power of two. */
static inline bool tarn_size_round_up(size_t size, size_t step, size_t *out) {
  if (!tarn_size_add(size, step - 1, out)) return false;
  *out &= ~(step - 1);
  return true;
}

#ifdef __cplusplus
}
#endif
#endif
