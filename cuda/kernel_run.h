/* kernel_run.h: bodies of the kernels that copy and fill along runs of the destination.
 *
 * Why a GPU's memory is kept busy: Hopper moves some 4 TB/s with a latency of about 0.8 us, so each
 * of 132 processors needs some 12 KB of reads under way, and twice that to be sure. A kernel of 256
 * threads and at most 32 registers fills a processor with 2048 threads: one load of 16 bytes each
 * is 32 KB. Elements of 16 bytes are copied four to a thread, loads first; they are what copies of
 * long aligned rows come down to, and their arithmetic (two digits: some 20 instructions) is spread
 * over more bytes so. Blocks are not kept: as many are launched as there are items, and the next
 * one starts where one ends, on as many at once as the processor has room for.
 *
 * Writes are whole chunks of 16 bytes, side by side from thread to thread, wherever the destination
 * is dense, however the source lies: a store of less than a sector of 32 bytes costs the second
 * level cache as much as a whole one. Reads of less come out of the first level cache, where what
 * one thread leaves of a sector is the next one's. */
#ifndef CUDA_KERNEL_RUN_H
#define CUDA_KERNEL_RUN_H

#include "cuda/kernel_args.h"

/* The including file has the memory: kernel_device.h, or the simulator's. */

TARN__BODY uint32_t tarn__divide(uint32_t n, const tarn__kernel_divisor *by) {
  return (tarn__multiply_high(n, by->factor) + n) >> by->shift;
}

/* --- elements --- */

/* The element's bytes into `words`, which hold zeros, at the element's place `k`. */
TARN__BODY void tarn__load_element(uint64_t address, uint32_t element_bytes, uint32_t k,
                                   uint32_t words[4]) {
  if (element_bytes == 1) {
    words[k / 4] |= tarn__load_8(address) << (k % 4 * 8);
  } else if (element_bytes == 2) {
    words[k / 2] |= tarn__load_16(address) << (k % 2 * 16);
  } else if (element_bytes == 4) {
    words[k] = tarn__load_32(address);
  } else if (element_bytes == 8) {
    tarn__load_64(address, words + k * 2);
  } else {
    tarn__load_128(address, words);
  }
}

TARN__BODY void tarn__store_element(uint64_t address, uint32_t element_bytes, uint32_t k,
                                    const uint32_t words[4]) {
  if (element_bytes == 1) {
    tarn__store_8(address, words[k / 4] >> (k % 4 * 8));
  } else if (element_bytes == 2) {
    tarn__store_16(address, words[k / 2] >> (k % 2 * 16));
  } else if (element_bytes == 4) {
    tarn__store_32(address, words[k]);
  } else if (element_bytes == 8) {
    tarn__store_64(address, words + k * 2);
  } else {
    tarn__store_128(address, words);
  }
}

/* --- where an item is --- */

typedef struct tarn__item {
  uint64_t dst;    /* of the chunk's first place, whether the run has begun by then or not */
  uint64_t src;    /* of the first element there is */
  uint32_t first;  /* places of the chunk that are elements: from here */
  uint32_t end;    /* to here; first == end: none */
  uint32_t column; /* of the first element, in its inner row */
} tarn__item;

/* Both addresses moved by all digits of the number. */
TARN__BODY uint32_t tarn__walk_digits(const tarn__kernel_digit *digits, uint32_t digit_count,
                                      uint32_t number, uint64_t *dst, uint64_t *src) {
  uint32_t chunk = 0;
  TARN__ROLLED
  for (uint32_t d = 0; d < digit_count; d++) {
    const uint32_t rest = tarn__divide(number, &digits[d].by);
    const uint32_t digit = number - rest * digits[d].by.size;
    *dst += (uint64_t)((int64_t)digit * digits[d].dst_stride);
    *src += (uint64_t)((int64_t)digit * digits[d].src_stride);
    chunk += digit * digits[d].chunk_step;
    number = rest;
  }
  return chunk;
}

/* The power of two that an element's bytes are. */
TARN__BODY uint32_t tarn__shift_of(uint32_t element_bytes) {
  return element_bytes == 1   ? 0
         : element_bytes == 2 ? 1
         : element_bytes == 4 ? 2
         : element_bytes == 8 ? 3
                              : 4;
}

TARN__BODY tarn__item tarn__find_item(const tarn__kernel_run_args *args, uint32_t number,
                                      uint32_t dst_shift) {
  tarn__item item;
  item.dst = args->dst;
  item.src = args->src;
  item.first = 0;
  item.end = 0;
  item.column = 0;
  if (number < args->straight_count) {
    const uint32_t index = number * args->chunk;
    item.dst += (uint64_t)index << dst_shift;
    item.src += (uint64_t)((int64_t)index * args->src_step);
    item.end = args->chunk;
    item.column = index;
    return item;
  }
  if (number >= args->item_count) return item;
  const uint32_t chunk =
      tarn__walk_digits(args->digits, args->digit_count, number, &item.dst, &item.src);
  if (chunk >= args->chunk_count) return item;
  /* How many places of the run's first chunk lie before the run. */
  const uint32_t before = (uint32_t)(item.dst >> dst_shift) & (args->chunk - 1);
  const int64_t start = (int64_t)chunk * args->chunk - before;
  const int64_t left = (int64_t)args->run - start;
  if (left <= 0) return item;
  item.first = start < 0 ? (uint32_t)-start : 0;
  item.end = left < (int64_t)args->chunk ? (uint32_t)left : args->chunk;
  item.dst += (uint64_t)start << dst_shift;
  const uint32_t index = (uint32_t)(start + (int64_t)item.first);
  const uint32_t row = tarn__divide(index, &args->inner);
  item.column = index - row * args->inner.size;
  item.src += (uint64_t)((int64_t)index * args->src_step + (int64_t)row * args->src_wrap);
  return item;
}

/* All elements of an item, one by one. */
TARN__BODY void tarn__load_item(const tarn__kernel_run_args *args, tarn__item item,
                                uint32_t element_bytes, uint32_t places, uint32_t words[4]) {
  TARN__UNROLL
  for (uint32_t w = 0; w < 4; w++) words[w] = 0;
  TARN__UNROLL
  for (uint32_t k = 0; k < places; k++) {
    if (k < item.first || k >= item.end) continue;
    tarn__load_element(item.src, element_bytes, k, words);
    item.src += (uint64_t)args->src_step;
    if (++item.column == args->inner.size) {
      item.column = 0;
      item.src += (uint64_t)args->src_wrap;
    }
  }
}

TARN__BODY void tarn__store_item(tarn__item item, uint32_t element_bytes, uint32_t places,
                                 const uint32_t words[4]) {
  TARN__UNROLL
  for (uint32_t k = 0; k < places; k++) {
    if (k < item.first || k >= item.end) continue;
    tarn__store_element(item.dst + k * element_bytes, element_bytes, k, words);
  }
}

/* --- copies --- */

/* One chunk of 16 bytes at most, which begin at a multiple of 16 in the destination. */
TARN__BODY void tarn__copy_chunk(const tarn__kernel_run_args *args, tarn__item item,
                                 uint32_t element_bytes) {
  const uint32_t places = 16 / element_bytes;
  uint32_t words[4];
  const bool is_whole = item.first == 0 && item.end == places;
  if (is_whole && args->is_src_dense && item.src % 16 == 0) {
    tarn__load_128(item.src, words);
  } else if (is_whole && args->is_src_dense && item.src % 4 == 0 && element_bytes < 4) {
    TARN__UNROLL
    for (uint32_t w = 0; w < 4; w++) words[w] = tarn__load_32(item.src + w * 4);
  } else {
    tarn__load_item(args, item, element_bytes, places, words);
  }
  if (is_whole) {
    tarn__store_128(item.dst, words);
  } else {
    tarn__store_item(item, element_bytes, places, words);
  }
}

/* Four elements that are four items. */
TARN__BODY void tarn__copy_elements(const tarn__kernel_run_args *args, uint32_t number,
                                    uint32_t element_bytes) {
  uint32_t words[4][4];
  tarn__item items[4];
  TARN__UNROLL
  for (uint32_t p = 0; p < 4; p++) {
    items[p] =
        tarn__find_item(args, number + p * TARN__KERNEL_THREADS, tarn__shift_of(element_bytes));
    TARN__UNROLL
    for (uint32_t w = 0; w < 4; w++) words[p][w] = 0;
    if (items[p].end != 0) tarn__load_element(items[p].src, element_bytes, 0, words[p]);
  }
  TARN__UNROLL
  for (uint32_t p = 0; p < 4; p++) {
    if (items[p].end != 0) tarn__store_element(items[p].dst, element_bytes, 0, words[p]);
  }
}

/* With chunk 1 a thread has four items, else one. */
TARN__BODY void tarn__copy_body(const tarn__kernel_run_args *args, uint32_t block, uint32_t thread,
                                uint32_t element_bytes) {
  if (element_bytes == 16 || args->chunk == 1) {
    tarn__copy_elements(args, block * TARN__KERNEL_THREADS * 4 + thread, element_bytes);
    return;
  }
  const tarn__item item =
      tarn__find_item(args, block * TARN__KERNEL_THREADS + thread, tarn__shift_of(element_bytes));
  if (item.first != item.end) tarn__copy_chunk(args, item, element_bytes);
}

/* --- fills --- */

/* args->value is the element again and again. */
TARN__BODY void tarn__fill_body(const tarn__kernel_run_args *args, uint32_t block,
                                uint32_t thread) {
  const tarn__item item = tarn__find_item(args, block * TARN__KERNEL_THREADS + thread,
                                          tarn__shift_of(args->element_bytes));
  if (item.first == item.end) return;
  if ((item.end - item.first) * args->element_bytes == 16) {
    tarn__store_128(item.dst, args->value);
    return;
  }
  TARN__ROLLED
  for (uint32_t k = item.first; k < item.end; k++) {
    tarn__store_element(item.dst + k * args->element_bytes, args->element_bytes, 0, args->value);
  }
}

#endif
