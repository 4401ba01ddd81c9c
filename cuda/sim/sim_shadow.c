/* sim_shadow.c: the tree of byte ranges: a treap by address, whose nodes know their parents. */
#include "cuda/sim/sim_shadow.h"

#include "cuda/sim/sim_race.h"

#include <stdlib.h>

struct sim_span {
  sim_span *left;
  sim_span *right;
  sim_span *parent;
  uintptr_t start;
  uintptr_t end;
  sim_history *history;
  uint32_t priority; /* not above the parent's */
};

enum { SPANS_PER_CHUNK = 256, HINT_STEPS_MAX = 8 };

static sim_span *root;
static sim_span *free_spans; /* by right; chunks are never given back */
static size_t span_count;
static uint32_t priority_state = 0x9E3779B9u;

/* --- accesses and histories --- */

static void *take_memory(size_t size_bytes) {
  void *memory = malloc(size_bytes);
  if (memory == NULL) sim_race_out_of_memory();
  return memory;
}

sim_access *sim_access_create(void) {
  sim_access *made = take_memory(sizeof *made);
  *made = (sim_access){.reference_count = 1};
  return made;
}

void sim_access_release(sim_access *access) {
  if (access == NULL || --access->reference_count > 0) return;
  sim_stamp_drop(&access->stamp);
  free(access);
}

sim_history *sim_history_create(sim_access *write, sim_access *const *reads, size_t read_count) {
  sim_history *made = take_memory(sizeof *made + read_count * sizeof made->reads[0]);
  made->reference_count = 1;
  made->write = write;
  if (write != NULL) write->reference_count++;
  made->read_count = read_count;
  for (size_t i = 0; i < read_count; i++) {
    made->reads[i] = reads[i];
    reads[i]->reference_count++;
  }
  return made;
}

sim_history *sim_history_retain(sim_history *history) {
  if (history != NULL) history->reference_count++;
  return history;
}

void sim_history_release(sim_history *history) {
  if (history == NULL || --history->reference_count > 0) return;
  sim_access_release(history->write);
  for (size_t i = 0; i < history->read_count; i++) sim_access_release(history->reads[i]);
  free(history);
}

/* --- the tree --- */

static sim_span *span_create(uintptr_t start, uintptr_t end, sim_history *history) {
  if (free_spans == NULL) {
    sim_span *chunk = take_memory(SPANS_PER_CHUNK * sizeof *chunk);
    for (size_t i = 0; i < SPANS_PER_CHUNK; i++) {
      chunk[i].right = free_spans;
      free_spans = &chunk[i];
    }
  }
  sim_span *made = free_spans;
  free_spans = made->right;
  priority_state ^= priority_state << 13; /* xorshift (Marsaglia: Xorshift RNGs, 2003) */
  priority_state ^= priority_state >> 17;
  priority_state ^= priority_state << 5;
  *made = (sim_span){.start = start, .end = end, .history = history, .priority = priority_state};
  span_count++;
  return made;
}

/* Puts `child`, which may be NULL, where `old` hangs. */
static void replace(sim_span *old, sim_span *child) {
  if (old->parent == NULL) {
    root = child;
  } else if (old->parent->left == old) {
    old->parent->left = child;
  } else {
    old->parent->right = child;
  }
  if (child != NULL) child->parent = old->parent;
}

/* The node takes its parent's place, and the parent becomes its child. */
static void rotate_up(sim_span *node) {
  sim_span *parent = node->parent;
  const bool is_left = parent->left == node;
  sim_span *moved = is_left ? node->right : node->left;
  replace(parent, node);
  if (is_left) {
    parent->left = moved;
    node->right = parent;
  } else {
    parent->right = moved;
    node->left = parent;
  }
  if (moved != NULL) moved->parent = parent;
  parent->parent = node;
}

static sim_span *leftmost(sim_span *node) {
  while (node != NULL && node->left != NULL) node = node->left;
  return node;
}

static sim_span *next_of(sim_span *node) {
  if (node->right != NULL) return leftmost(node->right);
  while (node->parent != NULL && node->parent->right == node) node = node->parent;
  return node->parent;
}

static sim_span *previous_of(sim_span *node) {
  if (node->left != NULL) {
    for (node = node->left; node->right != NULL;) node = node->right;
    return node;
  }
  while (node->parent != NULL && node->parent->left == node) node = node->parent;
  return node->parent;
}

static sim_span *last(void) {
  sim_span *node = root;
  while (node != NULL && node->right != NULL) node = node->right;
  return node;
}

/* Behind `before`, or first of all where that is NULL. Takes the history. */
static sim_span *insert_after(sim_span *before, uintptr_t start, uintptr_t end,
                              sim_history *history) {
  sim_span *made = span_create(start, end, history);
  sim_span *below = before == NULL ? leftmost(root) : leftmost(before->right);
  if (below != NULL) {
    below->left = made;
    made->parent = below;
  } else if (before != NULL) {
    before->right = made;
    made->parent = before;
  } else {
    root = made;
  }
  while (made->parent != NULL && made->parent->priority < made->priority) rotate_up(made);
  return made;
}

static void erase(sim_span *node) {
  while (node->left != NULL && node->right != NULL) {
    rotate_up(node->left->priority > node->right->priority ? node->left : node->right);
  }
  replace(node, node->left != NULL ? node->left : node->right);
  sim_history_release(node->history);
  node->right = free_spans;
  free_spans = node;
  span_count--;
}

/* The first span that ends behind the address. */
static sim_span *seek(uintptr_t address, sim_span *hint) {
  if (hint != NULL && hint->start <= address) {
    for (int steps = 0; steps < HINT_STEPS_MAX; steps++) {
      if (hint == NULL || hint->end > address) return hint;
      hint = next_of(hint);
    }
  }
  sim_span *found = NULL;
  for (sim_span *node = root; node != NULL;) {
    if (node->end > address) {
      found = node;
      node = node->left;
    } else {
      node = node->right;
    }
  }
  return found;
}

/* --- changing --- */

/* Cuts the span in two; answers the part from `address` on. */
static sim_span *cut(sim_span *span, uintptr_t address) {
  sim_span *rest = insert_after(span, address, span->end, sim_history_retain(span->history));
  span->end = address;
  return rest;
}

/* Puts the history, which it takes, on a run; `span` is the run's own, or NULL where it has none.
 * Answers the last span up to the run's end. */
static sim_span *put(sim_span *before, sim_span *span, uintptr_t start, uintptr_t end,
                     sim_history *history) {
  const bool joins =
      history != NULL && before != NULL && before->end == start && before->history == history;
  if (history == NULL || joins) {
    if (joins) before->end = end;
    sim_history_release(history);
    if (span != NULL) erase(span);
    return before;
  }
  if (span == NULL) return insert_after(before, start, end, history);
  sim_history_release(span->history);
  span->history = history;
  return span;
}

sim_span *sim_shadow_apply(uintptr_t start, uintptr_t end, sim_span *hint, sim_shadow_change change,
                           void *context) {
  sim_span *span = seek(start, hint);
  if (span != NULL && span->start < start) span = cut(span, start);
  sim_span *before = span != NULL ? previous_of(span) : last();
  for (uintptr_t position = start; position < end;) {
    const bool is_gap = span == NULL || span->start > position;
    uintptr_t run_end = span == NULL ? end : is_gap ? span->start : span->end;
    if (run_end > end) {
      run_end = end;
      if (!is_gap) cut(span, end);
    }
    sim_span *next = is_gap ? span : next_of(span);
    sim_history *history = change(context, is_gap ? NULL : span->history, position, run_end);
    before = put(before, is_gap ? NULL : span, position, run_end, history);
    position = run_end;
    span = next;
  }
  if (before != NULL && span != NULL && before->end == span->start &&
      before->history == span->history) {
    before->end = span->end;
    erase(span);
  }
  return before;
}

void sim_shadow_apply_all(sim_shadow_change change, void *context) {
  sim_span *before = NULL;
  for (sim_span *span = leftmost(root); span != NULL;) {
    sim_span *next = next_of(span);
    sim_history *history = change(context, span->history, span->start, span->end);
    before = put(before, span, span->start, span->end, history);
    span = next;
  }
}

sim_history *sim_shadow_find(uintptr_t address) {
  const sim_span *span = seek(address, NULL);
  return span != NULL && span->start <= address ? span->history : NULL;
}

size_t sim_shadow_span_count(void) {
  return span_count;
}
