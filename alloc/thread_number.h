/* thread_number.h: the calling thread by a number that is read in one instruction. */
#ifndef TARN_THREAD_NUMBER_H
#define TARN_THREAD_NUMBER_H

#include <stdint.h>

/* No two live threads share it, none has 0; one that begins later may have it again. The address of
 * a thread-local variable would do as well, but costs a call in a library that is loaded late. */
static inline uintptr_t tarn__thread_number(void) {
  return (uintptr_t)__builtin_thread_pointer();
}

/* Where a thread looks first among `place_count` places, a power of two: thread control blocks lie
 * some pages apart. */
static inline uintptr_t tarn__thread_place(uintptr_t thread, uintptr_t place_count) {
  return thread / 4096 % place_count;
}

#endif
