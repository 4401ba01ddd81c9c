/* program_shrink.c: reduces a failing program: fewer operations, then plainer ones, then fewer
 * streams.
 *
 * Any sublist of a program is a program (program.h), so operations are removed by halves, quarters
 * and so on as long as it still fails ("delta debugging": Zeller and Hildebrandt, 2002). */
#include <string.h>

#include "cuda/sim/cusim.h"
#include "tests/sim/program.h"

typedef struct shrinker {
  program *best;
  program_verdict *verdict; /* of the best */
  program_failing wanted;
  uint32_t runs_left;
  program candidate;
} shrinker;

/* Two ways to see that an order is missing; the one may turn into the other. */
static program_failing kind_of(program_failing failing) {
  return failing == PROGRAM_RACE || failing == PROGRAM_FAULT ? PROGRAM_WRONG_VALUE : failing;
}

/* Takes the candidate over where it fails too. */
static bool try_candidate(shrinker *self) {
  if (self->runs_left == 0) return false;
  self->runs_left--;
  program_verdict verdict;
  program_run_isolated(&self->candidate, &verdict);
  if (kind_of(verdict.failing) != kind_of(self->wanted)) return false;
  *self->best = self->candidate;
  *self->verdict = verdict;
  return true;
}

static void remove_ops(program *from, uint32_t start, uint32_t count) {
  memmove(&from->ops[start], &from->ops[start + count],
          (from->op_count - start - count) * sizeof from->ops[0]);
  from->op_count -= count;
}

/* --- fewer operations --- */

static bool drop_what_did_not_run(shrinker *self) {
  self->candidate = *self->best;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < self->best->op_count; i++) {
    if ((self->verdict->did_run[i / 8] >> i % 8 & 1) == 0) continue;
    self->candidate.ops[kept++] = self->best->ops[i];
  }
  if (kept == self->best->op_count || kept == 0) return false;
  self->candidate.op_count = kept;
  return try_candidate(self);
}

static bool drop_chunks(shrinker *self) {
  bool has_changed = false;
  for (uint32_t chunk = (self->best->op_count + 1) / 2; chunk >= 1; chunk /= 2) {
    /* From the end: what comes late is needed least. */
    uint32_t end = self->best->op_count;
    while (end > 0) {
      const uint32_t count = end < chunk ? end : chunk;
      self->candidate = *self->best;
      remove_ops(&self->candidate, end - count, count);
      has_changed |= try_candidate(self);
      end -= count;
    }
  }
  return has_changed;
}

/* --- plainer operations --- */

/* Tries one change of one operation. */
static bool try_op(shrinker *self, uint32_t index, const program_op *op) {
  if (memcmp(op, &self->best->ops[index], sizeof *op) == 0) return false;
  self->candidate = *self->best;
  self->candidate.ops[index] = *op;
  return try_candidate(self);
}

static bool plain_size(shrinker *self, uint32_t index) {
  static const uint64_t sizes[] = {256, 4096, 65536, 1 << 20, 2 << 20, 4 << 20};
  const uint64_t now = self->best->ops[index].size_bytes;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && sizes[i] < now; i++) {
    program_op op = self->best->ops[index];
    op.size_bytes = sizes[i];
    if (try_op(self, index, &op)) return true;
  }
  return false;
}

static bool plain_ops(shrinker *self) {
  bool has_changed = false;
  for (uint32_t i = 0; i < self->best->op_count; i++) {
    program_op op = self->best->ops[i];
    op.alignment_bytes = 0;
    has_changed |= try_op(self, i, &op);
    op = self->best->ops[i];
    if (op.verb == VERB_STORAGE) op.verb = VERB_ALLOC;
    if (op.verb == VERB_COPY || op.verb == VERB_CALL) op.verb = VERB_WRITE;
    has_changed |= try_op(self, i, &op);
    op = self->best->ops[i];
    if (op.verb == VERB_ALLOC || op.verb == VERB_STORAGE) {
      has_changed |= plain_size(self, i);
    } else if (op.verb == VERB_TRIM || op.verb == VERB_STEP) {
      op.size_bytes = op.verb == VERB_STEP;
      has_changed |= try_op(self, i, &op);
    }
  }
  return has_changed;
}

/* The same size everywhere reads best. */
static bool one_size(shrinker *self) {
  uint64_t size_bytes = 0;
  self->candidate = *self->best;
  for (uint32_t i = 0; i < self->candidate.op_count; i++) {
    program_op *op = &self->candidate.ops[i];
    if (op->verb != VERB_ALLOC && op->verb != VERB_STORAGE) continue;
    if (size_bytes == 0) size_bytes = op->size_bytes;
    op->size_bytes = size_bytes;
  }
  if (memcmp(&self->candidate, self->best, sizeof self->candidate) == 0) return false;
  return try_candidate(self);
}

/* --- a plainer world --- */

static bool plain_policy(shrinker *self) {
  static const int policies[] = {CUSIM_LAZY, CUSIM_REUSE, CUSIM_PROMPT, CUSIM_EAGER};
  for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
    if (policies[i] == self->best->policy) return false;
    self->candidate = *self->best;
    self->candidate.policy = policies[i];
    if (try_candidate(self)) return true;
  }
  return false;
}

static bool plain_pools(shrinker *self) {
  self->candidate = *self->best;
  self->candidate.capacity_bytes = (uint64_t)4 << 30;
  for (uint32_t i = 0; i < self->candidate.pool_count; i++) {
    self->candidate.pools[i].limit_bytes = 0;
    self->candidate.pools[i].segment_bytes = 0;
  }
  self->candidate.ring_slots = 0;
  if (memcmp(&self->candidate, self->best, sizeof self->candidate) == 0) return false;
  return try_candidate(self);
}

static void rename_stream(program *in, uint8_t from, uint8_t to) {
  for (uint32_t i = 0; i < in->op_count; i++) {
    if (in->ops[i].stream == from) in->ops[i].stream = to;
    if (in->ops[i].other_stream == from) in->ops[i].other_stream = to;
  }
}

static bool fewer_streams(shrinker *self) {
  bool has_changed = false;
  for (uint32_t from = self->best->stream_count; from-- > 1;) {
    for (uint32_t to = 0; to < from; to++) {
      self->candidate = *self->best;
      rename_stream(&self->candidate, (uint8_t)from, (uint8_t)to);
      if (from + 1 == self->candidate.stream_count) self->candidate.stream_count--;
      if (memcmp(&self->candidate, self->best, sizeof self->candidate) == 0) break;
      if (try_candidate(self)) {
        has_changed = true;
        break;
      }
    }
  }
  return has_changed;
}

static bool fewer_pools(shrinker *self) {
  if (self->best->pool_count < 2) return false;
  for (uint8_t kept = 0; kept < self->best->pool_count; kept++) {
    self->candidate = *self->best;
    self->candidate.pools[0] = self->best->pools[kept];
    self->candidate.pool_count = 1;
    for (uint32_t i = 0; i < self->candidate.op_count; i++) self->candidate.ops[i].pool = 0;
    if (try_candidate(self)) return true;
  }
  return false;
}

void program_shrink(program *failing, program_verdict *verdict, uint32_t run_count_max) {
  static shrinker self; /* two programs are much for a stack */
  self = (shrinker){
      .best = failing, .verdict = verdict, .wanted = verdict->failing, .runs_left = run_count_max};
  plain_policy(&self);
  drop_what_did_not_run(&self);
  for (bool has_changed = true; has_changed && self.runs_left > 0;) {
    has_changed = drop_chunks(&self);
    has_changed |= drop_what_did_not_run(&self);
    has_changed |= fewer_pools(&self);
    has_changed |= fewer_streams(&self);
    has_changed |= plain_pools(&self);
    has_changed |= one_size(&self);
    has_changed |= plain_ops(&self);
    has_changed |= plain_policy(&self);
  }
}
