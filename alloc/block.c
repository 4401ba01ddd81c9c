/* block.c: cutting and joining block records, and treaps of them. */
#include "alloc/block.h"

#include "alloc/slab.h"

static tarn__slab block_slab = TARN__SLAB(tarn__block);

/* A heap order over a hash of the record's address: what a block's priority is does not matter,
 * only that it has nothing to do with its key. */
static uint64_t hash_pointer(const tarn__block *block) {
  uint64_t hash = (uint64_t)(uintptr_t)block;
  hash = (hash ^ (hash >> 33)) * UINT64_C(0xff51afd7ed558ccd); /* finaliser of MurmurHash3 */
  return hash ^ (hash >> 33);
}

tarn__block *tarn__block_create(void) {
  tarn__block *block = tarn__slab_take(&block_slab);
  if (block != NULL) {
    *block = (tarn__block){.state = TARN__BLOCK_CLAIMED, .priority = hash_pointer(block)};
  }
  return block;
}

void tarn__block_destroy(tarn__block *block) {
  tarn__stamps_deinit(&block->stamps);
  tarn__slab_give(&block_slab, block);
}

tarn__block *tarn__block_split(tarn__block *block, size_t size_bytes) {
  TARN_ASSERT(size_bytes > 0 && size_bytes < block->size_bytes && block->root == NULL);
  tarn__block *rest = tarn__block_create();
  if (rest == NULL) return NULL;
  if (!tarn__stamps_copy(&rest->stamps, &block->stamps)) {
    tarn__block_destroy(rest);
    return NULL;
  }
  TARN_ASSERT(tarn__stamps_stand_for(&rest->stamps, &block->stamps));
  rest->address = block->address + size_bytes;
  rest->size_bytes = block->size_bytes - size_bytes;
  rest->segment = block->segment;
  rest->state = block->state;
  rest->is_poisoned = block->is_poisoned;
  rest->left = block;
  rest->right = block->right;
  if (rest->right != NULL) rest->right->left = rest;
  block->right = rest;
  block->size_bytes = size_bytes;
  return rest;
}

bool tarn__block_merge_right(tarn__block *block) {
  tarn__block *gone = block->right;
  TARN_ASSERT(gone != NULL && block->root == NULL && gone->root == NULL);
  TARN_ASSERT(block->address + block->size_bytes == gone->address);
  if (!tarn__stamps_join(&block->stamps, &gone->stamps)) return false;
  TARN_ASSERT(tarn__stamps_stand_for(&block->stamps, &gone->stamps));
  block->size_bytes += gone->size_bytes;
  block->is_poisoned = block->is_poisoned && gone->is_poisoned;
  block->right = gone->right;
  if (block->right != NULL) block->right->left = block;
  tarn__block_destroy(gone);
  return true;
}

/* --- trees --- */

static bool is_before(const tarn__block *block, size_t key, const char *address) {
  return block->key < key || (block->key == key && block->address < address);
}

void tarn__tree_insert(tarn__block **root, tarn__block *block, size_t key) {
  TARN_ASSERT(block->root == NULL);
  block->key = key;
  block->root = root;
  const uint64_t rank = block->priority;
  tarn__block **link = root;
  while (*link != NULL && (*link)->priority >= rank) {
    link = is_before(*link, key, block->address) ? &(*link)->high : &(*link)->low;
  }
  /* The subtree found there is parted by the new key. */
  tarn__block *rest = *link;
  tarn__block **low = &block->low;
  tarn__block **high = &block->high;
  *link = block;
  while (rest != NULL) {
    if (is_before(rest, key, block->address)) {
      *low = rest;
      low = &rest->high;
    } else {
      *high = rest;
      high = &rest->low;
    }
    rest = is_before(rest, key, block->address) ? rest->high : rest->low;
  }
  *low = NULL;
  *high = NULL;
}

void tarn__tree_remove(tarn__block *block) {
  if (block->root == NULL) return;
  tarn__block **link = block->root;
  while (*link != block) {
    link = is_before(*link, block->key, block->address) ? &(*link)->high : &(*link)->low;
  }
  tarn__block *low = block->low;
  tarn__block *high = block->high;
  while (low != NULL && high != NULL) {
    if (low->priority > high->priority) {
      *link = low;
      link = &low->high;
      low = *link;
    } else {
      *link = high;
      link = &high->low;
      high = *link;
    }
  }
  *link = low != NULL ? low : high;
  block->root = NULL;
}

tarn__block *tarn__tree_at_least(tarn__block *root, size_t key, const char *address) {
  tarn__block *found = NULL;
  while (root != NULL) {
    if (is_before(root, key, address)) {
      root = root->high;
    } else {
      found = root;
      root = root->low;
    }
  }
  return found;
}

tarn__block *tarn__tree_next(const tarn__block *block) {
  return tarn__tree_at_least(*block->root, block->key, block->address + 1);
}
