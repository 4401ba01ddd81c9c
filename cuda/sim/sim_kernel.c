/* sim_kernel.c: the values oracle: work that writes a tag's pattern, and work that looks for it. */
#include "cuda/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WRITES_KEPT = 1024, REPORTS_MAX = 16, REPORT_BYTES = 512, WORD_BYTES = 8 };

/* The latest writes that have run, so that a report can name them. */
typedef struct tagged_write {
  uint64_t tag;
  uintptr_t address;
  size_t size_bytes; /* 0: none */
  uint64_t call;
  uint64_t stream_id;
} tagged_write;

static tagged_write writes[WRITES_KEPT]; /* a ring */
static size_t write_count;               /* ever */
static char reports[REPORTS_MAX][REPORT_BYTES];
static size_t report_count;
static uint64_t error_count;

/* --- patterns --- */

/* splitmix64's finisher over tag and place: no two tags look alike for long. */
static uint64_t pattern_word(uint64_t tag, size_t word) {
  uint64_t value = tag * 0x9E3779B97F4A7C15u + word + 1;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

unsigned char cusim_tag_byte(uint64_t tag, size_t index) {
  return (unsigned char)(pattern_word(tag, index / WORD_BYTES) >> (index % WORD_BYTES * 8));
}

static void write_pattern(unsigned char *bytes, size_t size_bytes, uint64_t tag) {
  for (size_t start = 0; start < size_bytes; start += WORD_BYTES) {
    const size_t left = size_bytes - start;
    const uint64_t word = pattern_word(tag, start / WORD_BYTES);
    memcpy(bytes + start, &word, left < WORD_BYTES ? left : WORD_BYTES);
  }
}

/* Index of the first byte that is not the tag's; `size_bytes` where all are. */
static size_t find_wrong(const unsigned char *bytes, size_t size_bytes, uint64_t tag) {
  for (size_t start = 0; start < size_bytes; start += WORD_BYTES) {
    const uint64_t word = pattern_word(tag, start / WORD_BYTES);
    const size_t left = size_bytes - start;
    if (memcmp(bytes + start, &word, left < WORD_BYTES ? left : WORD_BYTES) == 0) continue;
    size_t index = start;
    while (bytes[index] == cusim_tag_byte(tag, index)) index++;
    return index;
  }
  return size_bytes;
}

/* --- reports --- */

static const tagged_write *kept_write(size_t age) {
  return &writes[(write_count - 1 - age) % WRITES_KEPT];
}

static size_t kept_count(void) {
  return write_count < WRITES_KEPT ? write_count : WRITES_KEPT;
}

static const tagged_write *find_tag(uint64_t tag) {
  for (size_t age = 0; age < kept_count(); age++) {
    if (kept_write(age)->tag == tag) return kept_write(age);
  }
  return NULL;
}

/* The latest write whose pattern lies at the address, by up to 8 bytes. */
static const tagged_write *find_culprit(uintptr_t address, const unsigned char *bytes,
                                        size_t size_bytes) {
  for (size_t age = 0; age < kept_count(); age++) {
    const tagged_write *write = kept_write(age);
    if (address < write->address || address - write->address >= write->size_bytes) continue;
    const size_t first = address - write->address;
    size_t length = write->size_bytes - first;
    if (length > size_bytes) length = size_bytes;
    if (length > WORD_BYTES) length = WORD_BYTES;
    size_t same = 0;
    while (same < length && bytes[same] == cusim_tag_byte(write->tag, first + same)) same++;
    if (same == length) return write;
  }
  return NULL;
}

static void report_wrong(const sim_op *op, const unsigned char *bytes, size_t wrong) {
  error_count++;
  if (report_count == REPORTS_MAX) return;
  const uintptr_t address = op->as.kernel.place.address + wrong;
  const uint64_t tag = op->as.kernel.tag;
  char expected[128] = "";
  char found[128] = "";
  const tagged_write *write = find_tag(tag);
  if (write != NULL) {
    snprintf(expected, sizeof expected, ", written by call %" PRIu64 " on stream %" PRIu64,
             write->call, write->stream_id);
  }
  const tagged_write *culprit =
      find_culprit(address, bytes + wrong, op->as.kernel.size_bytes - wrong);
  if (culprit != NULL) {
    snprintf(found, sizeof found,
             "; what is there was written by call %" PRIu64 " on stream %" PRIu64
             " with tag %" PRIu64,
             culprit->call, culprit->stream_id, culprit->tag);
  } else if (bytes[wrong] == 0xCD) {
    snprintf(found, sizeof found, "; fresh memory looks so");
  }
  char *text = reports[report_count++];
  snprintf(text, REPORT_BYTES,
           "cusim_kernel_check (call %" PRIu64 ", on stream %" PRIu64
           "): byte %zu of the %zu at %p is 0x%02x and not the 0x%02x of tag %" PRIu64 "%s%s.",
           op->as.kernel.call, op->queue->id, wrong, op->as.kernel.size_bytes,
           (void *)op->as.kernel.place.address, bytes[wrong], cusim_tag_byte(tag, wrong), tag,
           expected, found);
  if (sim.races < CUSIM_RACES_REPORT) return;
  fprintf(stderr, "cusim: wrong value: %s\n", text);
  if (sim.races == CUSIM_RACES_ABORT) abort();
}

uint64_t cusim_value_error_count(void) {
  sim_lock();
  const uint64_t count = error_count;
  sim_unlock();
  return count;
}

size_t cusim_value_error_report(size_t index, char *buffer, size_t size) {
  sim_lock();
  int length = 0;
  if (index < report_count) length = snprintf(buffer, size, "%s", reports[index]);
  sim_unlock();
  return length < 0 ? 0 : (size_t)length;
}

void cusim_forget_value_errors(void) {
  sim_lock();
  error_count = 0;
  report_count = 0;
  sim_unlock();
}

/* --- running and enqueuing --- */

void sim_kernel_run(sim_op *op) {
  const bool is_write = !op->as.kernel.is_check;
  if (!sim_place_is_intact(op, &op->as.kernel.place, is_write, "a kernel")) return;
  unsigned char *bytes = sim_place_view(&op->as.kernel.place);
  const size_t size_bytes = op->as.kernel.size_bytes;
  if (op->as.kernel.is_check) {
    const size_t wrong = find_wrong(bytes, size_bytes, op->as.kernel.tag);
    if (wrong != size_bytes) report_wrong(op, bytes, wrong);
    return;
  }
  write_pattern(bytes, size_bytes, op->as.kernel.tag);
  writes[write_count++ % WRITES_KEPT] = (tagged_write){.tag = op->as.kernel.tag,
                                                       .address = op->as.kernel.place.address,
                                                       .size_bytes = size_bytes,
                                                       .call = op->as.kernel.call,
                                                       .stream_id = op->queue->id};
}

static CUresult enqueue(CUstream stream, CUdeviceptr address, size_t size_bytes, uint64_t tag,
                        bool is_check) {
  if (size_bytes == 0) return CUDA_SUCCESS;
  sim_place place = {.pitch = size_bytes};
  sim_queue *queue;
  CUresult result = sim_place_find(address, size_bytes, 1, 1, !is_check, &place);
  if (result == CUDA_SUCCESS && sim_place_is_pageable(&place)) result = CUDA_ERROR_INVALID_VALUE;
  const sim_range *range = sim_range_find(address);
  if (result == CUDA_SUCCESS && range->kind == RANGE_DEVICE &&
      !sim_peer_reaches(sim_current()->device, range->device)) {
    result = CUDA_ERROR_INVALID_VALUE; /* on a GPU: an illegal address */
  }
  if (result == CUDA_SUCCESS) result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return result;
  sim_op *op = sim_op_create(queue, KIND_KERNEL);
  if (op == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  op->as.kernel.place = place;
  op->as.kernel.size_bytes = size_bytes;
  op->as.kernel.tag = tag;
  op->as.kernel.call = sim_caller_now()->number;
  op->as.kernel.is_check = is_check;
  return sim_op_enqueue(op);
}

int cusim_kernel_write(void *stream, unsigned long long address, size_t bytes, uint64_t tag) {
  SIM_ENTER(cusim_kernel_write, SIM_NEEDS_CONTEXT);
  return (int)sim_leave(enqueue(stream, address, bytes, tag, /*is_check=*/false));
}

int cusim_kernel_check(void *stream, unsigned long long address, size_t bytes, uint64_t tag) {
  SIM_ENTER(cusim_kernel_check, SIM_NEEDS_CONTEXT);
  return (int)sim_leave(enqueue(stream, address, bytes, tag, /*is_check=*/true));
}
