/* program_threads.c: several host threads over the same pools, handing blocks to each other. */
#include "tests/sim/program_threads.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/sim/cusim.h"
#include "tests/sim/program_runner.h"

enum {
  THREADS_MAX = 4,
  GENERATIONS = 3, /* of threads, one after the other */
  OWN_STREAMS = 2,
  OWN_BLOCKS = 12,
  LETTERS = 8, /* blocks under way between threads */
  STEPS = 200,
  WORDS_PER_STEP = 6,
};

typedef struct owned_block {
  char *address; /* NULL: none */
  size_t size_bytes;
  uint64_t tag;
  tarn_pool *pool;
  tarn_device device;
  int stream; /* of the owner's, that its uses are behind */
} owned_block;

/* A block on its way: whoever takes it is behind `fence`, or the host has waited. */
typedef struct letter {
  owned_block block;
  tarn_fence *fence; /* NULL: the host has waited */
} letter;

typedef struct read_word {
  uint64_t expected;
  size_t size_bytes; /* 0: a tag to be written */
} read_word;

typedef struct party {
  runner base; /* its pools are open */
  uint32_t pool_count;
  pthread_mutex_t lock;
  letter letters[LETTERS];
  atomic_uint_fast32_t op_count;
} party;

typedef struct member {
  party *of;
  uint64_t random;
  tarn_stream *streams[OWN_STREAMS];
  owned_block blocks[OWN_BLOCKS];
  uint64_t *words; /* of page-locked memory, each used once */
  read_word *reads;
  uint32_t word_count;
  char complaint[256]; /* "": none */
} member;

static uint64_t next(member *self) {
  /* splitmix64 (Steele, Lea, Flood 2014). */
  uint64_t value = (self->random += 0x9E3779B97F4A7C15u);
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

static void complain(member *self, const char *what, tarn_status status) {
  if (status == TARN_OK || self->complaint[0] != '\0') return;
  snprintf(self->complaint, sizeof self->complaint, "%s: %s: %.180s", what,
           tarn_status_name(status), tarn_last_error()->message);
}

/* --- using a block --- */

static size_t word_bytes(const owned_block *block) {
  return block->size_bytes < sizeof(uint64_t) ? block->size_bytes : sizeof(uint64_t);
}

static uint64_t *take_word(member *self, uint64_t expected, size_t size_bytes) {
  self->reads[self->word_count] = (read_word){expected, size_bytes};
  return &self->words[self->word_count++];
}

static void write_block(member *self, owned_block *block) {
  tarn_stream *stream = self->streams[block->stream];
  block->tag = next(self);
  complain(self, "fill",
           tarn_stream_fill(stream, block->address, block->device, (uint8_t)block->tag,
                            block->size_bytes));
  uint64_t *word = take_word(self, 0, 0);
  *word = block->tag;
  complain(self, "write",
           tarn_stream_copy(stream, block->address, block->device, word, self->of->base.pinned,
                            word_bytes(block)));
}

static void check_block(member *self, const owned_block *block, int stream) {
  uint64_t *word = take_word(self, block->tag, word_bytes(block));
  *word = ~block->tag;
  complain(self, "check",
           tarn_stream_copy(self->streams[stream], word, self->of->base.pinned, block->address,
                            block->device, word_bytes(block)));
}

/* A use on the thread's other stream, noted. */
static void side_use(member *self, const owned_block *block) {
  const int other = (block->stream + 1) % OWN_STREAMS;
  tarn_fence *fence = NULL;
  tarn_status status = tarn_fence_create(self->streams[block->stream], &fence);
  if (status == TARN_OK) status = tarn_fence_record(fence, self->streams[block->stream]);
  if (status == TARN_OK) status = tarn_stream_wait(self->streams[other], fence);
  complain(self, "fence", status);
  tarn_fence_destroy(fence);
  check_block(self, block, other);
  complain(self, "note", tarn_pool_note_use(block->pool, block->address, self->streams[other]));
}

/* --- steps --- */

static void alloc_block(member *self, owned_block *block) {
  party *of = self->of;
  const uint32_t pool = (uint32_t)(next(self) % of->pool_count);
  /* A few sizes again and again, as programs do; now and then any. */
  static const size_t hot[] = {64, 1000, 4096, 70000};
  const bool is_hot = next(self) % 4 != 0;
  const size_t size_bytes =
      is_hot ? hot[next(self) % 4] : (size_t)1 + next(self) % ((size_t)1 << (1 + next(self) % 21));
  *block = (owned_block){.size_bytes = size_bytes,
                         .pool = of->base.pools[pool],
                         .device = tarn_pool_attributes_of(of->base.pools[pool])->device,
                         .stream = (int)(next(self) % OWN_STREAMS)};
  void *address = NULL;
  const tarn_status status =
      tarn_pool_alloc(block->pool, size_bytes, self->streams[block->stream], &address);
  if (status == TARN_OUT_OF_MEMORY) return;
  complain(self, "alloc", status);
  block->address = address;
  if (address != NULL) write_block(self, block);
}

static void free_block(member *self, owned_block *block) {
  check_block(self, block, block->stream);
  if (next(self) % 3 == 0) side_use(self, block);
  complain(self, "free", tarn_pool_free(block->pool, block->address, self->streams[block->stream]));
  block->address = NULL;
}

/* Puts a block into the post, where there is room. */
static void send_block(member *self, owned_block *block) {
  letter sent = {.block = *block};
  tarn_status status = TARN_OK;
  if (next(self) % 4 == 0) {
    status = tarn_stream_synchronize(self->streams[block->stream]);
  } else {
    status = tarn_fence_create(self->streams[block->stream], &sent.fence);
    if (status == TARN_OK) status = tarn_fence_record(sent.fence, self->streams[block->stream]);
  }
  complain(self, "send", status);
  if (status != TARN_OK) {
    tarn_fence_destroy(sent.fence);
    return;
  }
  pthread_mutex_lock(&self->of->lock);
  letter *slot = NULL;
  for (int i = 0; i < LETTERS && slot == NULL; i++) {
    if (self->of->letters[i].block.address == NULL) slot = &self->of->letters[i];
  }
  if (slot != NULL) *slot = sent;
  pthread_mutex_unlock(&self->of->lock);
  if (slot != NULL) {
    block->address = NULL;
  } else {
    tarn_fence_destroy(sent.fence);
  }
}

static void receive_block(member *self, owned_block *block) {
  letter found = {.fence = NULL};
  pthread_mutex_lock(&self->of->lock);
  letter *slot = &self->of->letters[next(self) % LETTERS];
  found = *slot;
  slot->block.address = NULL;
  pthread_mutex_unlock(&self->of->lock);
  if (found.block.address == NULL) return;
  *block = found.block;
  block->stream = (int)(next(self) % OWN_STREAMS);
  if (found.fence != NULL) {
    complain(self, "wait", tarn_stream_wait(self->streams[block->stream], found.fence));
    tarn_fence_destroy(found.fence);
  }
  check_block(self, block, block->stream);
  if (next(self) % 2 == 0) write_block(self, block);
}

static void look_at_pool(member *self) {
  tarn_pool *pool = self->of->base.pools[next(self) % self->of->pool_count];
  if (next(self) % 2 == 0) {
    complain(self, "trim", tarn_pool_trim(pool, 0, NULL));
    return;
  }
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  complain(self, "stats", tarn_pool_stats_of(pool, &stats));
}

static void step(member *self) {
  owned_block *block = &self->blocks[next(self) % OWN_BLOCKS];
  const uint64_t kind = next(self) % 16;
  if (next(self) % 64 == 0) look_at_pool(self);
  if (next(self) % 32 == 0) {
    complain(self, "synchronize", tarn_stream_synchronize(self->streams[kind % OWN_STREAMS]));
  }
  if (block->address == NULL) {
    if (kind < 5) {
      receive_block(self, block);
    } else {
      alloc_block(self, block);
    }
  } else if (kind < 4) {
    send_block(self, block);
  } else if (kind < 6) {
    write_block(self, block);
  } else {
    free_block(self, block);
  }
  atomic_fetch_add(&self->of->op_count, 1);
}

/* The thread goes with work of its streams pending, and with what the pools keep for it. */
static void *live(void *argument) {
  member *self = argument;
  for (int i = 0; i < OWN_STREAMS; i++) {
    complain(self, "stream", tarn_cuda_stream_create(self->of->base.cuda, 0, &self->streams[i]));
    if (self->streams[i] == NULL) return NULL;
  }
  for (int i = 0; i < STEPS && self->complaint[0] == '\0'; i++) step(self);
  for (int i = 0; i < OWN_BLOCKS; i++) {
    if (self->blocks[i].address != NULL) free_block(self, &self->blocks[i]);
  }
  for (int i = 0; i < OWN_STREAMS; i++) tarn_stream_release(self->streams[i]);
  return NULL;
}

/* --- all together --- */

static void judge(party *of, member *members, int member_count) {
  for (int i = 0; i < member_count; i++) {
    const member *self = &members[i];
    if (self->complaint[0] != '\0') {
      runner_condemn(&of->base, PROGRAM_WRONG_STATUS, "thread %d: %s", i, self->complaint);
    }
    for (uint32_t word = 0; word < self->word_count; word++) {
      const read_word *at = &self->reads[word];
      if (at->size_bytes == 0) continue;
      of->base.verdict->check_count++;
      if (memcmp(&self->words[word], &at->expected, at->size_bytes) == 0) continue;
      runner_condemn(&of->base, PROGRAM_WRONG_VALUE,
                     "thread %d found %016" PRIx64 " where %016" PRIx64 " was written", i,
                     self->words[word], at->expected);
    }
  }
}

static void run_generation(party *of, uint64_t seed, int generation) {
  const int count = 2 + (int)(seed % (THREADS_MAX - 1));
  pthread_t threads[THREADS_MAX];
  member *members = calloc((size_t)count, sizeof *members);
  const size_t words = (STEPS + OWN_BLOCKS + 1) * WORDS_PER_STEP;
  const size_t first = (size_t)generation * THREADS_MAX * words;
  int started = 0;
  for (int i = 0; members != NULL && i < count; i++) {
    members[i].of = of;
    members[i].random = seed * 1000003 + (uint64_t)(generation * THREADS_MAX + i);
    members[i].words = of->base.scratch + first + (size_t)i * words;
    members[i].reads = calloc(words, sizeof *members[i].reads);
    if (members[i].reads == NULL) break;
    if (pthread_create(&threads[i], NULL, live, &members[i]) != 0) break;
    started++;
  }
  for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
  const tarn_status status = driver_synchronize(&of->base.driver);
  if (status != TARN_OK) runner_condemn(&of->base, PROGRAM_FAULT, "%s", cusim_fault());
  judge(of, members, started);
  for (int i = 0; members != NULL && i < count; i++) free(members[i].reads);
  free(members);
}

/* What nobody has taken out of the post. */
static void empty_letters(party *of) {
  for (int i = 0; i < LETTERS; i++) {
    letter *left = &of->letters[i];
    if (left->block.address == NULL) continue;
    if (tarn_pool_free(left->block.pool, left->block.address, NULL) != TARN_OK) {
      runner_condemn(&of->base, PROGRAM_WRONG_STATUS, "a block of the post cannot be freed: %s",
                     tarn_last_error()->message);
    }
    tarn_fence_destroy(left->fence);
  }
}

static void check_empty(party *of, uint32_t index) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  tarn_status status = tarn_pool_trim(of->base.pools[index], 0, NULL);
  if (status == TARN_OK) status = tarn_pool_stats_of(of->base.pools[index], &stats);
  if (status != TARN_OK || stats.requested_bytes != 0 || stats.allocated_bytes != 0 ||
      stats.alloc_count != stats.free_count || stats.reserved_bytes != 0) {
    runner_condemn(&of->base, PROGRAM_WRONG_STATS,
                   "pool %u, all free and done: requested %zu, allocated %zu, reserved %zu, "
                   "%" PRIu64 " allocs, %" PRIu64 " frees",
                   index, stats.requested_bytes, stats.allocated_bytes, stats.reserved_bytes,
                   stats.alloc_count, stats.free_count);
  }
}

/* Threads see the pools of an ordinary program, which does nothing itself. */
void program_run_threads(uint64_t seed, program_verdict *verdict) {
  static program shape;
  static party of;
  memset(verdict, 0, sizeof *verdict);
  memset(&of, 0, sizeof of);
  program_generate(&shape, seed);
  shape.op_count = 0;
  pthread_mutex_init(&of.lock, NULL);
  of.pool_count = shape.pool_count;
  const size_t words =
      (size_t)GENERATIONS * THREADS_MAX * (STEPS + OWN_BLOCKS + 1) * WORDS_PER_STEP;
  of.base.of = &shape;
  of.base.verdict = verdict;
  model_init(&of.base.model, &shape);
  if (runner_begin(&of.base, words)) {
    for (uint32_t i = 0; i < of.pool_count && verdict->failing == PROGRAM_FINE; i++) {
      const tarn_status status = runner_open_pool(&of.base, i);
      if (status != TARN_OK) {
        runner_condemn(&of.base, PROGRAM_WRONG_STATUS, "%s", tarn_last_error()->message);
      }
    }
    for (int i = 0; i < GENERATIONS && verdict->failing == PROGRAM_FINE; i++) {
      run_generation(&of, seed, i);
    }
    empty_letters(&of);
    runner_forget_streams(&of.base);
    for (uint32_t i = 0; i < of.pool_count && verdict->failing == PROGRAM_FINE; i++) {
      check_empty(&of, i);
    }
    runner_check_driver(&of.base);
  }
  verdict->run_count = (uint32_t)atomic_load(&of.op_count);
  runner_end(&of.base);
  pthread_mutex_destroy(&of.lock);
}
