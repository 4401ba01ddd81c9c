/* copy_ring.c: packs pieces into slots for a device, and unpacks what comes from one. */
#include "tensor/copy_ring.h"

#include "tensor/copy_direct.h"

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
  bool is_to_device;
  bool by_grid; /* slots hold the host's order and type, else the device's */
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

/* The side whose order and type the slots have. */
static const tarn__copy_side *model_of(const ring_copy *self, const tarn__copy_side *dst,
                                       const tarn__copy_side *src) {
  return self->by_grid == self->is_to_device ? src : dst;
}

static size_t model_bytes(const ring_copy *self) {
  return self->by_grid == self->is_to_device ? self->element->src_bytes : self->element->dst_bytes;
}

static tarn__copy_elements as_it_is(size_t element_bytes) {
  return (tarn__copy_elements){.dst_bytes = element_bytes, .src_bytes = element_bytes};
}

static void copy_by_cpu(const ring_copy *self, const tarn__copy_side *dst,
                        const tarn__copy_side *src) {
  if (!self->by_grid) {
    tarn__copy_on_host(dst, src, self->element);
    return;
  }
  const tarn__copy_elements same = as_it_is(model_bytes(self));
  tarn__copy_side to = *dst, from = *src;
  if (self->is_to_device) { /* what is broadcast lies in the slot once */
    to.layout = tarn__copy_without_broadcast(&dst->layout, &src->layout);
    from.layout = tarn__copy_without_broadcast(&src->layout, &src->layout);
  }
  tarn__copy_on_host(&to, &from, &same);
}

static tarn_status copy_by_grid(const ring_copy *self, const tarn__copy_side *dst,
                                const tarn__copy_side *src) {
  tarn__copy_plan plan;
  tarn__copy_plan_make(&dst->layout, &src->layout, self->element->dst_bytes,
                       self->element->src_bytes, &plan);
  if (!tarn__copy_plan_fits_grid(&plan)) return TARN_NOT_SUPPORTED;
  return tarn__copy_by_grid(&plan, dst, src, self->element, self->stream, self->outcome);
}

static tarn_status push_piece(ring_copy *self, const tarn__copy_side *dst,
                              const tarn__copy_side *src) {
  size_t size_bytes;
  tarn_staging_slot slot;
  tarn__copy_side packed =
      tarn__copy_staging_side(model_of(self, dst, src), model_bytes(self), &size_bytes);
  tarn_status status = tarn_staging_acquire(self->ring, size_bytes, &slot);
  if (status != TARN_OK) return status;
  packed.base = slot.address;
  packed.device = tarn_staging_device(self->ring);
  copy_by_cpu(self, &packed, src);
  status = self->by_grid ? copy_by_grid(self, dst, &packed)
                         : tarn__copy_push(dst, &packed, self->element->dst_bytes, self->stream,
                                           self->outcome);
  status = mark(self, &slot, size_bytes, status);
  tarn_staging_give_back(&slot);
  return status;
}

/* Ends the way of the piece that was sent first: into the destination, unless something failed. */
static tarn_status land(ring_copy *self, tarn_status status) {
  landing *piece = &self->flight[self->first];
  if (status == TARN_OK) status = tarn_staging_await(&piece->slot);
  if (status == TARN_OK) copy_by_cpu(self, &piece->dst, &piece->packed);
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
  landing piece = {
      .dst = *dst,
      .packed = tarn__copy_staging_side(model_of(self, dst, src), model_bytes(self), &size_bytes)};
  tarn_status status = take_slot(self, size_bytes, &piece.slot);
  if (status != TARN_OK) return status;
  piece.packed.base = piece.slot.address;
  piece.packed.device = tarn_staging_device(self->ring);
  self->flight[(self->first + self->count++) % HELD_MAX] = piece;
  status = self->by_grid ? copy_by_grid(self, &piece.packed, src)
                         : tarn__copy_pull(&piece.packed, src, self->element->src_bytes,
                                           self->stream, self->outcome);
  return mark(self, &piece.slot, size_bytes, status);
}

static tarn_status copy_piece(ring_copy *self, const tarn__copy_side *dst,
                              const tarn__copy_side *src) {
  return self->is_to_device ? push_piece(self, dst, src) : pull_piece(self, dst, src);
}

/* Halves both sides along the widest dimension of the one that is packed, until a piece fits into a
 * slot. */
static tarn_status copy_pieces(ring_copy *self, const tarn__copy_side *dst,
                               const tarn__copy_side *src) {
  const tarn_layout *model = &model_of(self, dst, src)->layout;
  tarn_layout packed;
  const size_t size_bytes = (size_t)tarn__copy_pack(model, &packed) * model_bytes(self);
  const int32_t dim = tarn__copy_widest_dim(model);
  if (size_bytes <= self->piece_bytes || dim < 0) { /* one element fits into a slot */
    return copy_piece(self, dst, src);
  }
  tarn_status status = TARN_OK;
  for (int part = 0; part < 2 && status == TARN_OK; part++) {
    const tarn__copy_side to = tarn__copy_half(dst, dim, part);
    const tarn__copy_side from = tarn__copy_half(src, dim, part);
    status = copy_pieces(self, &to, &from);
  }
  return status;
}

/* Runs that the CPU copies about as fast as it could copy any. */
enum { LONG_RUN_BYTES = 4096 };

/* Whether bringing the elements into the device's order, or type, is more than the CPU should do
 * where the device can: it copies long runs as they are and leaves short ones, and conversions. */
static bool is_for_grid(const ring_copy *self, const tarn__copy_side *dst,
                        const tarn__copy_side *src) {
  if ((tarn_stream_copy_abilities(self->stream) & TARN_STREAM_COPIES_GRIDS) == 0) return false;
  const tarn__copy_elements *element = self->element;
  if (element->src_bytes > tarn_staging_piece_bytes(self->ring, 0) ||
      element->dst_bytes > tarn_staging_piece_bytes(self->ring, 0)) {
    return false;
  }
  if (element->convert != NULL) return true;
  if (tarn_copy_cost_get(TARN_COPY_COST_PACK_RATE) >=
      tarn_copy_cost_get(TARN_COPY_COST_KERNEL_BUS_RATE)) {
    return false;
  }
  tarn_layout packed;
  tarn__copy_plan plan;
  tarn__copy_pack(self->is_to_device ? &dst->layout : &src->layout, &packed);
  tarn__copy_plan_make(self->is_to_device ? &packed : &dst->layout,
                       self->is_to_device ? &src->layout : &packed, element->dst_bytes,
                       element->src_bytes, &plan);
  return plan.kind != TARN__COPY_MEMCPY && plan.unit_bytes < LONG_RUN_BYTES;
}

static tarn_status copy_once(ring_copy *self, const tarn__copy_side *dst,
                             const tarn__copy_side *src) {
  tarn_layout packed;
  const tarn_layout *model = &model_of(self, dst, src)->layout;
  self->piece_bytes = tarn_staging_piece_bytes(
      self->ring, (size_t)tarn__copy_pack(model, &packed) * model_bytes(self));
  tarn_status status = copy_pieces(self, dst, src);
  while (self->count > 0) status = land(self, status);
  return status;
}

/* A grid that is refused leaves it to the CPU, from the beginning: nothing depends on what the
 * pieces before may have brought over. */
static tarn_status copy_all(ring_copy *self, const tarn__copy_side *dst,
                            const tarn__copy_side *src) {
  self->by_grid = is_for_grid(self, dst, src);
  const tarn_status status = copy_once(self, dst, src);
  if (status != TARN_NOT_SUPPORTED || !self->by_grid) return status;
  self->by_grid = false;
  return copy_once(self, dst, src);
}

tarn_status tarn__copy_ring_run(tarn_staging *ring, const tarn__copy_side *dst,
                                const tarn__copy_side *src, const tarn__copy_elements *element,
                                tarn_stream *stream, tarn__copy_outcome *outcome) {
  ring_copy self = {.ring = ring,
                    .stream = stream,
                    .element = element,
                    .outcome = outcome,
                    .is_to_device = tarn_device_is_host(src->device)};
  tarn_status status = TARN_OK;
  /* Memory that the stream itself may write is read behind all that is enqueued; written it is
   * behind that anyway. */
  if (self.is_to_device && src->device.type != TARN_DEVICE_CPU) {
    status = tarn_stream_synchronize(stream);
  }
  outcome->executor = "ring";
  if (status == TARN_OK) status = copy_all(&self, dst, src);
  outcome->is_done = status == TARN_OK && !self.is_to_device;
  outcome->is_source_read = status == TARN_OK;
  return status;
}
