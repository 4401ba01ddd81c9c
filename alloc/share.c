/* share.c: parcels: made of a storage, kept until nobody has a copy, and made into one again. */
#include "alloc/share.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/fork.h"
#include "alloc/order.h"
#include "alloc/provider.h"
#include "alloc/storage.h"
#include "alloc/stream.h"

/* --- memory --- */

static void close_end(int *end) {
  if (*end >= 0) close(*end);
  *end = -1;
}

tarn_status tarn_share_add_piece(tarn_share_memory *memory, int descriptor, uint64_t offset_bytes,
                                 uint64_t size_bytes) {
  tarn_share_piece *grown = NULL;
  if (memory->piece_count < TARN_SHARE_PIECES_MAX) {
    grown = realloc(memory->pieces, (memory->piece_count + 1) * sizeof *grown);
  }
  if (grown == NULL) {
    if (descriptor >= 0) close(descriptor);
    return memory->piece_count < TARN_SHARE_PIECES_MAX
               ? tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a list of shared pieces")
               : tarn_fail(TARN_TOO_LARGE, "memory to share comes in more than %d pieces",
                           (int)TARN_SHARE_PIECES_MAX);
  }
  memory->pieces = grown;
  grown[memory->piece_count++] = (tarn_share_piece){
      .size_bytes = size_bytes, .offset_bytes = offset_bytes, .descriptor = descriptor};
  return TARN_OK;
}

uint64_t tarn_share_total_bytes(const tarn_share_memory *memory) {
  uint64_t total_bytes = 0;
  for (size_t i = 0; i < memory->piece_count; i++) total_bytes += memory->pieces[i].size_bytes;
  return total_bytes;
}

static void close_pieces(tarn_share_memory *memory) {
  for (size_t i = 0; i < memory->piece_count; i++) close_end(&memory->pieces[i].descriptor);
}

void tarn__share_memory_deinit(tarn_share_memory *memory) {
  close_pieces(memory);
  free(memory->pieces);
  if (memory->end != NULL) memory->end(memory->keeper);
  *memory = (tarn_share_memory){.pieces = NULL};
}

/* --- parcels --- */

/* A leaf: guards the list, its links, and the descriptors of what is in it. Nothing is called under
 * it but pipe2, close, and poll, which does not wait. */
static pthread_mutex_t parcels_lock = PTHREAD_MUTEX_INITIALIZER;
static tarn_parcel *parcels; /* the exporter's */

void tarn__share_hold(void) {
  pthread_mutex_lock(&parcels_lock);
}

void tarn__share_unhold(void) {
  pthread_mutex_unlock(&parcels_lock);
}

/* Importers are not to wait for the child, nor the child for them; nor keeps it the memory. */
void tarn__share_mend(void) {
  for (tarn_parcel *parcel = parcels; parcel != NULL; parcel = parcel->next) {
    close_end(&parcel->life);
    close_end(&parcel->watch);
    close_pieces(&parcel->memory);
  }
  pthread_mutex_unlock(&parcels_lock);
}

bool tarn__share_is_exported(const void *start, size_t size_bytes) {
  bool is_exported = false;
  pthread_mutex_lock(&parcels_lock);
  for (const tarn_parcel *at = parcels; at != NULL && !is_exported; at = at->next) {
    is_exported = (uintptr_t)tarn_storage_data(at->storage) - (uintptr_t)start < size_bytes;
  }
  pthread_mutex_unlock(&parcels_lock);
  return is_exported;
}

tarn_parcel *tarn__parcel_create(void) {
  tarn_parcel *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  made->watch = made->life = -1;
  return made;
}

void tarn__parcel_free(tarn_parcel *parcel) {
  tarn__share_memory_deinit(&parcel->memory);
  close_end(&parcel->life);
  close_end(&parcel->watch);
  tarn_storage_release(parcel->storage);
  free(parcel->note);
  free(parcel);
}

/* Whether nobody has the end for writing; waits so long for that. */
static bool is_alone(const tarn_parcel *parcel, int timeout_ms) {
  struct pollfd watch = {.fd = parcel->watch};
  if (parcel->life >= 0) return false;
  if (parcel->watch < 0) return true;
  return tarn__share_poll(&watch, timeout_ms) == 1 && (watch.revents & POLLHUP) != 0;
}

size_t tarn_share_collect(void) {
  tarn_parcel *gone = NULL;
  size_t left_count = 0;
  pthread_mutex_lock(&parcels_lock);
  for (tarn_parcel **link = &parcels; *link != NULL;) {
    tarn_parcel *parcel = *link;
    if (parcel->is_destroyed && is_alone(parcel, /*timeout_ms=*/0)) {
      *link = parcel->next;
      parcel->next = gone;
      gone = parcel;
    } else {
      left_count += parcel->is_destroyed;
      link = &parcel->next;
    }
  }
  pthread_mutex_unlock(&parcels_lock);
  while (gone != NULL) {
    tarn_parcel *next = gone->next;
    tarn__parcel_free(gone);
    gone = next;
  }
  return left_count;
}

void tarn_parcel_destroy(tarn_parcel *parcel) {
  if (parcel == NULL) return;
  if (parcel->is_received) {
    tarn__parcel_free(parcel);
    return;
  }
  pthread_mutex_lock(&parcels_lock);
  close_pieces(&parcel->memory); /* what has arrived has descriptors of its own */
  close_end(&parcel->life);
  parcel->is_destroyed = true;
  pthread_mutex_unlock(&parcels_lock);
  (void)tarn_share_collect();
}

tarn_status tarn_parcel_wait(tarn_parcel *parcel, int timeout_ms) {
  if (parcel == NULL || parcel->is_received) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "only a parcel that was exported here is waited for");
  }
  pthread_mutex_lock(&parcels_lock);
  close_end(&parcel->life);
  pthread_mutex_unlock(&parcels_lock);
  return is_alone(parcel, timeout_ms) ? TARN_OK : TARN_NOT_READY;
}

size_t tarn_parcel_size_bytes(const tarn_parcel *parcel) {
  return parcel->memory.size_bytes;
}

bool tarn_parcel_is_read_only(const tarn_parcel *parcel) {
  return parcel->memory.is_read_only;
}

tarn_device tarn_parcel_device(const tarn_parcel *parcel) {
  return parcel->memory.device;
}

const char *tarn_parcel_kind(const tarn_parcel *parcel) {
  return parcel->memory.kind;
}

const void *tarn_parcel_note(const tarn_parcel *parcel, size_t *note_bytes) {
  if (note_bytes != NULL) *note_bytes = parcel->note_bytes;
  return parcel->note;
}

/* --- exporting --- */

static tarn_status check_export(const tarn_storage *storage, const tarn_export_options *options) {
  const uint32_t known = TARN_SHARE_READ_ONLY | TARN_SHARE_WAIT;
  if (storage == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "storage is NULL");
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_export_options has %zu bytes here, %zu were given", sizeof *options,
                     options->struct_size);
  }
  if ((options->flags & ~known) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown export flags 0x%x", options->flags & ~known);
  }
  if (options->note_bytes > TARN_SHARE_NOTE_BYTES_MAX ||
      (options->note_bytes != 0 && options->note == NULL)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a note of %zu bytes at %p; at most %d travel",
                     options->note_bytes, options->note, (int)TARN_SHARE_NOTE_BYTES_MAX);
  }
  if (tarn_storage_size_bytes(storage) != 0) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "a storage without bytes has nothing to share");
}

/* Puts a parcel on the list. From here on a child of fork keeps none of its descriptors, and the
 * storage counts as exported. */
static tarn_status enlist(tarn_parcel *parcel) {
  int ends[2];
  pthread_mutex_lock(&parcels_lock);
  const int error = pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno;
  if (error == 0) {
    parcel->watch = ends[0];
    parcel->life = ends[1];
    parcel->next = parcels;
    parcels = parcel;
  }
  pthread_mutex_unlock(&parcels_lock);
  if (error == 0) return TARN_OK;
  return tarn_fail_native(
      error == EMFILE || error == ENFILE ? TARN_OUT_OF_MEMORY : TARN_SYSTEM_ERROR, "pipe2", error,
      "no descriptors for a parcel: %s", strerror(error));
}

static void delist(const tarn_parcel *parcel) {
  pthread_mutex_lock(&parcels_lock);
  tarn_parcel **link = &parcels;
  while (*link != parcel) link = &(*link)->next;
  *link = parcel->next;
  pthread_mutex_unlock(&parcels_lock);
}

static tarn_status take_note(tarn_parcel *parcel, const void *note, size_t note_bytes) {
  if (note_bytes == 0) return TARN_OK;
  parcel->note = malloc(note_bytes);
  if (parcel->note == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a parcel's note");
  memcpy(parcel->note, note, note_bytes);
  parcel->note_bytes = note_bytes;
  return TARN_OK;
}

/* The provider's description is the caller's to close, whether it fails or not. */
static tarn_status describe(tarn_storage *storage, const tarn_export_options *options,
                            tarn_share_memory *memory) {
  memory->size_bytes = tarn_storage_size_bytes(storage);
  memory->is_read_only =
      (options->flags & TARN_SHARE_READ_ONLY) != 0 || tarn_storage_is_read_only(storage);
  /* A closed stream takes no mark, a captured one none that passes before a launch. */
  tarn_stream *stream = options->stream;
  const bool is_special = stream != NULL && !tarn_stream_is_synchronous(stream) &&
                          (tarn__stream_is_closed(stream) || tarn__order_is_captured(stream));
  const bool may_mark = (options->flags & TARN_SHARE_WAIT) == 0 && !is_special;
  const void *address = tarn_storage_data(storage);
  if (tarn_storage_pool(storage) != NULL) {
    return tarn_pool_share_range(tarn_storage_pool(storage), address, memory->size_bytes, stream,
                                 may_mark, memory);
  }
  tarn_provider *provider = tarn__storage_reserved_from(storage);
  if (provider != NULL) {
    return tarn_provider_share_range(provider, address, memory->size_bytes, stream, may_mark,
                                     memory);
  }
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "a wrapped blob's memory is its owner's to share, and an imported storage's its "
                   "exporter's");
}

tarn_status tarn_storage_export(tarn_storage *storage, const tarn_export_options *options,
                                tarn_parcel **parcel) {
  if (parcel == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "parcel is NULL");
  *parcel = NULL;
  const tarn_export_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = check_export(storage, options);
  if (status != TARN_OK) return status;
  (void)tarn_share_collect();
  tarn_parcel *made = tarn__parcel_create();
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a parcel");
  tarn_storage_retain(storage);
  made->storage = storage;
  status = enlist(made);
  const bool is_listed = status == TARN_OK;
  tarn_share_memory memory = {.pieces = NULL};
  if (status == TARN_OK) status = take_note(made, options->note, options->note_bytes);
  if (status == TARN_OK) status = describe(storage, options, &memory);
  if (status != TARN_OK) {
    const tarn_error cause = *tarn_last_error();
    tarn__share_memory_deinit(&memory);
    if (is_listed) delist(made);
    tarn__parcel_free(made);
    return tarn_fail_again(&cause);
  }
  pthread_mutex_lock(&parcels_lock);
  made->memory = memory;
  pthread_mutex_unlock(&parcels_lock);
  *parcel = made;
  return TARN_OK;
}

/* --- importing --- */

typedef struct imported {
  tarn_provider *provider; /* a reference; NULL: a memory file */
  char *address;           /* of all pieces */
  size_t total_bytes;
  int life;
} imported;

/* The deleter. The exporter may use the memory again once the end is closed. */
static void end_import(void *context) {
  imported *self = context;
  if (self->provider != NULL) {
    tarn__provider_abandon(self->provider, self->address);
    tarn_provider_release(self->provider);
  } else {
    tarn__share_file_unmap(self->address, self->total_bytes);
  }
  close(self->life);
  free(self);
}

static tarn_status map(imported *self, const tarn_share_memory *memory, tarn_stream *stream,
                       tarn_device *device) {
  void *address = NULL;
  tarn_status status;
  if (self->provider != NULL) {
    status = tarn__provider_adopt(self->provider, memory, stream, &address, device);
    if (status == TARN_OK) tarn_provider_retain(self->provider);
  } else {
    status = tarn__share_file_map(memory, &address);
  }
  self->address = address;
  return status;
}

tarn_status tarn_storage_import(tarn_parcel *parcel, tarn_provider *provider, tarn_stream *stream,
                                tarn_storage **storage) {
  if (storage == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "storage is NULL");
  *storage = NULL;
  if (parcel == NULL || !parcel->is_received) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "only a parcel that was received can be imported");
  }
  const tarn_share_memory *memory = &parcel->memory;
  tarn_blob blob = {.struct_size = sizeof blob,
                    .size_bytes = memory->size_bytes,
                    .flags = memory->is_read_only ? (uint32_t)TARN_STORAGE_READ_ONLY : 0,
                    .deleter = end_import};
  imported *self = malloc(sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for an imported storage");
  *self = (imported){
      .provider = provider, .total_bytes = tarn_share_total_bytes(memory), .life = parcel->life};
  tarn_status status = map(self, memory, stream, &blob.device);
  if (status != TARN_OK) {
    free(self);
    return status;
  }
  blob.address = self->address + memory->offset_bytes;
  blob.context = self;
  status = tarn_storage_wrap(&blob, storage);
  if (status != TARN_OK) {
    const tarn_error cause = *tarn_last_error();
    self->life = -1; /* the parcel's still */
    end_import(self);
    return tarn_fail_again(&cause);
  }
  parcel->life = -1;
  tarn__parcel_free(parcel);
  return TARN_OK;
}

bool tarn_storage_is_orphaned(const tarn_storage *storage) {
  const imported *self = tarn__storage_context(storage, end_import);
  if (self == NULL) return false;
  struct pollfd life = {.fd = self->life};
  return poll(&life, 1, /*timeout=*/0) == 1 && (life.revents & POLLERR) != 0;
}
