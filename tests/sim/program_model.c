/* program_model.c: which operation of a program is legal now, and what it changes. */
#include "tests/sim/program_model.h"

#include <string.h>

static const char *const verb_names[VERB_COUNT] = {
#define PROGRAM_VERB_NAME(name) #name,
    PROGRAM_VERBS(PROGRAM_VERB_NAME)
#undef PROGRAM_VERB_NAME
};

const char *program_verb_name(program_verb verb) {
  return verb_names[verb];
}

const char *program_failing_name(program_failing failing) {
  static const char *const names[] = {
      "fine",    "wrong value", "race",  "wrong status", "wrong statistics",
      "overlap", "leak",        "fault", "crash",        "hang"};
  return names[failing];
}

/* --- what a program names --- */

/* Which of an operation's slots mean something. */
enum {
  NAMES_STREAM = 1 << 0,
  NAMES_OTHER_STREAM = 1 << 1,
  NAMES_POOL = 1 << 2,
  NAMES_BLOCK = 1 << 3,
  NAMES_OTHER_BLOCK = 1 << 4,
};

static unsigned names_of(uint8_t verb) {
  switch ((program_verb)verb) {
    case VERB_ALLOC:
    case VERB_STORAGE:
      return NAMES_STREAM | NAMES_POOL | NAMES_BLOCK;
    case VERB_FREE:
    case VERB_NOTE_USE:
    case VERB_WRITE:
    case VERB_CHECK:
    case VERB_CALL:
      return NAMES_STREAM | NAMES_BLOCK;
    case VERB_COPY:
      return NAMES_STREAM | NAMES_BLOCK | NAMES_OTHER_BLOCK;
    case VERB_HOST_WRITE:
    case VERB_HOST_CHECK:
      return NAMES_BLOCK;
    case VERB_RECORD:
    case VERB_WAIT:
    case VERB_SYNC:
    case VERB_RETIRE:
    case VERB_STREAM:
      return NAMES_STREAM;
    case VERB_HIDDEN:
    case VERB_EDGE:
      return NAMES_STREAM | NAMES_OTHER_STREAM;
    case VERB_TRIM:
    case VERB_LIMIT:
    case VERB_RESERVE:
    case VERB_DECAY:
    case VERB_DROP_POOL:
    case VERB_PAUSE:
      return NAMES_POOL;
    case VERB_QUERY:
    case VERB_EVENT_SYNC:
    case VERB_STEP:
    case VERB_CAPACITY:
    case VERB_COUNT:
      return 0;
  }
  return 0;
}

bool model_uses_stream(const program *of, uint32_t stream) {
  for (uint32_t i = 0; i < of->op_count; i++) {
    const unsigned names = names_of(of->ops[i].verb);
    if ((names & NAMES_STREAM) != 0 && of->ops[i].stream == stream) return true;
    if ((names & NAMES_OTHER_STREAM) != 0 && of->ops[i].other_stream == stream) return true;
  }
  return false;
}

bool model_uses_pool(const program *of, uint32_t pool) {
  for (uint32_t i = 0; i < of->op_count; i++) {
    if ((names_of(of->ops[i].verb) & NAMES_POOL) != 0 && of->ops[i].pool == pool) return true;
  }
  return false;
}

bool model_pool_is_host(const program *of, uint32_t pool) {
  const program_pool_kind kind = of->pools[pool].kind;
  return kind == POOL_PINNED || kind == POOL_PINNED_PAGES || kind == POOL_PINNED_GRANULES;
}

uint32_t model_windows(uint64_t size_bytes, model_window windows[MODEL_WINDOWS_MAX]) {
  const uint32_t word = sizeof(uint64_t);
  uint32_t count = 0;
  const uint32_t head = size_bytes < word ? (uint32_t)size_bytes : word;
  windows[count++] = (model_window){0, head, true};
  if (size_bytes >= 8u * word) {
    windows[count++] = (model_window){size_bytes / 2 & ~(uint64_t)(word - 1), word, false};
  }
  if (size_bytes >= 3u * word) {
    windows[count++] = (model_window){size_bytes - word, word, false};
  }
  return count;
}

/* --- legal or not --- */

void model_init(model_state *self, const program *of) {
  memset(self, 0, sizeof *self);
  self->of = of;
  order_init(&self->order);
  for (uint32_t stream = 0; stream < of->stream_count; stream++) {
    order_stream_begin(&self->order, stream);
  }
}

static bool has_storage_of(const model_state *self, uint32_t stream) {
  for (uint32_t i = 0; i < PROGRAM_BLOCKS_MAX; i++) {
    const model_block *block = &self->blocks[i];
    if (block->is_live && block->is_storage && block->stream == stream) return true;
  }
  return false;
}

static bool allows_free(const model_state *self, const program_op *op) {
  const model_block *block = &self->blocks[op->block];
  return order_may_free(&self->order, op->block, block->is_storage ? block->stream : op->stream);
}

static bool allows_copy(const model_state *self, const program_op *op) {
  const model_block *to = &self->blocks[op->block];
  const model_block *from = &self->blocks[op->other_block];
  const uint64_t least = sizeof(uint64_t);
  return op->block != op->other_block && from->is_live && from->is_known &&
         to->size_bytes >= least && from->size_bytes >= least &&
         order_may_use(&self->order, op->other_block, op->stream, /*is_write=*/false) &&
         order_may_use(&self->order, op->block, op->stream, /*is_write=*/true);
}

/* The slots that an operation names are there. */
static bool names_what_is_there(const model_state *self, const program_op *op) {
  const unsigned names = names_of(op->verb);
  const bool makes_block = op->verb == VERB_ALLOC || op->verb == VERB_STORAGE;
  const bool may_be_host = makes_block || op->verb == VERB_FREE;
  const bool is_storage_gone = op->verb == VERB_FREE && self->blocks[op->block].is_storage;
  if ((names & NAMES_STREAM) != 0 && op->verb != VERB_STREAM && !is_storage_gone &&
      !(may_be_host && op->stream == PROGRAM_HOST) &&
      !order_stream_is_alive(&self->order, op->stream)) {
    return false;
  }
  if ((names & NAMES_OTHER_STREAM) != 0 &&
      (!order_stream_is_alive(&self->order, op->other_stream) || op->stream == op->other_stream)) {
    return false;
  }
  if ((names & NAMES_POOL) != 0 &&
      (op->pool >= self->of->pool_count || self->pools[op->pool].is_dropped)) {
    return false;
  }
  return (names & NAMES_BLOCK) == 0 || self->blocks[op->block].is_live != makes_block;
}

bool model_allows(const model_state *self, const program_op *op) {
  if (!names_what_is_there(self, op)) return false;
  const model_block *block = &self->blocks[op->block];
  const order_state *order = &self->order;
  switch ((program_verb)op->verb) {
    case VERB_FREE:
      return allows_free(self, op);
    case VERB_WRITE:
      return order_may_use(order, op->block, op->stream, /*is_write=*/true);
    case VERB_CHECK:
      return block->is_known && order_may_use(order, op->block, op->stream, /*is_write=*/false);
    case VERB_COPY:
      return allows_copy(self, op);
    case VERB_CALL:
      return block->is_known && model_pool_is_host(self->of, block->pool) &&
             order_may_use(order, op->block, op->stream, /*is_write=*/true);
    case VERB_HOST_WRITE:
      return model_pool_is_host(self->of, block->pool) &&
             order_may_use(order, op->block, PROGRAM_HOST, /*is_write=*/true);
    case VERB_HOST_CHECK:
      return block->is_known && model_pool_is_host(self->of, block->pool) &&
             order_may_use(order, op->block, PROGRAM_HOST, /*is_write=*/false);
    case VERB_RETIRE:
      return !has_storage_of(self, op->stream);
    case VERB_STREAM:
      return op->stream < self->of->stream_count && !order_stream_is_alive(order, op->stream) &&
             order->timeline_count < ORDER_TIMELINES_MAX;
    case VERB_ALLOC:
    case VERB_STORAGE:
    case VERB_NOTE_USE:
    case VERB_RECORD:
    case VERB_WAIT:
    case VERB_QUERY:
    case VERB_EVENT_SYNC:
    case VERB_HIDDEN:
    case VERB_EDGE:
    case VERB_SYNC:
    case VERB_TRIM:
    case VERB_STEP:
    case VERB_CAPACITY:
    case VERB_DROP_POOL:
      return true;
    case VERB_LIMIT:
    case VERB_RESERVE:
    case VERB_DECAY:
      return self->of->pools[op->pool].kind != POOL_DRIVER; /* for caching pools only */
    case VERB_PAUSE:                                        /* over what reserves */
      return self->of->pools[op->pool].kind == POOL_VIRTUAL ||
             self->of->pools[op->pool].kind == POOL_PINNED_GRANULES;
    case VERB_COUNT:
      return false;
  }
  return false;
}

/* --- what it changes --- */

static void apply_alloc(model_state *self, const program_op *op) {
  model_pool *pool = &self->pools[op->pool];
  if (op->size_bytes == 0) return; /* no block, and counted nowhere */
  self->blocks[op->block] = (model_block){.is_live = true,
                                          .is_storage = op->verb == VERB_STORAGE,
                                          .pool = op->pool,
                                          .stream = op->stream,
                                          .size_bytes = op->size_bytes};
  order_alloc(&self->order, op->block, op->stream);
  pool->live_count++;
  pool->alloc_count++;
  pool->requested_bytes += op->size_bytes;
  if (pool->requested_bytes_peak < pool->requested_bytes) {
    pool->requested_bytes_peak = pool->requested_bytes;
  }
}

static void apply_free(model_state *self, const program_op *op) {
  model_block *block = &self->blocks[op->block];
  model_pool *pool = &self->pools[block->pool];
  pool->live_count--;
  pool->free_count++;
  pool->requested_bytes -= block->size_bytes;
  block->is_live = false;
}

static void apply_write(model_state *self, const program_op *op, uint32_t stream, uint64_t tag) {
  model_block *block = &self->blocks[op->block];
  order_use(&self->order, op->block, stream, /*is_write=*/true);
  block->is_known = true;
  block->head_tag = block->rest_tag = tag;
}

void model_apply(model_state *self, const program_op *op, uint64_t tag) {
  order_state *order = &self->order;
  switch ((program_verb)op->verb) {
    case VERB_ALLOC:
    case VERB_STORAGE:
      apply_alloc(self, op);
      break;
    case VERB_FREE:
      apply_free(self, op);
      break;
    case VERB_NOTE_USE:
      order_note(order, op->block, op->stream);
      break;
    case VERB_WRITE:
    case VERB_CALL:
      apply_write(self, op, op->stream, tag);
      break;
    case VERB_COPY:
      order_use(order, op->other_block, op->stream, /*is_write=*/false);
      apply_write(self, op, op->stream, tag);
      self->blocks[op->block].head_tag = self->blocks[op->other_block].head_tag;
      break;
    case VERB_CHECK:
      order_use(order, op->block, op->stream, /*is_write=*/false);
      break;
    case VERB_HOST_WRITE:
      apply_write(self, op, PROGRAM_HOST, tag);
      break;
    case VERB_HOST_CHECK:
      order_use(order, op->block, PROGRAM_HOST, /*is_write=*/false);
      break;
    case VERB_RECORD:
      order_record(order, op->event % PROGRAM_EVENTS_MAX, op->stream);
      break;
    case VERB_WAIT:
      order_wait(order, op->event % PROGRAM_EVENTS_MAX, op->stream);
      break;
    case VERB_EVENT_SYNC:
      order_host_saw_event(order, op->event % PROGRAM_EVENTS_MAX);
      break;
    case VERB_HIDDEN:
    case VERB_EDGE:
      order_edge(order, op->stream, op->other_stream);
      break;
    case VERB_SYNC:
      order_host_saw_stream(order, op->stream);
      break;
    case VERB_RETIRE:
      order_stream_end(order, op->stream);
      break;
    case VERB_STREAM:
      order_stream_begin(order, op->stream);
      break;
    case VERB_DROP_POOL:
      self->pools[op->pool].is_dropped = true;
      break;
    case VERB_LIMIT:
      self->pools[op->pool].is_limit_changed = true;
      break;
    case VERB_QUERY:
    case VERB_TRIM:
    case VERB_RESERVE:
    case VERB_DECAY:
    case VERB_STEP:
    case VERB_CAPACITY:
    case VERB_PAUSE:
    case VERB_COUNT:
      break;
  }
}

void model_apply_failed(model_state *self, const program_op *op) {
  switch ((program_verb)op->verb) {
    case VERB_COPY:
      order_use(&self->order, op->other_block, op->stream, /*is_write=*/false);
      order_use(&self->order, op->block, op->stream, /*is_write=*/true);
      self->blocks[op->block].is_known = false;
      break;
    case VERB_WRITE:
    case VERB_CALL:
      order_use(&self->order, op->block, op->stream, /*is_write=*/true);
      self->blocks[op->block].is_known = false;
      break;
    case VERB_CHECK:
      order_use(&self->order, op->block, op->stream, /*is_write=*/false);
      break;
    default:
      break; /* a failure changes nothing */
  }
}
