/* lent_blocks.c: the treap of lent blocks (Seidel and Aragon, Randomized search trees, 1996). */
#include "alloc/adapters/pools/lent_blocks.h"

/* The finaliser of splitmix64: addresses in a regular pattern get ranks in none. */
static uint64_t rank_of(const void *address) {
  uint64_t mixed = (uint64_t)(uintptr_t)address + UINT64_C(0x9E3779B97F4A7C15);
  mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94D049BB133111EB);
  return mixed ^ (mixed >> 31);
}

void tarn__lent_insert(tarn__lent **root, tarn__lent *block) {
  block->rank = rank_of(block->address);
  tarn__lent **place = root;
  while (*place != NULL && (*place)->rank >= block->rank) {
    place = block->address < (*place)->address ? &(*place)->lower : &(*place)->higher;
  }
  /* What was here comes below the block, split at its address. */
  tarn__lent *rest = *place;
  tarn__lent **lower = &block->lower;
  tarn__lent **higher = &block->higher;
  *place = block;
  while (rest != NULL) {
    if (rest->address < block->address) {
      *lower = rest;
      lower = &rest->higher;
      rest = rest->higher;
    } else {
      *higher = rest;
      higher = &rest->lower;
      rest = rest->lower;
    }
  }
  *lower = NULL;
  *higher = NULL;
}

tarn__lent *tarn__lent_take(tarn__lent **root, const void *address) {
  const char *start = address;
  tarn__lent **place = root;
  while (*place != NULL && (*place)->address != start) {
    place = start < (*place)->address ? &(*place)->lower : &(*place)->higher;
  }
  tarn__lent *taken = *place;
  if (taken == NULL) return NULL;
  /* The two below it become one. */
  tarn__lent *lower = taken->lower;
  tarn__lent *higher = taken->higher;
  while (lower != NULL && higher != NULL) {
    if (lower->rank >= higher->rank) {
      *place = lower;
      place = &lower->higher;
      lower = lower->higher;
    } else {
      *place = higher;
      place = &higher->lower;
      higher = higher->lower;
    }
  }
  *place = lower != NULL ? lower : higher;
  return taken;
}

tarn__lent *tarn__lent_find(tarn__lent *root, const void *address) {
  const char *inside = address;
  tarn__lent *last = NULL; /* that begins at `address` or before */
  while (root != NULL) {
    const bool is_behind = inside >= root->address;
    if (is_behind) last = root;
    root = is_behind ? root->higher : root->lower;
  }
  return last != NULL && (size_t)(inside - last->address) < last->size_bytes ? last : NULL;
}

tarn__lent *tarn__lent_after(tarn__lent *root, const void *address) {
  const char *start = address;
  tarn__lent *first = NULL;
  while (root != NULL) {
    const bool is_behind = root->address > start;
    if (is_behind) first = root;
    root = is_behind ? root->lower : root->higher;
  }
  return first;
}
