/* sim_launch.c: runs launches, block by block and phase by phase, and watches what they touch. */
#include "cuda/sim/sim_launch.h"

#include <stdlib.h>
#include <string.h>

enum { SHARED_BYTES_MAX = 48 << 10 };

/* --- regions --- */

static uint64_t magnitude(int64_t stride) {
  return stride < 0 ? 0 - (uint64_t)stride : (uint64_t)stride;
}

/* Strides positive and ascending, neighbours joined: the fewest and longest runs. */
static void tidy(sim_region *region) {
  for (int d = 0; d < region->rank; d++) {
    if (region->strides[d] >= 0) continue;
    region->start -= (region->sizes[d] - 1) * magnitude(region->strides[d]);
    region->strides[d] = -region->strides[d];
  }
  for (int d = 1; d < region->rank; d++) {
    for (int at = d; at > 0 && region->strides[at - 1] > region->strides[at]; at--) {
      const int64_t stride = region->strides[at];
      const uint64_t size = region->sizes[at];
      region->strides[at] = region->strides[at - 1];
      region->sizes[at] = region->sizes[at - 1];
      region->strides[at - 1] = stride;
      region->sizes[at - 1] = size;
    }
  }
  int joined = 0;
  while (joined < region->rank && (uint64_t)region->strides[joined] == region->run_bytes) {
    region->run_bytes *= region->sizes[joined++];
  }
  region->rank -= joined;
  memmove(region->sizes, region->sizes + joined, (size_t)region->rank * sizeof region->sizes[0]);
  memmove(region->strides, region->strides + joined,
          (size_t)region->rank * sizeof region->strides[0]);
}

static void find_place(sim_region *region) {
  size_t extent = region->run_bytes;
  for (int d = 0; d < region->rank; d++) {
    extent += (region->sizes[d] - 1) * (uint64_t)region->strides[d];
  }
  region->place = (sim_place){.pitch = extent};
  const CUresult result =
      sim_place_find(region->start, extent, 1, 1, region->is_written, &region->place);
  region->place.address = region->start;
  region->place.extent_bytes = extent;
  region->is_wild = result != CUDA_SUCCESS || sim_place_is_pageable(&region->place);
}

void sim_region_walk(const sim_region *region, sim_run_function each, void *context) {
  uint64_t index[SIM_REGION_RANK_MAX] = {0};
  uintptr_t start = region->start;
  for (;;) {
    each(context, start, start + region->run_bytes);
    int d = 0;
    while (d < region->rank && ++index[d] == region->sizes[d]) {
      start -= (region->sizes[d] - 1) * (uint64_t)region->strides[d];
      index[d++] = 0;
    }
    if (d == region->rank) return;
    start += (uint64_t)region->strides[d];
  }
}

size_t sim_region_bytes(const sim_region *region) {
  size_t bytes = region->run_bytes;
  for (int d = 0; d < region->rank; d++) bytes *= region->sizes[d];
  return bytes;
}

/* --- life --- */

sim_launch *sim_launch_create(const sim_code *code, uint32_t blocks, uint32_t threads,
                              const void *arguments) {
  sim_region found[SIM_REGIONS_MAX];
  const size_t count = code->touch(arguments, found);
  sim_launch *made = calloc(1, sizeof *made);
  void *kept = malloc(code->argument_bytes);
  if (made == NULL || kept == NULL) {
    free(made);
    free(kept);
    return NULL;
  }
  memcpy(kept, arguments, code->argument_bytes);
  made->reference_count = 1;
  made->code = code;
  made->blocks = blocks;
  made->threads = threads;
  made->arguments = kept;
  for (size_t i = 0; i < count; i++) {
    if (found[i].run_bytes == 0) continue;
    sim_region *region = &made->regions[made->region_count++];
    *region = found[i];
    tidy(region);
    find_place(region);
  }
  return made;
}

sim_launch *sim_launch_retain(sim_launch *launch) {
  launch->reference_count++;
  return launch;
}

void sim_launch_release(sim_launch *launch) {
  if (--launch->reference_count > 0) return;
  free(launch->arguments);
  free(launch);
}

size_t sim_launch_bytes(const sim_launch *launch) {
  size_t bytes[2] = {0, 0};
  for (size_t i = 0; i < launch->region_count; i++) {
    bytes[launch->regions[i].is_written] += sim_region_bytes(&launch->regions[i]);
  }
  return bytes[0] > bytes[1] ? bytes[0] : bytes[1];
}

/* --- running: one launch at a time, under the simulator's lock --- */

/* Which bytes of a region it may touch, and, of one that is written, has not written yet. */
typedef struct watch {
  const sim_region *region;
  unsigned char *view;
  unsigned char *rights; /* a bit for each byte of the extent */
} watch;

static const sim_op *running;
static watch watches[SIM_REGIONS_MAX];
static size_t watch_count;
static uint32_t now_block, now_thread;
static int now_phase;
static unsigned char shared_memory[SHARED_BYTES_MAX];
/* Who wrote each byte of it: thread + 1, and the phase above; 0: nobody of this block. */
static uint32_t shared_writers[SHARED_BYTES_MAX];
static unsigned char nowhere[16];

static void break_launch(CUresult result, uint64_t address, size_t size_bytes, const char *what) {
  sim_break(running->queue->device, result,
            "%s, block %u, thread %u, in stream %llu: %zu bytes at %p: %s",
            running->as.launch->code->name, now_block, now_thread,
            (unsigned long long)running->queue->id, size_bytes, (void *)(uintptr_t)address, what);
}

static void give_right(void *context, uintptr_t start, uintptr_t end) {
  watch *self = context;
  for (size_t at = start - self->region->start; at < end - self->region->start;) {
    if (at % 8 == 0 && end - self->region->start - at >= 8) {
      self->rights[at / 8] = 0xFF;
      at += 8;
    } else {
      self->rights[at / 8] |= (unsigned char)(1u << at % 8);
      at++;
    }
  }
}

static bool has_right(const watch *self, size_t offset, size_t size_bytes) {
  if (offset % 8 == 0 && size_bytes % 8 == 0) {
    for (size_t i = 0; i < size_bytes / 8; i++) {
      if (self->rights[offset / 8 + i] != 0xFF) return false;
    }
    return true;
  }
  for (size_t i = offset; i < offset + size_bytes; i++) {
    if ((self->rights[i / 8] >> i % 8 & 1) == 0) return false;
  }
  return true;
}

static void take_right(watch *self, size_t offset, size_t size_bytes) {
  for (size_t i = offset; i < offset + size_bytes; i++) {
    self->rights[i / 8] &= (unsigned char)~(1u << i % 8);
  }
}

static bool is_within(const watch *self, uint64_t address, size_t size_bytes) {
  const uint64_t offset = address - self->region->start;
  const size_t extent = self->region->place.extent_bytes;
  return offset < extent && size_bytes <= extent - offset;
}

/* The watch that gives the right to the bytes. */
static watch *find_watch(uint64_t address, size_t size_bytes, bool is_written) {
  for (watch *self = watches; self < watches + watch_count; self++) {
    if (self->region->is_written == is_written && is_within(self, address, size_bytes) &&
        has_right(self, address - self->region->start, size_bytes)) {
      return self;
    }
  }
  return NULL;
}

void *sim_launch_reach(uint64_t address, size_t size_bytes, bool is_written) {
  if (address % size_bytes != 0) {
    break_launch(CUDA_ERROR_MISALIGNED_ADDRESS, address, size_bytes, "not aligned to its size");
    return nowhere;
  }
  watch *self = find_watch(address, size_bytes, is_written);
  if (self == NULL) {
    break_launch(CUDA_ERROR_ILLEGAL_ADDRESS, address, size_bytes,
                 is_written ? "a write where the launch has none to do, or has done it"
                            : "a read of what is not the launch's");
    return nowhere;
  }
  const size_t offset = address - self->region->start;
  if (is_written) take_right(self, offset, size_bytes);
  return self->view + offset;
}

void *sim_launch_share(uint32_t offset, size_t size_bytes, bool is_written) {
  const size_t room = running->as.launch->code->shared_bytes;
  if (offset % size_bytes != 0 || offset + size_bytes > room) {
    break_launch(CUDA_ERROR_ILLEGAL_ADDRESS, offset, size_bytes, "outside of shared memory");
    return nowhere;
  }
  for (size_t i = offset; i < offset + size_bytes; i++) {
    const uint32_t writer = shared_writers[i];
    const bool is_now = writer >> 16 == (uint32_t)now_phase;
    const bool is_other = (writer & 0xFFFF) != now_thread + 1;
    if (writer != 0 && is_now && is_other) {
      break_launch(CUDA_ERROR_LAUNCH_FAILED, offset, size_bytes,
                   "shared memory of another thread, and no barrier between");
      return nowhere;
    }
    if (is_written) shared_writers[i] = (uint32_t)now_phase << 16 | (now_thread + 1);
  }
  return shared_memory + offset;
}

static void run_blocks(const sim_launch *launch) {
  const int device = running->queue->device;
  for (now_block = 0; now_block < launch->blocks; now_block++) {
    if (launch->code->shared_bytes != 0) {
      memset(shared_writers, 0, sizeof shared_writers);
      memset(shared_memory, 0xCD, sizeof shared_memory);
    }
    for (now_phase = 0; now_phase < launch->code->phase_count; now_phase++) {
      for (now_thread = 0; now_thread < launch->threads; now_thread++) {
        launch->code->run(launch->arguments, now_block, now_thread, now_phase);
      }
    }
    if (sim_context_error(device) != CUDA_SUCCESS) return;
  }
}

/* A kernel that leaves out what it has said it would write is as wrong as one that writes more. */
static void check_written(void) {
  for (size_t i = 0; i < watch_count; i++) {
    const sim_region *region = watches[i].region;
    for (size_t at = 0; region->is_written && at < (region->place.extent_bytes + 7) / 8; at++) {
      if (watches[i].rights[at] == 0) continue;
      break_launch(CUDA_ERROR_LAUNCH_FAILED, region->start + at * 8, 8,
                   "not all of it was written, though it was the launch's to write");
      return;
    }
  }
}

static bool are_intact(const sim_op *op) {
  const sim_launch *launch = op->as.launch;
  if (!sim_module_is_loaded(launch->module)) {
    sim_break(op->queue->device, CUDA_ERROR_ILLEGAL_ADDRESS,
              "%s in stream %llu runs after its module was unloaded", launch->code->name,
              (unsigned long long)op->queue->id);
    return false;
  }
  for (size_t i = 0; i < launch->region_count; i++) {
    const sim_region *region = &launch->regions[i];
    if (region->is_wild) {
      sim_break(op->queue->device, CUDA_ERROR_ILLEGAL_ADDRESS,
                "%s in stream %llu reaches for %zu bytes at %p, which is no memory of the device's",
                launch->code->name, (unsigned long long)op->queue->id, region->place.extent_bytes,
                (void *)region->start);
      return false;
    }
    if (!sim_place_is_intact(op, &region->place, region->is_written, launch->code->name)) {
      return false;
    }
  }
  return true;
}

static bool start_watching(const sim_launch *launch) {
  for (watch_count = 0; watch_count < launch->region_count; watch_count++) {
    watch *self = &watches[watch_count];
    self->region = &launch->regions[watch_count];
    self->view = sim_place_view(&self->region->place);
    self->rights = calloc(self->region->place.extent_bytes / 8 + 1, 1);
    if (self->rights == NULL) return false;
    sim_region_walk(self->region, give_right, self);
  }
  return true;
}

static void stop_watching(void) {
  for (size_t i = 0; i < watch_count; i++) free(watches[i].rights);
  watch_count = 0;
}

void sim_launch_run(sim_op *op) {
  const sim_launch *launch = op->as.launch;
  if (!are_intact(op)) return;
  running = op;
  if (start_watching(launch)) {
    run_blocks(launch);
    if (sim_context_error(op->queue->device) == CUDA_SUCCESS) check_written();
  } else {
    sim_break(op->queue->device, CUDA_ERROR_LAUNCH_FAILED, "no memory to watch %s",
              launch->code->name);
  }
  stop_watching();
}
