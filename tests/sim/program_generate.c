/* program_generate.c: makes random legal programs. */
#include <string.h>

#include "cuda/sim/cusim.h"
#include "tests/sim/program_model.h"

enum {
  HOT_SIZES_MAX = 4,
  TRIES = 12, /* to hit on a legal operation */
  /* Not yet POOL_DRIVER: after programs of several threads a trim does not always bring it down to
   * nothing reserved, though every stream is done. */
  POOL_KINDS_DRAWN = POOL_DRIVER,
};

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

typedef struct generator {
  program *made;
  model_state model;
  uint64_t random;
  uint32_t op_count;
  uint32_t weights[VERB_COUNT];
  uint32_t weight_sum;
  uint32_t cross_weight; /* of whole patterns of use across streams */
  uint64_t hot_sizes[HOT_SIZES_MAX];
  uint32_t hot_size_count;
  uint64_t size_bits; /* sizes below 2^this */
  uint32_t block_slots;
} generator;

static uint64_t next(generator *self) {
  /* splitmix64 (Steele, Lea, Flood 2014). */
  uint64_t value = (self->random += 0x9E3779B97F4A7C15u);
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

static uint64_t below(generator *self, uint64_t end) {
  return next(self) % end;
}

static bool chance(generator *self, uint64_t one_in) {
  return below(self, one_in) == 0;
}

/* --- sizes --- */

static uint64_t log_uniform(generator *self) {
  const uint64_t base = (uint64_t)1 << below(self, self->size_bits);
  return base + below(self, base);
}

static uint64_t nasty_size(generator *self) {
  static const uint64_t sizes[] = {1,
                                   255,
                                   256,
                                   257,
                                   511,
                                   512,
                                   513,
                                   4095,
                                   4097,
                                   64 * KIB - 1,
                                   MIB - 1,
                                   MIB,
                                   MIB + 1,
                                   2 * MIB - 1,
                                   2 * MIB,
                                   2 * MIB + 1,
                                   8 * MIB,
                                   0,
                                   SIZE_MAX / 2 + 2};
  return sizes[below(self, sizeof sizes / sizeof sizes[0])];
}

static uint64_t any_size(generator *self) {
  const uint64_t kind = below(self, 16);
  if (kind == 0) return nasty_size(self);
  if (kind < 9) return self->hot_sizes[below(self, self->hot_size_count)];
  return log_uniform(self);
}

static uint32_t any_alignment(generator *self) {
  return chance(self, 8) ? (uint32_t)1 << below(self, 23) : 0;
}

/* --- operations --- */

static uint8_t any_stream(generator *self) {
  return (uint8_t)below(self, self->made->stream_count);
}

static uint8_t stream_or_host(generator *self) {
  return chance(self, 10) ? PROGRAM_HOST : any_stream(self);
}

static program_op any_op(generator *self, program_verb verb) {
  program_op op = {.verb = (uint8_t)verb,
                   .stream = any_stream(self),
                   .other_stream = any_stream(self),
                   .pool = (uint8_t)below(self, self->made->pool_count),
                   .block = (uint8_t)below(self, self->block_slots),
                   .other_block = (uint8_t)below(self, self->block_slots),
                   .event = (uint8_t)below(self, PROGRAM_EVENTS_MAX)};
  if (verb == VERB_ALLOC || verb == VERB_STORAGE) {
    op.size_bytes = any_size(self);
    op.alignment_bytes = verb == VERB_ALLOC ? any_alignment(self) : 0;
  }
  if (verb == VERB_ALLOC || verb == VERB_STORAGE || verb == VERB_FREE) {
    op.stream = stream_or_host(self);
  }
  if (verb == VERB_TRIM) op.size_bytes = chance(self, 2) ? 0 : below(self, 16) * MIB;
  if (verb == VERB_LIMIT) op.size_bytes = chance(self, 4) ? 0 : (1 + below(self, 32)) * MIB;
  if (verb == VERB_RESERVE) op.size_bytes = (1 + below(self, 12)) * MIB;
  if (verb == VERB_DECAY) op.size_bytes = below(self, 10) * 1000000000u;
  if (verb == VERB_STEP) op.size_bytes = 1 + below(self, 8);
  if (verb == VERB_CAPACITY) op.size_bytes = (8 + below(self, 64)) * MIB;
  return op;
}

/* Appends it where it is legal. */
static bool emit(generator *self, const program_op *op) {
  if (self->made->op_count == self->op_count || !model_allows(&self->model, op)) return false;
  const uint32_t index = self->made->op_count++;
  self->made->ops[index] = *op;
  const bool makes_block = op->verb == VERB_ALLOC || op->verb == VERB_STORAGE;
  if (makes_block && op->size_bytes > PTRDIFF_MAX) return true; /* refused */
  model_apply(&self->model, op, index + 1);
  return true;
}

static void emit_verb(generator *self, program_verb verb) {
  for (int i = 0; i < TRIES; i++) {
    const program_op op = any_op(self, verb);
    if (emit(self, &op)) return;
  }
}

/* A block of one stream is used on another: ordered behind the first by one of the ways there are,
 * written or read, noted or ordered back, and often freed at once. */
static void emit_cross_use(generator *self) {
  program_op op = any_op(self, VERB_WRITE);
  if (!self->model.blocks[op.block].is_live) {
    op.verb = VERB_ALLOC;
    op.size_bytes = any_size(self);
    if (op.size_bytes == 0 || op.size_bytes > PTRDIFF_MAX) op.size_bytes = 4096;
    emit(self, &op);
  }
  op.verb = VERB_WRITE;
  emit(self, &op);
  program_op across = op;
  across.verb = chance(self, 2) ? VERB_HIDDEN : VERB_EDGE;
  if (chance(self, 2)) {
    across.verb = VERB_RECORD;
    emit(self, &across);
    across.verb = VERB_WAIT;
    across.stream = op.other_stream;
  }
  emit(self, &across);
  program_op used = op;
  used.stream = op.other_stream;
  used.verb = chance(self, 2) ? VERB_WRITE : VERB_CHECK;
  emit(self, &used);
  if (chance(self, 4)) {
    program_op back = {.verb = VERB_HIDDEN, .stream = op.other_stream, .other_stream = op.stream};
    emit(self, &back);
  } else {
    used.verb = VERB_NOTE_USE;
    emit(self, &used);
  }
  if (chance(self, 2)) return;
  op.verb = VERB_FREE;
  if (chance(self, 3)) op.stream = stream_or_host(self);
  emit(self, &op);
}

/* --- programs --- */

static program_verb any_verb(generator *self) {
  uint64_t at = below(self, self->weight_sum);
  for (int verb = 0; verb < VERB_COUNT; verb++) {
    if (at < self->weights[verb]) return (program_verb)verb;
    at -= self->weights[verb];
  }
  return VERB_ALLOC;
}

/* Every program leaves some operations out and does others often ("swarm testing": Groce and
 * others, ISSTA 2012): what all of them do all the time hides what only some of them would find. */
static void choose_weights(generator *self) {
  static const uint32_t usual[VERB_COUNT] = {
      [VERB_ALLOC] = 30,     [VERB_FREE] = 30,      [VERB_NOTE_USE] = 6, [VERB_WRITE] = 20,
      [VERB_CHECK] = 12,     [VERB_COPY] = 4,       [VERB_CALL] = 1,     [VERB_HOST_WRITE] = 4,
      [VERB_HOST_CHECK] = 4, [VERB_STORAGE] = 4,    [VERB_RECORD] = 5,   [VERB_WAIT] = 5,
      [VERB_QUERY] = 2,      [VERB_EVENT_SYNC] = 2, [VERB_HIDDEN] = 4,   [VERB_EDGE] = 4,
      [VERB_SYNC] = 2,       [VERB_TRIM] = 2,       [VERB_RETIRE] = 1,   [VERB_STREAM] = 2,
      [VERB_STEP] = 4,       [VERB_CAPACITY] = 1,   [VERB_LIMIT] = 1,    [VERB_RESERVE] = 1,
      [VERB_DECAY] = 2,      [VERB_DROP_POOL] = 0,  [VERB_PAUSE] = 1,
  };
  for (int verb = 0; verb < VERB_COUNT; verb++) {
    const bool is_needed = verb == VERB_ALLOC || verb == VERB_FREE || verb == VERB_WRITE;
    uint32_t weight = usual[verb] * 4;
    const uint64_t kind = below(self, 5);
    if (kind == 0 && !is_needed) weight = 0;
    if (kind == 1) weight *= 4;
    self->weights[verb] = weight;
  }
  if (chance(self, 8)) self->weights[VERB_DROP_POOL] = 1;
  self->weight_sum = 0;
  for (int verb = 0; verb < VERB_COUNT; verb++) self->weight_sum += self->weights[verb];
  self->cross_weight = chance(self, 4) ? 0 : (uint32_t)(1 + below(self, 4));
}

static void choose_pools(generator *self) {
  program *made = self->made;
  static const uint64_t limits[] = {0, 0, 4 * MIB, 6 * MIB, 8 * MIB, 16 * MIB, 32 * MIB};
  made->pool_count = (uint32_t)(1 + below(self, 3));
  for (uint32_t i = 0; i < made->pool_count; i++) {
    made->pools[i] = (program_pool){
        .kind = (program_pool_kind)below(self, POOL_KINDS_DRAWN),
        .limit_bytes = limits[below(self, sizeof limits / sizeof limits[0])],
        .segment_bytes = chance(self, 3) ? (1 + below(self, 4)) * MIB : 0,
    };
  }
}

void program_generate(program *made, uint64_t seed) {
  static generator self; /* large, and programs are made by one thread */
  memset(&self, 0, sizeof self);
  self.made = made;
  self.random = seed;
  memset(made, 0, sizeof *made);
  made->seed = seed;
  made->policy = (int)below(&self, CUSIM_POLICY_COUNT);
  made->capacity_bytes = chance(&self, 2) ? (8 + below(&self, 56)) * MIB : 4096 * MIB;
  made->stream_count = (uint32_t)(chance(&self, 2) ? 2 + below(&self, 3)
                                                   : 2 + below(&self, PROGRAM_STREAMS_MAX - 1));
  made->ring_slots = seed % 3 == 0 ? (uint32_t)(1 + seed / 3 % 4) : 0;
  choose_pools(&self);
  choose_weights(&self);
  self.size_bits = chance(&self, 2) ? 22 : 12 + below(&self, 8);
  self.hot_size_count = (uint32_t)(1 + below(&self, HOT_SIZES_MAX));
  for (uint32_t i = 0; i < self.hot_size_count; i++) self.hot_sizes[i] = log_uniform(&self);
  self.block_slots = (uint32_t)(4 + below(&self, PROGRAM_BLOCKS_MAX - 3));
  self.op_count = (uint32_t)(chance(&self, 8) ? PROGRAM_OPS_MAX : 40 + below(&self, 360));
  model_init(&self.model, made);
  for (uint32_t i = 0; i < 4 * PROGRAM_OPS_MAX && made->op_count < self.op_count; i++) {
    if (below(&self, 16) < self.cross_weight) {
      emit_cross_use(&self);
    } else {
      emit_verb(&self, any_verb(&self));
    }
  }
}
