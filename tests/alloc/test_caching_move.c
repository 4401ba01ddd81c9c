/* test_caching_move.c: what lies idle in a pool comes to lie where a block needs it. */
#include "tests/alloc/caching_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/manual_stream.h"

/* --- a machine without any memory: it only keeps books, and holds a pool to the contract --- */

enum { GRANULE = 2 * MIB, PIECE_GRANULES = 4, GRANULES = 2048, RANGES = 4 };
static const uintptr_t FIRST_ADDRESS = (uintptr_t)1 << 40; /* on a piece */

static struct {
  bool moves;
  size_t piece_bytes;
  size_t capacity_bytes; /* of what is committed and prepared */
  bool refuses_to_take;  /* what is idle, by a move or a decommit */
  size_t refused_moves;  /* the next so many find no memory, with everything taken */
  int range_count;
  int units[RANGES * GRANULES]; /* 0: no memory; else which granule or piece it is part of */
  int unit_count;
  size_t committed_bytes;
  size_t committed_bytes_peak;
  size_t prepared_bytes;
  size_t moved_bytes;
  int move_count, commit_count, decommit_count;
  void (*before_move)(void);
} machine;

static size_t index_of(const void *address) {
  return ((uintptr_t)address - FIRST_ADDRESS) / GRANULE;
}

static tarn_status machine_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  attributes->granularity_bytes = GRANULE;
  attributes->alignment_bytes = GRANULE;
  attributes->piece_bytes = machine.piece_bytes;
  attributes->flags = TARN_PROVIDER_RESERVES | (machine.moves ? TARN_PROVIDER_MOVES : 0);
  return TARN_OK;
}

static tarn_status machine_reserve(void *context, size_t size_bytes, void **address) {
  (void)context;
  assert_true(size_bytes <= (size_t)GRANULES * GRANULE);
  if (machine.range_count == RANGES) return tarn_fail(TARN_OUT_OF_MEMORY, "no more addresses");
  const size_t start = (size_t)machine.range_count++ * GRANULES * GRANULE;
  *address = (void *)(FIRST_ADDRESS + start);
  return TARN_OK;
}

static tarn_status machine_alloc(void *context, size_t size_bytes, void **address) {
  (void)context, (void)size_bytes, (void)address;
  return tarn_fail(TARN_OUT_OF_MEMORY, "ranges only");
}

/* Ones that begin at a piece's address and hold all of it are one. */
static void fill(const void *address, size_t size_bytes) {
  const size_t first = index_of(address);
  const size_t end = first + size_bytes / GRANULE;
  for (size_t i = first; i < end; i++) {
    assert_int_equal(machine.units[i], 0);
    const bool is_within = machine.piece_bytes != 0 && i % PIECE_GRANULES != 0 &&
                           i - i % PIECE_GRANULES >= first &&
                           i - i % PIECE_GRANULES + PIECE_GRANULES <= end;
    if (!is_within) machine.unit_count++;
    machine.units[i] = machine.unit_count;
  }
  machine.committed_bytes += size_bytes;
  if (machine.committed_bytes > machine.committed_bytes_peak) {
    machine.committed_bytes_peak = machine.committed_bytes;
  }
}

static void empty(const void *address, size_t size_bytes) {
  const size_t first = index_of(address);
  const size_t end = first + size_bytes / GRANULE;
  for (size_t i = first; i < end; i++) assert_int_not_equal(machine.units[i], 0);
  assert_true(first == 0 || machine.units[first - 1] != machine.units[first]);
  assert_true(machine.units[end] != machine.units[end - 1]);
  for (size_t i = first; i < end; i++) machine.units[i] = 0;
  machine.committed_bytes -= size_bytes;
}

static bool has_room(size_t size_bytes) {
  return machine.capacity_bytes == 0 ||
         machine.committed_bytes + size_bytes <= machine.capacity_bytes;
}

static tarn_status machine_commit(void *context, void *address, size_t size_bytes) {
  (void)context;
  if (!has_room(size_bytes)) return tarn_fail(TARN_OUT_OF_MEMORY, "the machine is full");
  machine.commit_count++;
  fill(address, size_bytes);
  return TARN_OK;
}

static tarn_status machine_decommit(void *context, void *address, size_t size_bytes) {
  (void)context;
  if (machine.refuses_to_take) return tarn_fail(TARN_SYSTEM_ERROR, "nothing is taken");
  machine.decommit_count++;
  empty(address, size_bytes);
  return TARN_OK;
}

static tarn_status machine_move(void *context, const tarn_provider_span *spans, size_t span_count,
                                void *address, size_t size_bytes, size_t *taken_count) {
  (void)context;
  if (machine.refuses_to_take) return tarn_fail(TARN_SYSTEM_ERROR, "nothing is taken");
  if (machine.before_move != NULL) machine.before_move();
  machine.move_count++;
  size_t sum = 0;
  for (; *taken_count < span_count; ++*taken_count) {
    empty(spans[*taken_count].address, spans[*taken_count].size_bytes);
    sum += spans[*taken_count].size_bytes;
  }
  assert_true(sum <= size_bytes); /* more than is needed is not moved */
  if (machine.refused_moves > 0 || !has_room(size_bytes)) {
    if (machine.refused_moves > 0) machine.refused_moves--;
    return tarn_fail(TARN_OUT_OF_MEMORY, "the machine is full");
  }
  fill(address, size_bytes);
  machine.moved_bytes += sum;
  return TARN_OK;
}

static tarn_status machine_prepare(void *context, size_t size_bytes, size_t *prepared_bytes) {
  (void)context;
  machine.prepared_bytes = has_room(size_bytes) ? size_bytes : 0;
  *prepared_bytes = machine.prepared_bytes;
  if (has_room(size_bytes)) return TARN_OK;
  return tarn_fail(TARN_OUT_OF_MEMORY, "the machine is full");
}

static tarn_status machine_release(void *context, void *address, size_t size_bytes) {
  (void)context;
  for (size_t i = index_of(address); i < index_of(address) + size_bytes / GRANULE; i++) {
    if (machine.units[i] != 0) machine.committed_bytes -= GRANULE;
    machine.units[i] = 0;
  }
  return TARN_OK;
}

static void reset(bool moves, bool has_pieces) {
  memset(&machine, 0, sizeof machine);
  machine.moves = moves;
  machine.piece_bytes = has_pieces ? (size_t)PIECE_GRANULES * GRANULE : 0;
}

static tarn_status make_pool(const tarn_caching_options *wanted, bool can_prepare,
                             tarn_pool **pool) {
  const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                 .name = "books",
                                 .attributes = machine_attributes,
                                 .alloc = machine_alloc,
                                 .release = machine_release,
                                 .reserve = machine_reserve,
                                 .commit = machine_commit,
                                 .decommit = machine_decommit,
                                 .move = machine.moves ? machine_move : NULL,
                                 .prepare = can_prepare ? machine_prepare : NULL};
  tarn_caching_options options = *wanted;
  options.range_bytes = (size_t)GRANULES * GRANULE;
  tarn_provider *provider = NULL;
  assert_ok(tarn_provider_create(&ops, NULL, &provider));
  const tarn_status status = tarn_caching_pool_create(provider, &options, pool);
  tarn_provider_release(provider);
  return status;
}

static tarn_pool *pool_with_limit(size_t limit_bytes) {
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = limit_bytes};
  tarn_pool *pool = NULL;
  assert_ok(make_pool(&options, /*can_prepare=*/true, &pool));
  return pool;
}

/* What the pool says it has reserved and is charged for is what the machine has committed. */
static void check_exact(tarn_pool *pool) {
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.reserved_bytes, machine.committed_bytes);
  assert_int_equal(stats.reserved_bytes_peak, machine.committed_bytes_peak);
  tarn_budget_stats budget = {.struct_size = sizeof budget};
  assert_ok(tarn_budget_stats_of(tarn_caching_pool_budget(pool), &budget));
  assert_int_equal(budget.used_bytes, machine.committed_bytes);
}

static void finish(idle_scene *self, tarn_stream *stream) {
  for (int i = 0; i < 2; i++) give(self->pool, self->kept[i], stream);
  check_exact(self->pool);
  tarn_pool_release(self->pool);
  assert_int_equal(machine.committed_bytes, 0);
  assert_int_equal(machine.prepared_bytes, 0);
}

TEST(beyond_the_mark_idle_memory_moves_and_no_more_than_is_needed) {
  reset(/*moves=*/true, /*has_pieces=*/false);
  idle_scene self = begin_idle(pool_with_limit(0), NULL);
  const uint64_t calls = stats_of(self.pool).provider_calls;
  void *large = take(self.pool, 24 * MIB, NULL); /* fits nowhere */
  assert_int_equal(machine.move_count, 1);
  assert_int_equal(machine.decommit_count, 0);
  assert_int_equal(machine.moved_bytes, 24 * MIB);
  assert_int_equal(stats_of(self.pool).reserved_bytes, 36 * MIB);
  assert_int_equal(stats_of(self.pool).provider_calls, calls + 1);
  check_exact(self.pool);
  give(self.pool, large, NULL);
  finish(&self, NULL);
}

TEST(below_the_mark_nothing_moves) {
  reset(/*moves=*/true, /*has_pieces=*/false);
  idle_scene self = begin_idle(pool_with_limit(0), NULL);
  void *held[2];
  for (int i = 0; i < 2; i++) held[i] = take(self.pool, 16 * MIB, NULL);
  void *more = take(self.pool, 24 * MIB, NULL); /* nothing is idle: a new peak */
  assert_int_equal(machine.move_count, 0);
  for (int i = 0; i < 2; i++) give(self.pool, held[i], NULL);
  give(self.pool, more, NULL);
  finish(&self, NULL);
}

TEST(at_the_limit_idle_memory_moves) {
  reset(/*moves=*/true, /*has_pieces=*/false);
  idle_scene self = begin_idle(pool_with_limit(36 * MIB), NULL);
  void *large = take(self.pool, 32 * MIB, NULL);
  assert_int_equal(machine.move_count, 1);
  assert_int_equal(machine.decommit_count, 0);
  assert_int_equal(machine.moved_bytes, 32 * MIB);
  assert_int_equal(machine.committed_bytes_peak, 36 * MIB);
  check_exact(self.pool);
  void *none = NULL;
  assert_status(tarn_pool_alloc(self.pool, 2 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  check_exact(self.pool);
  give(self.pool, large, NULL);
  finish(&self, NULL);
}

TEST(on_a_full_machine_idle_memory_moves) {
  reset(/*moves=*/true, /*has_pieces=*/false);
  idle_scene self = begin_idle(pool_with_limit(0), NULL);
  machine.capacity_bytes = 36 * MIB;
  void *large = take(self.pool, 32 * MIB, NULL);
  assert_int_equal(machine.committed_bytes_peak, 36 * MIB);
  assert_int_equal(machine.decommit_count, 0);
  check_exact(self.pool);
  give(self.pool, large, NULL);
  finish(&self, NULL);
}

/* Until the work that uses what was freed is done. */
static bool is_busy;

static void end_work(void *argument) {
  (void)argument;
  is_busy = false;
}

static void begin_work(tarn_stream *stream) {
  is_busy = true;
  assert_ok(tarn_stream_call(stream, end_work, NULL));
}

static void must_not_be_busy(void) {
  assert_false(is_busy);
}

/* Two idle stretches, used by work that is still under way. */
static idle_scene begin_busy(tarn_pool *pool, tarn_stream *stream) {
  const idle_scene made = take_scene(pool, stream);
  begin_work(stream);
  for (int i = 0; i < 2; i++) give(pool, made.gone[i], stream);
  return made;
}

TEST(memory_that_a_stream_still_uses_does_not_move) {
  reset(/*moves=*/true, /*has_pieces=*/false);
  tarn_stream *busy = make_stream();
  machine.before_move = must_not_be_busy;
  idle_scene self = begin_busy(pool_with_limit(0), busy);
  void *large = take(self.pool, 24 * MIB, NULL);
  assert_int_equal(machine.move_count, 0);
  assert_int_equal(stats_of(self.pool).reserved_bytes, 60 * MIB);
  while (manual_stream_advance(busy, 1) != 0) {
  }
  void *second = take(self.pool, 20 * MIB, NULL);
  assert_int_equal(machine.move_count, 1);
  check_exact(self.pool);
  give(self.pool, large, NULL);
  give(self.pool, second, NULL);
  finish(&self, busy);
  tarn_stream_release(busy);
}

TEST(at_the_limit_its_last_user_is_waited_for_before_it_moves) {
  reset(/*moves=*/true, /*has_pieces=*/false);
  tarn_stream *busy = make_stream();
  machine.before_move = must_not_be_busy;
  idle_scene self = begin_busy(pool_with_limit(36 * MIB), busy);
  void *large = take(self.pool, 24 * MIB, NULL);
  assert_int_equal(machine.move_count, 1);
  give(self.pool, large, NULL);
  finish(&self, busy);
  tarn_stream_release(busy);
}

TEST(where_nothing_is_taken_away_the_pool_grows_all_the_same) {
  reset(/*moves=*/true, /*has_pieces=*/false);
  idle_scene self = begin_idle(pool_with_limit(0), NULL);
  machine.refuses_to_take = true;
  void *large = take(self.pool, 24 * MIB, NULL);
  assert_int_equal(stats_of(self.pool).reserved_bytes, 60 * MIB);
  check_exact(self.pool);
  void *there = take(self.pool, 16 * MIB, NULL); /* what stayed serves */
  assert_int_equal(stats_of(self.pool).reserved_bytes, 60 * MIB);
  machine.refuses_to_take = false;
  give(self.pool, large, NULL);
  give(self.pool, there, NULL);
  finish(&self, NULL);
}

TEST(a_move_that_finds_no_memory_leaves_exact_figures) {
  reset(/*moves=*/true, /*has_pieces=*/false);
  idle_scene self = begin_idle(pool_with_limit(36 * MIB), NULL);
  machine.refused_moves = 1; /* all that was to move is gone, and is had anew */
  void *large = take(self.pool, 24 * MIB, NULL);
  check_exact(self.pool);
  give(self.pool, large, NULL);
  machine.capacity_bytes = 1; /* nothing at all */
  void *none = NULL;
  assert_status(tarn_pool_alloc(self.pool, 30 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  check_exact(self.pool);
  machine.capacity_bytes = 0;
  finish(&self, NULL);
}

/* More stretches than one call takes. */
TEST(what_lies_scattered_moves_as_well) {
  enum { COUNT = 300 };
  reset(/*moves=*/true, /*has_pieces=*/false);
  tarn_pool *pool = pool_with_limit((size_t)2 * COUNT * GRANULE);
  static void *kept[COUNT], *gone[COUNT];
  for (int i = 0; i < COUNT; i++) {
    gone[i] = take(pool, GRANULE, NULL);
    kept[i] = take(pool, GRANULE, NULL);
  }
  for (int i = 0; i < COUNT; i++) give(pool, gone[i], NULL);
  void *large = take(pool, (size_t)COUNT * GRANULE, NULL);
  assert_true(machine.moved_bytes >= (size_t)128 * GRANULE);
  assert_int_equal(stats_of(pool).reserved_bytes, (size_t)2 * COUNT * GRANULE);
  check_exact(pool);
  give(pool, large, NULL);
  for (int i = 0; i < COUNT; i++) give(pool, kept[i], NULL);
  tarn_pool_release(pool);
}

TEST(a_piece_goes_whole_or_not_at_all) {
  reset(/*moves=*/true, /*has_pieces=*/true);
  tarn_pool *pool = pool_with_limit(0);
  void *large = take(pool, 16 * MIB, NULL); /* two pieces */
  give(pool, large, NULL);
  void *low = take(pool, 2 * MIB, NULL); /* in the first one */
  size_t released = 0;
  assert_ok(tarn_pool_trim(pool, 10 * MIB, &released));
  assert_int_equal(released, 8 * MIB);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 0);
  assert_int_equal(stats_of(pool).reserved_bytes, 8 * MIB);
  /* Less than a piece was to go: it goes, for more was not to stay. */
  void *again = take(pool, 12 * MIB, NULL);
  give(pool, again, NULL);
  const size_t reserved_bytes = stats_of(pool).reserved_bytes;
  assert_ok(tarn_pool_trim(pool, reserved_bytes - 2 * MIB, &released));
  assert_true(released >= 2 * MIB);
  check_exact(pool);
  give(pool, low, NULL);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(machine.committed_bytes, 0);
  tarn_pool_release(pool);
}

/* Random blocks of up to 40 MiB; the machine's books tell every breach of its contract. */
static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state * UINT64_C(2685821657736338717) >> 20;
}

static void run_random(bool moves, bool has_pieces, size_t limit_bytes, uint64_t seed) {
  enum { SLOTS = 24, STEPS = 1500 };
  reset(moves, has_pieces);
  tarn_pool *pool = pool_with_limit(limit_bytes);
  void *blocks[SLOTS] = {NULL};
  for (int step = 0; step < STEPS; step++) {
    const int slot = (int)(next_random(&seed) % SLOTS);
    if (blocks[slot] != NULL) {
      give(pool, blocks[slot], NULL);
      blocks[slot] = NULL;
    } else {
      const size_t small_bytes = next_random(&seed) % (4 * MIB) + 1;
      const size_t size_bytes = next_random(&seed) % 3 == 0 ? 10 * small_bytes : small_bytes;
      const tarn_status status = tarn_pool_alloc(pool, size_bytes, NULL, &blocks[slot]);
      assert_true(status == TARN_OK || (limit_bytes != 0 && status == TARN_OUT_OF_MEMORY));
    }
    if (step % 97 == 0) assert_ok(tarn_pool_trim(pool, machine.committed_bytes / 2, NULL));
    check_exact(pool);
    if (limit_bytes != 0) assert_true(machine.committed_bytes_peak <= limit_bytes);
  }
  for (int slot = 0; slot < SLOTS; slot++) {
    if (blocks[slot] != NULL) give(pool, blocks[slot], NULL);
  }
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  assert_int_equal(machine.committed_bytes, 0);
  tarn_pool_release(pool);
}

TEST(random_programs_keep_the_books_right) {
  int move_count = 0, piece_move_count = 0;
  for (uint64_t seed = 1; seed <= 6; seed++) {
    run_random(/*moves=*/true, /*has_pieces=*/false, 0, seed);
    run_random(/*moves=*/true, /*has_pieces=*/false, 120 * MIB, seed);
    move_count += machine.move_count;
    run_random(/*moves=*/true, /*has_pieces=*/true, 120 * MIB, seed);
    piece_move_count += machine.move_count;
    run_random(/*moves=*/true, /*has_pieces=*/true, 0, seed);
    piece_move_count += machine.move_count;
    run_random(/*moves=*/false, /*has_pieces=*/true, 120 * MIB, seed);
  }
  assert_true(move_count > 10 && piece_move_count > 10);
}

TEST(memory_is_made_ahead_within_the_limits_and_given_back) {
  reset(/*moves=*/true, /*has_pieces=*/false);
  const tarn_caching_options options = {
      .struct_size = sizeof options, .limit_bytes = 40 * MIB, .prepare_bytes = 16 * MIB};
  tarn_pool *pool = NULL;
  assert_ok(make_pool(&options, /*can_prepare=*/true, &pool));
  assert_int_equal(machine.prepared_bytes, 16 * MIB); /* at once */
  idle_scene self = begin_idle(pool, NULL);
  assert_ok(tarn_pool_decay(pool, 1, NULL));
  assert_int_equal(machine.prepared_bytes, 4 * MIB); /* 36 of 40 are reserved */
  assert_ok(tarn_pool_trim(pool, 38 * MIB, NULL));
  assert_int_equal(machine.prepared_bytes, 2 * MIB);
  machine.capacity_bytes = 36 * MIB;
  assert_ok(tarn_pool_decay(pool, 2, NULL)); /* nothing is missing where none can be made */
  assert_int_equal(machine.prepared_bytes, 0);
  machine.capacity_bytes = 0;
  assert_ok(tarn_pool_decay(pool, 3, NULL));
  assert_int_equal(machine.prepared_bytes, 4 * MIB);
  finish(&self, NULL); /* nothing is left prepared */
  tarn_pool *refused = (tarn_pool *)&refused;
  assert_status(make_pool(&options, /*can_prepare=*/false, &refused), TARN_NOT_SUPPORTED);
  assert_null(refused);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
