/* held_blocks.c: freed blocks that a stream may still touch, until it has passed their free. */
#include "numa/held_blocks.h"

#include <stdlib.h>

struct tarn__held_line {
  tarn__held_line *next;
  tarn_stream *stream; /* retained: its address is not another stream's while the line lives */
  tarn_fence *fence;   /* made when first needed */
  uint64_t last_ticket;
  uint64_t fence_ticket; /* what the fence covers; beyond passed_ticket: it is under way */
  uint64_t passed_ticket;
  size_t use_count; /* of held blocks and of waiting threads; 0 and not busy: the line goes */
  bool is_busy;     /* one thread calls the stream; the others leave fence and tickets alone */
};

void tarn__held_blocks_init(tarn__held_blocks *held) {
  *held = (tarn__held_blocks){.lines = NULL};
  pthread_mutex_init(&held->lock, NULL);
  pthread_cond_init(&held->line_is_idle, NULL);
}

void tarn__held_blocks_deinit(tarn__held_blocks *held) {
  TARN_ASSERT(held->blocks == NULL && held->lines == NULL);
  pthread_cond_destroy(&held->line_is_idle);
  pthread_mutex_destroy(&held->lock);
}

static tarn__held_line *find_line(const tarn__held_blocks *held, const tarn_stream *stream) {
  tarn__held_line *line = held->lines;
  while (line != NULL && line->stream != stream) line = line->next;
  return line;
}

/* Unlinks the lines that nobody uses; their fences are for the caller to destroy, outside. */
static tarn__held_line *take_idle_lines(tarn__held_blocks *held) {
  tarn__held_line *taken = NULL;
  for (tarn__held_line **link = &held->lines; *link != NULL;) {
    tarn__held_line *const line = *link;
    if (line->use_count == 0 && !line->is_busy) {
      *link = line->next;
      line->next = taken;
      taken = line;
    } else {
      link = &line->next;
    }
  }
  return taken;
}

static void destroy_lines(tarn__held_line *lines) {
  while (lines != NULL) {
    tarn__held_line *const next = lines->next;
    tarn_fence_destroy(lines->fence);
    tarn_stream_release(lines->stream);
    free(lines);
    lines = next;
  }
}

bool tarn__held_blocks_add(tarn__held_blocks *held, const tarn__freed_block *block) {
  tarn__held_block *const made = calloc(1, sizeof *made);
  if (made == NULL) return false;
  made->block = *block;
  pthread_mutex_lock(&held->lock);
  tarn__block_use *use = block->uses;
  for (; use != NULL; use = use->next) {
    tarn__held_line *line = find_line(held, use->stream);
    if (line == NULL) {
      line = calloc(1, sizeof *line);
      if (line == NULL) break;
      line->stream = use->stream;
      tarn_stream_retain(line->stream);
      line->next = held->lines;
      held->lines = line;
    }
    use->line = line;
    use->ticket = ++line->last_ticket;
    ++line->use_count;
  }
  const bool has_all = use == NULL;
  tarn__held_line *unused = NULL;
  if (has_all) {
    made->next = held->blocks;
    held->blocks = made;
    /* Release pairs with the acquire of tarn__held_blocks_any. */
    atomic_fetch_add_explicit(&held->block_count, 1, memory_order_release);
  } else {
    for (tarn__block_use *undone = block->uses; undone != use; undone = undone->next) {
      --undone->line->use_count;
    }
    unused = take_idle_lines(held);
  }
  pthread_mutex_unlock(&held->lock);
  destroy_lines(unused);
  if (!has_all) free(made);
  return has_all;
}

/* Calls the stream, without the lock; the line is busy. Returns the ticket that is passed now. */
static uint64_t advance(tarn__held_blocks *held, tarn__held_line *line, uint64_t last_ticket,
                        bool waits) {
  uint64_t passed = line->passed_ticket;
  if (line->fence == NULL && tarn_fence_create(line->stream, &line->fence) != TARN_OK) {
    line->fence = NULL;
    /* Without memory for a fence, a wait for the whole stream does as well. */
    return waits && tarn_stream_synchronize(line->stream) == TARN_OK ? last_ticket : passed;
  }
  /* At most two rounds: the fence that is under way, and one for what came after it. */
  while (passed < last_ticket) {
    if (line->fence_ticket <= passed) {
      if (tarn_fence_record(line->fence, line->stream) != TARN_OK) break;
      atomic_fetch_add_explicit(&held->fence_count, 1, memory_order_relaxed);
      line->fence_ticket = last_ticket;
    }
    if (waits) atomic_fetch_add_explicit(&held->wait_count, 1, memory_order_relaxed);
    const tarn_status status =
        waits ? tarn_fence_synchronize(line->fence) : tarn_fence_query(line->fence);
    if (status != TARN_OK) break;
    passed = line->fence_ticket;
  }
  return passed;
}

static bool has_passed(const tarn__held_block *held_block) {
  for (const tarn__block_use *use = held_block->block.uses; use != NULL; use = use->next) {
    if (use->ticket > use->line->passed_ticket) return false;
  }
  return true;
}

/* Unlinks the blocks that have passed, or all. */
static tarn__held_block *take_blocks(tarn__held_blocks *held, bool takes_all) {
  tarn__held_block *taken = NULL;
  for (tarn__held_block **link = &held->blocks; *link != NULL;) {
    tarn__held_block *const block = *link;
    if (!takes_all && !has_passed(block)) {
      link = &block->next;
      continue;
    }
    *link = block->next;
    block->next = taken;
    taken = block;
    atomic_fetch_sub_explicit(&held->block_count, 1, memory_order_relaxed);
    for (tarn__block_use *use = block->block.uses; use != NULL; use = use->next) {
      --use->line->use_count;
      use->line = NULL;
    }
  }
  return taken;
}

static void advance_lines(tarn__held_blocks *held, bool waits) {
  for (tarn__held_line *line = held->lines; line != NULL; line = line->next) {
    ++line->use_count;
    while (waits && line->is_busy) pthread_cond_wait(&held->line_is_idle, &held->lock);
    --line->use_count;
    if (line->is_busy || line->passed_ticket >= line->last_ticket) continue;
    const uint64_t last_ticket = line->last_ticket;
    line->is_busy = true; /* keeps the line in the list, so that `next` can be read again */
    pthread_mutex_unlock(&held->lock);
    const uint64_t passed = advance(held, line, last_ticket, waits);
    pthread_mutex_lock(&held->lock);
    line->passed_ticket = passed;
    line->is_busy = false;
    pthread_cond_broadcast(&held->line_is_idle);
  }
}

tarn__held_block *tarn__held_blocks_reap(tarn__held_blocks *held, bool waits) {
  pthread_mutex_lock(&held->lock);
  advance_lines(held, waits);
  tarn__held_block *const passed = take_blocks(held, /*takes_all=*/false);
  tarn__held_line *const unused = take_idle_lines(held);
  pthread_mutex_unlock(&held->lock);
  destroy_lines(unused);
  return passed;
}

tarn__held_block *tarn__held_blocks_take_all(tarn__held_blocks *held) {
  pthread_mutex_lock(&held->lock);
  tarn__held_block *const all = take_blocks(held, /*takes_all=*/true);
  tarn__held_line *const unused = take_idle_lines(held);
  pthread_mutex_unlock(&held->lock);
  destroy_lines(unused);
  return all;
}

void tarn__held_blocks_lock(tarn__held_blocks *held) {
  pthread_mutex_lock(&held->lock);
}

void tarn__held_blocks_unlock(tarn__held_blocks *held) {
  pthread_mutex_unlock(&held->lock);
}

void tarn__held_blocks_unlock_in_child(tarn__held_blocks *held) {
  for (tarn__held_block *block = held->blocks; block != NULL; block = block->next) {
    block->block.uses = NULL;
  }
  held->lines = NULL;
  pthread_cond_init(&held->line_is_idle, NULL); /* it may remember threads that wait */
  pthread_mutex_unlock(&held->lock);
}
