/* program_print.c: prints a program as a C function, over tarn's own calls and pasted.h. */
#include "tests/sim/program_print.h"

#include <inttypes.h>

#include "cuda/sim/cusim.h"
#include "tests/sim/program_model.h"

static const char *const kind_names[POOL_KIND_COUNT] = {
    [POOL_DEVICE] = "POOL_DEVICE",
    [POOL_PINNED] = "POOL_PINNED",
    [POOL_VIRTUAL] = "POOL_VIRTUAL",
    [POOL_STACKED] = "POOL_STACKED",
    [POOL_DRIVER] = "POOL_DRIVER",
    [POOL_PINNED_PAGES] = "POOL_PINNED_PAGES",
    [POOL_PINNED_GRANULES] = "POOL_PINNED_GRANULES",
};
static const char *const plant_names[PLANT_COUNT] = {
    [PLANT_NOTHING] = "PLANT_NOTHING",
    [PLANT_NOTE_LOST] = "PLANT_NOTE_LOST",
    [PLANT_FREE_AT_ONCE] = "PLANT_FREE_AT_ONCE",
};

static const char *const policy_names[CUSIM_POLICY_COUNT] = {
    [CUSIM_RANDOM] = "CUSIM_RANDOM",     [CUSIM_LAZY] = "CUSIM_LAZY",
    [CUSIM_EAGER] = "CUSIM_EAGER",       [CUSIM_STARVE] = "CUSIM_STARVE",
    [CUSIM_REUSE] = "CUSIM_REUSE",       [CUSIM_PROMPT] = "CUSIM_PROMPT",
    [CUSIM_PRIORITY] = "CUSIM_PRIORITY",
};

typedef struct printer {
  FILE *file;
  const program *of;
  model_state model; /* as if every allocation succeeded */
} printer;

typedef struct slot_name {
  char text[12];
} slot_name;

static slot_name stream_name(uint32_t stream) {
  slot_name name;
  snprintf(name.text, sizeof name.text, stream == PROGRAM_HOST ? "NULL" : "s%u", stream);
  return name;
}

static bool uses_block(const program *of, uint32_t block) {
  for (uint32_t i = 0; i < of->op_count; i++) {
    const bool makes = of->ops[i].verb == VERB_ALLOC || of->ops[i].verb == VERB_STORAGE;
    if (makes && of->ops[i].block == block) return true;
  }
  return false;
}

static bool uses_event(const program *of, uint32_t event) {
  for (uint32_t i = 0; i < of->op_count; i++) {
    const program_op *op = &of->ops[i];
    const bool is_event = op->verb == VERB_RECORD || op->verb == VERB_WAIT ||
                          op->verb == VERB_QUERY || op->verb == VERB_EVENT_SYNC;
    if (is_event && op->event % PROGRAM_EVENTS_MAX == event) return true;
  }
  return false;
}

/* --- one operation --- */

static void print_alloc(const printer *self, const program_op *op) {
  const slot_name stream = stream_name(op->stream);
  if (op->verb == VERB_STORAGE) {
    fprintf(self->file,
            "  PASTED_TRY(world, tarn_storage_create(pool%u, %" PRIu64
            "u, %s, &storage%u));\n"
            "  b%u = storage%u != NULL ? tarn_storage_data_mutable(storage%u) : NULL;\n",
            op->pool, op->size_bytes, stream.text, op->block, op->block, op->block, op->block);
  } else {
    fprintf(self->file,
            "  PASTED_TRY(world, tarn_pool_alloc_aligned(pool%u, %" PRIu64 "u, %u, %s, &b%u));\n",
            op->pool, op->size_bytes, op->alignment_bytes, stream.text, op->block);
  }
}

static void print_free(const printer *self, const program_op *op) {
  const model_block *block = &self->model.blocks[op->block];
  if (block->is_storage) {
    fprintf(self->file, "  tarn_storage_release(storage%u);\n  storage%u = NULL;\n", op->block,
            op->block);
  } else {
    fprintf(self->file, "  PASTED_TRY(world, tarn_pool_free(pool%u, b%u, %s));\n", block->pool,
            op->block, stream_name(op->stream).text);
  }
  fprintf(self->file, "  b%u = NULL;\n", op->block);
}

static void print_note(const printer *self, const program_op *op) {
  const model_block *block = &self->model.blocks[op->block];
  if (block->is_storage) {
    fprintf(self->file, "  PASTED_TRY(world, tarn_storage_note_use(storage%u, s%u));\n", op->block,
            op->stream);
  } else {
    fprintf(self->file,
            "  if (b%u != NULL) PASTED_TRY(world, tarn_pool_note_use(pool%u, b%u, s%u));\n",
            op->block, block->pool, op->block, op->stream);
  }
}

static void print_use(const printer *self, const program_op *op, uint64_t tag) {
  const model_block *block = &self->model.blocks[op->block];
  FILE *file = self->file;
  switch ((program_verb)op->verb) {
    case VERB_HOST_WRITE:
      fprintf(file, "  pasted_host_write(world, b%u, %" PRIu64 ", %" PRIu64 ");\n", op->block,
              block->size_bytes, tag);
      break;
    case VERB_HOST_CHECK:
      fprintf(file, "  pasted_host_check(world, b%u, %" PRIu64 ", %" PRIu64 ");\n", op->block,
              block->size_bytes, block->head_tag);
      break;
    case VERB_CHECK:
      fprintf(file, "  pasted_check(world, s%u, pool%u, b%u, %" PRIu64 ", %" PRIu64 ");\n",
              op->stream, block->pool, op->block, block->size_bytes, block->head_tag);
      break;
    default: /* WRITE; a COPY and a CALL, too, write all of the block */
      fprintf(file, "  pasted_write(world, s%u, pool%u, b%u, %" PRIu64 ", %" PRIu64 ");\n",
              op->stream, block->pool, op->block, block->size_bytes, tag);
  }
}

static void print_order(const printer *self, const program_op *op) {
  FILE *file = self->file;
  const uint32_t event = op->event % PROGRAM_EVENTS_MAX;
  switch ((program_verb)op->verb) {
    case VERB_RECORD:
      fprintf(file, "  PASTED_TRY(world, tarn_fence_record(e%u, s%u));\n", event, op->stream);
      break;
    case VERB_WAIT:
      fprintf(file, "  PASTED_TRY(world, tarn_stream_wait(s%u, e%u));\n", op->stream, event);
      break;
    case VERB_QUERY:
      fprintf(file, "  (void)!tarn_fence_query(e%u);\n", event);
      break;
    case VERB_EVENT_SYNC:
      fprintf(file, "  PASTED_TRY(world, tarn_fence_synchronize(e%u));\n", event);
      break;
    case VERB_SYNC:
      fprintf(file, "  PASTED_TRY(world, tarn_stream_synchronize(s%u));\n", op->stream);
      break;
    case VERB_EDGE:
    case VERB_HIDDEN:
      fprintf(file, "  pasted_order(world, s%u, s%u);\n", op->stream, op->other_stream);
      if (op->verb == VERB_EDGE) {
        fprintf(file, "  PASTED_TRY(world, tarn_stream_edge(s%u, s%u));\n", op->stream,
                op->other_stream);
      }
      break;
    case VERB_RETIRE:
      fprintf(file, "  pasted_retire(world, s%u);\n", op->stream);
      break;
    default: /* STREAM */
      fprintf(file, "  s%u = pasted_stream(world);\n", op->stream);
  }
}

static void print_pool(const printer *self, const program_op *op) {
  FILE *file = self->file;
  switch ((program_verb)op->verb) {
    case VERB_TRIM:
      fprintf(file, "  PASTED_TRY(world, tarn_pool_trim(pool%u, %" PRIu64 ", NULL));\n", op->pool,
              op->size_bytes);
      break;
    case VERB_LIMIT:
      fprintf(file, "  tarn_budget_set_limit(tarn_caching_pool_budget(pool%u), %" PRIu64 ");\n",
              op->pool, op->size_bytes);
      break;
    case VERB_RESERVE:
      fprintf(file, "  PASTED_TRY(world, tarn_caching_pool_reserve(pool%u, %" PRIu64 "));\n",
              op->pool, op->size_bytes);
      break;
    case VERB_DECAY:
      fprintf(file,
              "  clock_ns += %" PRIu64
              ";\n"
              "  PASTED_TRY(world, tarn_pool_decay(pool%u, clock_ns, NULL));\n",
              op->size_bytes, op->pool);
      break;
    case VERB_PAUSE:
      fprintf(file, "  pasted_pause(world, pool%u);\n", op->pool);
      break;
    case VERB_STEP:
      for (uint64_t i = 0; i < op->size_bytes; i++) fputs("  cusim_step();\n", file);
      break;
    case VERB_CAPACITY:
      fprintf(file, "  cusim_set_capacity(0, %" PRIu64 ");\n", op->size_bytes);
      break;
    default: /* DROP_POOL */
      fprintf(file, "  pasted_drop(world, pool%u);\n", op->pool);
  }
}

static void print_op(printer *self, const program_op *op, uint64_t tag) {
  switch ((program_verb)op->verb) {
    case VERB_ALLOC:
    case VERB_STORAGE:
      print_alloc(self, op);
      break;
    case VERB_FREE:
      print_free(self, op);
      break;
    case VERB_NOTE_USE:
      print_note(self, op);
      break;
    case VERB_WRITE:
    case VERB_CHECK:
    case VERB_COPY:
    case VERB_CALL:
    case VERB_HOST_WRITE:
    case VERB_HOST_CHECK:
      print_use(self, op, tag);
      break;
    case VERB_RECORD:
    case VERB_WAIT:
    case VERB_QUERY:
    case VERB_EVENT_SYNC:
    case VERB_HIDDEN:
    case VERB_EDGE:
    case VERB_SYNC:
    case VERB_RETIRE:
    case VERB_STREAM:
      print_order(self, op);
      break;
    case VERB_TRIM:
    case VERB_LIMIT:
    case VERB_RESERVE:
    case VERB_DECAY:
    case VERB_STEP:
    case VERB_CAPACITY:
    case VERB_DROP_POOL:
    case VERB_PAUSE:
      print_pool(self, op);
      break;
    case VERB_COUNT:
      break;
  }
}

/* --- the function --- */

static void print_names(const printer *self) {
  const program *of = self->of;
  for (uint32_t i = 0; i < of->pool_count; i++) {
    if (!model_uses_pool(of, i)) continue;
    fprintf(self->file,
            "  tarn_pool *pool%u = pasted_pool(world, %s, /*limit_bytes=*/%" PRIu64
            ", /*segment_bytes=*/%" PRIu64 ");\n",
            i, kind_names[of->pools[i].kind], of->pools[i].limit_bytes, of->pools[i].segment_bytes);
  }
  uint32_t first = of->stream_count;
  for (uint32_t i = 0; i < of->stream_count; i++) {
    if (!model_uses_stream(of, i)) continue;
    if (first == of->stream_count) first = i;
    fprintf(self->file, "  tarn_stream *s%u = pasted_stream(world);\n", i);
  }
  for (uint32_t i = 0; i < PROGRAM_EVENTS_MAX; i++) {
    if (!uses_event(of, i)) continue;
    fprintf(self->file, "  tarn_fence *e%u = pasted_fence(world, s%u);\n", i, first);
  }
  for (uint32_t i = 0; i < PROGRAM_BLOCKS_MAX; i++) {
    if (uses_block(of, i)) fprintf(self->file, "  void *b%u = NULL;\n", i);
  }
  bool has_clock = false;
  bool has_storage[PROGRAM_BLOCKS_MAX] = {false};
  for (uint32_t i = 0; i < of->op_count; i++) {
    has_clock |= of->ops[i].verb == VERB_DECAY;
    if (of->ops[i].verb == VERB_STORAGE) has_storage[of->ops[i].block] = true;
  }
  for (uint32_t i = 0; i < PROGRAM_BLOCKS_MAX; i++) {
    if (has_storage[i]) fprintf(self->file, "  tarn_storage *storage%u = NULL;\n", i);
  }
  if (has_clock) fputs("  uint64_t clock_ns = 0;\n", self->file);
}

void program_print(FILE *file, const program *printed, const program_verdict *verdict) {
  static printer self; /* the model is much for a stack */
  self.file = file;
  self.of = printed;
  model_init(&self.model, printed);
  fprintf(file,
          "/* %s: %s */\n"
          "static program_failing run_program_%" PRIu64
          "(char *text, size_t text_bytes) {\n"
          "  pasted_world *world = pasted_begin(%s, /*seed=*/%" PRIu64
          "u, /*capacity_bytes=*/%" PRIu64
          ", %s);\n"
          "  if (world == NULL) return PROGRAM_WRONG_STATUS;\n",
          program_failing_name(verdict->failing), verdict->text, printed->seed,
          policy_names[printed->policy], printed->seed, printed->capacity_bytes,
          plant_names[printed->plant]);
  if (printed->ring_slots != 0) {
    fprintf(file, "  /* its streams had a staging ring of %u slots; here they have none */\n",
            printed->ring_slots);
  }
  print_names(&self);
  fputc('\n', file);
  for (uint32_t i = 0; i < printed->op_count; i++) {
    const program_op *op = &printed->ops[i];
    if (!model_allows(&self.model, op)) continue;
    const uint64_t tag = i + 1;
    print_op(&self, op, tag);
    const bool makes_block = op->verb == VERB_ALLOC || op->verb == VERB_STORAGE;
    if (makes_block && op->size_bytes > PTRDIFF_MAX) continue; /* refused */
    model_apply(&self.model, op, tag);
    if (op->verb == VERB_COPY) self.model.blocks[op->block].head_tag = tag;
  }
  fputs("  pasted_settle(world);\n", file);
  for (uint32_t i = 0; i < PROGRAM_BLOCKS_MAX; i++) {
    const program_op left = {.verb = VERB_FREE, .block = (uint8_t)i, .stream = PROGRAM_HOST};
    if (self.model.blocks[i].is_live) print_free(&self, &left);
  }
  fputs("  return pasted_end(world, text, text_bytes);\n}\n", file);
}
