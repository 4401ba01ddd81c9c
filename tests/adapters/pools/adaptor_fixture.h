/* adaptor_fixture.h: what the tests of adaptors stand on: a pool, one that answers as it is told,
 * and a place for text. */
#ifndef TARN_ADAPTOR_FIXTURE_H
#define TARN_ADAPTOR_FIXTURE_H

#include <stdatomic.h>

#include "alloc/tarn_pool_snapshot.h"
#include "tests/support/test.h"

/* A caching pool over pages; the caller releases it. */
tarn_pool *make_pages_pool(void);

tarn_pool_stats stats_of(tarn_pool *pool);

/* A pool of one block of the test's, that does as it is told. */
typedef struct scripted_pool {
  void *block; /* what an allocation answers */
  tarn_device device;
  tarn_status alloc_status;
  tarn_status free_status;
  void (*in_call)(void *context); /* called once, in the next alloc or free; NULL: nothing is */
  void *in_call_context;
  int alloc_count;
  int free_count;
  int note_count;
  int destroy_count;
} scripted_pool;

tarn_pool *make_scripted_pool(scripted_pool *script);

typedef struct text_sink {
  char text[8192];
  size_t length;
  int write_count;
  int refused_from; /* the write that is refused, and all behind it; 0: none */
} text_sink;

/* A tarn_write_function for a text_sink. */
tarn_status write_to_sink(void *context, const char *text, size_t text_bytes);

#endif
