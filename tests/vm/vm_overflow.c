/* vm_overflow.c: a node that is full refuses what is bound to it, before the kernel kills. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/vm/guest.h"
#include "tests/vm/guest_makers.h"

enum { BLOCK_BYTES = 16 << 20, BLOCKS_MAX = 256, LACKING = 77 };

static tarn_topology *topology;

/* What was lent out until the first refusal. Ends in a child, so that nothing is asserted: a
 * failure is told on the console and by the result. */
typedef struct filling {
  void *blocks[BLOCKS_MAX];
  size_t block_count;
  tarn_status refusal; /* TARN_OK: never refused */
} filling;

typedef struct source {
  tarn_provider *provider; /* one of both */
  tarn_pool *pool;
} source;

static tarn_status open_source(const guest_maker *maker, int32_t node, source *made) {
  *made = (source){NULL, NULL};
  return maker->make_provider != NULL ? maker->make_provider(topology, node, &made->provider)
                                      : maker->make_pool(topology, node, &made->pool);
}

static void close_source(source *self) {
  tarn_provider_release(self->provider);
  tarn_pool_release(self->pool);
}

static tarn_status take(const source *self, void **block) {
  return self->provider != NULL ? tarn_provider_alloc(self->provider, BLOCK_BYTES, block)
                                : tarn_pool_alloc(self->pool, BLOCK_BYTES, NULL, block);
}

static tarn_status give_back(const source *self, void *block) {
  return self->provider != NULL ? tarn_provider_free(self->provider, block, BLOCK_BYTES)
                                : tarn_pool_free(self->pool, block, NULL);
}

static void fill(const source *sources, size_t source_count, int32_t node, bool touches,
                 filling *filled) {
  *filled = (filling){.refusal = TARN_OK};
  while (filled->block_count < BLOCKS_MAX && filled->refusal == TARN_OK) {
    void **block = &filled->blocks[filled->block_count];
    filled->refusal = take(&sources[filled->block_count % source_count], block);
    if (filled->refusal != TARN_OK) break;
    if (touches) guest_touch_from_afar(*block, BLOCK_BYTES, node);
    ++filled->block_count;
  }
}

#define DEMAND(condition)                                            \
  do {                                                               \
    if (!(condition)) {                                              \
      printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      printf("the last error: %s\n", tarn_last_error()->message);    \
      fflush(stdout);                                                \
      return 1;                                                      \
    }                                                                \
  } while (false)

/* Takes all that the node has, by `source_count` sources in turn. */
static int take_all(const guest_maker *maker, int32_t node, size_t source_count, bool touches) {
  /* A driver that its parent had loaded would not work in a child. */
  if (!guest_can_make(maker)) return LACKING;
  source sources[2];
  for (size_t i = 0; i < source_count; ++i) {
    DEMAND(open_source(maker, node, &sources[i]) == TARN_OK);
  }
  const size_t room_bytes = guest_room_bytes(node);
  static filling filled;
  fill(sources, source_count, node, touches, &filled);
  DEMAND(filled.refusal == TARN_OUT_OF_MEMORY);
  /* Not a great deal too early either. */
  printf("%s on %d: room for %zu MiB, %zu were lent\n", maker->name, node, room_bytes >> 20,
         filled.block_count * BLOCK_BYTES >> 20);
  DEMAND(filled.block_count * BLOCK_BYTES >= room_bytes / 10 * 7);
  for (size_t i = 0; i < filled.block_count; ++i) {
    guest_touch_from_afar(filled.blocks[i], BLOCK_BYTES, node);
    size_t counts[GUEST_NODES_MAX];
    guest_count_pages(filled.blocks[i], BLOCK_BYTES, counts);
    DEMAND(counts[node] == BLOCK_BYTES / 4096);
  }
  /* A refusal is not for ever: of two blocks that come back, one can be had again, whatever little
   * others took meanwhile. */
  const size_t last = filled.block_count - 1;
  for (size_t i = last - 1; i <= last; ++i) {
    DEMAND(give_back(&sources[i % source_count], filled.blocks[i]) == TARN_OK);
  }
  filled.block_count = last;
  DEMAND(take(&sources[(last - 1) % source_count], &filled.blocks[last - 1]) == TARN_OK);
  guest_touch_from_afar(filled.blocks[last - 1], BLOCK_BYTES, node);
  for (size_t i = 0; i < filled.block_count; ++i) {
    DEMAND(give_back(&sources[i % source_count], filled.blocks[i]) == TARN_OK);
  }
  for (size_t i = 0; i < source_count; ++i) close_source(&sources[i]);
  return 0;
}

/* The kernel would kill the child, which is a failure of this test and not the end of all. */
static void take_all_in_a_child(const guest_maker *maker, size_t source_count, bool touches) {
  const int32_t node = guest_machine_here()->node_count - 1;
  const uint64_t kills = guest_kill_count();
  const size_t room_bytes = guest_room_bytes(node);
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) _exit(take_all(maker, node, source_count, touches));
  int result = -1;
  assert_true(child > 0 && waitpid(child, &result, 0) == child);
  assert_int_equal(guest_kill_count(), kills);
  if (WIFEXITED(result) && WEXITSTATUS(result) == LACKING) skip();
  assert_int_equal(result, 0);
  /* And all of it has come back. */
  assert_true(guest_room_bytes(node) + (16 << 20) > room_bytes);
}

static void a_full_node_refuses(void **state) {
  take_all_in_a_child(*state, 1, /*touches=*/true);
}

/* What is lent out and not touched yet is spoken for, too. */
static void promises_are_kept(void **state) {
  take_all_in_a_child(*state, 1, /*touches=*/false);
}

static void promises_of_several_are_kept(void **state) {
  take_all_in_a_child(*state, 2, /*touches=*/false);
}

static struct CMUnitTest tests[256];
static size_t test_count;

static void add_tests(const guest_maker *makers) {
  const struct {
    const char *name;
    void (*run)(void **state);
  } rows[] = {{"a_full_node_refuses", a_full_node_refuses},
              {"promises_are_kept", promises_are_kept},
              {"promises_of_several_are_kept", promises_of_several_are_kept}};
  for (const guest_maker *maker = makers; maker->name != NULL; ++maker) {
    for (size_t i = 0; i < COUNT_OF(rows); ++i) {
      char name[128];
      snprintf(name, sizeof name, "%s: %s", maker->name, rows[i].name);
      tests[test_count++] = (struct CMUnitTest){.name = strdup(name),
                                                .test_func = rows[i].run,
                                                .initial_state = (void *)(uintptr_t)maker};
    }
  }
}

int main(void) {
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return 1;
  add_tests(guest_providers);
  add_tests(guest_pools);
  const int failed_count = _cmocka_run_group_tests("overflow", tests, test_count, NULL, NULL);
  tarn_topology_release(topology);
  return guest_finish(failed_count);
}
