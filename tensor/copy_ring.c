/* copy_ring.c: packs pieces into slots for a device, and unpacks what comes from one. */
#include "tensor/copy_ring.h"

/* Slots that one copy from a device holds at once: one the stream fills, one it has filled, one the
 * CPU reads. */
enum { HELD_MAX = 3 };

/* A piece on its way from the device. */
typedef struct landing {
  tarn_staging_slot slot;
  tarn__copy_side packed;
  tarn__copy_side dst;
} landing;

typedef struct ring_copy {
  tarn_staging *ring;
  tarn_stream *stream;
  const tarn__copy_elements *element;
  tarn__copy_outcome *outcome;
  size_t piece_bytes;
  landing flight[HELD_MAX];
  int first;
  int count;
} ring_copy;

tarn_status tarn__copy_find_ring(const tarn__copy_side *src, tarn_stream *stream,
                                 tarn_staging **ring) {
  return tarn_stream_staging(stream, /*reads_host=*/src->device.type == TARN_DEVICE_CPU, ring);
}

bool tarn__copy_ring_carries(const tarn_staging *ring, const tarn__copy_side *dst,
                             const tarn__copy_side *src, const tarn__copy_elements *element) {
  if (ring == NULL) return false;
  const bool is_to_device = tarn_device_is_host(src->device);
  if (is_to_device == tarn_device_is_host(dst->device)) return false;
  const size_t element_bytes = is_to_device ? element->dst_bytes : element->src_bytes;
  return element_bytes <= tarn_staging_piece_bytes(ring, 0);
}

/* Marks the slot whether the rows were enqueued or not: some may be under way. */
static tarn_status mark(const ring_copy *self, const tarn_staging_slot *slot, size_t size_bytes,
                        tarn_status status) {
  const tarn_status marked =
      tarn_staging_mark(slot, self->stream, status == TARN_OK ? size_bytes : 0);
  return status == TARN_OK ? marked : status;
}

static tarn_status push_piece(ring_copy *self, const tarn__copy_side *dst,
                              const tarn__copy_side *src) {
  size_t size_bytes;
  tarn_staging_slot slot;
  tarn__copy_side packed = tarn__copy_staging_side(dst, self->element->dst_bytes, &size_bytes);
  tarn_status status = tarn_staging_acquire(self->ring, size_bytes, &slot);
  if (status != TARN_OK) return status;
  packed.base = slot.address;
  packed.device = tarn_staging_device(self->ring);
  tarn__copy_on_host(&packed, src, self->element);
  status = tarn__copy_push(dst, &packed, self->element->dst_bytes, self->stream, self->outcome);
  status = mark(self, &slot, size_bytes, status);
  tarn_staging_give_back(&slot);
  return status;
}

/* Ends the way of the piece that was sent first: into the destination, unless something failed. */
static tarn_status land(ring_copy *self, tarn_status status) {
  landing *piece = &self->flight[self->first];
  if (status == TARN_OK) status = tarn_staging_await(&piece->slot);
  if (status == TARN_OK) tarn__copy_on_host(&piece->dst, &piece->packed, self->element);
  tarn_staging_give_back(&piece->slot);
  self->first = (self->first + 1) % HELD_MAX;
  self->count--;
  return status;
}

/* Takes a slot: without waiting as long as others are held, which land where there is none. */
static tarn_status take_slot(ring_copy *self, size_t size_bytes, tarn_staging_slot *slot) {
  tarn_status status = TARN_OK;
  if (self->count == HELD_MAX) status = land(self, TARN_OK);
  while (status == TARN_OK && self->count > 0) {
    status = tarn_staging_try_acquire(self->ring, size_bytes, slot);
    if (status != TARN_NOT_READY) return status;
    status = land(self, TARN_OK);
  }
  return status == TARN_OK ? tarn_staging_acquire(self->ring, size_bytes, slot) : status;
}

static tarn_status pull_piece(ring_copy *self, const tarn__copy_side *dst,
                              const tarn__copy_side *src) {
  size_t size_bytes;
  landing piece = {.dst = *dst,
                   .packed = tarn__copy_staging_side(src, self->element->src_bytes, &size_bytes)};
  tarn_status status = take_slot(self, size_bytes, &piece.slot);
  if (status != TARN_OK) return status;
  piece.packed.base = piece.slot.address;
  piece.packed.device = tarn_staging_device(self->ring);
  self->flight[(self->first + self->count++) % HELD_MAX] = piece;
  status =
      tarn__copy_pull(&piece.packed, src, self->element->src_bytes, self->stream, self->outcome);
  return mark(self, &piece.slot, size_bytes, status);
}

/* Halves both sides along the device's widest dimension until a piece fits into a slot. */
static tarn_status copy_pieces(ring_copy *self, const tarn__copy_side *dst,
                               const tarn__copy_side *src) {
  const bool is_to_device = tarn_device_is_host(src->device);
  const tarn__copy_side *far = is_to_device ? dst : src;
  tarn_layout packed;
  const size_t size_bytes = (size_t)tarn__copy_pack(&far->layout, &packed) *
                            (is_to_device ? self->element->dst_bytes : self->element->src_bytes);
  const int32_t dim = tarn__copy_widest_dim(&far->layout);
  if (size_bytes <= self->piece_bytes || dim < 0) { /* one element fits into a slot */
    return is_to_device ? push_piece(self, dst, src) : pull_piece(self, dst, src);
  }
  tarn_status status = TARN_OK;
  for (int part = 0; part < 2 && status == TARN_OK; part++) {
    const tarn__copy_side to = tarn__copy_half(dst, dim, part);
    const tarn__copy_side from = tarn__copy_half(src, dim, part);
    status = copy_pieces(self, &to, &from);
  }
  return status;
}

tarn_status tarn__copy_ring_run(tarn_staging *ring, const tarn__copy_side *dst,
                                const tarn__copy_side *src, const tarn__copy_elements *element,
                                tarn_stream *stream, tarn__copy_outcome *outcome) {
  const bool is_to_device = tarn_device_is_host(src->device);
  const tarn_layout *far = is_to_device ? &dst->layout : &src->layout;
  tarn_layout packed;
  const size_t size_bytes = (size_t)tarn__copy_pack(far, &packed) *
                            (is_to_device ? element->dst_bytes : element->src_bytes);
  ring_copy self = {.ring = ring,
                    .stream = stream,
                    .element = element,
                    .outcome = outcome,
                    .piece_bytes = tarn_staging_piece_bytes(ring, size_bytes)};
  tarn_status status = TARN_OK;
  /* Memory that the stream itself may write is read behind all that is enqueued; written it is
   * behind that anyway. */
  if (is_to_device && src->device.type != TARN_DEVICE_CPU) status = tarn_stream_synchronize(stream);
  outcome->executor = "ring";
  if (status == TARN_OK) status = copy_pieces(&self, dst, src);
  while (self.count > 0) status = land(&self, status);
  outcome->is_done = status == TARN_OK && !is_to_device;
  outcome->is_source_read = status == TARN_OK;
  return status;
}
