/* fallback.c: pools asked in order, and what each one that refused has said. */
#include "alloc/tarn_fallback.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/status.h"

typedef struct choice {
  char name[TARN_FALLBACK_NAME_BYTES];
  tarn_pool *pool;              /* a reference; NULL: refused for ever */
  tarn_fallback_refusal absent; /* why */
} choice;

struct tarn_fallback {
  atomic_size_t reference_count;
  size_t choice_count;
  choice choices[];
};

/* Cut where they are longer. */
static void copy_words(char *to, size_t capacity_bytes, const char *words) {
  const size_t length = strnlen(words, capacity_bytes - 1);
  memcpy(to, words, length);
  to[length] = '\0';
}

/* --- life --- */

static tarn_status check_choice(const tarn_fallback_choice *asked, size_t index) {
  if (asked->struct_size != sizeof *asked) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_fallback_choice has %zu bytes here, choice %zu has %zu", sizeof *asked,
                     index, asked->struct_size);
  }
  if (asked->name == NULL || asked->name[0] == '\0' ||
      strlen(asked->name) >= TARN_FALLBACK_NAME_BYTES) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "choice %zu needs a name of 1 to %d bytes", index,
                     TARN_FALLBACK_NAME_BYTES - 1);
  }
  if ((asked->pool != NULL) == (asked->status == TARN_OK)) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "choice %zu, %s: either a pool, or the status why not",
                   index, asked->name);
}

static tarn_status check_choices(const tarn_fallback_choice *choices, size_t choice_count) {
  if (choices == NULL || choice_count == 0 || choice_count > TARN_FALLBACK_CHOICES_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a fallback has 1 to %d choices, not %zu",
                     TARN_FALLBACK_CHOICES_MAX, choice_count);
  }
  tarn_status status = TARN_OK;
  for (size_t index = 0; index < choice_count && status == TARN_OK; index++) {
    status = check_choice(&choices[index], index);
  }
  return status;
}

tarn_status tarn_fallback_create(const tarn_fallback_choice *choices, size_t choice_count,
                                 tarn_fallback **fallback) {
  if (fallback == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "fallback is NULL");
  *fallback = NULL;
  const tarn_status status = check_choices(choices, choice_count);
  if (status != TARN_OK) return status;
  tarn_fallback *made = calloc(1, sizeof *made + choice_count * sizeof made->choices[0]);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a fallback");
  atomic_init(&made->reference_count, 1);
  made->choice_count = choice_count;
  for (size_t index = 0; index < choice_count; index++) {
    const tarn_fallback_choice *asked = &choices[index];
    choice *self = &made->choices[index];
    copy_words(self->name, sizeof self->name, asked->name);
    self->pool = asked->pool;
    if (self->pool != NULL) tarn_pool_retain(self->pool);
    self->absent.status = asked->status;
    copy_words(self->absent.message, sizeof self->absent.message,
               asked->reason != NULL ? asked->reason : tarn_status_text(asked->status));
  }
  *fallback = made;
  return TARN_OK;
}

void tarn_fallback_retain(tarn_fallback *fallback) {
  /* Relaxed: whoever retains already holds a reference. */
  atomic_fetch_add_explicit(&fallback->reference_count, 1, memory_order_relaxed);
}

void tarn_fallback_release(tarn_fallback *fallback) {
  if (fallback == NULL) return;
  /* Release pairs with acquire: all use in other threads happens before the end. */
  if (atomic_fetch_sub_explicit(&fallback->reference_count, 1, memory_order_acq_rel) != 1) return;
  for (size_t index = 0; index < fallback->choice_count; index++) {
    tarn_pool_release(fallback->choices[index].pool);
  }
  free(fallback);
}

size_t tarn_fallback_choice_count(const tarn_fallback *fallback) {
  return fallback->choice_count;
}

/* --- asking --- */

/* One choice's attempt: a block, or where `storage` is not NULL a storage. */
static tarn_status ask(const choice *self, size_t size_bytes, tarn_stream *stream,
                       tarn_storage **storage, void **address) {
  if (storage == NULL) return tarn_pool_alloc(self->pool, size_bytes, stream, address);
  const tarn_status status = tarn_storage_create(self->pool, size_bytes, stream, storage);
  if (status == TARN_OK) *address = tarn_storage_data_mutable(*storage);
  return status;
}

static void note_refusal(tarn_fallback_grant *grant, const choice *self, tarn_status status) {
  tarn_fallback_refusal *refusal = &grant->refusals[grant->refusal_count++];
  if (self->pool == NULL) {
    *refusal = self->absent;
    return;
  }
  refusal->status = status;
  const tarn_error *error = tarn_last_error();
  /* A pool of somebody else's may answer without words. */
  const char *message = error->status == status ? error->message : tarn_status_text(status);
  copy_words(refusal->message, sizeof refusal->message, message);
}

/* Each one's word, cut to what they can have if all are to have some. */
static tarn_status tell_all(const tarn_fallback *self, const tarn_fallback_grant *grant) {
  char words[TARN_ERROR_MESSAGE_BYTES];
  const size_t share_bytes = sizeof words / self->choice_count;
  size_t end = 0;
  for (size_t index = 0; index < self->choice_count; index++) {
    const int written = snprintf(words + end, share_bytes, "%s%s: %s", index == 0 ? "" : "; ",
                                 self->choices[index].name, grant->refusals[index].message);
    end += written < 0 ? 0 : (size_t)written < share_bytes ? (size_t)written : share_bytes - 1;
  }
  return tarn_fail(grant->refusals[self->choice_count - 1].status, "%s", words);
}

static tarn_status ask_all(const tarn_fallback *self, size_t size_bytes, tarn_stream *stream,
                           tarn_storage **storage, tarn_fallback_grant *grant) {
  /* What is tried and refused on the way to a success is nobody's last error. */
  const tarn_error before = *tarn_last_error();
  for (size_t index = 0; index < self->choice_count; index++) {
    const choice *asked = &self->choices[index];
    tarn_status status = asked->absent.status;
    if (asked->pool != NULL) status = ask(asked, size_bytes, stream, storage, &grant->address);
    if (status != TARN_OK) {
      note_refusal(grant, asked, status);
      continue;
    }
    grant->pool = asked->pool;
    grant->device = tarn_pool_attributes_of(asked->pool)->device;
    grant->name = asked->name;
    grant->choice = index;
    if (index > 0) tarn__error_restore(&before);
    return TARN_OK;
  }
  grant->choice = self->choice_count;
  return tell_all(self, grant);
}

static tarn_status check_grant(const tarn_fallback *fallback, tarn_fallback_grant *grant) {
  if (grant == NULL || grant->struct_size != sizeof *grant) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_fallback_grant with struct_size %zu is needed",
                     sizeof *grant);
  }
  *grant = (tarn_fallback_grant){.struct_size = sizeof *grant};
  if (fallback == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "fallback is NULL");
  return TARN_OK;
}

tarn_status tarn_fallback_alloc(tarn_fallback *fallback, size_t size_bytes, tarn_stream *stream,
                                tarn_fallback_grant *grant) {
  const tarn_status status = check_grant(fallback, grant);
  return status == TARN_OK ? ask_all(fallback, size_bytes, stream, /*storage=*/NULL, grant)
                           : status;
}

tarn_status tarn_fallback_free(tarn_fallback_grant *grant, tarn_stream *stream) {
  if (grant == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "grant is NULL");
  if (grant->address == NULL) return TARN_OK;
  const tarn_status status = tarn_pool_free(grant->pool, grant->address, stream);
  if (status != TARN_OK) return status;
  grant->address = NULL;
  grant->pool = NULL;
  return TARN_OK;
}

tarn_status tarn_fallback_storage_create(tarn_fallback *fallback, size_t size_bytes,
                                         tarn_stream *stream, tarn_storage **storage,
                                         tarn_fallback_grant *grant) {
  tarn_fallback_grant unread = {.struct_size = sizeof unread};
  if (grant == NULL) grant = &unread;
  if (storage == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "storage is NULL");
  *storage = NULL;
  const tarn_status status = check_grant(fallback, grant);
  return status == TARN_OK ? ask_all(fallback, size_bytes, stream, storage, grant) : status;
}
