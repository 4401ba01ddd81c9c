/* test_caching_programs.c: the caching pool under random legal programs of several streams. */
#include "tests/support/test.h"

#include <stdlib.h>

#include "tests/alloc/caching_fixture.h"
#include "tests/support/manual_stream.h"

/* --- random legal programs ---
 *
 * Every buffer is used on its own stream, and on side streams that are noted; each use writes the
 * buffer's tag over it and checks the tag later, when the adversary lets the stream run. Any reuse
 * that is not ordered behind the last use shows as a foreign tag. */

enum { PROGRAM_STREAMS = 4, PROGRAM_BUFFERS = 24, PROGRAM_STEPS = 3000 };

typedef struct buffer {
  uint32_t *words;
  size_t word_count;
  uint32_t tag;
  int stream;
} buffer;

typedef struct tag_use {
  uint32_t *words;
  size_t word_count;
  uint32_t tag;
  bool is_check;
} tag_use;

static int wrong_tag_count;

static void run_tag_use(void *argument) {
  tag_use *use = argument;
  /* Ends and middle: enough to see an overlap of 256-byte granules, and quick. */
  for (size_t index = 0; index < use->word_count; index += 32) {
    if (use->is_check && use->words[index] != use->tag) wrong_tag_count++;
    use->words[index] = use->tag;
  }
  free(use);
}

static void enqueue_use(tarn_stream *stream, const buffer *on, bool is_check) {
  tag_use *use = malloc(sizeof *use);
  assert_non_null(use);
  *use = (tag_use){on->words, on->word_count, on->tag, is_check};
  assert_ok(tarn_stream_call(stream, run_tag_use, use));
}

static void free_buffer(tarn_pool *pool, tarn_stream **streams, buffer *gone) {
  enqueue_use(streams[gone->stream], gone, /*is_check=*/true);
  give(pool, gone->words, streams[gone->stream]);
  *gone = (buffer){0};
}

static void run_program(tarn_pool *pool, uint64_t seed) {
  tarn_stream *streams[PROGRAM_STREAMS];
  buffer buffers[PROGRAM_BUFFERS] = {{0}};
  for (int index = 0; index < PROGRAM_STREAMS; index++) streams[index] = make_stream();
  uint64_t random = seed;
  for (uint32_t step = 1; step <= PROGRAM_STEPS; step++) {
    buffer *picked = &buffers[test_random(&random) % PROGRAM_BUFFERS];
    const int stream = (int)(test_random(&random) % PROGRAM_STREAMS);
    if (picked->words == NULL) {
      const size_t size =
          256 + test_random(&random) % ((size_t)1 << (8 + test_random(&random) % 13));
      void *address = NULL;
      if (tarn_pool_alloc(pool, size, streams[stream], &address) != TARN_OK) continue;
      *picked = (buffer){address, size / sizeof(uint32_t), step, stream};
      enqueue_use(streams[stream], picked, /*is_check=*/false);
    } else if (stream == picked->stream || test_random(&random) % 2 == 0) {
      free_buffer(pool, streams, picked);
    } else {
      /* A use on a side stream: ordered behind the owner by a fence, noted, and not waited for. */
      tarn_fence *fence = NULL;
      assert_ok(tarn_fence_create(streams[picked->stream], &fence));
      assert_ok(tarn_fence_record(fence, streams[picked->stream]));
      assert_ok(tarn_stream_wait(streams[stream], fence));
      tarn_fence_destroy(fence);
      enqueue_use(streams[stream], picked, /*is_check=*/true);
      assert_ok(tarn_pool_note_use(pool, picked->words, streams[stream]));
    }
    manual_stream_advance(streams[test_random(&random) % PROGRAM_STREAMS],
                          (int)(test_random(&random) % 4));
    if (test_random(&random) % 500 == 0) assert_ok(tarn_pool_trim(pool, 0, NULL));
  }
  for (int index = 0; index < PROGRAM_BUFFERS; index++) {
    if (buffers[index].words != NULL) free_buffer(pool, streams, &buffers[index]);
  }
  for (int index = 0; index < PROGRAM_STREAMS; index++) tarn_stream_release(streams[index]);
  if (wrong_tag_count != 0) fail_msg("seed %llu: a tag was overwritten", (unsigned long long)seed);
  assert_int_equal(stats_of(pool).requested_bytes, 0);
}

TEST(random_programs_never_see_a_foreign_tag) {
  static const size_t limits[] = {0, 24 * MIB, 6 * MIB, 4 * MIB};
  wrong_tag_count = 0;
  for (uint64_t seed = 1; seed <= 24; seed++) {
    const size_t limit = limits[seed % COUNT_OF(limits)];
    tarn_pool *pool = seed % 2 == 0 ? make_segment_pool(limit) : make_range_pool(limit);
    run_program(pool, seed);
    tarn_pool_release(pool);
  }
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
