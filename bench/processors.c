/* processors.c: a block written by one thread, and by two at once. */
#include "bench/processors.h"

#include <pthread.h>
#include <string.h>

#include "bench/measure.h"

typedef struct part {
  char *first;
  size_t size_bytes;
} part;

static void *write_part(void *context) {
  const part *self = context;
  memset(self->first, 1, self->size_bytes);
  measure_keep(self->first);
  return NULL;
}

double processors_now(void *block, size_t size_bytes) {
  const size_t half_bytes = size_bytes / 2;
  part parts[] = {{block, half_bytes}, {(char *)block + half_bytes, size_bytes - half_bytes}};
  const uint64_t start_ns = measure_now_ns();
  write_part(&parts[0]);
  write_part(&parts[1]);
  const uint64_t alone_ns = measure_now_ns() - start_ns;
  pthread_t other;
  if (pthread_create(&other, NULL, write_part, &parts[1]) != 0) return 0;
  write_part(&parts[0]);
  pthread_join(other, NULL);
  const uint64_t both_ns = measure_now_ns() - start_ns - alone_ns;
  return both_ns == 0 ? 0 : (double)alone_ns / (double)both_ns;
}
