/* touchable.h: asks the memory checker that a test runs under which bytes it would let pass. */
#ifndef TARN_TEST_TOUCHABLE_H
#define TARN_TEST_TOUCHABLE_H

#include "alloc/tarn_poison.h"
#include "tests/support/test.h"

static inline bool is_touchable(const void *address) {
#if TARN_POISON_WATCHER == TARN_POISON_ADDRESS_SANITIZER
  return __asan_address_is_poisoned(address) == 0;
#elif TARN_POISON_WATCHER == TARN_POISON_VALGRIND
  unsigned char bits;
  return VALGRIND_GET_VBITS(address, &bits, 1) != 3; /* 3: it may not be touched */
#else
  (void)address;
  return true;
#endif
}

/* How many bytes from `address` on may be touched, `most_bytes` at most. */
static inline size_t touchable_bytes(const void *address, size_t most_bytes) {
  size_t count = 0;
  while (count < most_bytes && is_touchable((const char *)address + count)) count++;
  return count;
}

static inline bool is_all_poisoned(const void *address, size_t size_bytes) {
  for (size_t i = 0; i < size_bytes; i++) {
    if (is_touchable((const char *)address + i)) return false;
  }
  return true;
}

#define SKIP_UNWATCHED()                   \
  do {                                     \
    if (!tarn_poison_is_watched()) skip(); \
  } while (0)

#endif
