/* sim_memory.c: device memory, page-locked memory, and what an address is. */
#include "cuda/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What the CUDA C++ Programming Guide, "Device Memory Accesses", promises of any address that the
 * driver returns; no page is promised. */
enum { PINNED_ALIGNMENT_BYTES = 256 };

/* --- ranges, sorted by address, none overlapping --- */

/* Index of the first range that ends behind the address. */
static size_t find_index(uintptr_t address) {
  size_t low = 0;
  size_t high = sim.range_count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (sim.ranges[middle].start + sim.ranges[middle].size_bytes <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

sim_range *sim_range_after(uintptr_t address) {
  const size_t index = find_index(address);
  return index < sim.range_count ? &sim.ranges[index] : NULL;
}

sim_range *sim_range_find(uintptr_t address) {
  sim_range *range = sim_range_after(address);
  return range != NULL && range->start <= address ? range : NULL;
}

static sim_range *find_start(uintptr_t address, sim_range_kind kind) {
  sim_range *range = sim_range_find(address);
  return range != NULL && range->start == address && range->kind == kind ? range : NULL;
}

bool sim_range_make_room(void) {
  if (sim.range_count < sim.range_room) return true;
  const size_t room = sim.range_room == 0 ? 64 : sim.range_room * 2;
  sim_range *grown = realloc(sim.ranges, room * sizeof *grown);
  if (grown == NULL) return false;
  sim.ranges = grown;
  sim.range_room = room;
  return true;
}

uint64_t sim_range_insert(sim_range range) {
  const size_t index = find_index(range.start);
  memmove(&sim.ranges[index + 1], &sim.ranges[index],
          (sim.range_count - index) * sizeof sim.ranges[0]);
  range.id = ++sim.range_ids;
  sim_race_fresh(range.start, range.size_bytes);
  sim.ranges[index] = range;
  sim.range_count++;
  return range.id;
}

void sim_range_remove(sim_range *range) {
  const size_t index = (size_t)(range - sim.ranges);
  sim.range_count--;
  memmove(range, range + 1, (sim.range_count - index) * sizeof *range);
}

static size_t page_rounded(size_t size_bytes) {
  return (size_bytes + 4095) & ~(size_t)4095;
}

/* Gives the memory of one allocation back and forgets the range. */
static void drop(sim_range *range) {
  switch (range->kind) {
    case RANGE_DEVICE:
      sim_ipc_drop(range);
      sim_window_give(range->start, range->size_bytes);
      sim.devices[range->device].used_bytes -= range->size_bytes;
      break;
    case RANGE_PINNED:
      munmap((void *)(range->start - PINNED_ALIGNMENT_BYTES),
             page_rounded(range->size_bytes + PINNED_ALIGNMENT_BYTES));
      sim.pinned_bytes -= range->size_bytes;
      break;
    case RANGE_REGISTERED:
      sim.pinned_bytes -= range->size_bytes;
      break;
    case RANGE_POOL:
      sim_pool_free_now(range);
      return;
    case RANGE_OPENED:
      sim_ipc_drop(range);
      sim_window_give(range->start, range->size_bytes);
      break;
    case RANGE_MAPPED: /* cuMemUnmap's alone */
    case RANGE_COUNTERS:
      return;
  }
  sim_range_remove(range);
}

void sim_memory_abandon(int device) {
  for (size_t i = sim.range_count; i-- > 0;) {
    /* Mappings belong to the process, not to a context. */
    if (sim.ranges[i].device != device || sim.ranges[i].kind == RANGE_MAPPED ||
        sim.ranges[i].kind == RANGE_COUNTERS) {
      continue;
    }
    sim.abandoned_count++;
    sim_race_fresh(sim.ranges[i].start, sim.ranges[i].size_bytes);
    drop(&sim.ranges[i]);
  }
}

/* --- device memory --- */

CUresult cuMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
  SIM_ENTER(cuMemGetInfo, SIM_NEEDS_CONTEXT);
  if (free_bytes == NULL || total_bytes == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const sim_device *device = &sim.devices[sim_current()->device];
  *total_bytes = device->capacity_bytes;
  *free_bytes =
      device->capacity_bytes > device->used_bytes ? device->capacity_bytes - device->used_bytes : 0;
  return sim_leave(CUDA_SUCCESS);
}

static CUresult alloc_device(CUdeviceptr *address, size_t size_bytes) {
  sim_device *device = &sim.devices[sim_current()->device];
  if (size_bytes > device->capacity_bytes ||
      device->used_bytes > device->capacity_bytes - size_bytes || !sim_range_make_room()) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const uintptr_t start = sim_window_take(size_bytes);
  if (start == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  sim_range_insert((sim_range){.start = start,
                               .size_bytes = size_bytes,
                               .kind = RANGE_DEVICE,
                               .device = device->context.device});
  device->used_bytes += size_bytes;
  *address = start;
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr *address, size_t size_bytes) {
  SIM_ENTER(cuMemAlloc, SIM_NEEDS_CONTEXT);
  if (address == NULL || size_bytes == 0) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  return sim_leave(alloc_device(address, size_bytes));
}

/* Rows begin where a GPU reads them best: every 512 bytes. */
CUresult cuMemAllocPitch(CUdeviceptr *address, size_t *pitch, size_t width, size_t height,
                         unsigned element_bytes) {
  SIM_ENTER(cuMemAllocPitch, SIM_NEEDS_CONTEXT);
  const bool is_known = element_bytes == 4 || element_bytes == 8 || element_bytes == 16;
  if (address == NULL || pitch == NULL || width == 0 || height == 0 || !is_known) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  size_t row_bytes, size_bytes;
  if (__builtin_add_overflow(width, (size_t)511, &row_bytes) ||
      __builtin_mul_overflow(row_bytes &= ~(size_t)511, height, &size_bytes)) {
    return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  }
  const CUresult result = alloc_device(address, size_bytes);
  if (result == CUDA_SUCCESS) *pitch = row_bytes;
  return sim_leave(result);
}

CUresult cuMemFree(CUdeviceptr address) {
  SIM_ENTER(cuMemFree, SIM_NEEDS_CONTEXT);
  if (address == 0) return sim_leave(CUDA_SUCCESS);
  sim_range *range = find_start(address, RANGE_DEVICE);
  if (range == NULL) range = find_start(address, RANGE_POOL);
  if (range == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  sim_race_gone(range->start, range->size_bytes);
  drop(range);
  return sim_leave(CUDA_SUCCESS);
}

/* Allocations of less may be parts of a larger one (Programming Guide, "Interprocess
 * Communication"). */
enum { SHARED_WHOLE_BYTES = 2 << 20 };

CUresult cuMemGetAddressRange(CUdeviceptr *start, size_t *size_bytes, CUdeviceptr address) {
  SIM_ENTER(cuMemGetAddressRange, SIM_NEEDS_CONTEXT);
  const sim_range *range = sim_range_find(address);
  if (range == NULL) return sim_leave(CUDA_ERROR_NOT_FOUND);
  uintptr_t from = range->start, end = from + range->size_bytes;
  if (range->kind == RANGE_OPENED) { /* what the block is a part of is shared whole, says CUDA */
    from -= from % SHARED_WHOLE_BYTES;
    end += (SHARED_WHOLE_BYTES - end % SHARED_WHOLE_BYTES) % SHARED_WHOLE_BYTES;
  }
  if (start != NULL) *start = from;
  if (size_bytes != NULL) *size_bytes = end - from;
  return sim_leave(CUDA_SUCCESS);
}

/* --- page-locked memory --- */

static bool may_pin(size_t size_bytes) {
  return size_bytes <= sim.pinned_capacity_bytes &&
         sim.pinned_bytes <= sim.pinned_capacity_bytes - size_bytes;
}

/* Memory that begins a little behind a page, and that one page behind a multiple of some MiB,
 * wherever the kernel has room: how a pool cuts it up for large alignments is then the same in
 * every run of a seed, and nobody comes to rely on more alignment than is promised. MAP_FAILED
 * where there is no room. */
static void *map_pinned(size_t size_bytes) {
  static const uintptr_t step_bytes = (uintptr_t)4 << 20;
  const size_t pages_bytes = page_rounded(size_bytes + PINNED_ALIGNMENT_BYTES);
  const size_t mapped_bytes = pages_bytes + step_bytes;
  char *mapped =
      mmap(NULL, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return MAP_FAILED;
  const size_t page_bytes = page_rounded(1);
  const size_t before_bytes = (size_t)((page_bytes - (uintptr_t)mapped) & (step_bytes - 1));
  char *pages = mapped + before_bytes;
  if (before_bytes > 0) munmap(mapped, before_bytes);
  if (before_bytes < step_bytes) {
    munmap(pages + pages_bytes, step_bytes - before_bytes);
  }
  return pages + PINNED_ALIGNMENT_BYTES;
}

CUresult cuMemHostAlloc(void **address, size_t size_bytes, unsigned flags) {
  SIM_ENTER(cuMemHostAlloc, SIM_NEEDS_CONTEXT);
  const unsigned known =
      CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
  if (address == NULL || size_bytes == 0 || (flags & ~known) != 0) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  if (!may_pin(size_bytes) || size_bytes > SIZE_MAX / 2 || !sim_range_make_room()) {
    return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  }
  void *pages = map_pinned(size_bytes);
  if (pages == MAP_FAILED) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  memset(pages, 0xCD, size_bytes);
  sim_range_insert((sim_range){.start = (uintptr_t)pages,
                               .size_bytes = size_bytes,
                               .kind = RANGE_PINNED,
                               .device = sim_current()->device,
                               .flags = flags});
  sim.pinned_bytes += size_bytes;
  *address = pages;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuMemFreeHost(void *address) {
  SIM_ENTER(cuMemFreeHost, SIM_NEEDS_CONTEXT);
  sim_range *range = find_start((uintptr_t)address, RANGE_PINNED);
  if (range == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  sim_race_gone(range->start, range->size_bytes);
  drop(range);
  return sim_leave(CUDA_SUCCESS);
}

/* Whether the process itself may read, or write, every page of [start, end). */
static bool may_touch(uintptr_t start, uintptr_t end, bool is_written) {
  FILE *maps = fopen("/proc/thread-self/maps", "re");
  if (maps == NULL) return true; /* nobody to ask */
  char line[512];
  uintptr_t known_end = start;
  while (known_end < end && fgets(line, sizeof line, maps) != NULL) {
    uintptr_t from, to;
    char may_read, may_write;
    if (sscanf(line, "%lx-%lx %c%c", &from, &to, &may_read, &may_write) != 4) continue;
    if (to <= known_end) continue;
    if (from > known_end || may_read != 'r' || (is_written && may_write != 'w')) break;
    known_end = to;
  }
  fclose(maps);
  return known_end >= end;
}

/* What the kernel module of drivers since 580 refuses: its table of one call's pages would be
 * larger than the kernel hands out. */
static const size_t REGISTERED_BYTES_END = (size_t)512 << 30;

CUresult cuMemHostRegister(void *address, size_t size_bytes, unsigned flags) {
  SIM_ENTER(cuMemHostRegister, SIM_NEEDS_CONTEXT);
  const unsigned known =
      CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
  const uintptr_t start = (uintptr_t)address;
  const bool is_written = (flags & CU_MEMHOSTREGISTER_READ_ONLY) == 0;
  if (address == NULL || size_bytes == 0 || size_bytes > UINTPTR_MAX - start ||
      sim_window_holds(start) || (flags & ~known) != 0) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  if (size_bytes >= REGISTERED_BYTES_END) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  if (!may_touch(start, start + size_bytes, is_written)) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  const sim_range *next = sim_range_after(start);
  if (next != NULL && next->start < start + size_bytes) {
    return sim_leave(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  }
  if (!may_pin(size_bytes) || !sim_range_make_room()) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  sim_range_insert((sim_range){.start = start,
                               .size_bytes = size_bytes,
                               .kind = RANGE_REGISTERED,
                               .device = sim_current()->device,
                               .flags = flags});
  sim.pinned_bytes += size_bytes;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuMemHostUnregister(void *address) {
  SIM_ENTER(cuMemHostUnregister, SIM_NEEDS_CONTEXT);
  sim_range *range = find_start((uintptr_t)address, RANGE_REGISTERED);
  if (range == NULL) return sim_leave(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  sim_race_gone(range->start, range->size_bytes);
  drop(range);
  return sim_leave(CUDA_SUCCESS);
}

static bool is_device_range(const sim_range *range) {
  return range->kind != RANGE_PINNED && range->kind != RANGE_REGISTERED &&
         range->kind != RANGE_COUNTERS;
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *device_address, void *address, unsigned flags) {
  SIM_ENTER(cuMemHostGetDevicePointer, SIM_NEEDS_CONTEXT);
  const sim_range *range = sim_range_find((uintptr_t)address);
  if (device_address == NULL || flags != 0 || range == NULL || is_device_range(range)) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  *device_address = (uintptr_t)address; /* unified addressing */
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuMemHostGetFlags(unsigned *flags, void *address) {
  SIM_ENTER(cuMemHostGetFlags, SIM_NEEDS_CONTEXT);
  const sim_range *range = sim_range_find((uintptr_t)address);
  if (flags == NULL || range == NULL || range->kind != RANGE_PINNED) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  *flags = range->flags;
  return sim_leave(CUDA_SUCCESS);
}

/* --- what an address is --- */

static CUresult describe(void *data, CUpointer_attribute attribute, CUdeviceptr address,
                         const sim_range *range) {
  const bool is_device = is_device_range(range);
  switch ((int)attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      *(CUcontext *)data = range->kind == RANGE_MAPPED ? NULL : &sim.devices[range->device].context;
      break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      *(unsigned *)data = is_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
      break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      *(CUdeviceptr *)data = address;
      break;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      if (is_device) return CUDA_ERROR_INVALID_VALUE;
      *(void **)data = (void *)(uintptr_t)address;
      break;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      *(unsigned long long *)data = range->id;
      break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      *(unsigned *)data = 0;
      break;
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
      *(CUmemoryPool *)data = range->kind == RANGE_POOL ? sim_pool_of(range) : NULL;
      break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      *(int *)data = range->device;
      break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      *(CUdeviceptr *)data =
          range->kind == RANGE_MAPPED ? sim_virtual_start(range->reservation) : range->start;
      break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: /* of the addresses that can be mapped, not of what is */
      *(size_t *)data =
          range->kind == RANGE_MAPPED ? sim_virtual_size(range->reservation) : range->size_bytes;
      break;
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
  return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr address) {
  SIM_ENTER(cuPointerGetAttribute, SIM_NEEDS_INIT);
  const sim_range *range = sim_range_find(address);
  if (data == NULL || range == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  return sim_leave(describe(data, attribute, address, range));
}

/* What is not the driver's has no attributes: all zero, and the ordinal of no device. */
static CUresult describe_nothing(void *data, CUpointer_attribute attribute) {
  switch ((int)attribute) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      *(unsigned *)data = 0;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      *(int *)data = CU_DEVICE_INVALID;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_CONTEXT:
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      memset(data, 0, sizeof(uint64_t));
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

/* Unlike the call for one attribute it is no error that an address is not the driver's, nor that an
 * attribute does not hold for it. */
CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute *attributes, void **data,
                                CUdeviceptr address) {
  SIM_ENTER(cuPointerGetAttributes, SIM_NEEDS_INIT);
  if (count == 0 || attributes == NULL || data == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const sim_range *range = sim_range_find(address);
  for (unsigned i = 0; i < count; i++) {
    if (data[i] == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    if (range != NULL) result = describe(data[i], attributes[i], address, range);
    if (result == CUDA_ERROR_INVALID_VALUE) result = describe_nothing(data[i], attributes[i]);
    if (result != CUDA_SUCCESS) return sim_leave(result);
  }
  return sim_leave(CUDA_SUCCESS);
}
