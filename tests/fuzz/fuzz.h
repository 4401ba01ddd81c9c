/* fuzz.h: what every fuzz target defines, and how it takes its input apart.
 *
 * A target is a file fuzz_<unit>.c with this one function, which is handed any bytes and may do
 * with them what a caller of the library may do. A belief that is broken ends the process:
 * fuzz_check says which. Nothing is kept from one input to the next, so that one file is enough to
 * see a failure again. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer's name for it. Answers 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_check(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      fprintf(stderr, "%s:%d: it is not true that %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                            \
    }                                                                                     \
  } while (0)

/* The rest of an input, which reads as zeros where it has ended. */
typedef struct fuzz_input {
  const uint8_t *data;
  size_t size;
} fuzz_input;

static inline void fuzz_take(fuzz_input *input, void *bytes, size_t size) {
  const size_t count = size < input->size ? size : input->size;
  memset(bytes, 0, size);
  if (count == 0) return;
  memcpy(bytes, input->data, count);
  input->data += count;
  input->size -= count;
}

static inline uint8_t fuzz_take_byte(fuzz_input *input) {
  uint8_t byte;
  fuzz_take(input, &byte, sizeof byte);
  return byte;
}

/* Most numbers that matter are small, or lie at the end of the range. */
static inline int64_t fuzz_take_number(fuzz_input *input) {
  const uint8_t kind = fuzz_take_byte(input);
  int64_t number = 0;
  if (kind < 192) return (int64_t)kind - 64;
  if (kind < 224) return (int64_t)(INT64_MAX >> (kind % 32)) - fuzz_take_byte(input);
  if (kind < 240) return (INT64_MIN >> (kind % 16)) + fuzz_take_byte(input);
  fuzz_take(input, &number, sizeof number);
  return number;
}

#endif
