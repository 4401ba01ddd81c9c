/* test_handle_table.c: streams by their handles: found, removed, and found behind what was. */
#include "alloc/adapters/callbacks/handle_table.h"

#include <pthread.h>
#include <stdlib.h>

#include "tests/adapters/callbacks/test_callbacks.h"
#include "tests/support/manual_stream.h"

static tarn__handle_table *make_table(void) {
  tarn__handle_table *table = calloc(1, sizeof *table);
  assert_non_null(table);
  tarn__handle_table_init(table);
  return table;
}

static void drop_table(tarn__handle_table *table) {
  free(table);
}

/* Keys that want the same place. */
static void colliding_keys(uintptr_t *keys, size_t count) {
  for (uintptr_t key = 1; count > 0; key++) {
    if (tarn__handle_place_of(key) == TARN__HANDLE_PLACES - 2) keys[--count] = key;
  }
}

static void add(tarn__handle_table *table, uintptr_t key, tarn_stream *stream) {
  tarn_stream_retain(stream);
  tarn_stream *added = stream;
  assert_ok(tarn__handle_table_add(table, key, &added));
  assert_ptr_equal(added, stream);
}

static void remove_key(tarn__handle_table *table, uintptr_t key) {
  tarn_stream *stream;
  assert_true(tarn__handle_table_remove(table, key, &stream));
  tarn_stream_release(stream);
}

TEST(keys_are_found_behind_others_and_behind_the_end) {
  tarn__handle_table *table = make_table();
  tarn_stream *stream, *found;
  assert_ok(manual_stream_create(&stream));
  uintptr_t keys[5];
  colliding_keys(keys, 5);
  for (int i = 0; i < 5; i++) add(table, keys[i], i % 2 == 0 ? stream : NULL);
  for (int i = 0; i < 5; i++) {
    assert_ptr_equal(tarn__handle_table_get(table, keys[i]), i % 2 == 0 ? stream : NULL);
  }
  assert_ptr_equal(tarn__handle_table_get(table, 0), tarn__handle_gone());
  remove_key(table, keys[1]); /* what lies behind it is found still */
  assert_ptr_equal(tarn__handle_table_get(table, keys[1]), tarn__handle_gone());
  assert_ptr_not_equal(tarn__handle_table_get(table, keys[4]), tarn__handle_gone());
  add(table, keys[1], stream); /* the handle comes back */
  assert_ptr_equal(tarn__handle_table_get(table, keys[1]), stream);
  for (int i = 0; i < 5; i++) remove_key(table, keys[i]);
  assert_false(tarn__handle_table_remove(table, keys[0], &found));
  assert_null(found);
  for (int i = 0; i < TARN__HANDLE_PLACES; i++) {
    assert_int_equal(table->places[i].key, 0); /* nothing is left to step over */
  }
  tarn_stream_release(stream);
  drop_table(table);
}

TEST(the_second_of_two_at_once_gets_the_firsts_stream) {
  tarn__handle_table *table = make_table();
  tarn_stream *first, *second;
  assert_ok(manual_stream_create(&first));
  assert_ok(manual_stream_create(&second));
  add(table, 7, first);
  assert_ok(tarn__handle_table_add(table, 7, &second)); /* its own one is released */
  assert_ptr_equal(second, first);
  remove_key(table, 7);
  tarn_stream_release(first);
  drop_table(table);
}

TEST(a_full_table_refuses_and_takes_what_was_forgotten) {
  tarn__handle_table *table = make_table();
  for (uintptr_t key = 1; key <= TARN__HANDLE_PLACES; key++) add(table, key, NULL);
  tarn_stream *stream, *found;
  assert_ok(manual_stream_create(&stream));
  tarn_stream_retain(stream);
  found = stream;
  assert_status(tarn__handle_table_add(table, TARN__HANDLE_PLACES + 1, &found), TARN_NOT_SUPPORTED);
  assert_null(found);
  assert_ptr_equal(tarn__handle_table_get(table, TARN__HANDLE_PLACES + 1), tarn__handle_gone());
  remove_key(table, 99);
  add(table, TARN__HANDLE_PLACES + 1, stream);
  assert_ptr_equal(tarn__handle_table_get(table, TARN__HANDLE_PLACES + 1), stream);
  assert_ptr_equal(tarn__handle_table_get(table, 99), tarn__handle_gone());
  remove_key(table, TARN__HANDLE_PLACES + 1);
  tarn_stream_release(stream);
  drop_table(table);
}

enum { MOVES = 200000 };

typedef struct watch {
  tarn__handle_table *table;
  uintptr_t key;
  tarn_stream *stream; /* of the key, which comes and goes */
  atomic_bool is_over;
} watch;

/* NULL, or the stream of another key. */
static void *look_for_one_key(void *argument) {
  watch *self = argument;
  tarn_stream *found = NULL;
  while (!atomic_load(&self->is_over)) {
    found = tarn__handle_table_get(self->table, self->key);
    if (found != self->stream && found != tarn__handle_gone()) return found;
  }
  return NULL;
}

TEST(a_place_that_changes_hands_shows_nobody_anothers_stream) {
  watch seen = {.table = make_table()};
  tarn_stream *other;
  uintptr_t keys[3];
  pthread_t thread;
  void *complaint;
  colliding_keys(keys, 3);
  seen.key = keys[0];
  assert_ok(manual_stream_create(&seen.stream));
  assert_ok(manual_stream_create(&other));
  add(seen.table, keys[0], seen.stream);
  add(seen.table, keys[2], NULL); /* behind it, so that the place stays one to step over */
  assert_int_equal(pthread_create(&thread, NULL, look_for_one_key, &seen), 0);
  for (int move = 0; move < MOVES; move++) {
    remove_key(seen.table, keys[0]);
    add(seen.table, keys[1], other);
    remove_key(seen.table, keys[1]);
    add(seen.table, keys[0], seen.stream);
  }
  atomic_store(&seen.is_over, true);
  pthread_join(thread, &complaint);
  assert_null(complaint);
  remove_key(seen.table, keys[0]);
  remove_key(seen.table, keys[2]);
  tarn_stream_release(seen.stream);
  tarn_stream_release(other);
  drop_table(seen.table);
}

int run_handle_table_tests(void) {
  return run_listed_tests(NULL, NULL);
}
