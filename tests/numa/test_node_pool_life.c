/* test_node_pool_life.c: a node pool's end, its threads', its process's forks and settings. */
#include "tests/numa/node_pool_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"

static void pass_gate(void *argument) {
  pthread_mutex_t *gate = argument;
  pthread_mutex_lock(gate);
  pthread_mutex_unlock(gate);
}

TEST(a_pool_may_go_while_blocks_are_held) {
  tarn_pool *pool = make_pool();
  tarn_stream *stream = NULL;
  assert_int_equal(tarn_worker_stream_create(&stream), TARN_OK);
  void *block = NULL;
  assert_int_equal(tarn_pool_alloc(pool, 5000, stream, &block), TARN_OK);
  assert_int_equal(tarn_stream_fill(stream, block, tarn_device_make(TARN_DEVICE_CPU, 0), 7, 5000),
                   TARN_OK);
  assert_int_equal(tarn_pool_free(pool, block, stream), TARN_OK);
  tarn_stream_release(stream);
  tarn_pool_release(pool); /* waits for the fill */
}

static void *free_elsewhere(void *argument) {
  void **pool_and_block = argument;
  return tarn_pool_free(pool_and_block[0], pool_and_block[1], NULL) == TARN_OK ? NULL : argument;
}

TEST(a_block_may_be_freed_by_another_thread) {
  tarn_pool *pool = make_pool();
  for (int i = 0; i < 50; ++i) {
    void *pool_and_block[2] = {pool, NULL};
    assert_int_equal(tarn_pool_alloc(pool, 500, NULL, &pool_and_block[1]), TARN_OK);
    memset(pool_and_block[1], i, 500);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, free_elsewhere, pool_and_block), 0);
    void *failed = NULL;
    pthread_join(thread, &failed);
    assert_null(failed);
  }
  assert_int_equal(stats_of(pool).allocated_bytes, 0);
  assert_int_equal(tarn_pool_trim(pool, 0, NULL), TARN_OK);
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_pool_release(pool);
}

static void *use_until_stopped(void *argument) {
  void **pool_and_stop = argument;
  atomic_bool *stop = pool_and_stop[1];
  while (!atomic_load(stop)) {
    void *block = NULL;
    if (tarn_pool_alloc(pool_and_stop[0], 3000, NULL, &block) != TARN_OK) return argument;
    if (tarn_pool_free(pool_and_stop[0], block, NULL) != TARN_OK) return argument;
  }
  return NULL;
}

/* What a forked child does with a pool of its parent's; its exit code. */
static int use_in_child(tarn_pool *pool, void *block) {
  if (tarn_pool_free(pool, block, NULL) != TARN_OK) return 1;
  for (int i = 0; i < 100; ++i) {
    if (tarn_pool_alloc(pool, 3000, NULL, &block) != TARN_OK) return 2;
    memset(block, 1, 3000);
    if (tarn_pool_free(pool, block, NULL) != TARN_OK) return 3;
  }
  return tarn_pool_trim(pool, 0, NULL) == TARN_OK ? 0 : 4;
}

TEST(a_forked_child_waits_for_no_stream_of_its_parents) {
#if defined(__SANITIZE_THREAD__)
  skip(); /* as below */
#endif
  tarn_pool *pool = make_pool();
  tarn_stream *stream = NULL;
  assert_int_equal(tarn_worker_stream_create(&stream), TARN_OK);
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&gate);
  assert_int_equal(tarn_stream_call(stream, pass_gate, &gate), TARN_OK);
  void *block = NULL;
  assert_int_equal(tarn_pool_alloc(pool, 1 << 20, stream, &block), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, block, stream), TARN_OK);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(stats_of(pool).active_bytes == 0 && tarn_pool_trim(pool, 0, NULL) == TARN_OK ? 0 : 1);
  }
  int result = -1;
  assert_true(child > 0 && waitpid(child, &result, 0) == child);
  assert_int_equal(result, 0);
  assert_int_equal(stats_of(pool).active_bytes, 1 << 20); /* the parent still waits */
  pthread_mutex_unlock(&gate);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

static void *keep_and_park(void *argument) {
  void **pool_and_barrier = argument;
  void *block = NULL;
  for (size_t size_bytes = 64; size_bytes < 1 << 20; size_bytes *= 2) {
    if (tarn_pool_alloc(pool_and_barrier[0], size_bytes, NULL, &block) != TARN_OK) return argument;
    if (tarn_pool_free(pool_and_barrier[0], block, NULL) != TARN_OK) return argument;
  }
  pthread_barrier_wait(pool_and_barrier[1]);
  pthread_barrier_wait(pool_and_barrier[1]);
  return NULL;
}

/* In the child: all of it goes, and the pool ends. */
static int give_back_in_child(tarn_pool *pool) {
  if (stats_of(pool).reserved_bytes == 0) return 1;
  if (tarn_pool_trim(pool, 0, NULL) != TARN_OK) return 2;
  if (stats_of(pool).reserved_bytes != 0) return 3;
  if (stats_of(pool).alloc_count != stats_of(pool).free_count) return 4;
  tarn_pool_release(pool);
  return 0;
}

TEST(a_forked_child_gives_back_what_other_threads_kept) {
#if defined(__SANITIZE_THREAD__)
  skip(); /* as below */
#endif
  tarn_pool *pool = make_pool();
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  void *pool_and_barrier[2] = {pool, &barrier};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, keep_and_park, pool_and_barrier), 0);
  pthread_barrier_wait(&barrier);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(give_back_in_child(pool));
  }
  int result = -1;
  const bool has_ended = child > 0 && waitpid(child, &result, 0) == child;
  pthread_barrier_wait(&barrier);
  void *failed = NULL;
  pthread_join(thread, &failed);
  assert_true(has_ended);
  assert_int_equal(result, 0);
  assert_null(failed);
  pthread_barrier_destroy(&barrier);
  tarn_pool_release(pool);
}

TEST(a_forked_child_may_use_the_pool) {
#if defined(__SANITIZE_THREAD__)
  skip(); /* its deadlock detector ends a process that forks with as many locks as jemalloc has */
#endif
  enum { USERS = 3, FORKS = 20 };
  tarn_pool *pool = make_pool();
  atomic_bool stop = false;
  void *pool_and_stop[2] = {pool, &stop};
  pthread_t users[USERS];
  for (int i = 0; i < USERS; ++i) {
    assert_int_equal(pthread_create(&users[i], NULL, use_until_stopped, pool_and_stop), 0);
  }
  int fine_count = 0; /* asserted when the threads are gone, which use this frame */
  for (int i = 0; i < FORKS; ++i) {
    void *block = NULL;
    if (tarn_pool_alloc(pool, 3000, NULL, &block) != TARN_OK) break;
    const pid_t child = fork();
    if (child == 0) {
      alarm(20); /* a lock that nobody opens ends the child, and the test fails */
      _exit(use_in_child(pool, block));
    }
    int result = -1;
    const bool has_ended = child > 0 && waitpid(child, &result, 0) == child;
    const bool is_freed = tarn_pool_free(pool, block, NULL) == TARN_OK;
    if (has_ended && result == 0 && is_freed) ++fine_count;
  }
  atomic_store(&stop, true);
  for (int i = 0; i < USERS; ++i) {
    void *failed = NULL;
    pthread_join(users[i], &failed);
    if (failed != NULL) fine_count = -1;
  }
  assert_int_equal(fine_count, FORKS);
  tarn_pool_release(pool);
}

static void *use_and_trim_until_stopped(void *argument) {
  void **pool_and_stop = argument;
  atomic_bool *stop = pool_and_stop[1];
  while (!atomic_load(stop)) {
    void *blocks[8] = {NULL};
    for (size_t i = 0; i < 8; ++i) {
      if (tarn_pool_alloc(pool_and_stop[0], 150000 * i + 1, NULL, &blocks[i]) != TARN_OK) {
        return argument;
      }
      memset(blocks[i], 1, 150000 * i + 1);
    }
    for (size_t i = 0; i < 8; ++i) {
      if (tarn_pool_free(pool_and_stop[0], blocks[i], NULL) != TARN_OK) return argument;
    }
    if (tarn_pool_trim(pool_and_stop[0], 0, NULL) != TARN_OK) return argument;
  }
  return NULL;
}

/* In the child: what is idle can still go, and memory can come. */
static int trim_in_child(tarn_pool *pool) {
  tarn_node_pool_stats stats = {.struct_size = sizeof stats};
  for (size_t size_bytes = 100; size_bytes < 1 << 22; size_bytes *= 2) {
    void *block = NULL;
    if (tarn_pool_alloc(pool, size_bytes, NULL, &block) != TARN_OK) return 1;
    memset(block, 1, size_bytes);
    if (tarn_pool_free(pool, block, NULL) != TARN_OK) return 2;
  }
  if (tarn_pool_trim(pool, 0, NULL) != TARN_OK) return 3;
  if (tarn_node_pool_stats_of(pool, &stats) != TARN_OK) return 4;
  return stats.dirty_bytes == 0 ? 0 : 5;
}

/* Forks beside a thread that trims; how often the child could as well. */
static int count_children_that_trim(tarn_pool *pool, int fork_count) {
  atomic_bool stop = false;
  void *pool_and_stop[2] = {pool, &stop};
  pthread_t user;
  assert_int_equal(pthread_create(&user, NULL, use_and_trim_until_stopped, pool_and_stop), 0);
  int fine_count = 0;
  for (int i = 0; i < fork_count && fine_count == i; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      _exit(trim_in_child(pool));
    }
    int result = -1;
    if (child > 0 && waitpid(child, &result, 0) == child && result == 0) ++fine_count;
  }
  atomic_store(&stop, true);
  void *failed = NULL;
  pthread_join(user, &failed);
  return failed == NULL ? fine_count : -1;
}

TEST(a_forked_child_may_trim_though_another_thread_did) {
#if defined(__SANITIZE_THREAD__)
  skip(); /* as above */
#endif
  enum { FORKS = 60 };
  tarn_pool *pool = make_pool();
  assert_int_equal(count_children_that_trim(pool, FORKS), FORKS);
  tarn_pool_release(pool);
  const tarn_pages_options granules = {.struct_size = sizeof granules,
                                       .granularity_bytes = 1 << 20};
  tarn_node_pool_options options = {.struct_size = sizeof options};
  assert_int_equal(tarn_pages_provider_create(&granules, &options.provider), TARN_OK);
  assert_int_equal(tarn_node_pool_create(NULL, &options, &pool), TARN_OK);
  assert_int_equal(count_children_that_trim(pool, FORKS), FORKS);
  tarn_pool_release(pool);
  tarn_provider_release(options.provider);
}

static void free_after_the_handle_is_gone(tarn_pool *pool, void *block) {
  tarn_pool_release(pool);
  /* The pool lives as long as the block; AddressSanitizer and the sums at its end say so. */
  memset(block, 1, 3000);
  assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_OK);
}

TEST(the_last_block_ends_the_pool_whoever_frees_it) {
  for (int i = 0; i < 20; ++i) {
    tarn_pool *pool = make_pool();
    void *block = NULL, *kept = NULL;
    assert_int_equal(tarn_pool_alloc(pool, 3000, NULL, &block), TARN_OK);
    assert_int_equal(tarn_pool_alloc(pool, 3000, NULL, &kept), TARN_OK);
    assert_int_equal(tarn_pool_free(pool, kept, NULL), TARN_OK);
    if (i % 2 == 0) {
      free_after_the_handle_is_gone(pool, block);
      continue;
    }
    tarn_pool_release(pool);
    void *pool_and_block[2] = {pool, block};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, free_elsewhere, pool_and_block), 0);
    void *failed = NULL;
    pthread_join(thread, &failed);
    assert_null(failed);
  }
}

static void *free_all(void *argument) {
  void **pool_and_blocks = argument;
  for (int i = 1; pool_and_blocks[i] != NULL; ++i) {
    if (tarn_pool_free(pool_and_blocks[0], pool_and_blocks[i], NULL) != TARN_OK) return argument;
  }
  return NULL;
}

TEST(threads_may_free_while_the_handle_goes) {
  enum { FREERS = 3, BLOCKS = 20, ROUNDS = 100 };
  int failed_count = 0;
  for (int round = 0; round < ROUNDS; ++round) {
    tarn_pool *pool = make_pool();
    void *pool_and_blocks[FREERS][BLOCKS + 2] = {{NULL}};
    pthread_t threads[FREERS];
    for (int i = 0; i < FREERS; ++i) {
      pool_and_blocks[i][0] = pool;
      for (int j = 1; j <= BLOCKS; ++j) {
        assert_int_equal(tarn_pool_alloc(pool, 1000, NULL, &pool_and_blocks[i][j]), TARN_OK);
      }
    }
    for (int i = 0; i < FREERS; ++i) {
      assert_int_equal(pthread_create(&threads[i], NULL, free_all, pool_and_blocks[i]), 0);
    }
    tarn_pool_release(pool);
    for (int i = 0; i < FREERS; ++i) {
      void *failed = NULL;
      pthread_join(threads[i], &failed);
      failed_count += failed != NULL;
    }
  }
  assert_int_equal(failed_count, 0);
}

/* What this program says when it is run again with settings for somebody else's jemalloc. */
TEST(settings_of_the_processs_jemalloc_are_not_read) {
#if defined(__SANITIZE_THREAD__)
  skip(); /* as above */
#endif
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    setenv("MALLOC_CONF",
           "bogus:1,stats_print:true,confirm_conf:true,dirty_decay_ms:0,"
           "narenas:7,retain:false,junk:true,background_thread:true,tcache_max:4096",
           1);
    execl("/proc/self/exe", "test_node_pool_life", "use", (char *)NULL);
    _exit(9);
  }
  close(ends[1]);
  char output[256] = "";
  size_t length = 0;
  for (ssize_t got = 1; got > 0 && length < sizeof output - 1; length += (size_t)got) {
    got = read(ends[0], output + length, sizeof output - 1 - length);
    if (got < 0) break;
  }
  close(ends[0]);
  int result = -1;
  assert_true(child > 0 && waitpid(child, &result, 0) == child);
  assert_string_equal(output, "");
  assert_int_equal(result, 0);
}

/* In the child: freed memory stays the pool's, as without settings. */
static int use_quietly(void) {
  if (load_topology(NULL) != 0) return 1;
  tarn_pool *pool = NULL;
  const tarn_node_pool_options options = {.struct_size = sizeof options, .node = first_node};
  if (tarn_node_pool_create(topology, &options, &pool) != TARN_OK) return 2;
  void *blocks[64];
  for (size_t i = 0; i < 64; ++i) {
    if (tarn_pool_alloc(pool, 100000, NULL, &blocks[i]) != TARN_OK) return 3;
  }
  tarn_pool_stats before = {.struct_size = sizeof before}, after = before;
  if (tarn_pool_stats_of(pool, &before) != TARN_OK) return 4;
  for (size_t i = 0; i < 64; ++i) {
    if (tarn_pool_free(pool, blocks[i], NULL) != TARN_OK) return 5;
  }
  if (tarn_pool_stats_of(pool, &after) != TARN_OK) return 6;
  if (after.reserved_bytes != before.reserved_bytes) return 7;
  tarn_pool_release(pool);
  return release_topology(NULL);
}

int main(int argument_count, char **arguments) {
  if (argument_count == 2 && strcmp(arguments[1], "use") == 0) return use_quietly();
  return run_listed_tests(load_topology, release_topology);
}
