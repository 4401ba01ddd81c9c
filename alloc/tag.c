/* tag.c: a table of names that only grows, and each thread's stack of them. */
#include "alloc/tag.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc/fork.h"
#include "alloc/magazine.h"

enum { PLACE_COUNT = 2 * TARN_TAGS_MAX }; /* a power of two, at most half full */

_Thread_local uint32_t tarn__tag_current;
static _Thread_local uint32_t below[TARN_TAG_DEPTH_MAX]; /* what was on top before each push */
static _Thread_local uint32_t depth;

static char names[TARN_TAGS_MAX][TARN_TAG_BYTES_MAX];
static pthread_mutex_t name_lock = PTHREAD_MUTEX_INITIALIZER; /* guards name_count; a leaf */
static uint32_t name_count = 1;                               /* 0 is "" */
/* Open addressing: 0 or a tag. Release when a name is whole pairs with acquire when it is read. */
static _Atomic uint32_t places[PLACE_COUNT];

static void set_current(uint32_t tag) {
  tarn__tag_current = tag;
  tarn__magazines_set_tag(tag);
}

static uint32_t hash_name(const char *name) {
  uint32_t hash = UINT32_C(2166136261); /* FNV-1a (Fowler, Noll, Vo) */
  for (; *name != '\0'; name++) hash = (hash ^ (unsigned char)*name) * UINT32_C(16777619);
  return hash % PLACE_COUNT;
}

/* The tag of `name`, or 0, and the empty place where it belongs. */
static uint32_t find_name(const char *name, uint32_t *place) {
  for (*place = hash_name(name);; *place = (*place + 1) % PLACE_COUNT) {
    const uint32_t tag = atomic_load_explicit(&places[*place], memory_order_acquire);
    if (tag == 0 || strcmp(names[tag], name) == 0) return tag;
  }
}

static uint32_t intern(const char *name) {
  uint32_t place = 0;
  uint32_t tag = find_name(name, &place);
  if (tag != 0) return tag;
  pthread_mutex_lock(&name_lock);
  tag = find_name(name, &place); /* another thread may have been first */
  if (tag == 0 && name_count < TARN_TAGS_MAX) {
    tag = name_count++;
    memcpy(names[tag], name, strlen(name) + 1);
    atomic_store_explicit(&places[place], tag, memory_order_release);
  }
  pthread_mutex_unlock(&name_lock);
  return tag;
}

bool tarn__tag_find(const char *name, uint32_t *tag) {
  uint32_t place = 0;
  *tag = name[0] == '\0' ? 0 : find_name(name, &place);
  return *tag != 0 || name[0] == '\0';
}

tarn_status tarn_tag_push(const char *name) {
  if (name == NULL || name[0] == '\0' || strlen(name) >= TARN_TAG_BYTES_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tag's name has 1 to %d bytes: '%s'",
                     TARN_TAG_BYTES_MAX - 1, name != NULL ? name : "NULL");
  }
  if (depth == TARN_TAG_DEPTH_MAX) {
    return tarn_fail(TARN_NOT_SUPPORTED, "%d tags are pushed and not popped", TARN_TAG_DEPTH_MAX);
  }
  const uint32_t tag = intern(name);
  if (tag == 0) {
    return tarn_fail(TARN_NOT_SUPPORTED, "there are %d tags, and no room for '%s'",
                     TARN_TAGS_MAX - 1, name);
  }
  below[depth++] = tarn__tag_current;
  set_current(tag);
  return TARN_OK;
}

void tarn_tag_pop(void) {
  if (depth > 0) set_current(below[--depth]);
}

uint32_t tarn_tag_current(void) {
  return tarn__tag_current;
}

const char *tarn_tag_name(uint32_t tag) {
  return tag < TARN_TAGS_MAX ? names[tag] : "";
}

void tarn__tag_hold(void) {
  pthread_mutex_lock(&name_lock);
}

void tarn__tag_unhold(void) {
  pthread_mutex_unlock(&name_lock);
}
