/* test_virtual_move.c: a GPU's memory handed on from where it lies idle, in pieces, made ahead. */
#include "tests/cuda/cuda_fixture.h"

#include <stdio.h>

#include "alloc/tarn_caching_pool.h"

enum { PIECE_GRANULES = 4 };

/* The driver's, when the provider was made: what earlier tests made it lose. */
static size_t bytes_before;

static cusim_counts counts_here(void) {
  cusim_counts counts = {0};
  if (fixture_sim_control() != NULL) fixture_sim_control()->get_counts(&counts);
  counts.physical_bytes -= bytes_before;
  return counts;
}

static tarn_provider *make_provider(tarn_cuda *cuda, bool has_pieces) {
  tarn_provider *provider = NULL;
  bytes_before = 0;
  bytes_before = counts_here().physical_bytes;
  tarn_cuda_virtual_options options = {.struct_size = sizeof options};
  tarn_status status = tarn_cuda_virtual_provider_create(cuda, 0, &options, &provider);
  if (status == TARN_NOT_SUPPORTED) {
    print_message("skipped: %s\n", tarn_last_error()->message);
    skip();
  }
  OK(status);
  if (!has_pieces) return provider;
  options.piece_bytes = PIECE_GRANULES * tarn_provider_attributes_of(provider)->granularity_bytes;
  tarn_provider_release(provider);
  OK(tarn_cuda_virtual_provider_create(cuda, 0, &options, &provider));
  assert_int_equal(tarn_provider_attributes_of(provider)->piece_bytes, options.piece_bytes);
  return provider;
}

static size_t granule(const tarn_provider *provider) {
  return tarn_provider_attributes_of(provider)->granularity_bytes;
}

static tarn_cuda_virtual_stats stats_of(const tarn_provider *provider) {
  tarn_cuda_virtual_stats stats = {.struct_size = sizeof stats};
  OK(tarn_cuda_virtual_stats_of(provider, &stats));
  return stats;
}

/* What the driver has is what the provider says it has. */
static void check_exact(const tarn_provider *provider, size_t mapped_bytes, size_t prepared_bytes) {
  const tarn_cuda_virtual_stats stats = stats_of(provider);
  assert_int_equal(stats.mapped_bytes, mapped_bytes);
  assert_int_equal(stats.prepared_bytes, prepared_bytes);
  assert_int_equal(stats.lost_bytes, 0);
  if (fixture_sim_control() != NULL) {
    assert_int_equal(counts_here().physical_bytes, mapped_bytes + prepared_bytes);
  }
}

static char *reserve(tarn_provider *provider, size_t granule_count) {
  void *address = NULL;
  OK(tarn_provider_reserve(provider, granule_count * granule(provider), &address));
  return address;
}

static void give_range(tarn_provider *provider, void *address, size_t granule_count) {
  OK(tarn_provider_free(provider, address, granule_count * granule(provider)));
}

/* The tag of a granule, written and read by the device. */
static void write_at(tarn_cuda *cuda, tarn_stream *stream, char *address, unsigned char value) {
  fixture_block pinned = fixture_pinned_block(cuda, 64);
  memset(pinned.address, value, 64);
  const tarn_device device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  OK(tarn_stream_copy(stream, address, device, pinned.address, pinned.device, 64));
  OK(tarn_stream_synchronize(stream));
  fixture_free(&pinned);
}

static unsigned char read_at(tarn_cuda *cuda, tarn_stream *stream, const char *address) {
  fixture_block pinned = fixture_pinned_block(cuda, 64);
  const tarn_device device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  OK(tarn_stream_copy(stream, pinned.address, pinned.device, address, device, 64));
  OK(tarn_stream_synchronize(stream));
  const unsigned char value = pinned.address[63];
  fixture_free(&pinned);
  return value;
}

TEST(idle_memory_is_handed_on_and_nothing_is_made) {
  tarn_cuda *cuda = *state;
  tarn_provider *provider = make_provider(cuda, /*has_pieces=*/false);
  const size_t step = granule(provider);
  char *range = reserve(provider, 16);
  OK(tarn_provider_commit(provider, range, 6 * step));
  tarn_stream *stream = fixture_stream(cuda);
  write_at(cuda, stream, range + step, 0x11); /* stays */
  write_at(cuda, stream, range + 4 * step, 0x44);
  const uint64_t created = stats_of(provider).created_count;
  const tarn_provider_span idle[] = {{range, step}, {range + 4 * step, 2 * step}};
  size_t taken = 0;
  OK(tarn_provider_move(provider, idle, 2, range + 8 * step, 3 * step, &taken));
  assert_int_equal(taken, 2);
  assert_int_equal(stats_of(provider).created_count, created);
  assert_int_equal(stats_of(provider).moved_bytes, 3 * step);
  check_exact(provider, 6 * step, 0);
  /* The same memory, in the order of the spans. */
  assert_int_equal(read_at(cuda, stream, range + 9 * step), 0x44);
  assert_int_equal(read_at(cuda, stream, range + step), 0x11);
  write_at(cuda, stream, range + 10 * step, 0x55);
  assert_int_equal(read_at(cuda, stream, range + 10 * step), 0x55);
  OK(tarn_provider_commit(provider, range, step)); /* the places are free */
  OK(tarn_provider_commit(provider, range + 4 * step, 2 * step));
  check_exact(provider, 9 * step, 0);
  tarn_stream_release(stream);
  give_range(provider, range, 16);
  check_exact(provider, 0, 0);
  tarn_provider_release(provider);
}

/* Another process may have it mapped. */
TEST(memory_that_may_be_shared_goes_back_and_is_not_handed_on) {
  tarn_cuda *cuda = *state;
  tarn_provider_release(make_provider(cuda, /*has_pieces=*/false));
  const tarn_cuda_virtual_options options = {.struct_size = sizeof options,
                                             .flags = TARN_CUDA_VIRTUAL_SHARED};
  tarn_provider *provider = NULL;
  if (tarn_cuda_virtual_provider_create(cuda, 0, &options, &provider) == TARN_NOT_SUPPORTED) {
    print_message("skipped: %s\n", tarn_last_error()->message);
    skip();
  }
  const size_t step = granule(provider);
  char *range = reserve(provider, 8);
  assert_int_equal(tarn_provider_attributes_of(provider)->flags & TARN_PROVIDER_MOVES, 0);
  OK(tarn_provider_commit(provider, range, 2 * step));
  const tarn_provider_span idle = {range, 2 * step};
  size_t taken = 0;
  OK(tarn_provider_move(provider, &idle, 1, range + 4 * step, 2 * step, &taken));
  assert_int_equal(taken, 1);
  assert_int_equal(stats_of(provider).moved_bytes, 0);
  assert_int_equal(stats_of(provider).created_count, 4);
  check_exact(provider, 2 * step, 0);
  give_range(provider, range, 8);
  tarn_provider_release(provider);
}

TEST(what_the_spans_lack_is_fresh_and_what_they_have_beyond_goes_back) {
  tarn_cuda *cuda = *state;
  tarn_provider *provider = make_provider(cuda, /*has_pieces=*/false);
  const size_t step = granule(provider);
  char *range = reserve(provider, 16);
  OK(tarn_provider_commit(provider, range, 5 * step));
  size_t taken = 0;
  const tarn_provider_span one = {range, step};
  OK(tarn_provider_move(provider, &one, 1, range + 8 * step, 3 * step, &taken));
  check_exact(provider, 7 * step, 0);
  const tarn_provider_span four = {range + step, 4 * step};
  OK(tarn_provider_move(provider, &four, 1, range + 12 * step, step, &taken));
  check_exact(provider, 4 * step, 0);
  OK(tarn_provider_move(provider, NULL, 0, range, step, &taken)); /* a commit */
  check_exact(provider, 5 * step, 0);
  give_range(provider, range, 16);
  tarn_provider_release(provider);
}

TEST(a_move_that_cannot_be_is_refused_and_changes_nothing) {
  tarn_provider *provider = make_provider(*state, /*has_pieces=*/false);
  const size_t step = granule(provider);
  char *range = reserve(provider, 16);
  OK(tarn_provider_commit(provider, range, 4 * step));
  size_t taken = 9;
  const tarn_provider_span spans[] = {{range, step}, {range + 4 * step, step}};
  assert_int_equal(tarn_provider_move(provider, spans, 2, range + 8 * step, 2 * step, &taken),
                   TARN_INVALID_ARGUMENT); /* the second one has no memory */
  assert_int_equal(taken, 0);
  const tarn_provider_span twice[] = {{range, 2 * step}, {range + step, step}};
  assert_int_equal(tarn_provider_move(provider, twice, 2, range + 8 * step, 2 * step, &taken),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_provider_move(provider, spans, 1, range + 3 * step, 2 * step, &taken),
                   TARN_INVALID_ARGUMENT); /* into what is committed */
  check_exact(provider, 4 * step, 0);
  OK(tarn_provider_commit(provider, range + 4 * step, 8 * step));
  OK(tarn_provider_decommit(provider, range, 12 * step));
  check_exact(provider, 0, 0);
  give_range(provider, range, 16);
  tarn_provider_release(provider);
}

TEST(a_range_of_pieces_begins_with_a_whole_one) {
  enum { RANGES = 4 };
  tarn_provider *provider = make_provider(*state, /*has_pieces=*/true);
  const size_t step = granule(provider);
  void *ranges[RANGES] = {NULL};
  for (int i = 0; i < RANGES; i++) {
    OK(tarn_provider_reserve(provider, (PIECE_GRANULES + 1) * step, &ranges[i]));
    assert_int_equal((uintptr_t)ranges[i] % (PIECE_GRANULES * step), 0);
  }
  for (int i = 0; i < RANGES; i++) {
    OK(tarn_provider_free(provider, ranges[i], (PIECE_GRANULES + 1) * step));
  }
  tarn_provider_release(provider);
}

TEST(pieces_take_one_handle_each_and_come_and_go_whole) {
  tarn_cuda *cuda = *state;
  tarn_provider *provider = make_provider(cuda, /*has_pieces=*/true);
  const size_t step = granule(provider);
  char *range = reserve(provider, 20);
  const uint64_t created = stats_of(provider).created_count;
  /* One granule, two pieces, two granules. */
  OK(tarn_provider_commit(provider, range + 3 * step, 11 * step));
  assert_int_equal(stats_of(provider).created_count - created, 5);
  check_exact(provider, 11 * step, 0);
  tarn_stream *stream = fixture_stream(cuda);
  write_at(cuda, stream, range + 9 * step + step / 2, 0x77);
  assert_int_equal(tarn_provider_decommit(provider, range + 3 * step, 2 * step),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_provider_decommit(provider, range + 6 * step, step), TARN_INVALID_ARGUMENT);
  size_t taken = 0;
  const tarn_provider_span half = {range + 6 * step, 2 * step};
  assert_int_equal(tarn_provider_move(provider, &half, 1, range, 2 * step, &taken),
                   TARN_INVALID_ARGUMENT);
  check_exact(provider, 11 * step, 0);
  OK(tarn_provider_decommit(provider, range + 3 * step, 5 * step)); /* a granule and a piece */
  OK(tarn_provider_commit(provider, range + 5 * step, step));       /* now of granules */
  OK(tarn_provider_decommit(provider, range + 5 * step, step));
  assert_int_equal(read_at(cuda, stream, range + 9 * step + step / 2), 0x77);
  /* A piece to a piece's place; granules to where a piece would fit, too. */
  const uint64_t before = stats_of(provider).created_count;
  const tarn_provider_span piece = {range + 8 * step, 4 * step};
  OK(tarn_provider_move(provider, &piece, 1, range, 4 * step, &taken));
  assert_int_equal(read_at(cuda, stream, range + step + step / 2), 0x77);
  assert_int_equal(stats_of(provider).created_count, before);
  OK(tarn_provider_commit(provider, range + 14 * step, 2 * step));
  const tarn_provider_span granules = {range + 12 * step, 4 * step};
  OK(tarn_provider_move(provider, &granules, 1, range + 4 * step, 4 * step, &taken));
  assert_int_equal(stats_of(provider).created_count, before + 2);
  check_exact(provider, 8 * step, 0);
  /* A piece where only granules fit goes back, and no more is held at once. */
  OK(tarn_provider_move(provider, &(tarn_provider_span){range, 4 * step}, 1, range + 9 * step,
                        4 * step, &taken));
  check_exact(provider, 8 * step, 0);
  tarn_stream_release(stream);
  give_range(provider, range, 20);
  check_exact(provider, 0, 0);
  tarn_provider_release(provider);
}

/* Every call of the driver's that a move makes fails once. */
static void fail_each_call_of_a_move(tarn_cuda *cuda, bool has_pieces) {
  tarn_provider *provider = make_provider(cuda, has_pieces);
  const fixture_sim *sim = fixture_sim_control();
  const size_t step = granule(provider);
  char *range = reserve(provider, 24);
  size_t lost = 0;
  bool is_done = false;
  for (uint64_t nth = 1; !is_done; nth++) {
    assert_true(nth < 100);
    OK(tarn_provider_commit(provider, range, 6 * step));
    OK(tarn_provider_commit(provider, range + 8 * step, 3 * step));
    const tarn_provider_span idle[] = {{range, 6 * step}, {range + 9 * step, step}};
    size_t taken = 0;
    sim->fail_call(NULL, nth, CUDA_ERROR_UNKNOWN);
    const uint64_t failures = sim->failures();
    const tarn_status status =
        tarn_provider_move(provider, idle, 2, range + 12 * step, 9 * step, &taken);
    is_done = sim->failures() == failures;
    sim->fail_nothing();
    const size_t held = 9 - (taken > 0 ? 6 : 0) - (taken > 1 ? 1 : 0) + (status == TARN_OK ? 9 : 0);
    const tarn_cuda_virtual_stats stats = stats_of(provider);
    assert_int_equal(stats.mapped_bytes, held * step);
    assert_int_equal(counts_here().physical_bytes, stats.mapped_bytes + stats.lost_bytes);
    if (status == TARN_OK) assert_int_equal(taken, 2);
    if (status == TARN_OK) OK(tarn_provider_decommit(provider, range + 12 * step, 9 * step));
    if (taken == 0) OK(tarn_provider_decommit(provider, range, 6 * step));
    if (taken < 2) OK(tarn_provider_decommit(provider, range + 9 * step, step));
    OK(tarn_provider_decommit(provider, range + 8 * step, step));
    OK(tarn_provider_decommit(provider, range + 10 * step, step));
    assert_int_equal(stats_of(provider).mapped_bytes, 0);
    assert_int_equal(counts_here().physical_bytes, stats_of(provider).lost_bytes);
    /* Only a driver that refuses to take memory back makes it lost. */
    if (stats_of(provider).lost_bytes != lost) {
      lost = stats_of(provider).lost_bytes;
      assert_string_equal(sim->failed_call(), "cuMemRelease");
    }
  }
  give_range(provider, range, 24);
  tarn_provider_release(provider);
}

TEST(memory_made_ahead_is_only_mapped) {
  tarn_provider *provider = make_provider(*state, /*has_pieces=*/true);
  const size_t step = granule(provider);
  char *range = reserve(provider, 16);
  size_t prepared = 0;
  OK(tarn_provider_prepare(provider, 8 * step + step / 2, &prepared)); /* a piece, 4 granules */
  assert_int_equal(prepared, 8 * step);
  check_exact(provider, 0, 8 * step);
  assert_int_equal(stats_of(provider).created_count, 5);
  const fixture_sim *sim = fixture_sim_control();
  const uint64_t creates = sim != NULL ? sim->calls("cuMemCreate") : 0;
  const uint64_t accesses = sim != NULL ? sim->calls("cuMemSetAccess") : 0;
  OK(tarn_provider_commit(provider, range + 2 * step, 6 * step));
  if (sim != NULL) assert_int_equal(sim->calls("cuMemCreate"), creates);
  if (sim != NULL) assert_int_equal(sim->calls("cuMemSetAccess"), accesses + 1);
  check_exact(provider, 6 * step, 2 * step);
  assert_int_equal(stats_of(provider).prepared_count, 3);
  OK(tarn_provider_decommit(provider, range + 2 * step, 6 * step)); /* goes to the machine */
  check_exact(provider, 0, 2 * step);
  OK(tarn_provider_prepare(provider, step, &prepared));
  assert_int_equal(prepared, step);
  check_exact(provider, 0, step);
  OK(tarn_provider_prepare(provider, 6 * step, &prepared)); /* not two pieces: granules */
  check_exact(provider, 0, 6 * step);
  give_range(provider, range, 16);
  tarn_provider_release(provider); /* what is prepared goes as well */
  assert_int_equal(counts_here().physical_bytes, 0);
}

TEST(a_commit_short_of_memory_gives_back_what_was_made_ahead) {
  FIXTURE_NEEDS_SIM();
  tarn_cuda *cuda = *state;
  const fixture_sim *sim = fixture_sim_control();
  tarn_provider *provider = make_provider(cuda, /*has_pieces=*/true);
  const size_t step = granule(provider);
  char *range = reserve(provider, 16);
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  sim->set_capacity(0, info.total_bytes - info.free_bytes + 8 * step);
  OK(tarn_provider_prepare(provider, 8 * step, NULL));
  OK(tarn_provider_commit(provider, range + 4 * step, 8 * step)); /* two pieces: one was there */
  check_exact(provider, 8 * step, 0);
  size_t prepared = 1;
  assert_int_equal(tarn_provider_prepare(provider, step, &prepared), TARN_OUT_OF_MEMORY);
  assert_string_equal(tarn_last_error()->native_call, "cuMemCreate");
  assert_int_equal(prepared, 0);
  OK(tarn_provider_decommit(provider, range + 4 * step, 4 * step));
  assert_int_equal(tarn_provider_prepare(provider, 6 * step, &prepared), TARN_OUT_OF_MEMORY);
  assert_int_equal(prepared, 4 * step); /* what could be made, is there */
  check_exact(provider, 4 * step, 4 * step);
  sim->set_capacity(0, info.total_bytes);
  give_range(provider, range, 16);
  tarn_provider_release(provider);
}

TEST(a_device_tells_which_memory_it_has_and_why_not_the_better) {
  FIXTURE_NEEDS_SIM();
  tarn_cuda *cuda = *state;
  tarn_cuda_memory_choice choice = {.struct_size = sizeof choice};
  OK(tarn_cuda_memory_choose(cuda, 0, &choice));
  assert_int_equal(choice.memory, TARN_CUDA_MEMORY_VIRTUAL);
  assert_string_equal(choice.reason, "");
  fixture_sim_control()->fail_call("cuDeviceGetAttribute", 1, CUDA_ERROR_INVALID_VALUE);
  OK(tarn_cuda_memory_choose(cuda, 0, &choice));
  assert_int_equal(choice.memory, TARN_CUDA_MEMORY_BLOCKS);
  assert_string_equal(choice.reason, "CUDA device 0 has no virtual memory management");
  fixture_sim_control()->hide("cuMemMap");
  tarn_cuda *old = fixture_open();
  fixture_sim_control()->hide(NULL);
  OK(tarn_cuda_memory_choose(old, 0, &choice));
  assert_int_equal(choice.memory, TARN_CUDA_MEMORY_BLOCKS);
  assert_non_null(strstr(choice.reason, "the driver lacks cuMemMap"));
  tarn_cuda_release(old);
  assert_int_equal(tarn_cuda_memory_choose(cuda, 99, &choice), TARN_INVALID_ARGUMENT);
  assert_int_equal(choice.memory, TARN_CUDA_MEMORY_NONE);
  choice.struct_size = 1;
  assert_int_equal(tarn_cuda_memory_choose(cuda, 0, &choice), TARN_INVALID_ARGUMENT);
  tarn_provider *blocks = NULL;
  OK(tarn_cuda_device_provider_create(cuda, 0, &blocks));
  tarn_cuda_virtual_stats stats = {.struct_size = sizeof stats};
  assert_int_equal(tarn_cuda_virtual_stats_of(blocks, &stats), TARN_INVALID_ARGUMENT);
  tarn_provider_release(blocks);
}

TEST(smaller_ranges_are_reserved_where_addresses_run_out) {
  FIXTURE_NEEDS_SIM();
  tarn_cuda *cuda = *state;
  const fixture_sim *sim = fixture_sim_control();
  tarn_provider *provider = make_provider(cuda, /*has_pieces=*/false);
  const size_t step = granule(provider);
  /* 2 to the power of 50: more than there are addresses. */
  const tarn_caching_options options = {.struct_size = sizeof options,
                                        .range_bytes = (size_t)1 << 50};
  tarn_pool *pool = NULL;
  OK(tarn_caching_pool_create(provider, &options, &pool));
  void *block = NULL;
  OK(tarn_pool_alloc(pool, 3 * step, NULL, &block));
  assert_int_equal(counts_here().reservations, 1);
  OK(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
  /* None at all: the message says what was asked for. */
  OK(tarn_caching_pool_create(provider, NULL, &pool));
  sim->hide(NULL);
  void *range = &range;
  sim->fail_call("cuMemAddressReserve", 1, CUDA_ERROR_OUT_OF_MEMORY);
  assert_int_equal(tarn_provider_reserve(provider, 5 * step, &range), TARN_OUT_OF_MEMORY);
  assert_null(range);
  char asked[64];
  snprintf(asked, sizeof asked, "reserving %zu bytes of addresses on CUDA device 0", 5 * step);
  assert_non_null(strstr(tarn_last_error()->message, asked));
  tarn_pool_release(pool);
  tarn_provider_release(provider);
}

/* A pool at its limit whose idle granules have to move; what its figures are afterwards. */
typedef struct attack {
  tarn_pool *pool;
  void *kept[3];
} attack;

static attack begin_attack(tarn_provider *provider, size_t step) {
  const tarn_caching_options options = {
      .struct_size = sizeof options, .limit_bytes = 9 * step, .range_bytes = 256 * step};
  attack self = {.pool = NULL};
  void *gone[3];
  OK(tarn_caching_pool_create(provider, &options, &self.pool));
  for (int i = 0; i < 3; i++) {
    OK(tarn_pool_alloc(self.pool, 2 * step, NULL, &gone[i]));
    OK(tarn_pool_alloc(self.pool, step, NULL, &self.kept[i]));
  }
  for (int i = 0; i < 3; i++) OK(tarn_pool_free(self.pool, gone[i], NULL));
  return self;
}

static void check_pool(const attack *self, const tarn_provider *provider) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  OK(tarn_pool_stats_of(self->pool, &stats));
  const tarn_cuda_virtual_stats below = stats_of(provider);
  assert_int_equal(stats.reserved_bytes, below.mapped_bytes);
  assert_int_equal(counts_here().physical_bytes, below.mapped_bytes + below.lost_bytes);
  tarn_budget_stats budget = {.struct_size = sizeof budget};
  OK(tarn_budget_stats_of(tarn_caching_pool_budget(self->pool), &budget));
  assert_int_equal(budget.used_bytes, stats.reserved_bytes);
}

TEST(a_full_device_gives_a_pool_what_lies_idle_elsewhere) {
  FIXTURE_NEEDS_SIM();
  tarn_cuda *cuda = *state;
  tarn_provider *provider = make_provider(cuda, /*has_pieces=*/false);
  const size_t step = granule(provider);
  attack self = begin_attack(provider, step);
  tarn_budget_set_limit(tarn_caching_pool_budget(self.pool), 0);
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  fixture_sim_control()->set_capacity(0, info.total_bytes - info.free_bytes); /* not a byte more */
  const uint64_t created = stats_of(provider).created_count;
  void *large = NULL;
  OK(tarn_pool_alloc(self.pool, 6 * step, NULL, &large));
  assert_int_equal(stats_of(provider).created_count, created);
  assert_int_equal(stats_of(provider).moved_bytes, 6 * step);
  check_pool(&self, provider);
  fixture_sim_control()->set_capacity(0, info.total_bytes);
  OK(tarn_pool_free(self.pool, large, NULL));
  for (int i = 0; i < 3; i++) OK(tarn_pool_free(self.pool, self.kept[i], NULL));
  tarn_pool_release(self.pool);
  tarn_provider_release(provider);
}

/* Threads that move, commit and prepare at once, on streams of their own. */
enum { THREADS = 3, ROUNDS = 32 };

typedef struct mover {
  tarn_cuda *cuda;
  tarn_pool *pool;
  tarn_provider *provider;
  size_t step;
  uint64_t random;
  tarn_status status;
} mover;

static void *run_mover(void *argument) {
  mover *self = argument;
  tarn_stream *stream = NULL;
  void *blocks[4] = {NULL};
  self->status = tarn_cuda_stream_create(self->cuda, 0, &stream);
  for (int i = 0; self->status == TARN_OK && i < ROUNDS; i++) {
    self->random = self->random * UINT64_C(6364136223846793005) + 1;
    const size_t slot = self->random >> 40 & 3;
    const size_t size_bytes = (self->random >> 48 & 3) * self->step + 1000;
    tarn_status status = TARN_OK;
    if (blocks[slot] != NULL) {
      status = tarn_pool_free(self->pool, blocks[slot], stream);
      blocks[slot] = NULL;
    } else {
      status = tarn_pool_alloc(self->pool, size_bytes, stream, &blocks[slot]);
      if (status == TARN_OK) {
        status = tarn_stream_fill(stream, blocks[slot], tarn_device_make(TARN_DEVICE_CUDA, 0), 1,
                                  size_bytes);
      }
    }
    if (i % 16 == 0) {
      const tarn_status prepared =
          tarn_provider_prepare(self->provider, (i % 3 == 0) * 4 * self->step, NULL);
      if (prepared != TARN_OK && prepared != TARN_OUT_OF_MEMORY) status = prepared;
    }
    if (status != TARN_OK && status != TARN_OUT_OF_MEMORY) self->status = status;
  }
  for (int i = 0; i < 4; i++) {
    if (tarn_pool_free(self->pool, blocks[i], stream) != TARN_OK) self->status = TARN_DEVICE_ERROR;
  }
  tarn_stream_release(stream);
  return NULL;
}

TEST(threads_that_move_and_commit_at_once_do_not_meet) {
  tarn_cuda *cuda = *state;
  for (int has_pieces = 0; has_pieces < 2; has_pieces++) {
    tarn_provider *provider = make_provider(cuda, has_pieces != 0);
    const size_t step = granule(provider);
    const tarn_caching_options options = {
        .struct_size = sizeof options, .limit_bytes = 12 * step, .range_bytes = 256 * step};
    attack self = {.pool = NULL};
    OK(tarn_caching_pool_create(provider, &options, &self.pool));
    pthread_t threads[THREADS];
    mover movers[THREADS];
    for (uint64_t i = 0; i < THREADS; i++) {
      movers[i] = (mover){cuda, self.pool, provider, step, i + 1, TARN_OK};
      assert_int_equal(pthread_create(&threads[i], NULL, run_mover, &movers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
      assert_int_equal(pthread_join(threads[i], NULL), 0);
      assert_int_equal(movers[i].status, TARN_OK);
    }
    OK(tarn_provider_prepare(provider, 0, NULL));
    if (fixture_sim_control() != NULL) check_pool(&self, provider);
    tarn_pool_release(self.pool);
    assert_int_equal(stats_of(provider).mapped_bytes, 0);
    assert_int_equal(stats_of(provider).lost_bytes, 0);
    tarn_provider_release(provider);
  }
}

TEST(a_pool_whose_move_fails_at_any_call_stays_exact) {
  FIXTURE_NEEDS_SIM();
  const fixture_sim *sim = fixture_sim_control();
  bool is_done = false;
  for (uint64_t nth = 1; !is_done; nth++) {
    assert_true(nth < 200);
    tarn_provider *provider = make_provider(*state, nth % 2 == 0);
    const size_t step = granule(provider);
    attack self = begin_attack(provider, step);
    void *large = NULL;
    sim->fail_call(NULL, nth, nth % 3 == 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_UNKNOWN);
    const uint64_t failures = sim->failures();
    const tarn_status status = tarn_pool_alloc(self.pool, 5 * step, NULL, &large);
    is_done = sim->failures() == failures;
    sim->fail_nothing();
    check_pool(&self, provider);
    assert_true(!is_done || status == TARN_OK || nth % 2 == 0); /* pieces may lie too badly */
    if (status == TARN_OK) OK(tarn_pool_free(self.pool, large, NULL));
    for (int i = 0; i < 3; i++) OK(tarn_pool_free(self.pool, self.kept[i], NULL));
    OK(tarn_pool_trim(self.pool, 0, NULL));
    check_pool(&self, provider);
    assert_int_equal(stats_of(provider).mapped_bytes, 0);
    tarn_pool_release(self.pool);
    tarn_provider_release(provider);
  }
}

TEST(a_move_that_fails_at_any_call_loses_nothing) {
  FIXTURE_NEEDS_SIM();
  fail_each_call_of_a_move(*state, /*has_pieces=*/false);
}

TEST(a_move_of_pieces_that_fails_at_any_call_loses_nothing) {
  FIXTURE_NEEDS_SIM();
  fail_each_call_of_a_move(*state, /*has_pieces=*/true);
}

int run_virtual_move_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
