/* order_baseline.c: one event and one list of free blocks per stream; lists taken over whole. */
#include "bench/order_baseline.h"

#include <stdlib.h>
#include <string.h>

enum { GRANULE_BYTES = 256 };

typedef struct free_piece {
  size_t offset_bytes;
  size_t size_bytes;
} free_piece;

/* By offset; neighbours are joined. */
typedef struct free_list {
  free_piece *pieces;
  size_t count;
  size_t room;
  tarn_fence *fence; /* recorded at each free */
} free_list;

struct order_baseline {
  tarn_stream *const *streams;
  int stream_count;
  free_list *lists;
};

static size_t rounded(size_t size_bytes) {
  return (size_bytes + GRANULE_BYTES - 1) / GRANULE_BYTES * GRANULE_BYTES;
}

/* --- lists --- */

static tarn_status make_room(free_list *list) {
  if (list->count < list->room) return TARN_OK;
  const size_t room = list->room == 0 ? 64 : list->room * 2;
  free_piece *pieces = realloc(list->pieces, room * sizeof *pieces);
  if (pieces == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a list of free blocks");
  list->pieces = pieces;
  list->room = room;
  return TARN_OK;
}

static void remove_piece(free_list *list, size_t index) {
  list->count--;
  memmove(&list->pieces[index], &list->pieces[index + 1],
          (list->count - index) * sizeof list->pieces[0]);
}

static tarn_status insert_piece(free_list *list, free_piece piece) {
  size_t index = 0;
  while (index < list->count && list->pieces[index].offset_bytes < piece.offset_bytes) index++;
  free_piece *left = index > 0 ? &list->pieces[index - 1] : NULL;
  free_piece *right = index < list->count ? &list->pieces[index] : NULL;
  const bool joins_left =
      left != NULL && left->offset_bytes + left->size_bytes == piece.offset_bytes;
  const bool joins_right =
      right != NULL && piece.offset_bytes + piece.size_bytes == right->offset_bytes;
  if (joins_left) {
    left->size_bytes += piece.size_bytes;
    if (!joins_right) return TARN_OK;
    left->size_bytes += right->size_bytes;
    remove_piece(list, index);
    return TARN_OK;
  }
  if (joins_right) {
    right->offset_bytes = piece.offset_bytes;
    right->size_bytes += piece.size_bytes;
    return TARN_OK;
  }
  const tarn_status status = make_room(list);
  if (status != TARN_OK) return status;
  if (index < list->count) {
    memmove(&list->pieces[index + 1], &list->pieces[index],
            (list->count - index) * sizeof list->pieces[0]);
  }
  list->pieces[index] = piece;
  list->count++;
  return TARN_OK;
}

/* Best fit; false where nothing is large enough. */
static bool take_piece(free_list *list, size_t size_bytes, size_t *offset_bytes) {
  free_piece *best = NULL;
  for (size_t i = 0; i < list->count; i++) {
    free_piece *piece = &list->pieces[i];
    if (piece->size_bytes < size_bytes) continue;
    if (best == NULL || piece->size_bytes < best->size_bytes) best = piece;
  }
  if (best == NULL) return false;
  *offset_bytes = best->offset_bytes;
  best->offset_bytes += size_bytes;
  best->size_bytes -= size_bytes;
  if (best->size_bytes == 0) remove_piece(list, (size_t)(best - list->pieces));
  return true;
}

/* --- lending --- */

static tarn_status take_over(order_baseline *self, int stream, int other) {
  free_list *from = &self->lists[other];
  tarn_status status = tarn_stream_wait(self->streams[stream], from->fence);
  for (size_t i = 0; status == TARN_OK && i < from->count; i++) {
    status = insert_piece(&self->lists[stream], from->pieces[i]);
  }
  from->count = 0;
  /* Whoever takes this list over next waits for this stream's event: it has to lie behind the wait
   * above, or the blocks would be lent without an order (rmm #2489). */
  return status != TARN_OK ? status
                           : tarn_fence_record(self->lists[stream].fence, self->streams[stream]);
}

/* A piece of another stream's list; the rest of that stays there. */
static tarn_status take_from_others(order_baseline *self, size_t size_bytes, int stream,
                                    size_t *offset_bytes) {
  for (int other = 0; other < self->stream_count; other++) {
    free_list *from = &self->lists[other];
    if (other != stream && take_piece(from, size_bytes, offset_bytes)) {
      return tarn_stream_wait(self->streams[stream], from->fence);
    }
  }
  return TARN_NOT_FOUND;
}

tarn_status order_baseline_get(order_baseline *self, size_t size_bytes, int stream,
                               size_t *offset_bytes) {
  free_list *own = &self->lists[stream];
  const size_t needed_bytes = rounded(size_bytes);
  if (take_piece(own, needed_bytes, offset_bytes)) return TARN_OK;
  const tarn_status taken = take_from_others(self, needed_bytes, stream, offset_bytes);
  if (taken != TARN_NOT_FOUND) return taken;
  for (int other = 0; other < self->stream_count; other++) {
    if (other == stream || self->lists[other].count == 0) continue;
    const tarn_status status = take_over(self, stream, other);
    if (status != TARN_OK) return status;
    if (take_piece(own, needed_bytes, offset_bytes)) return TARN_OK;
  }
  return TARN_OUT_OF_MEMORY;
}

tarn_status order_baseline_put(order_baseline *self, size_t offset_bytes, size_t size_bytes,
                               int stream) {
  free_list *own = &self->lists[stream];
  const tarn_status status = tarn_fence_record(own->fence, self->streams[stream]);
  if (status != TARN_OK) return status;
  return insert_piece(own, (free_piece){offset_bytes, rounded(size_bytes)});
}

tarn_status order_baseline_create(size_t size_bytes, tarn_stream *const *streams, int stream_count,
                                  order_baseline **out) {
  *out = NULL;
  order_baseline *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the baseline");
  *made = (order_baseline){.streams = streams, .stream_count = stream_count};
  made->lists = calloc((size_t)stream_count, sizeof *made->lists);
  tarn_status status = TARN_OK;
  if (made->lists == NULL) status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the baseline");
  for (int i = 0; status == TARN_OK && i < stream_count; i++) {
    status = tarn_fence_create(streams[i], &made->lists[i].fence);
  }
  /* All of it is the first stream's: what was never used needs no wait, but one event does it. */
  if (status == TARN_OK) status = insert_piece(&made->lists[0], (free_piece){0, size_bytes});
  if (status != TARN_OK) {
    order_baseline_destroy(made);
    return status;
  }
  *out = made;
  return TARN_OK;
}

void order_baseline_destroy(order_baseline *self) {
  if (self == NULL) return;
  for (int i = 0; self->lists != NULL && i < self->stream_count; i++) {
    tarn_fence_destroy(self->lists[i].fence);
    free(self->lists[i].pieces);
  }
  free(self->lists);
  free(self);
}
