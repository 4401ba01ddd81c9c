/* handles.c: makes a GPU's memory, keeps what was made ahead, and gives back. */
#include "cuda/handles.h"

#include <stdlib.h>

void tarn__handles_init(tarn__handles *self, const tarn__driver *driver,
                        const CUmemAllocationProp *properties) {
  *self = (tarn__handles){.driver = driver, .properties = *properties};
  pthread_mutex_init(&self->lock, NULL);
}

void tarn__handles_deinit(tarn__handles *self) {
  for (int i = 0; i < 2; i++) free(self->stocks[i].handles);
  pthread_mutex_destroy(&self->lock);
}

/* All memory of the provider's comes from here. */
static CUresult create(tarn__handles *self, size_t size_bytes,
                       CUmemGenericAllocationHandle *handle) {
  const CUresult result = self->driver->MemCreate(handle, size_bytes, &self->properties, 0);
  pthread_mutex_lock(&self->lock);
  if (result == CUDA_SUCCESS) self->created_count++;
  pthread_mutex_unlock(&self->lock);
  return result;
}

static bool pop(tarn__handles *self, tarn__handle_stock *stock,
                CUmemGenericAllocationHandle *handle) {
  pthread_mutex_lock(&self->lock);
  const bool is_any = stock->count > 0;
  if (is_any) *handle = stock->handles[--stock->count];
  pthread_mutex_unlock(&self->lock);
  return is_any;
}

/* Room for one more; false without memory for it. Whoever takes leaves more of it. */
static bool make_room(tarn__handles *self, tarn__handle_stock *stock) {
  pthread_mutex_lock(&self->lock);
  if (stock->count == stock->capacity) {
    const size_t capacity = stock->capacity != 0 ? 2 * stock->capacity : 16;
    CUmemGenericAllocationHandle *grown =
        realloc(stock->handles, capacity * sizeof stock->handles[0]);
    if (grown != NULL) {
      stock->handles = grown;
      stock->capacity = capacity;
    }
  }
  const bool has_room = stock->count < stock->capacity;
  pthread_mutex_unlock(&self->lock);
  return has_room;
}

/* False, and the handle still the caller's, where another thread that prepares took the room. */
static bool push(tarn__handles *self, tarn__handle_stock *stock,
                 CUmemGenericAllocationHandle handle) {
  pthread_mutex_lock(&self->lock);
  const bool has_room = stock->count < stock->capacity;
  if (has_room) stock->handles[stock->count++] = handle;
  pthread_mutex_unlock(&self->lock);
  return has_room;
}

void tarn__handle_give(tarn__handles *self, size_t size_bytes,
                       CUmemGenericAllocationHandle handle) {
  if (self->driver->MemRelease(handle) != CUDA_SUCCESS) tarn__handles_lose(self, size_bytes);
}

void tarn__handles_lose(tarn__handles *self, size_t size_bytes) {
  pthread_mutex_lock(&self->lock);
  self->lost_bytes += size_bytes;
  pthread_mutex_unlock(&self->lock);
}

/* True where anything went back. */
static bool empty_stock(tarn__handles *self, tarn__handle_stock *stock) {
  bool is_any = false;
  for (CUmemGenericAllocationHandle handle = 0; pop(self, stock, &handle); is_any = true) {
    tarn__handle_give(self, stock->size_bytes, handle);
  }
  return is_any;
}

CUresult tarn__handle_take(tarn__handles *self, size_t size_bytes,
                           CUmemGenericAllocationHandle *handle) {
  const bool is_piece = size_bytes == self->stocks[1].size_bytes;
  if (pop(self, &self->stocks[is_piece], handle)) {
    pthread_mutex_lock(&self->lock);
    self->ready_count++;
    pthread_mutex_unlock(&self->lock);
    return CUDA_SUCCESS;
  }
  const CUresult result = create(self, size_bytes, handle);
  if (result != CUDA_ERROR_OUT_OF_MEMORY) return result;
  return empty_stock(self, &self->stocks[!is_piece]) ? create(self, size_bytes, handle) : result;
}

static size_t count_of(tarn__handles *self, const tarn__handle_stock *stock) {
  pthread_mutex_lock(&self->lock);
  const size_t count = stock->count;
  pthread_mutex_unlock(&self->lock);
  return count;
}

/* So many steps and no more: another thread may be preparing something else. */
static tarn_status fill_stock(tarn__handles *self, tarn__handle_stock *stock, size_t count) {
  CUmemGenericAllocationHandle handle = 0;
  size_t now = count_of(self, stock);
  for (; now > count && pop(self, stock, &handle); now--) {
    tarn__handle_give(self, stock->size_bytes, handle);
  }
  for (; now < count; now++) {
    if (!make_room(self, stock)) {
      return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to keep handles made ahead");
    }
    const CUresult result = create(self, stock->size_bytes, &handle);
    if (result != CUDA_SUCCESS) {
      return tarn__cuda_status(self->driver, result, "cuMemCreate", "preparing %zu bytes",
                               stock->size_bytes);
    }
    if (!push(self, stock, handle)) tarn__handle_give(self, stock->size_bytes, handle);
  }
  return TARN_OK;
}

tarn_status tarn__handles_prepare(tarn__handles *self, size_t size_bytes) {
  tarn__handle_stock *granules = &self->stocks[0];
  tarn__handle_stock *pieces = &self->stocks[1];
  size_t piece_count = 0;
  if (pieces->size_bytes != 0 && size_bytes > pieces->size_bytes) {
    piece_count = size_bytes / pieces->size_bytes - 1;
  }
  const size_t rest_bytes = size_bytes - piece_count * pieces->size_bytes;
  const size_t granule_count = rest_bytes / granules->size_bytes;
  /* What goes back goes first. */
  tarn_status status = TARN_OK;
  if (count_of(self, pieces) > piece_count) status = fill_stock(self, pieces, piece_count);
  if (status == TARN_OK) status = fill_stock(self, granules, granule_count);
  if (status == TARN_OK) status = fill_stock(self, pieces, piece_count);
  return status;
}

size_t tarn__handles_prepared_bytes(tarn__handles *self) {
  pthread_mutex_lock(&self->lock);
  const size_t bytes = self->stocks[0].count * self->stocks[0].size_bytes +
                       self->stocks[1].count * self->stocks[1].size_bytes;
  pthread_mutex_unlock(&self->lock);
  return bytes;
}
