/* test_callbacks.h: the groups of tests of pools as C functions. */
#ifndef TARN_TEST_CALLBACKS_H
#define TARN_TEST_CALLBACKS_H

#include "alloc/adapters/callbacks/tarn_callbacks.h"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tests/support/test.h"

/* A caching pool of the system's pages; limit_bytes 0 for none. */
tarn_pool *callbacks_test_pool(size_t limit_bytes);
/* All that was lent out is back, and nothing was refused. */
void callbacks_test_settled(tarn_pool *pool, const tarn_callbacks *callbacks);

int run_callbacks_tests(void);
int run_callbacks_posix_tests(void);
int run_handle_table_tests(void);

#endif
