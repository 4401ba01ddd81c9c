/* staging_copy.c: rows between pageable memory and a device, piece by piece through a ring. */
#include "alloc/staging.h"

/* Slots that one copy holds at once: one the stream fills, one it has filled, one the CPU reads. */
enum { HELD_MAX = 3 };

bool tarn__staging_takes(const tarn_copy_rows *rows) {
  const bool is_source_pageable = rows->src_device.type == TARN_DEVICE_CPU;
  const tarn_device far = is_source_pageable ? rows->dst_device : rows->src_device;
  const tarn_device near = is_source_pageable ? rows->src_device : rows->dst_device;
  return near.type == TARN_DEVICE_CPU && far.type != TARN_DEVICE_CPU &&
         far.type != TARN_DEVICE_CUDA_HOST;
}

/* --- pieces --- */

/* Where the next piece begins. */
typedef struct cursor {
  tarn_copy_rows whole;
  size_t row;
  size_t byte; /* within the row */
  size_t piece_bytes;
} cursor;

static bool is_over(const cursor *self) {
  return self->row == self->whole.row_count;
}

/* Rows without gaps are one row. False where the bytes cannot be counted. */
static bool start(cursor *self, const tarn_copy_rows *rows, const tarn_staging *staging) {
  size_t total_bytes;
  *self = (cursor){.whole = *rows};
  if (!tarn_size_mul(rows->row_bytes, rows->row_count, &total_bytes)) return false;
  if (rows->row_count == 1 ||
      (rows->dst_pitch_bytes == rows->row_bytes && rows->src_pitch_bytes == rows->row_bytes)) {
    self->whole.row_bytes = self->whole.dst_pitch_bytes = self->whole.src_pitch_bytes = total_bytes;
    self->whole.row_count = 1;
  }
  self->piece_bytes = tarn_staging_piece_bytes(staging, total_bytes);
  return true;
}

/* Whole rows, or a part of one that is longer than a piece. */
static tarn_copy_rows step(cursor *self, size_t slot_bytes) {
  tarn_copy_rows piece = self->whole;
  const size_t most = self->piece_bytes < slot_bytes ? self->piece_bytes : slot_bytes;
  piece.dst = (char *)piece.dst + self->row * piece.dst_pitch_bytes + self->byte;
  piece.src = (const char *)piece.src + self->row * piece.src_pitch_bytes + self->byte;
  if (self->byte == 0 && piece.row_bytes <= most) {
    const size_t left = self->whole.row_count - self->row;
    const size_t rows = most / piece.row_bytes;
    piece.row_count = rows < left ? rows : left;
    self->row += piece.row_count;
    return piece;
  }
  const size_t left = self->whole.row_bytes - self->byte;
  piece.row_bytes = left < most ? left : most;
  piece.row_count = 1;
  self->byte += piece.row_bytes;
  if (self->byte == self->whole.row_bytes) {
    self->byte = 0;
    self->row++;
  }
  return piece;
}

/* The piece between one of its sides and a slot, where its rows lie without gaps. */
static tarn_copy_rows to_slot(tarn_copy_rows piece, const tarn_staging_slot *slot) {
  piece.dst = slot->address;
  piece.dst_pitch_bytes = piece.row_bytes;
  piece.dst_device = tarn_staging_device(slot->staging);
  return piece;
}

static tarn_copy_rows from_slot(tarn_copy_rows piece, const tarn_staging_slot *slot) {
  piece.src = slot->address;
  piece.src_pitch_bytes = piece.row_bytes;
  piece.src_device = tarn_staging_device(slot->staging);
  return piece;
}

/* Enqueues one, and marks the slot whether that worked or not: rows may be under way. */
static tarn_status enqueue(tarn_stream *stream, const tarn_copy_rows *piece,
                           const tarn_staging_slot *slot) {
  const tarn_status copied = tarn_stream_copy_rows(stream, piece);
  const tarn_status marked =
      tarn_staging_mark(slot, stream, copied == TARN_OK ? piece->row_bytes * piece->row_count : 0);
  return copied != TARN_OK ? copied : marked;
}

/* --- to the device --- */

static tarn_status push(tarn_staging *staging, tarn_stream *stream, cursor *at) {
  tarn_status status = TARN_OK;
  while (status == TARN_OK && !is_over(at)) {
    tarn_staging_slot slot;
    status = tarn_staging_acquire(staging, at->piece_bytes, &slot);
    if (status != TARN_OK) break;
    const tarn_copy_rows piece = step(at, slot.size_bytes);
    const tarn_copy_rows near = to_slot(piece, &slot), far = from_slot(piece, &slot);
    status = tarn_stream_copy_rows(NULL, &near);
    if (status == TARN_OK) status = enqueue(stream, &far, &slot);
    tarn_staging_give_back(&slot);
  }
  return status;
}

/* --- from the device --- */

/* Pieces on their way, the first one enqueued first. */
typedef struct flight {
  tarn_staging_slot slots[HELD_MAX];
  tarn_copy_rows outs[HELD_MAX]; /* from the slot to where it belongs */
  int first;
  int count;
} flight;

/* Sends one piece on its way, where a slot is to be had: for the first one by waiting. */
static tarn_status take_off(flight *self, tarn_staging *staging, tarn_stream *stream, cursor *at,
                            bool *is_full) {
  tarn_staging_slot slot;
  *is_full = false;
  const tarn_status status = self->count == 0
                                 ? tarn_staging_acquire(staging, at->piece_bytes, &slot)
                                 : tarn_staging_try_acquire(staging, at->piece_bytes, &slot);
  if (status != TARN_OK) {
    *is_full = self->count > 0 && status == TARN_NOT_READY;
    return *is_full ? TARN_OK : status;
  }
  const tarn_copy_rows piece = step(at, slot.size_bytes);
  const tarn_copy_rows far = to_slot(piece, &slot);
  const int last = (self->first + self->count++) % HELD_MAX;
  self->slots[last] = slot;
  self->outs[last] = from_slot(piece, &slot);
  return enqueue(stream, &far, &slot);
}

/* Ends the first piece's way: into the destination, unless something has failed. */
static tarn_status land(flight *self, tarn_status status) {
  tarn_staging_slot *slot = &self->slots[self->first];
  if (status == TARN_OK) status = tarn_staging_await(slot);
  if (status == TARN_OK) status = tarn_stream_copy_rows(NULL, &self->outs[self->first]);
  tarn_staging_give_back(slot);
  self->first = (self->first + 1) % HELD_MAX;
  self->count--;
  return status;
}

static tarn_status pull(tarn_staging *staging, tarn_stream *stream, cursor *at) {
  flight pieces = {.count = 0};
  tarn_status status = TARN_OK;
  while (pieces.count > 0 || (status == TARN_OK && !is_over(at))) {
    bool is_full = false;
    while (status == TARN_OK && !is_full && pieces.count < HELD_MAX && !is_over(at)) {
      status = take_off(&pieces, staging, stream, at, &is_full);
    }
    if (pieces.count > 0) status = land(&pieces, status);
  }
  return status;
}

tarn_status tarn__staging_copy_rows(tarn_staging *staging, tarn_stream *stream,
                                    const tarn_copy_rows *rows) {
  cursor at;
  if (!start(&at, rows, staging)) {
    return tarn_fail(TARN_TOO_LARGE, "a copy of %zu rows of %zu bytes", rows->row_count,
                     rows->row_bytes);
  }
  return rows->src_device.type == TARN_DEVICE_CPU ? push(staging, stream, &at)
                                                  : pull(staging, stream, &at);
}
