/* grid_fixture.c: random grids of elements in a device's memory, and how the CPU copies them. */
#include "tests/cuda/grid_fixture.h"

#include <stdlib.h>

uint64_t grid_random(uint64_t *state) {
  uint64_t value = (*state += 0x9E3779B97F4A7C15u);
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

uint64_t grid_below(uint64_t *state, uint64_t end) {
  return grid_random(state) % end;
}

/* --- layouts --- */

static void lay_side(const grid_case *made, const grid_side *side, size_t element_bytes,
                     int64_t *strides, size_t *offset, size_t *extent) {
  int64_t step = (int64_t)element_bytes;
  size_t first = 0;
  *extent = element_bytes;
  for (int32_t i = 0; i < made->rank; i++) {
    const int32_t dim = side->order[i];
    const int64_t size = made->shape[dim];
    if (side->is_repeated[dim]) {
      strides[dim] = 0;
      continue;
    }
    strides[dim] = side->is_turned[dim] ? -step : step;
    *extent += (size_t)((size - 1) * step);
    if (side->is_turned[dim]) first += (size_t)((size - 1) * step);
    step *= size + side->gaps[dim];
  }
  *offset = side->offset + first;
  *extent += side->offset + 64;
}

void grid_lay(grid_case *made, const grid_side *dst, const grid_side *src) {
  lay_side(made, dst, made->dst_bytes, made->dst_strides, &made->dst_offset, &made->dst_extent);
  lay_side(made, src, made->src_bytes, made->src_strides, &made->src_offset, &made->src_extent);
}

grid_side grid_dense(int32_t rank, const int32_t *order) {
  grid_side side = {.offset = 0};
  for (int32_t i = 0; i < rank; i++) side.order[i] = order != NULL ? order[i] : rank - 1 - i;
  return side;
}

static void shuffle(int32_t *order, int32_t rank, uint64_t *state) {
  for (int32_t i = rank - 1; i > 0; i--) {
    const int32_t other = (int32_t)grid_below(state, (uint64_t)i + 1);
    const int32_t kept = order[i];
    order[i] = order[other];
    order[other] = kept;
  }
}

static grid_side random_side(int32_t rank, uint64_t *state, size_t alignment, bool may_repeat) {
  grid_side side = grid_dense(rank, NULL);
  if (grid_below(state, 3) != 0) shuffle(side.order, rank, state);
  for (int32_t i = 0; i < rank; i++) {
    if (grid_below(state, 3) == 0) side.gaps[i] = (int64_t)grid_below(state, 5);
    side.is_turned[i] = grid_below(state, 8) == 0;
    side.is_repeated[i] = may_repeat && grid_below(state, 10) == 0;
  }
  side.offset = grid_below(state, 4) == 0 ? grid_below(state, 64) * alignment : 0;
  return side;
}

void grid_make_random(grid_case *made, uint64_t *state, size_t dst_bytes, size_t src_bytes,
                      bool is_aligned, int64_t most) {
  *made = (grid_case){.dst_bytes = dst_bytes, .src_bytes = src_bytes};
  made->rank = (int32_t)grid_below(state, 6);
  int64_t count = 1;
  for (int32_t i = 0; i < made->rank; i++) {
    static const int64_t sizes[] = {1, 2, 3, 4, 7, 8, 15, 16, 17, 32, 33, 64, 65, 130, 256, 1000};
    int64_t size = sizes[grid_below(state, sizeof sizes / sizeof sizes[0])];
    while (size > 1 && count * size > most) size = (size + 1) / 2;
    made->shape[i] = size;
    count *= size;
  }
  const grid_side dst = random_side(made->rank, state, is_aligned ? dst_bytes : 1, false);
  const grid_side src = random_side(made->rank, state, is_aligned ? src_bytes : 1, true);
  grid_lay(made, &dst, &src);
}

void grid_walk(const grid_case *self, char *dst, const char *src, grid_function each,
               void *context) {
  int64_t index[GRID_RANK_MAX] = {0};
  for (;;) {
    int64_t to = (int64_t)self->dst_offset, from = (int64_t)self->src_offset;
    for (int32_t d = 0; d < self->rank; d++) {
      to += index[d] * self->dst_strides[d];
      from += index[d] * self->src_strides[d];
    }
    each(context, dst + to, src + from);
    int32_t d = 0;
    while (d < self->rank && ++index[d] == self->shape[d]) index[d++] = 0;
    if (d == self->rank) return;
  }
}

/* --- checking --- */

static void print_case(const grid_case *self) {
  print_error("elements of %zu and %zu bytes, offsets %zu and %zu\n", self->dst_bytes,
              self->src_bytes, self->dst_offset, self->src_offset);
  for (int32_t d = 0; d < self->rank; d++) {
    print_error("  %lld: %lld %lld\n", (long long)self->shape[d], (long long)self->dst_strides[d],
                (long long)self->src_strides[d]);
  }
}

/* Blocks that stay for a test, for allocating takes longer than most checks. */
enum { KEPT_BYTES = 256 << 10 };
static fixture_block kept[2];

int grid_setup(void **state) {
  fixture_setup(state);
  for (int i = 0; i < 2; i++) kept[i] = fixture_device_block(*state, KEPT_BYTES);
  return 0;
}

int grid_teardown(void **state) {
  for (int i = 0; i < 2; i++) fixture_free(&kept[i]);
  return fixture_teardown(state);
}

static fixture_block take_room(tarn_cuda *cuda, int side, size_t size_bytes) {
  return size_bytes <= KEPT_BYTES ? kept[side] : fixture_device_block(cuda, size_bytes);
}

static void give_room(fixture_block *block, int side) {
  if (block->address != kept[side].address) fixture_free(block);
}

static void copy_block(tarn_stream *stream, void *dst, tarn_device dst_device, const void *src,
                       tarn_device src_device, size_t size_bytes) {
  OK(tarn_stream_copy(stream, dst, dst_device, src, src_device, size_bytes));
}

static void compare(const grid_case *self, grid_types types, const char *found,
                    const char *wanted) {
  if (memcmp(found, wanted, self->dst_extent) == 0) return;
  size_t at = 0;
  while (found[at] == wanted[at]) at++;
  print_case(self);
  print_error("types %d, %d bits and %d, %d bits\n", types.dst.code, types.dst.bits, types.src.code,
              types.src.bits);
  print_error("byte %zu is %02x and not %02x\n", at, (unsigned char)found[at],
              (unsigned char)wanted[at]);
  fail();
}

tarn_status grid_check(tarn_cuda *cuda, tarn_stream *stream, const grid_case *self,
                       grid_types types, const char *src_bytes, grid_function each, void *context) {
  static uint64_t state = 1;
  const tarn_device host = tarn_device_make(TARN_DEVICE_CPU, 0);
  fixture_block dst = take_room(cuda, 0, self->dst_extent);
  fixture_block src = take_room(cuda, 1, self->src_extent);
  char *wanted = malloc(self->dst_extent), *found = malloc(self->dst_extent);
  char *given = malloc(self->src_extent);
  for (size_t i = 0; i < self->src_extent; i++) {
    given[i] = src_bytes != NULL ? src_bytes[i] : (char)grid_random(&state);
  }
  memset(wanted, 0x5A, self->dst_extent);
  copy_block(stream, dst.address, dst.device, wanted, host, self->dst_extent);
  copy_block(stream, src.address, src.device, given, host, self->src_extent);
  const bool moves = memcmp(&types.dst, &types.src, sizeof types.dst) == 0;
  const tarn_copy_grid grid = {.dst = dst.address + self->dst_offset,
                               .src = src.address + self->src_offset,
                               .dst_device = dst.device,
                               .src_device = src.device,
                               .rank = self->rank,
                               .shape = self->shape,
                               .dst_strides_bytes = self->dst_strides,
                               .src_strides_bytes = self->src_strides,
                               .dst_type = types.dst,
                               .src_type = types.src,
                               .element_bytes = moves ? self->dst_bytes : 0};
  const tarn_status status = tarn_stream_copy_grid(stream, &grid);
  if (status == TARN_OK) {
    if (tarn_stream_synchronize(stream) != TARN_OK) {
      const fixture_sim *sim = fixture_sim_control();
      print_case(self);
      print_error("%s\n", sim != NULL ? sim->fault() : tarn_last_error()->message);
      fail();
    }
    grid_walk(self, wanted, given, each, context);
    copy_block(stream, found, host, dst.address, dst.device, self->dst_extent);
    compare(self, types, found, wanted);
  } else if (status != TARN_NOT_SUPPORTED) {
    OK(status);
  }
  free(wanted);
  free(found);
  free(given);
  give_room(&dst, 0);
  give_room(&src, 1);
  return status;
}
