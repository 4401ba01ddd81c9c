/* host_register.c: registers ranges piece by piece, and knows the system's limit on them. */
#include "cuda/host_register.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- what the devices take --- */

static tarn_status check_attribute(const tarn_cuda *cuda, CUdevice_attribute attribute,
                                   const char *lacking) {
  for (int32_t i = 0; i < cuda->device_count; i++) {
    int value = 0;
    const CUresult result =
        cuda->driver.DeviceGetAttribute(&value, attribute, cuda->devices[i].native);
    if (result == CUDA_SUCCESS && value != 0) continue;
    return tarn_fail(TARN_NOT_SUPPORTED, "CUDA device %d %s", (int)i, lacking);
  }
  return TARN_OK;
}

tarn_status tarn__host_register_check(const tarn_cuda *cuda, bool is_read_only) {
  tarn_status status = tarn__cuda_check_process(cuda);
  if (status != TARN_OK) return status;
  status = check_attribute(cuda, CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED,
                           "does not register host memory that it did not allocate");
  if (status == TARN_OK) {
    status = check_attribute(cuda, CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM,
                             "sees registered host memory at other addresses than the CPU does");
  }
  if (status != TARN_OK || !is_read_only) return status;
  return check_attribute(cuda, CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED,
                         "does not register host memory for reading alone");
}

/* --- the limit on locked memory --- */

void tarn__pin_count(tarn_cuda *cuda, size_t size_bytes) {
  atomic_fetch_add_explicit(&cuda->pinned_bytes, size_bytes, memory_order_relaxed);
}

void tarn__pin_uncount(tarn_cuda *cuda, size_t size_bytes) {
  atomic_fetch_sub_explicit(&cuda->pinned_bytes, size_bytes, memory_order_relaxed);
}

static bool may_lock_anything(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0;
}

/* The limit where it stands in the way; SIZE_MAX where not. */
static size_t limit_in_the_way(CUresult result, size_t locked_bytes) {
  struct rlimit limit;
  const bool may_be_it = result == CUDA_ERROR_OUT_OF_MEMORY || result == CUDA_ERROR_UNKNOWN ||
                         result == CUDA_ERROR_OPERATING_SYSTEM ||
                         result == CUDA_ERROR_NOT_PERMITTED;
  if (!may_be_it || getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return SIZE_MAX;
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= locked_bytes || may_lock_anything()) {
    return SIZE_MAX;
  }
  return (size_t)limit.rlim_cur;
}

tarn_status tarn__pin_status(const tarn_cuda *cuda, CUresult result, const char *call,
                             size_t size_bytes) {
  if (result == CUDA_SUCCESS) return TARN_OK;
  const size_t held_bytes = atomic_load_explicit(&cuda->pinned_bytes, memory_order_relaxed);
  const size_t limit_bytes = limit_in_the_way(result, held_bytes + size_bytes);
  if (limit_bytes == SIZE_MAX) {
    return tarn__cuda_status(&cuda->driver, result, call, "%zu bytes of page-locked memory",
                             size_bytes);
  }
  return tarn_fail_native(
      TARN_OUT_OF_MEMORY, call, result,
      "%zu bytes of page-locked memory beside %zu: the process may lock no more than %zu KiB; "
      "`ulimit -l %zu` (RLIMIT_MEMLOCK) would let it, or CAP_IPC_LOCK",
      size_bytes, held_bytes, limit_bytes >> 10, (held_bytes + size_bytes + 1023) >> 10);
}

/* --- pieces --- */

static size_t piece_at(const tarn__host_range *range, size_t offset) {
  const size_t left = range->size_bytes - offset;
  return left < range->piece_bytes ? left : range->piece_bytes;
}

static CUresult register_piece(tarn_cuda *cuda, const tarn__host_range *range, size_t offset) {
  const unsigned flags = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP |
                         (range->is_read_only ? CU_MEMHOSTREGISTER_READ_ONLY : 0u);
  return cuda->driver.MemHostRegister((char *)range->address + offset, piece_at(range, offset),
                                      flags);
}

tarn_status tarn__host_register(tarn_cuda *cuda, const tarn__host_range *range) {
  for (size_t done = 0; done < range->size_bytes; done += range->piece_bytes) {
    const CUresult result = register_piece(cuda, range, done);
    if (result == CUDA_SUCCESS) {
      tarn__pin_count(cuda, piece_at(range, done));
      continue;
    }
    const tarn_status status =
        tarn__pin_status(cuda, result, "cuMemHostRegister", piece_at(range, done));
    while (done != 0) {
      done -= range->piece_bytes;
      cuda->driver.MemHostUnregister((char *)range->address + done);
      tarn__pin_uncount(cuda, range->piece_bytes);
    }
    return status;
  }
  return TARN_OK;
}

tarn_status tarn__host_unregister(tarn_cuda *cuda, const tarn__host_range *range) {
  for (size_t done = 0; done < range->size_bytes; done += range->piece_bytes) {
    void *piece = (char *)range->address + done;
    const CUresult result = cuda->driver.MemHostUnregister(piece);
    if (result == CUDA_SUCCESS) {
      tarn__pin_uncount(cuda, piece_at(range, done));
      continue;
    }
    const tarn_status status =
        tarn__cuda_status(&cuda->driver, result, "cuMemHostUnregister",
                          "%zu registered bytes at %p", piece_at(range, done), piece);
    while (done != 0) {
      done -= range->piece_bytes;
      if (register_piece(cuda, range, done) == CUDA_SUCCESS) {
        tarn__pin_count(cuda, range->piece_bytes);
      }
    }
    return status;
  }
  return TARN_OK;
}

tarn_status tarn__host_register_block(tarn_cuda *cuda, const tarn__host_range *range) {
  const bool has_seams = range->size_bytes > range->piece_bytes;
  tarn_status status = TARN_OK;
  if (has_seams) {
    status = tarn__seams_add(&cuda->seams, range->address, range->size_bytes, range->piece_bytes);
  }
  if (status != TARN_OK) return status;
  status = tarn__host_register(cuda, range);
  if (status != TARN_OK && has_seams) tarn__seams_remove(&cuda->seams, range->address);
  return status;
}

tarn_status tarn__host_unregister_block(tarn_cuda *cuda, const tarn__host_range *range) {
  const tarn_status status = tarn__host_unregister(cuda, range);
  if (status == TARN_OK) tarn__seams_remove(&cuda->seams, range->address);
  return status;
}
