/* staging_file.c: reads files into slots, and writes slots to files. */
#include "alloc/tarn_staging_file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "alloc/stream.h"

/* Slots that one store holds at once: one the stream fills, one it has filled, one the system
 * reads. */
enum { HELD_MAX = 3 };

static tarn_status check(const tarn_staging *staging, tarn_stream *stream, const void *memory,
                         uint64_t offset_bytes, size_t size_bytes) {
  if (staging == NULL || memory == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a ring and memory are needed");
  }
  if (size_bytes > INT64_MAX || offset_bytes > (uint64_t)INT64_MAX - size_bytes) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes at byte %" PRIu64 " of a file", size_bytes,
                     offset_bytes);
  }
  bool is_captured;
  const tarn_status status = tarn__stream_ask_captured(stream, &is_captured);
  if (status != TARN_OK || !is_captured) return status;
  return tarn_fail(TARN_NOT_SUPPORTED, "a file on a %s stream that is being captured",
                   tarn_stream_name(stream));
}

static tarn_status failed(const char *call) {
  const int cause = errno;
  return tarn_fail_native(TARN_SYSTEM_ERROR, call, cause, "%s: %s", call, strerror(cause));
}

/* --- loading --- */

static tarn_status read_all(int file, uint64_t offset_bytes, char *bytes, size_t size_bytes) {
  for (size_t done = 0; done < size_bytes;) {
    const ssize_t count =
        pread(file, bytes + done, size_bytes - done, (off_t)(offset_bytes + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("pread");
    if (count == 0) {
      return tarn_fail(TARN_BAD_FORMAT, "the file ends at byte %" PRIu64 ", %zu bytes too early",
                       offset_bytes + done, size_bytes - done);
    }
    done += (size_t)count;
  }
  return TARN_OK;
}

tarn_status tarn_staging_load(tarn_staging *staging, tarn_stream *stream, int file,
                              uint64_t offset_bytes, void *dst, tarn_device dst_device,
                              size_t size_bytes) {
  if (size_bytes == 0) return TARN_OK;
  tarn_status status = check(staging, stream, dst, offset_bytes, size_bytes);
  const size_t piece_bytes = status == TARN_OK ? tarn_staging_piece_bytes(staging, size_bytes) : 0;
  for (size_t done = 0; done < size_bytes && status == TARN_OK;) {
    tarn_staging_slot slot;
    size_t piece = size_bytes - done < piece_bytes ? size_bytes - done : piece_bytes;
    status = tarn_staging_acquire(staging, piece, &slot);
    if (status != TARN_OK) break;
    if (piece > slot.size_bytes) piece = slot.size_bytes;
    status = read_all(file, offset_bytes + done, slot.address, piece);
    if (status == TARN_OK) {
      status = tarn_stream_copy(stream, (char *)dst + done, dst_device, slot.address,
                                tarn_staging_device(staging), piece);
      const tarn_status marked = tarn_staging_mark(&slot, stream, status == TARN_OK ? piece : 0);
      if (status == TARN_OK) status = marked;
    }
    tarn_staging_give_back(&slot);
    done += piece;
  }
  return status;
}

/* --- storing --- */

/* What is on its way from the device, the piece that was sent first at `first`. */
typedef struct store {
  tarn_staging *staging;
  tarn_stream *stream;
  const char *src;
  tarn_device src_device;
  int file;
  uint64_t offset_bytes;
  size_t size_bytes;
  size_t piece_bytes;
  size_t sent_bytes;
  size_t written_bytes;
  tarn_staging_slot slots[HELD_MAX];
  size_t pieces[HELD_MAX];
  int first;
  int count;
} store;

/* Sends one piece, for the first one by waiting for a slot; *is_full where none was to be had. */
static tarn_status send(store *self, bool *is_full) {
  tarn_staging_slot slot;
  const size_t left = self->size_bytes - self->sent_bytes;
  size_t piece = left < self->piece_bytes ? left : self->piece_bytes;
  tarn_status status = self->count == 0 ? tarn_staging_acquire(self->staging, piece, &slot)
                                        : tarn_staging_try_acquire(self->staging, piece, &slot);
  *is_full = self->count > 0 && status == TARN_NOT_READY;
  if (status != TARN_OK) return *is_full ? TARN_OK : status;
  if (piece > slot.size_bytes) piece = slot.size_bytes;
  const int last = (self->first + self->count++) % HELD_MAX;
  self->slots[last] = slot;
  self->pieces[last] = piece;
  status = tarn_stream_copy(self->stream, slot.address, tarn_staging_device(self->staging),
                            self->src + self->sent_bytes, self->src_device, piece);
  const tarn_status marked = tarn_staging_mark(&slot, self->stream, status == TARN_OK ? piece : 0);
  self->sent_bytes += piece;
  return status == TARN_OK ? marked : status;
}

static tarn_status write_all(int file, uint64_t offset_bytes, const char *bytes,
                             size_t size_bytes) {
  for (size_t done = 0; done < size_bytes;) {
    const ssize_t count =
        pwrite(file, bytes + done, size_bytes - done, (off_t)(offset_bytes + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("pwrite");
    done += (size_t)count;
  }
  return TARN_OK;
}

/* Writes the piece that was sent first, unless something has failed, and gives its slot back. */
static tarn_status land(store *self, tarn_status status) {
  tarn_staging_slot *slot = &self->slots[self->first];
  const size_t piece = self->pieces[self->first];
  if (status == TARN_OK) status = tarn_staging_await(slot);
  if (status == TARN_OK) {
    status = write_all(self->file, self->offset_bytes + self->written_bytes, slot->address, piece);
  }
  self->written_bytes += piece;
  tarn_staging_give_back(slot);
  self->first = (self->first + 1) % HELD_MAX;
  self->count--;
  return status;
}

tarn_status tarn_staging_store(tarn_staging *staging, tarn_stream *stream, int file,
                               uint64_t offset_bytes, const void *src, tarn_device src_device,
                               size_t size_bytes) {
  if (size_bytes == 0) return TARN_OK;
  tarn_status status = check(staging, stream, src, offset_bytes, size_bytes);
  if (status != TARN_OK) return status;
  store self = {.staging = staging,
                .stream = stream,
                .src = src,
                .src_device = src_device,
                .file = file,
                .offset_bytes = offset_bytes,
                .size_bytes = size_bytes,
                .piece_bytes = tarn_staging_piece_bytes(staging, size_bytes)};
  while (self.count > 0 || (status == TARN_OK && self.sent_bytes < size_bytes)) {
    bool is_full = false;
    while (status == TARN_OK && !is_full && self.count < HELD_MAX && self.sent_bytes < size_bytes) {
      status = send(&self, &is_full);
    }
    if (self.count > 0) status = land(&self, status);
  }
  return status;
}
