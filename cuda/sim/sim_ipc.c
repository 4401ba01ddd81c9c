/* sim_ipc.c: memory and events that other processes open by a handle.
 *
 *     exporter                                   opener
 *     block ---- moved into a memory file <----- mapped, by /proc/<exporter>/fd/<file>
 *     event ---- two counters in one file <----- mapped once: recorded so often, done so often
 *
 * A file is locked as long as what it holds is alive, byte 0 by its owner, who loses the lock with
 * its process, byte 1 by those who have opened it. Work of an opener on memory of a process that is
 * gone breaks the opener's context, and an owner who frees what is opened elsewhere breaks its own:
 * CUDA leaves both undefined.
 */
#include "cuda/sim/sim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  COUNTERS_MAX = 4096, /* of one process, ever: a late record never meets another event's */
  COUNTERS_BYTES = COUNTERS_MAX * 16,
  OWNER_BYTE = 0,
  OPENER_BYTE = 1,
};

typedef struct sim_counters {
  uint64_t recorded;
  uint64_t done;
} sim_counters;

/* What the 64 bytes of either handle say. */
typedef struct wire {
  char magic[8];
  int32_t process;
  int32_t file;
  uint64_t inode;
  uint64_t size_bytes; /* of memory */
  uint32_t index;      /* of an event's counters */
  int32_t device;
} wire;
_Static_assert(sizeof(wire) <= CU_IPC_HANDLE_SIZE, "a handle is so long");

static const char MEMORY_MAGIC[8] = "cusim-m";
static const char EVENT_MAGIC[8] = "cusim-e";

struct sim_ipc {
  int file;
  size_t open_count; /* the opener's; 0: the owner's */
  wire handle;
};

/* --- files and their locks --- */

static bool lock(int file, off_t byte, short type) {
  struct flock wanted = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
  return fcntl(file, F_OFD_SETLK, &wanted) == 0;
}

/* Whether somebody else holds the byte. */
static bool is_locked(int file, off_t byte) {
  struct flock wanted = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
  return fcntl(file, F_OFD_GETLK, &wanted) == 0 && wanted.l_type != F_UNLCK;
}

static int create_file(const char *name, size_t size_bytes) {
  const int file = memfd_create(name, MFD_CLOEXEC);
  if (file < 0) return -1;
  if (ftruncate(file, (off_t)size_bytes) == 0 && lock(file, OWNER_BYTE, F_WRLCK)) return file;
  close(file);
  return -1;
}

/* A handle's file, opened anew so that its locks are this process's own. */
static CUresult open_file(const wire *handle, const char magic[8], int *file) {
  char path[64];
  struct stat found;
  if (memcmp(handle->magic, magic, sizeof handle->magic) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (handle->process == getpid()) return CUDA_ERROR_INVALID_CONTEXT;
  snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)handle->process, (int)handle->file);
  *file = open(path, O_RDWR | O_CLOEXEC);
  if (*file < 0) return CUDA_ERROR_INVALID_HANDLE;
  if (fstat(*file, &found) == 0 && found.st_ino == handle->inode && is_locked(*file, OWNER_BYTE)) {
    return CUDA_SUCCESS;
  }
  close(*file);
  return CUDA_ERROR_INVALID_HANDLE;
}

static uint64_t inode_of(int file) {
  struct stat found = {0};
  (void)fstat(file, &found);
  return found.st_ino;
}

/* --- memory --- */

static sim_range *find_start(uintptr_t address, sim_range_kind kind) {
  sim_range *range = sim_range_find(address);
  return range != NULL && range->start == address && range->kind == kind ? range : NULL;
}

/* The block's bytes move into a file of their own. */
static CUresult export_block(sim_range *range) {
  sim_ipc *made = calloc(1, sizeof *made);
  if (made == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  made->file = create_file("cusim block", sim_window_pages(range->size_bytes));
  if (made->file < 0 || !sim_window_move(range->start, range->size_bytes, made->file)) {
    if (made->file >= 0) close(made->file);
    free(made);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  made->handle = (wire){.process = getpid(),
                        .file = made->file,
                        .inode = inode_of(made->file),
                        .size_bytes = range->size_bytes,
                        .device = range->device};
  memcpy(made->handle.magic, MEMORY_MAGIC, sizeof MEMORY_MAGIC);
  range->ipc = made;
  return CUDA_SUCCESS;
}

CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr address) {
  SIM_ENTER(cuIpcGetMemHandle, SIM_NEEDS_CONTEXT);
  sim_range *range = find_start(address, RANGE_DEVICE);
  if (handle == NULL || range == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const CUresult result = range->ipc == NULL ? export_block(range) : CUDA_SUCCESS;
  if (result == CUDA_SUCCESS) {
    memset(handle, 0, sizeof *handle);
    memcpy(handle, &range->ipc->handle, sizeof range->ipc->handle);
  }
  return sim_leave(result);
}

/* A handle is opened once: who opens it again gets the same address. */
static sim_range *find_opened(const wire *handle) {
  for (size_t i = 0; i < sim.range_count; i++) {
    sim_range *range = &sim.ranges[i];
    if (range->kind == RANGE_OPENED && range->device == sim_current()->device &&
        memcmp(&range->ipc->handle, handle, sizeof *handle) == 0) {
      return range;
    }
  }
  return NULL;
}

static CUresult open_block(const wire *handle, CUdeviceptr *address) {
  sim_range *opened = find_opened(handle);
  if (opened != NULL) {
    opened->ipc->open_count++;
    *address = opened->start;
    return CUDA_SUCCESS;
  }
  sim_ipc *made = calloc(1, sizeof *made);
  if (made == NULL || !sim_range_make_room()) {
    free(made);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  CUresult result = open_file(handle, MEMORY_MAGIC, &made->file);
  uintptr_t start = 0;
  if (result == CUDA_SUCCESS) {
    start = sim_window_open_file(handle->size_bytes, made->file);
    if (start == 0 || !lock(made->file, OPENER_BYTE, F_RDLCK)) result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS) close(made->file);
  }
  if (result != CUDA_SUCCESS) {
    free(made);
    return result;
  }
  made->open_count = 1;
  made->handle = *handle;
  sim_range_insert((sim_range){.start = start,
                               .size_bytes = handle->size_bytes,
                               .kind = RANGE_OPENED,
                               .device = sim_current()->device,
                               .ipc = made});
  *address = start;
  return CUDA_SUCCESS;
}

CUresult cuIpcOpenMemHandle(CUdeviceptr *address, CUipcMemHandle handle, unsigned flags) {
  SIM_ENTER(cuIpcOpenMemHandle, SIM_NEEDS_CONTEXT);
  wire told;
  memcpy(&told, &handle, sizeof told);
  if (address == NULL || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  return sim_leave(open_block(&told, address));
}

CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  SIM_ENTER(cuIpcCloseMemHandle, SIM_NEEDS_CONTEXT);
  sim_range *range = find_start(address, RANGE_OPENED);
  if (range == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (--range->ipc->open_count > 0) return sim_leave(CUDA_SUCCESS);
  sim_race_gone(range->start, range->size_bytes);
  sim_window_give(range->start, range->size_bytes);
  sim_ipc_drop(range);
  sim_range_remove(range);
  return sim_leave(CUDA_SUCCESS);
}

void sim_ipc_drop(sim_range *range) {
  sim_ipc *gone = range->ipc;
  if (gone == NULL) return;
  if (range->kind == RANGE_DEVICE && is_locked(gone->file, OPENER_BYTE)) {
    sim_break(range->device, CUDA_ERROR_ILLEGAL_ADDRESS,
              "the block at %p was freed while another process has it open", (void *)range->start);
  }
  close(gone->file);
  free(gone);
  range->ipc = NULL;
}

bool sim_ipc_is_alive(const sim_range *range) {
  return is_locked(range->ipc->file, OWNER_BYTE);
}

/* --- events --- */

static sim_counters *own_counters;
static int own_file = -1;
static uint32_t own_count;

/* Other processes' files, each mapped once and for good: what waits may outlive the event. */
typedef struct foreign_file {
  struct foreign_file *next;
  uint64_t inode;
  int32_t process;
  sim_counters *counters;
} foreign_file;
static foreign_file *foreign_files;

/* The counters are memory that work of streams touches. */
static sim_counters *map_counters(int file) {
  if (!sim_range_make_room()) return NULL;
  void *mapped = mmap(NULL, COUNTERS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) return NULL;
  sim_range_insert((sim_range){
      .start = (uintptr_t)mapped, .size_bytes = COUNTERS_BYTES, .kind = RANGE_COUNTERS});
  return mapped;
}

bool sim_ipc_event_create(CUevent event) {
  if (own_file < 0) {
    own_file = create_file("cusim events", COUNTERS_BYTES);
    if (own_file >= 0) own_counters = map_counters(own_file);
    if (own_counters == NULL) {
      if (own_file >= 0) close(own_file);
      own_file = -1;
      return false;
    }
  }
  if (own_count == COUNTERS_MAX) return false;
  event->counters = &own_counters[own_count++];
  event->is_opened = false;
  return true;
}

CUresult cuIpcGetEventHandle(CUipcEventHandle *handle, CUevent event) {
  SIM_ENTER(cuIpcGetEventHandle, SIM_NEEDS_CONTEXT);
  if (handle == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!sim_event_is_alive(event) || event->counters == NULL || event->is_opened) {
    return sim_leave(CUDA_ERROR_INVALID_HANDLE);
  }
  wire told = {.process = getpid(),
               .file = own_file,
               .inode = inode_of(own_file),
               .index = (uint32_t)(event->counters - own_counters),
               .device = event->device};
  memcpy(told.magic, EVENT_MAGIC, sizeof EVENT_MAGIC);
  memset(handle, 0, sizeof *handle);
  memcpy(handle, &told, sizeof told);
  return sim_leave(CUDA_SUCCESS);
}

static CUresult find_counters(const wire *handle, sim_counters **found) {
  int file;
  if (handle->index >= COUNTERS_MAX) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = open_file(handle, EVENT_MAGIC, &file); /* whether it is alive */
  if (result != CUDA_SUCCESS) return result;
  foreign_file *known = foreign_files;
  while (known != NULL && (known->inode != handle->inode || known->process != handle->process)) {
    known = known->next;
  }
  if (known == NULL) {
    known = calloc(1, sizeof *known);
    sim_counters *counters = known != NULL ? map_counters(file) : NULL;
    if (counters == NULL) {
      free(known);
      close(file);
      return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *known = (foreign_file){foreign_files, handle->inode, handle->process, counters};
    foreign_files = known;
  }
  close(file);
  *found = &known->counters[handle->index];
  return CUDA_SUCCESS;
}

CUresult cuIpcOpenEventHandle(CUevent *event, CUipcEventHandle handle) {
  SIM_ENTER(cuIpcOpenEventHandle, SIM_NEEDS_CONTEXT);
  wire told;
  sim_counters *counters = NULL;
  memcpy(&told, &handle, sizeof told);
  if (event == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  CUresult result = find_counters(&told, &counters);
  if (result == CUDA_SUCCESS) {
    result = sim_event_make(CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS, event);
  }
  if (result == CUDA_SUCCESS) {
    (*event)->counters = counters;
    (*event)->is_opened = true;
  }
  return sim_leave(result);
}

CUresult sim_ipc_event_record(CUevent event, CUstream stream) {
  const uint64_t number = ++event->counters->recorded;
  return sim_value_write(stream, (uintptr_t)&event->counters->done, number);
}

CUresult sim_ipc_event_wait(CUevent event, CUstream stream) {
  const uint64_t recorded = __atomic_load_n(&event->counters->recorded, __ATOMIC_ACQUIRE);
  return sim_value_wait(stream, (uintptr_t)&event->counters->done, recorded);
}

bool sim_ipc_event_is_done(CUevent event) {
  const uint64_t recorded = __atomic_load_n(&event->counters->recorded, __ATOMIC_ACQUIRE);
  return __atomic_load_n(&event->counters->done, __ATOMIC_ACQUIRE) >= recorded;
}

CUresult sim_ipc_event_synchronize(CUevent event) {
  const uint64_t recorded = __atomic_load_n(&event->counters->recorded, __ATOMIC_ACQUIRE);
  const uint64_t *done = &event->counters->done;
  const int device = event->device;
  const uint64_t since_ns = sim_now_ns();
  while (__atomic_load_n(done, __ATOMIC_ACQUIRE) < recorded) {
    if (sim_now_ns() - since_ns >= (uint64_t)sim.stall_ms * 1000000u) {
      return CUDA_ERROR_LAUNCH_TIMEOUT;
    }
    sim_unlock(); /* the counters stay mapped, whatever becomes of the event */
    usleep(1000);
    sim_lock();
  }
  return sim_context_error(device);
}
