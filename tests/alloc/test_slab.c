/* test_slab.c: objects of one size: distinct, aligned, and reused. */
#include "tests/support/test.h"

#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include "alloc/slab.h"
#include "alloc/thread_number.h"

typedef struct object {
  char bytes[40];
} object;

static tarn__slab slab = TARN__SLAB(object);

TEST(objects_are_distinct_aligned_and_reused) {
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

typedef struct line {
  _Alignas(64) char bytes[80];
} line;

TEST(objects_have_the_alignment_of_their_type) {
  enum { COUNT = 200 };
  static tarn__slab lines = TARN__SLAB(line);
  line *taken[COUNT];
  for (int index = 0; index < COUNT; index++) {
    taken[index] = tarn__slab_take(&lines);
    assert_non_null(taken[index]);
    assert_int_equal((uintptr_t)taken[index] % 64, 0);
    memset(taken[index], index, sizeof(line)); /* within its chunk */
  }
  for (int index = 0; index < COUNT; index++) tarn__slab_give(&lines, taken[index]);
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

TEST(threads_never_share_an_object) {
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

/* --- places --- */

/* A thread that does one thing when it is told to. */
typedef struct worker {
  pthread_t thread;
  sem_t told;
  sem_t done;
  uintptr_t place;
  enum { SAY_PLACE, TAKE, GIVE, LEAVE } order;
  object *mine;
} worker;

static tarn__slab shared = TARN__SLAB(object);

static void *obey(void *argument) {
  worker *self = argument;
  for (;;) {
    while (sem_wait(&self->told) != 0) {
    }
    switch (self->order) {
      case SAY_PLACE:
        self->place = tarn__thread_place(tarn__thread_number(), TARN__SLAB_PLACES);
        break;
      case TAKE:
        self->mine = tarn__slab_take(&shared);
        break;
      case GIVE:
        tarn__slab_give(&shared, self->mine);
        break;
      case LEAVE:
        return NULL;
    }
    sem_post(&self->done);
  }
}

static void tell(worker *self, int order) {
  self->order = order;
  sem_post(&self->told);
  if (order == LEAVE) {
    assert_int_equal(pthread_join(self->thread, NULL), 0);
    return;
  }
  while (sem_wait(&self->done) != 0) {
  }
}

/* More threads than places, so that two of them have the same one. */
TEST(threads_of_one_place_do_not_share_its_list) {
  enum { COUNT = TARN__SLAB_PLACES + 1 };
  static worker workers[COUNT];
  worker *first = NULL;
  worker *second = NULL;
  for (int index = 0; index < COUNT; index++) {
    worker *self = &workers[index];
    assert_int_equal(sem_init(&self->told, 0, 0) | sem_init(&self->done, 0, 0), 0);
    assert_int_equal(pthread_create(&self->thread, NULL, obey, self), 0);
    tell(self, SAY_PLACE);
    for (int other = 0; other < index && second == NULL; other++) {
      if (workers[other].place != self->place) continue;
      first = &workers[other];
      second = self;
    }
  }
  assert_non_null(second);
  tell(first, TAKE);
  object *const given = first->mine;
  tell(first, GIVE); /* on top of the list at its place */
  tell(second, TAKE);
  assert_ptr_not_equal(second->mine, given);
  tell(first, TAKE);
  assert_ptr_equal(first->mine, given);
  tell(first, GIVE);
  tell(second, GIVE);
  for (int index = 0; index < COUNT; index++) tell(&workers[index], LEAVE);
}

static size_t count_chunks(const tarn__slab *self) {
  size_t count = 0;
  for (void *chunk = self->chunks; chunk != NULL; chunk = *(void **)chunk) count++;
  return count;
}

TEST(a_thread_that_ends_hands_its_objects_over) {
  static worker self;
  assert_int_equal(sem_init(&self.told, 0, 0) | sem_init(&self.done, 0, 0), 0);
  tarn__slab_give(&shared, tarn__slab_take(&shared));
  const size_t before = count_chunks(&shared);
  for (int round = 0; round < 50; round++) {
    assert_int_equal(pthread_create(&self.thread, NULL, obey, &self), 0);
    tell(&self, TAKE);
    tell(&self, GIVE);
    tell(&self, LEAVE);
  }
  assert_int_equal(count_chunks(&shared), before);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
