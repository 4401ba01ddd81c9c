/* copy_convert.c: copies that convert: whole rows at once, or boxes by way of packed memory.
 *
 * Where elements follow each other on both sides, a row is converted where it lies. Elsewhere the
 * copy goes in boxes, small enough that what lies between its three steps stays in the caches:
 *
 *     src, strided  --copy-->  packed  --convert-->  packed  --copy-->  dst, strided
 *
 * A copy to or from what is packed already is left out. Where the two sides have their elements in
 * different orders, the order changes in the copy of the side whose elements are smaller.
 */
#include "tensor/copy_convert.h"

#include "tensor/copy_host.h"
#include "tensor/copy_threads.h"

/* A box packed twice, as source and as destination. */
enum { BOX_BYTES = 64 << 10, LINE_BYTES = 64 };

/* A box that is turned with the source's elements is written in lines so long that they may go past
 * the caches, and has a line of the source for each; one that is turned with the destination's is a
 * square, as transposes like it. */
enum { TURNED_LINE_BYTES = 768, TURNED_EDGE = 64 };

/* Shorter rows are not worth a call each. Longer ones are cut for the threads' sake. */
enum { ROW_COUNT_MIN = 32, ROW_PIECE = 1 << 18 };

/* The copy cut into boxes: in each dimension `box` elements, and what is left in the last one.
 * Dimensions are the plan's, and then that of the elements of a run. */
typedef struct boxes {
  const tarn__convert *convert;
  char *dst;
  const char *src;
  int32_t rank;
  int64_t shape[TARN_RANK_MAX];
  int64_t dst_strides[TARN_RANK_MAX]; /* in elements */
  int64_t src_strides[TARN_RANK_MAX];
  int64_t box[TARN_RANK_MAX];
  int64_t box_count;
  size_t dst_bytes;  /* all of it */
  bool is_by_rows;   /* a box is one row on both sides, and longer than BOX_BYTES perhaps */
  bool is_streaming; /* only by rows */
  bool packs_as_src; /* the box is packed in the order of the source, not of the destination */
} boxes;

static int64_t at_most(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t magnitude(int64_t value) {
  return value < 0 ? -value : value;
}

/* --- cutting --- */

static void take_dims(boxes *self, const tarn__copy_plan *plan) {
  const int64_t dst_bytes = (int64_t)self->convert->dst_bytes;
  const int64_t src_bytes = (int64_t)self->convert->src_bytes;
  self->rank = plan->rank;
  for (int32_t d = 0; d < plan->rank; d++) {
    self->shape[d] = plan->shape[d];
    self->dst_strides[d] = plan->dst_strides[d] / dst_bytes;
    self->src_strides[d] = plan->src_strides[d] / src_bytes;
  }
  if (plan->unit_count == 1 && plan->rank > 0) return;
  self->shape[self->rank] = (int64_t)plan->unit_count;
  self->dst_strides[self->rank] = self->src_strides[self->rank] = 1;
  self->rank++;
}

/* The dimension along which the source is narrowest, where the destination is so along another. */
static int32_t turned_dim(const boxes *self) {
  int32_t last = self->rank - 1, found = -1;
  int64_t narrowest = magnitude(self->src_strides[last]);
  if (narrowest == 0) return -1; /* a broadcast element stays at hand anyway */
  for (int32_t d = 0; d < last; d++) {
    const int64_t stride = magnitude(self->src_strides[d]);
    if (stride == 0 || stride >= narrowest) continue;
    narrowest = stride;
    found = d;
  }
  return found;
}

/* Lets the box grow along a dimension, up to `size`, as far as there is room. */
static void grow(boxes *self, int32_t dim, int64_t size, int64_t *room) {
  const int64_t grown = at_most(at_most(size, self->shape[dim]), self->box[dim] * *room);
  if (grown <= self->box[dim]) return;
  *room = *room * self->box[dim] / grown;
  self->box[dim] = grown;
}

static void choose_box(boxes *self) {
  const int64_t dst_bytes = (int64_t)self->convert->dst_bytes;
  const int64_t src_bytes = (int64_t)self->convert->src_bytes;
  const int32_t last = self->rank - 1;
  int64_t room = BOX_BYTES / (dst_bytes + src_bytes);
  for (int32_t d = 0; d < self->rank; d++) self->box[d] = 1;
  self->is_by_rows = self->dst_strides[last] == 1 && self->src_strides[last] == 1 &&
                     self->shape[last] >= ROW_COUNT_MIN;
  if (self->is_by_rows) {
    self->box[last] = at_most(self->shape[last], ROW_PIECE);
    return;
  }
  const int32_t turned = turned_dim(self);
  if (turned >= 0) {
    self->packs_as_src = dst_bytes < src_bytes;
    grow(self, last, self->packs_as_src ? TURNED_EDGE : TURNED_LINE_BYTES / dst_bytes, &room);
    grow(self, turned, self->packs_as_src ? TURNED_EDGE : LINE_BYTES / src_bytes, &room);
  }
  /* Where neither has ended, longer edges would only leave the caches sooner. */
  const bool is_square =
      turned >= 0 && self->box[last] < self->shape[last] && self->box[turned] < self->shape[turned];
  for (int32_t d = last; d >= 0; d--) {
    if (!is_square || (d != last && d != turned)) grow(self, d, INT64_MAX, &room);
  }
}

static void count_boxes(boxes *self) {
  self->box_count = 1;
  for (int32_t d = 0; d < self->rank; d++) {
    self->box_count *= (self->shape[d] - 1) / self->box[d] + 1;
  }
}

/* --- one box --- */

/* The two copies around a conversion, for boxes of one shape. */
typedef struct box_walks {
  int64_t shape[TARN_RANK_MAX]; /* of the boxes they are for */
  int64_t element_count;
  bool gathers, scatters; /* else that side is packed already */
  tarn__copy_walk gather, scatter;
} box_walks;

/* Packs a box in the order of `strides`, from the narrowest on; what is broadcast comes last. */
static void pack_box(const boxes *self, const int64_t *shape, const int64_t *strides,
                     tarn_layout *packed) {
  bool is_done[TARN_RANK_MAX] = {false};
  int64_t count = 1;
  *packed = (tarn_layout){.rank = self->rank};
  for (int32_t i = 0; i < self->rank; i++) {
    int32_t next = -1;
    for (int32_t d = self->rank - 1; d >= 0; d--) {
      if (is_done[d]) continue;
      if (next < 0 || (strides[d] != 0 &&
                       (strides[next] == 0 || magnitude(strides[d]) < magnitude(strides[next])))) {
        next = d;
      }
    }
    is_done[next] = true;
    packed->shape[next] = shape[next];
    packed->strides[next] = count;
    count *= shape[next];
  }
}

static void make_walk(const tarn_layout *dst, const tarn_layout *src, size_t element_bytes,
                      tarn__copy_walk *walk) {
  tarn__copy_plan plan;
  tarn__copy_plan_make(dst, src, element_bytes, element_bytes, &plan);
  tarn__copy_walk_make(&plan, walk);
}

static void make_walks(const boxes *self, const int64_t *shape, box_walks *walks) {
  tarn_layout packed, dst = {.rank = self->rank}, src = {.rank = self->rank};
  walks->element_count = 1;
  for (int32_t d = 0; d < self->rank; d++) {
    walks->shape[d] = dst.shape[d] = src.shape[d] = shape[d];
    dst.strides[d] = self->dst_strides[d];
    src.strides[d] = self->src_strides[d];
    walks->element_count *= shape[d];
  }
  pack_box(self, shape, self->packs_as_src ? self->src_strides : self->dst_strides, &packed);
  make_walk(&packed, &src, self->convert->src_bytes, &walks->gather);
  make_walk(&dst, &packed, self->convert->dst_bytes, &walks->scatter);
  tarn__copy_walk_belongs_to(&walks->scatter, self->dst_bytes);
  walks->gathers = walks->gather.executor != TARN__COPY_BY_MEMCPY;
  walks->scatters = walks->scatter.executor != TARN__COPY_BY_MEMCPY;
}

/* Makes `walks` fit the box at `index`, which counts elements. */
static void fit_walks(const boxes *self, const int64_t *index, box_walks *walks) {
  int64_t shape[TARN_RANK_MAX];
  bool fits = walks->element_count > 0;
  for (int32_t d = 0; d < self->rank; d++) {
    shape[d] = at_most(self->box[d], self->shape[d] - index[d]);
    fits = fits && shape[d] == walks->shape[d];
  }
  if (!fits) make_walks(self, shape, walks);
}

static void run_box(const boxes *self, const box_walks *walks, char *dst, const char *src) {
  _Alignas(LINE_BYTES) char packed_src[BOX_BYTES + LINE_BYTES];
  const size_t src_lines = (size_t)walks->element_count * self->convert->src_bytes / LINE_BYTES + 1;
  char *packed_dst = packed_src + src_lines * LINE_BYTES;
  const char *from = src;
  char *to = dst;
  if (walks->gathers) {
    tarn__copy_host_walk(&walks->gather, packed_src, src);
    from = packed_src;
  }
  if (walks->scatters) to = packed_dst;
  tarn__convert_row(self->convert, to, from, (size_t)walks->element_count, /*is_streaming=*/false);
  if (walks->scatters) tarn__copy_host_walk(&walks->scatter, dst, packed_dst);
}

/* --- all of them --- */

/* The first element of box number `number`. */
static void find_box(const boxes *self, int64_t number, int64_t *index) {
  for (int32_t d = self->rank - 1; d >= 0; d--) {
    const int64_t count = (self->shape[d] - 1) / self->box[d] + 1;
    index[d] = number % count * self->box[d];
    number /= count;
  }
}

static void step_box(const boxes *self, int64_t *index) {
  for (int32_t d = self->rank - 1; d >= 0; d--) {
    index[d] += self->box[d];
    if (index[d] < self->shape[d]) return;
    index[d] = 0;
  }
}

static void run_boxes(const boxes *self, int64_t first, int64_t end) {
  const int64_t dst_bytes = (int64_t)self->convert->dst_bytes;
  const int64_t src_bytes = (int64_t)self->convert->src_bytes;
  const int32_t last = self->rank - 1;
  int64_t index[TARN_RANK_MAX];
  box_walks walks = {.element_count = 0};
  find_box(self, first, index);
  for (int64_t number = first; number < end; number++) {
    int64_t to = 0, from = 0;
    for (int32_t d = 0; d < self->rank; d++) {
      to += index[d] * self->dst_strides[d];
      from += index[d] * self->src_strides[d];
    }
    char *dst = self->dst + to * dst_bytes;
    const char *src = self->src + from * src_bytes;
    if (self->is_by_rows) {
      const int64_t count = at_most(self->box[last], self->shape[last] - index[last]);
      tarn__convert_row(self->convert, dst, src, (size_t)count, self->is_streaming);
    } else {
      fit_walks(self, index, &walks);
      run_box(self, &walks, dst, src);
    }
    step_box(self, index);
  }
}

typedef struct shared_boxes {
  const boxes *boxes;
  int64_t job_count;
} shared_boxes;

static void run_job(void *context, int64_t index) {
  const shared_boxes *shared = context;
  const int64_t each = shared->boxes->box_count / shared->job_count;
  const int64_t more = shared->boxes->box_count % shared->job_count;
  const int64_t first = index * each + at_most(index, more);
  run_boxes(shared->boxes, first, first + each + (index < more));
}

static void cut(const tarn__convert *convert, const tarn__copy_plan *plan, boxes *self) {
  *self = (boxes){.convert = convert, .dst_bytes = (size_t)plan->run_count * plan->unit_bytes};
  take_dims(self, plan);
  choose_box(self);
  count_boxes(self);
  self->is_streaming = self->is_by_rows && self->dst_bytes >= tarn__copy_stream_bytes();
}

/* By what is read and written, as half of it would be copied. */
static int64_t part_count(const boxes *self, int thread_count) {
  const tarn__convert *convert = self->convert;
  const size_t element_count = self->dst_bytes / convert->dst_bytes;
  const size_t total_bytes = element_count * (convert->dst_bytes + convert->src_bytes) / 2;
  return at_most(self->box_count, tarn__copy_part_count(total_bytes, thread_count));
}

void tarn__copy_convert_run(const tarn__convert *convert, const tarn__copy_plan *plan, char *dst,
                            const char *src) {
  if (plan->kind == TARN__COPY_NONE) return;
  boxes self;
  cut(convert, plan, &self);
  self.dst = dst + plan->dst_offset;
  self.src = src + plan->src_offset;
  const int thread_count = tarn_copy_thread_count();
  shared_boxes shared = {&self, part_count(&self, thread_count)};
  if (shared.job_count == 1) {
    run_boxes(&self, 0, self.box_count);
  } else {
    tarn__copy_parallel(shared.job_count, thread_count, run_job, &shared);
  }
}

void tarn__copy_convert_look(const tarn__convert *convert, const tarn__copy_plan *plan,
                             int thread_count, tarn__copy_convert_way *way) {
  *way = (tarn__copy_convert_way){.part_count = 1};
  if (plan->kind == TARN__COPY_NONE) return;
  boxes self;
  cut(convert, plan, &self);
  way->is_by_rows = self.is_by_rows;
  way->is_streaming = self.is_streaming;
  way->box_count = self.box_count;
  way->box_elements = 1;
  for (int32_t d = 0; d < self.rank; d++) way->box_elements *= self.box[d];
  way->part_count = part_count(&self, thread_count);
}
