/* sim_virtual.c: virtual memory: address space, memory, and mappings of the one to the other.
 *
 *     reservation   [ never readable ........................ ]   addresses that programs see
 *     its view      [ ....... | mapped | mapped | .......... ]    where the bytes of mappings are
 *                                 |        |
 *     one file      ... | physical | ... | physical | ...         all memory there is, sparse
 *
 * Memory lives as long as a handle or a mapping. Its place in the file is never used again, so that
 * what was freed cannot show up elsewhere.
 */
#include "cuda/sim/sim.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GRANULE_BYTES = 2 << 20 };

/* What a handle names: its number is the slot plus one. */
struct sim_physical {
  size_t size_bytes; /* 0: the slot is free */
  off_t offset;
  size_t handle_count;
  size_t mapping_count;
  CUmemAllocationProp properties;
  int file;         /* one of its own, which others can import; -1: the common one */
  bool is_imported; /* another process's, whose device's memory it counts in */
  uint32_t slot;
};

struct sim_reservation {
  uintptr_t start;
  size_t size_bytes;
  char *view;
  bool is_pool; /* a pool's chunk, which programs do not map into */
};

static sim_reservation **reservations; /* by address */
static size_t reservation_count;
static sim_physical **slots;
static size_t slot_count;
static int memory_file = -1;
static off_t memory_end;
static sim_virtual_counts counts;

sim_virtual_counts sim_virtual_count(void) {
  return counts;
}

static bool is_granular(uint64_t value) {
  return value % GRANULE_BYTES == 0;
}

/* --- address space --- */

static size_t find_index(uintptr_t address) {
  size_t low = 0;
  size_t high = reservation_count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (reservations[middle]->start + reservations[middle]->size_bytes <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

sim_reservation *sim_virtual_find(uintptr_t address) {
  const size_t index = find_index(address);
  const bool is_found = index < reservation_count && reservations[index]->start <= address;
  return is_found ? reservations[index] : NULL;
}

void *sim_virtual_view(const sim_reservation *reservation, uintptr_t address) {
  return reservation->view + (address - reservation->start);
}

/* The kernel picks the place; the hint is one that a driver may pass over, too. */
static char *map_nothing(size_t size_bytes, size_t alignment) {
  size_t mapped_bytes;
  if (__builtin_add_overflow(size_bytes, alignment, &mapped_bytes)) return NULL;
  char *mapped =
      mmap(NULL, mapped_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return NULL;
  const size_t head = (size_t)(-(uintptr_t)mapped & (alignment - 1));
  if (head != 0) munmap(mapped, head);
  if (alignment != head) munmap(mapped + head + size_bytes, alignment - head);
  return mapped + head;
}

uintptr_t sim_virtual_start(const sim_reservation *reservation) {
  return reservation->start;
}

size_t sim_virtual_size(const sim_reservation *reservation) {
  return reservation->size_bytes;
}

static bool add_reservation(sim_reservation *made) {
  sim_reservation **grown = realloc(reservations, (reservation_count + 1) * sizeof *reservations);
  if (grown == NULL) return false;
  reservations = grown;
  const size_t index = find_index(made->start);
  memmove(&reservations[index + 1], &reservations[index],
          (reservation_count - index) * sizeof *reservations);
  reservations[index] = made;
  reservation_count++;
  return true;
}

static sim_reservation *make_reservation(size_t size_bytes, size_t alignment) {
  sim_reservation *made = calloc(1, sizeof *made);
  char *start = map_nothing(size_bytes, alignment);
  char *view = map_nothing(size_bytes, GRANULE_BYTES);
  if (made != NULL && start != NULL && view != NULL) {
    *made = (sim_reservation){.start = (uintptr_t)start, .size_bytes = size_bytes, .view = view};
    if (add_reservation(made)) return made;
  }
  if (start != NULL) munmap(start, size_bytes);
  if (view != NULL) munmap(view, size_bytes);
  free(made);
  return NULL;
}

static void free_reservation(sim_reservation *gone) {
  const size_t index = find_index(gone->start);
  reservation_count--;
  memmove(&reservations[index], &reservations[index + 1],
          (reservation_count - index) * sizeof *reservations);
  munmap((void *)gone->start, gone->size_bytes);
  munmap(gone->view, gone->size_bytes);
  free(gone);
}

CUresult cuMemAddressReserve(CUdeviceptr *address, size_t size_bytes, size_t alignment,
                             CUdeviceptr hint, unsigned long long flags) {
  SIM_ENTER(cuMemAddressReserve, SIM_NEEDS_INIT);
  const bool is_power = (alignment & (alignment - 1)) == 0; /* 0: the driver's choice */
  if (address == NULL || size_bytes == 0 || !is_granular(size_bytes) || !is_power || flags != 0 ||
      hint % 4096 != 0) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  if (alignment < GRANULE_BYTES) alignment = GRANULE_BYTES;
  const sim_reservation *made = make_reservation(size_bytes, alignment);
  if (made == NULL) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  counts.reservations++;
  *address = made->start;
  return sim_leave(CUDA_SUCCESS);
}

sim_reservation *sim_virtual_take(size_t size_bytes) {
  sim_reservation *made = make_reservation(size_bytes, GRANULE_BYTES);
  if (made == NULL) return NULL;
  made->is_pool = true;
  if (mprotect(made->view, size_bytes, PROT_READ | PROT_WRITE) == 0) return made;
  free_reservation(made);
  return NULL;
}

void sim_virtual_give(sim_reservation *reservation) {
  free_reservation(reservation);
}

/* The first mapping that touches [start, end), or NULL. */
static sim_range *find_mapping(uintptr_t start, uintptr_t end) {
  sim_range *range = sim_range_after(start);
  return range != NULL && range->start < end ? range : NULL;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t size_bytes) {
  SIM_ENTER(cuMemAddressFree, SIM_NEEDS_INIT);
  sim_reservation *found = sim_virtual_find(address);
  if (found == NULL || found->is_pool || found->start != address ||
      found->size_bytes != size_bytes || find_mapping(address, address + size_bytes) != NULL) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  free_reservation(found);
  counts.reservations--;
  return sim_leave(CUDA_SUCCESS);
}

/* --- memory --- */

static CUresult check_properties(const CUmemAllocationProp *properties) {
  if (properties == NULL || properties->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
      properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
      (properties->requestedHandleTypes != CU_MEM_HANDLE_TYPE_NONE &&
       properties->requestedHandleTypes != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) ||
      properties->win32HandleMetaData != NULL) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const int device = properties->location.id;
  return device >= 0 && device < sim.device_count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMemGetAllocationGranularity(size_t *granularity_bytes,
                                       const CUmemAllocationProp *properties,
                                       CUmemAllocationGranularity_flags option) {
  SIM_ENTER(cuMemGetAllocationGranularity, SIM_NEEDS_INIT);
  const CUresult result = check_properties(properties);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  if (granularity_bytes == NULL || (option != CU_MEM_ALLOC_GRANULARITY_MINIMUM &&
                                    option != CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  *granularity_bytes = GRANULE_BYTES;
  return sim_leave(CUDA_SUCCESS);
}

/* Memory at the end of the file, poisoned. */
static bool take_memory(size_t size_bytes, off_t *offset) {
  if (memory_file < 0) memory_file = memfd_create("cusim", MFD_CLOEXEC);
  off_t end;
  if (memory_file < 0 || __builtin_add_overflow(memory_end, size_bytes, &end) ||
      ftruncate(memory_file, end) != 0) {
    return false;
  }
  void *bytes = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_file, memory_end);
  if (bytes == MAP_FAILED) return false;
  memset(bytes, 0xCD, size_bytes);
  munmap(bytes, size_bytes);
  *offset = memory_end;
  memory_end = end;
  return true;
}

static void give_memory(off_t offset, size_t size_bytes) {
  (void)fallocate(memory_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                  (off_t)size_bytes);
}

/* Memory in a file of its own, behind which stands what it is. */
typedef struct shared_note {
  char magic[8];
  uint64_t size_bytes;
  CUmemAllocationProp properties;
} shared_note;
static const char SHARED_MAGIC[8] = "cusim-v";
enum { SHARED_NOTE_BYTES = 4096 };

static int create_shared(size_t size_bytes, const CUmemAllocationProp *properties) {
  shared_note note = {.size_bytes = size_bytes, .properties = *properties};
  memcpy(note.magic, SHARED_MAGIC, sizeof note.magic);
  const int file = memfd_create("cusim memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return -1;
  void *bytes = MAP_FAILED;
  if (ftruncate(file, (off_t)size_bytes + SHARED_NOTE_BYTES) == 0 &&
      fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0 &&
      pwrite(file, &note, sizeof note, (off_t)size_bytes) == (ssize_t)sizeof note) {
    bytes = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  if (bytes == MAP_FAILED) {
    close(file);
    return -1;
  }
  memset(bytes, 0xCD, size_bytes);
  munmap(bytes, size_bytes);
  return file;
}

/* A free slot with its record, or NULL without memory. */
static sim_physical *take_slot(void) {
  for (size_t i = 0; i < slot_count; i++) {
    if (slots[i]->size_bytes == 0) return slots[i];
  }
  sim_physical *made = calloc(1, sizeof *made);
  sim_physical **grown = realloc(slots, (slot_count + 1) * sizeof *slots);
  if (grown != NULL) slots = grown;
  if (made == NULL || grown == NULL) {
    free(made);
    return NULL;
  }
  made->slot = (uint32_t)slot_count;
  slots[slot_count++] = made;
  return made;
}

static sim_physical *find_physical(CUmemGenericAllocationHandle handle) {
  if (handle == 0 || handle > slot_count) return NULL;
  sim_physical *physical = slots[handle - 1];
  return physical->size_bytes != 0 && physical->handle_count != 0 ? physical : NULL;
}

/* The memory goes with its last handle and its last mapping. */
static void release_unused(sim_physical *physical) {
  if (physical->handle_count != 0 || physical->mapping_count != 0) return;
  if (physical->file >= 0) {
    close(physical->file);
  } else {
    give_memory(physical->offset, physical->size_bytes);
  }
  if (!physical->is_imported) {
    sim.devices[physical->properties.location.id].used_bytes -= physical->size_bytes;
  }
  counts.physical_blocks--;
  counts.physical_bytes -= physical->size_bytes;
  physical->size_bytes = 0;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size_bytes,
                     const CUmemAllocationProp *properties, unsigned long long flags) {
  SIM_ENTER(cuMemCreate, SIM_NEEDS_INIT);
  const CUresult result = check_properties(properties);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  if (handle == NULL || size_bytes == 0 || !is_granular(size_bytes) || flags != 0) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  sim_device *device = &sim.devices[properties->location.id];
  if (size_bytes > device->capacity_bytes ||
      device->used_bytes > device->capacity_bytes - size_bytes) {
    return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  }
  sim_physical *physical = take_slot();
  off_t offset = 0;
  const bool is_shared = properties->requestedHandleTypes != CU_MEM_HANDLE_TYPE_NONE;
  const int file = is_shared ? create_shared(size_bytes, properties) : -1;
  if (physical == NULL || (is_shared ? file < 0 : !take_memory(size_bytes, &offset))) {
    if (file >= 0) close(file);
    return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  }
  *physical = (sim_physical){.size_bytes = size_bytes,
                             .offset = offset,
                             .handle_count = 1,
                             .properties = *properties,
                             .file = file,
                             .slot = physical->slot};
  device->used_bytes += size_bytes;
  counts.physical_blocks++;
  counts.physical_bytes += size_bytes;
  *handle = physical->slot + 1;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  SIM_ENTER(cuMemRelease, SIM_NEEDS_INIT);
  sim_physical *physical = find_physical(handle);
  if (physical == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  physical->handle_count--;
  release_unused(physical);
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address) {
  SIM_ENTER(cuMemRetainAllocationHandle, SIM_NEEDS_INIT);
  const sim_range *range = sim_range_find((uintptr_t)address);
  if (handle == NULL || range == NULL || range->kind != RANGE_MAPPED) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  range->physical->handle_count++;
  *handle = range->physical->slot + 1;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *properties,
                                                CUmemGenericAllocationHandle handle) {
  SIM_ENTER(cuMemGetAllocationPropertiesFromHandle, SIM_NEEDS_INIT);
  const sim_physical *physical = find_physical(handle);
  if (properties == NULL || physical == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  *properties = physical->properties;
  return sim_leave(CUDA_SUCCESS);
}

/* --- other processes --- */

CUresult cuMemExportToShareableHandle(void *shared, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType type, unsigned long long flags) {
  SIM_ENTER(cuMemExportToShareableHandle, SIM_NEEDS_INIT);
  const sim_physical *physical = find_physical(handle);
  if (shared == NULL || physical == NULL || physical->file < 0 || flags != 0 ||
      type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  const int descriptor = fcntl(physical->file, F_DUPFD, 0); /* open in what the program executes */
  if (descriptor < 0) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  memcpy(shared, &descriptor, sizeof descriptor);
  return sim_leave(CUDA_SUCCESS);
}

/* The descriptor stays the program's. */
static CUresult import_memory(int descriptor, CUmemGenericAllocationHandle *handle) {
  shared_note note;
  const off_t end = lseek(descriptor, 0, SEEK_END);
  if (end < SHARED_NOTE_BYTES || fcntl(descriptor, F_GET_SEALS) < 0 ||
      pread(descriptor, &note, sizeof note, end - SHARED_NOTE_BYTES) != (ssize_t)sizeof note ||
      memcmp(note.magic, SHARED_MAGIC, sizeof note.magic) != 0 ||
      note.size_bytes + SHARED_NOTE_BYTES != (uint64_t)end) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const CUresult result = check_properties(&note.properties);
  if (result != CUDA_SUCCESS) return result;
  sim_physical *physical = take_slot();
  const int file = physical != NULL ? fcntl(descriptor, F_DUPFD_CLOEXEC, 0) : -1;
  if (file < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  *physical = (sim_physical){.size_bytes = note.size_bytes,
                             .handle_count = 1,
                             .properties = note.properties,
                             .file = file,
                             .is_imported = true,
                             .slot = physical->slot};
  counts.physical_blocks++;
  counts.physical_bytes += note.size_bytes;
  *handle = physical->slot + 1;
  return CUDA_SUCCESS;
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *shared,
                                        CUmemAllocationHandleType type) {
  SIM_ENTER(cuMemImportFromShareableHandle, SIM_NEEDS_INIT);
  if (handle == NULL || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  return sim_leave(import_memory((int)(intptr_t)shared, handle));
}

/* --- mappings --- */

CUresult cuMemMap(CUdeviceptr address, size_t size_bytes, size_t offset,
                  CUmemGenericAllocationHandle handle, unsigned long long flags) {
  SIM_ENTER(cuMemMap, SIM_NEEDS_INIT);
  sim_physical *physical = find_physical(handle);
  sim_reservation *reservation = sim_virtual_find(address);
  if (physical == NULL || reservation == NULL || reservation->is_pool || flags != 0 ||
      offset != 0 || size_bytes == 0 || !is_granular(size_bytes) ||
      !is_granular(address - reservation->start) || size_bytes > physical->size_bytes ||
      size_bytes > reservation->start + reservation->size_bytes - address ||
      find_mapping(address, address + size_bytes) != NULL) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  if (!sim_range_make_room() ||
      mmap(sim_virtual_view(reservation, address), size_bytes, PROT_READ | PROT_WRITE,
           MAP_SHARED | MAP_FIXED, physical->file >= 0 ? physical->file : memory_file,
           physical->offset) == MAP_FAILED) {
    return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  }
  physical->mapping_count++;
  sim_range_insert((sim_range){.start = address,
                               .size_bytes = size_bytes,
                               .kind = RANGE_MAPPED,
                               .device = physical->properties.location.id,
                               .physical = physical,
                               .reservation = reservation});
  return sim_leave(CUDA_SUCCESS);
}

/* Whether [address, address + size_bytes) is whole mappings of one reservation, without a gap. */
static bool is_whole(uintptr_t address, size_t size_bytes) {
  const sim_reservation *reservation = sim_virtual_find(address);
  if (reservation == NULL || size_bytes == 0 ||
      size_bytes > reservation->start + reservation->size_bytes - address) {
    return false;
  }
  const uintptr_t end = address + size_bytes;
  while (address < end) {
    const sim_range *range = sim_range_find(address);
    if (range == NULL || range->kind != RANGE_MAPPED || range->start != address ||
        range->size_bytes > end - address) {
      return false;
    }
    address += range->size_bytes;
  }
  return true;
}

CUresult cuMemUnmap(CUdeviceptr address, size_t size_bytes) {
  SIM_ENTER(cuMemUnmap, SIM_NEEDS_INIT);
  if (!is_whole(address, size_bytes)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const uintptr_t end = address + size_bytes;
  for (sim_range *range = find_mapping(address, end); range != NULL;
       range = find_mapping(address, end)) {
    /* Nothing there any more, at once. Where the kernel refuses, the bytes stay readable to the
     * simulator alone. */
    (void)mmap(sim_virtual_view(range->reservation, range->start), range->size_bytes, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    sim_race_gone(range->start, range->size_bytes);
    sim_physical *physical = range->physical;
    physical->mapping_count--;
    sim_range_remove(range);
    release_unused(physical);
  }
  return sim_leave(CUDA_SUCCESS);
}

/* --- access --- */

bool sim_range_allows(const sim_range *range, int device, bool is_written) {
  if (range->kind == RANGE_POOL) return sim_pool_allows(range, device, is_written);
  if (range->kind == RANGE_OPENED) return sim_ipc_is_alive(range);
  if (range->kind == RANGE_REGISTERED) {
    return !is_written || (range->flags & CU_MEMHOSTREGISTER_READ_ONLY) == 0;
  }
  if (range->kind != RANGE_MAPPED) return true;
  const CUmemAccess_flags needed =
      is_written ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_READ;
  return (range->access[device] & needed) == needed;
}

static CUresult check_access(const CUmemLocation *location) {
  if (location->type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_INVALID_VALUE;
  const bool is_device = location->id >= 0 && location->id < sim.device_count;
  return is_device ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

/* A device is let in to its own memory, and to that of its peers. */
static bool may_be_let_in(const sim_range *range, const CUmemAccessDesc *wanted, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const int device = wanted[i].location.id;
    if (device != range->device && !sim_peer_can(device, range->device)) return false;
  }
  return true;
}

static CUresult check_descriptions(const CUmemAccessDesc *wanted, size_t count) {
  if (wanted == NULL || count == 0) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; i++) {
    const CUresult result = check_access(&wanted[i].location);
    if (result != CUDA_SUCCESS) return result;
    if (wanted[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
        wanted[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
        wanted[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  return CUDA_SUCCESS;
}

CUresult cuMemSetAccess(CUdeviceptr address, size_t size_bytes, const CUmemAccessDesc *wanted,
                        size_t count) {
  SIM_ENTER(cuMemSetAccess, SIM_NEEDS_INIT);
  const CUresult result = check_descriptions(wanted, count);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  if (!is_whole(address, size_bytes)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const uintptr_t end = address + size_bytes;
  for (uintptr_t at = address; at < end;) {
    const sim_range *range = sim_range_find(at);
    if (!may_be_let_in(range, wanted, count)) return sim_leave(CUDA_ERROR_INVALID_DEVICE);
    at += range->size_bytes;
  }
  while (address < end) {
    sim_range *range = sim_range_find(address);
    for (size_t i = 0; i < count; i++) range->access[wanted[i].location.id] = wanted[i].flags;
    address += range->size_bytes;
  }
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location,
                        CUdeviceptr address) {
  SIM_ENTER(cuMemGetAccess, SIM_NEEDS_INIT);
  const sim_range *range = sim_range_find(address);
  if (flags == NULL || location == NULL || range == NULL || range->kind != RANGE_MAPPED) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  const CUresult result = check_access(location);
  if (result == CUDA_SUCCESS) *flags = range->access[location->id];
  return sim_leave(result);
}
