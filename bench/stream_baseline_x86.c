/* stream_baseline_x86.c: with the stores past the caches that every x86-64 has. */
#include <emmintrin.h>

#include "bench/stream_baseline.h"

enum { LINE_BYTES = 64 };

static inline __m128i read_line(const char *line, __m128i sum) {
  for (int i = 0; i < LINE_BYTES; i += 16) {
    sum = _mm_xor_si128(sum, _mm_load_si128((const __m128i *)(const void *)(line + i)));
  }
  return sum;
}

static inline void write_line(char *line, __m128i value) {
  for (int i = 0; i < LINE_BYTES; i += 16) {
    _mm_stream_si128((__m128i *)(void *)(line + i), value);
  }
}

void stream_baseline_run(void *dst, size_t dst_bytes, const void *src, size_t src_bytes) {
  const size_t shorter = dst_bytes < src_bytes ? dst_bytes : src_bytes;
  const size_t lines = shorter / LINE_BYTES;
  const size_t reads = src_bytes / shorter, writes = dst_bytes / shorter;
  char *to = dst;
  const char *from = src;
  __m128i sum = _mm_setzero_si128();
  for (size_t i = 0; i < lines; i++) {
    for (size_t read = 0; read < reads; read++, from += LINE_BYTES) sum = read_line(from, sum);
    for (size_t write = 0; write < writes; write++, to += LINE_BYTES) write_line(to, sum);
  }
  _mm_sfence();
}

void stream_baseline_copy(void *dst, const void *src, size_t size_bytes) {
  char *to = dst;
  const char *from = src;
  for (size_t done = 0; done < size_bytes; done += 16) {
    const __m128i value = _mm_load_si128((const __m128i *)(const void *)(from + done));
    _mm_stream_si128((__m128i *)(void *)(to + done), value);
  }
  _mm_sfence();
}
