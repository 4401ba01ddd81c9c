/* tarn_poison.h: tells the memory checkers which bytes of a pool may be touched.
 *
 * AddressSanitizer, MemorySanitizer and valgrind's memcheck know malloc's blocks, and nothing of
 * those that a pool cuts out of its own memory: to them all of it is one valid range. These
 * functions draw the lines. tarn's pools call them for host memory, and so may your own, or your
 * own provider.
 *
 *     fresh, free, rounding    tarn_poison        whoever touches it is reported
 *     lent out                 tarn_poison_lend   the exact size asked for, as yet unwritten
 *     back to the system, or
 *     in use by a stream       tarn_poison_lift   anybody may touch it; it holds what it holds
 *
 * What they do depends on how the file that calls them is compiled: with -fsanitize=address or
 * clang's -fsanitize=memory they inform the sanitizer; else where TARN_DEBUG is 1 or more and
 * valgrind's headers are there, they are requests to valgrind, a few instructions without it;
 * anywhere else nothing at all.
 *
 * In numbered sentences:
 *
 * 1. Whoever poisons memory lifts it before it goes back to the system, for the next mapping may
 *    get the same address. What was lent need not be lifted twice.
 * 2. A block that a stream may still be using is not to be poisoned: its thread would be reported.
 *    It is poisoned once the host has seen the stream come past.
 * 3. tarn_poison_lend leaves the bytes behind the block as they are; poisoned before, they stay so.
 *    AddressSanitizer keeps one mark for 8 bytes, so blocks start on multiples of 8.
 * 4. The address needs memory behind it for tarn_poison_lend only, but a mark takes an eighth of
 *    the memory that it marks: poison what is committed, not what is merely reserved.
 *
 * Any thread may call them, on bytes that no other thread marks at the same time. A size of 0 marks
 * nothing. */
#ifndef TARN_POISON_H
#define TARN_POISON_H

#include "alloc/tarn_base.h"

#define TARN_POISON_NOBODY 0
#define TARN_POISON_ADDRESS_SANITIZER 1
#define TARN_POISON_MEMORY_SANITIZER 2
#define TARN_POISON_VALGRIND 3

/* Who is told, in the file that includes this. */
#if defined(__SANITIZE_ADDRESS__)
#define TARN_POISON_WATCHER TARN_POISON_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TARN_POISON_WATCHER TARN_POISON_ADDRESS_SANITIZER
#elif __has_feature(memory_sanitizer)
#define TARN_POISON_WATCHER TARN_POISON_MEMORY_SANITIZER
#endif
#endif
#if !defined(TARN_POISON_WATCHER) && TARN_DEBUG > 0 && defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#define TARN_POISON_WATCHER TARN_POISON_VALGRIND
#endif
#endif
#ifndef TARN_POISON_WATCHER
#define TARN_POISON_WATCHER TARN_POISON_NOBODY
#endif

#if TARN_POISON_WATCHER == TARN_POISON_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#elif TARN_POISON_WATCHER == TARN_POISON_MEMORY_SANITIZER
#include <sanitizer/msan_interface.h>
#elif TARN_POISON_WATCHER == TARN_POISON_VALGRIND
#include <valgrind/memcheck.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Is anybody told anything? False in every ordinary build; and without valgrind around, in one that
 * could speak to it. */
static inline bool tarn_poison_is_watched(void) {
#if TARN_POISON_WATCHER == TARN_POISON_VALGRIND
  return RUNNING_ON_VALGRIND != 0;
#else
  return TARN_POISON_WATCHER != TARN_POISON_NOBODY;
#endif
}

static inline void tarn_poison(const void *address, size_t size_bytes) {
#if TARN_POISON_WATCHER == TARN_POISON_ADDRESS_SANITIZER
  __asan_poison_memory_region(address, size_bytes);
#elif TARN_POISON_WATCHER == TARN_POISON_MEMORY_SANITIZER
  __msan_poison(address, size_bytes);
#elif TARN_POISON_WATCHER == TARN_POISON_VALGRIND
  VALGRIND_MAKE_MEM_NOACCESS(address, size_bytes);
#endif
  (void)address;
  (void)size_bytes;
}

static inline void tarn_poison_lend(const void *address, size_t size_bytes) {
#if TARN_POISON_WATCHER == TARN_POISON_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(address, size_bytes);
#elif TARN_POISON_WATCHER == TARN_POISON_MEMORY_SANITIZER
  __msan_allocated_memory(address, size_bytes);
#elif TARN_POISON_WATCHER == TARN_POISON_VALGRIND
  VALGRIND_MAKE_MEM_UNDEFINED(address, size_bytes);
#endif
  (void)address;
  (void)size_bytes;
}

static inline void tarn_poison_lift(const void *address, size_t size_bytes) {
#if TARN_POISON_WATCHER == TARN_POISON_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(address, size_bytes);
#elif TARN_POISON_WATCHER == TARN_POISON_MEMORY_SANITIZER
  __msan_unpoison(address, size_bytes);
#elif TARN_POISON_WATCHER == TARN_POISON_VALGRIND
  VALGRIND_MAKE_MEM_DEFINED(address, size_bytes);
#endif
  (void)address;
  (void)size_bytes;
}

#ifdef __cplusplus
}
#endif
#endif
