/* pausing_fixture.h: a pool that can be paused, over a provider that counts and fails on demand. */
#ifndef TARN_PAUSING_FIXTURE_H
#define TARN_PAUSING_FIXTURE_H

#include <stdatomic.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pause.h"
#include "tests/support/test.h"

enum { GRANULE = 256 << 10 };

/* Of all calls that obtain or give back memory since the test zeroed it. */
typedef struct pausing_provider {
  atomic_size_t committed_bytes; /* not zeroed: what is there now */
  atomic_int call_count;
  atomic_int commit_count;
  atomic_int decommit_count;
  atomic_int fail_at;                /* this call fails, the first is 1; 0: none */
  atomic_bool fails_on;              /* and all behind it */
  _Atomic(void (*)(void)) interlude; /* called once, in the next call: another thread's part */
} pausing_provider;

extern pausing_provider machine;
/* Pools made now get ranges that lie side by side, a few of them; calls may not reach across. */
extern bool adjoins_ranges;

/* A caching pool over pages in such granules; a pretended device's, where asked for. */
tarn_pool *make_pausable_pool(tarn_device device, const tarn_caching_options *options);
/* A plain pool of the CPU's pages. */

/* What most tests work on: a pool of the CPU's memory, and where its contents are saved. */
extern tarn_pool *pool;
extern tarn_pool *backup;
extern tarn_pause_report report; /* the last call's */
int make_pools(void **state);
/* All blocks are back: nothing is left over. */
int drop_pools(void **state);
#define TEST_IN_POOLS(name) TEST_WITH(name, make_pools, drop_pools)

void *take_tagged(const char *tag, size_t size_bytes);
/* With one tag, or NULL for all blocks. */
tarn_status pause_with(tarn_pause_contents contents, const char *tag, tarn_stream *stream);
tarn_status keep(const char *tag);
tarn_status discard(const char *tag);
tarn_status resume(const char *tag);

void fill(void *address, size_t size_bytes, unsigned char value);
void expect(const void *address, size_t size_bytes, unsigned char value);

/* The pool's, which are what the provider gave and the budget was charged. */
tarn_pool_stats exact_stats(void);

#endif
