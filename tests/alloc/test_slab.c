/* test_slab.c: objects of one size: distinct, aligned, and reused. */
#include "tests/support/test.h"

#include <pthread.h>
#include <string.h>

#include "alloc/slab.h"

typedef struct object {
  char bytes[40];
} object;

static tarn__slab slab = TARN__SLAB(object);

static void objects_are_distinct_aligned_and_reused(void **state) {
  (void)state;
  enum { COUNT = 500 };
  static object *taken[COUNT];
  for (int index = 0; index < COUNT; index++) {
    taken[index] = tarn__slab_take(&slab);
    assert_non_null(taken[index]);
    assert_int_equal((uintptr_t)taken[index] % 16, 0);
    memset(taken[index], index & 0xff, sizeof(object));
  }
  for (int index = 0; index < COUNT; index++) {
    for (size_t at = 0; at < sizeof(object); at++) {
      assert_int_equal((unsigned char)taken[index]->bytes[at], index & 0xff);
    }
  }
  object *last = taken[COUNT - 1];
  for (int index = 0; index < COUNT; index++) tarn__slab_give(&slab, taken[index]);
  assert_ptr_equal(tarn__slab_take(&slab), last);
  tarn__slab_give(&slab, last);
}

static void *take_and_give(void *argument) {
  for (int round = 0; round < 2000; round++) {
    object *mine = tarn__slab_take(&slab);
    if (mine == NULL) return argument;
    memset(mine, *(int *)argument, sizeof *mine);
    for (size_t at = 0; at < sizeof *mine; at++) {
      if (mine->bytes[at] != (char)*(int *)argument) return argument;
    }
    tarn__slab_give(&slab, mine);
  }
  return NULL;
}

static void threads_never_share_an_object(void **state) {
  (void)state;
  int ids[4] = {1, 2, 3, 4};
  pthread_t threads[4];
  for (int index = 0; index < 4; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, take_and_give, &ids[index]), 0);
  }
  for (int index = 0; index < 4; index++) {
    void *failed = NULL;
    pthread_join(threads[index], &failed);
    assert_null(failed);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(objects_are_distinct_aligned_and_reused),
      cmocka_unit_test(threads_never_share_an_object),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
