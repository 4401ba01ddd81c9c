/* copy_costs.c: the table of costs, and which way they make a copy with a device go. */
#include "tensor/copy_costs.h"

#include <inttypes.h>
#include <stdatomic.h>

/* --- the table --- */

typedef struct cost_row {
  const char *name;
  uint64_t value;
  const char *unit, *text, *origin;
} cost_row;

static const cost_row rows[] = {
#define COST_ROW(name, value, unit, what, origin) {#name, value, unit, what, origin},
    TARN_COPY_COST_TABLE(COST_ROW)
#undef COST_ROW
};

/* Relaxed: numbers that stand alone. 0 where the built-in value holds. */
static _Atomic uint64_t set_values[TARN_COPY_COSTS];

static const uint64_t VALUE_MAX = UINT64_C(1000000000000);

static bool is_cost(tarn_copy_cost cost) {
  return (unsigned)cost < TARN_COPY_COSTS;
}

uint64_t tarn_copy_cost_get(tarn_copy_cost cost) {
  if (!is_cost(cost)) return 0;
  const uint64_t value = atomic_load_explicit(&set_values[cost], memory_order_relaxed);
  return value != 0 ? value : rows[cost].value;
}

tarn_status tarn_copy_cost_set(tarn_copy_cost cost, uint64_t value) {
  if (!is_cost(cost) || value > VALUE_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "cost number %d is %" PRIu64, (int)cost, value);
  }
  atomic_store_explicit(&set_values[cost], value, memory_order_relaxed);
  return TARN_OK;
}

const char *tarn_copy_cost_name(tarn_copy_cost cost) {
  return is_cost(cost) ? rows[cost].name : "?";
}

const char *tarn_copy_cost_unit(tarn_copy_cost cost) {
  return is_cost(cost) ? rows[cost].unit : "?";
}

const char *tarn_copy_cost_text(tarn_copy_cost cost) {
  return is_cost(cost) ? rows[cost].text : "?";
}

const char *tarn_copy_cost_origin(tarn_copy_cost cost) {
  if (!is_cost(cost)) return "?";
  const bool is_set = atomic_load_explicit(&set_values[cost], memory_order_relaxed) != 0;
  return is_set ? "set" : rows[cost].origin;
}

const char *tarn_copy_way_name(tarn_copy_way way) {
  static const char *const names[] = {"rows", "kernel", "batch", "ring", "staged"};
  return (unsigned)way < TARN_COPY_WAYS ? names[way] : "?";
}

/* --- sums, in nanoseconds --- */

bool tarn__copy_plan_fits_grid(const tarn__copy_plan *plan) {
  return plan->rank + (plan->unit_count > 1) <= TARN_COPY_GRID_RANK_MAX;
}

static double cost_of(tarn_copy_cost cost) {
  return (double)tarn_copy_cost_get(cost);
}

/* A rate in bytes per microsecond. */
static double moving(double size_bytes, tarn_copy_cost rate) {
  return size_bytes * 1000 / cost_of(rate);
}

static double greater(double a, double b) {
  return a > b ? a : b;
}

static bool is_pageable(tarn_device device) {
  return device.type == TARN_DEVICE_CPU;
}

static bool crosses_bus(const tarn__copy_question *self) {
  return tarn_device_is_host(self->dst->device) || tarn_device_is_host(self->src->device);
}

static double dst_bytes(const tarn__copy_question *self) {
  return (double)self->plan->run_count * (double)self->plan->unit_bytes;
}

static double src_bytes(const tarn__copy_question *self) {
  return dst_bytes(self) / (double)self->element->dst_bytes * (double)self->element->src_bytes;
}

static double by_rows(const tarn__copy_question *self) {
  const bool has_pageable = is_pageable(self->dst->device) || is_pageable(self->src->device);
  int32_t row_dim, plane_dim;
  uint64_t calls = tarn__copy_plan_call_count(self->plan);
  if (!has_pageable && (self->abilities & TARN_STREAM_COPIES_PLANES) != 0) {
    calls = tarn__copy_plan_box(self->plan, &row_dim, &plane_dim);
  }
  const tarn_copy_cost rate = !crosses_bus(self) ? TARN_COPY_COST_DEVICE_RATE
                              : has_pageable     ? TARN_COPY_COST_PAGEABLE_RATE
                                                 : TARN_COPY_COST_BUS_RATE;
  const double each_row = (double)self->plan->run_count * cost_of(TARN_COPY_COST_ROW);
  return (double)calls * cost_of(TARN_COPY_COST_ROW_CALL) +
         greater(moving(dst_bytes(self), rate), self->plan->run_count > 1 ? each_row : 0);
}

static double by_batch(const tarn__copy_question *self) {
  const double runs = (double)self->plan->run_count;
  const double calls = (runs + TARN__COPY_BATCH_MAX - 1) / TARN__COPY_BATCH_MAX;
  const tarn_copy_cost rate =
      crosses_bus(self) ? TARN_COPY_COST_BUS_RATE : TARN_COPY_COST_DEVICE_RATE;
  return calls * cost_of(TARN_COPY_COST_BATCH_CALL) +
         greater(moving(dst_bytes(self), rate), runs * cost_of(TARN_COPY_COST_BATCH_SPAN));
}

/* How many times its bytes a kernel moves of host memory: it fetches sectors, of which it wants
 * one element where no dimension is dense there. */
enum { SECTOR_BYTES = 32 };

static double sectors(const tarn__copy_plan *plan, const int64_t *strides, size_t element_bytes) {
  if (plan->unit_count > 1 || element_bytes >= SECTOR_BYTES) return 1;
  int64_t step = SECTOR_BYTES;
  for (int32_t d = 0; d < plan->rank; d++) {
    const int64_t stride = strides[d] < 0 ? -strides[d] : strides[d];
    if (stride < step) step = stride; /* 0: the same one again */
  }
  return greater((double)step / (double)element_bytes, 1);
}

static double by_kernel(const tarn__copy_question *self) {
  double moved = greater(dst_bytes(self), src_bytes(self));
  if (!crosses_bus(self)) {
    return cost_of(TARN_COPY_COST_KERNEL_CALL) + moving(moved, TARN_COPY_COST_KERNEL_RATE);
  }
  moved =
      tarn_device_is_host(self->dst->device)
          ? dst_bytes(self) * sectors(self->plan, self->plan->dst_strides, self->element->dst_bytes)
          : src_bytes(self) *
                sectors(self->plan, self->plan->src_strides, self->element->src_bytes);
  return cost_of(TARN_COPY_COST_KERNEL_CALL) + moving(moved, TARN_COPY_COST_KERNEL_BUS_RATE);
}

/* What both ways by the CPU take besides their bytes: memory that the stream may write is waited
 * for, and the device's sides take calls where the host's is packed as they are. */
static double around_cpu(const tarn__copy_question *self) {
  uint64_t count = 0;
  tarn__copy_plan plan;
  tarn_layout packed;
  if (!tarn_device_is_host(self->src->device)) {
    const tarn_layout *layout = &self->src->layout;
    tarn__copy_pack(layout, &packed);
    tarn_layout to = tarn__copy_without_broadcast(&packed, layout);
    tarn_layout from = tarn__copy_without_broadcast(layout, layout);
    const size_t bytes = self->element->src_bytes;
    tarn__copy_plan_make(&to, &from, bytes, bytes, &plan);
    count += tarn__copy_plan_call_count(&plan);
  }
  if (!tarn_device_is_host(self->dst->device)) {
    const size_t bytes = self->element->dst_bytes;
    tarn__copy_pack(&self->dst->layout, &packed);
    tarn__copy_plan_make(&self->dst->layout, &packed, bytes, bytes, &plan);
    count += tarn__copy_plan_call_count(&plan);
  }
  return cost_of(TARN_COPY_COST_WAIT) + (double)count * cost_of(TARN_COPY_COST_ROW_CALL);
}

/* The CPU orders one piece while another crosses the bus. */
static double by_ring(const tarn__copy_question *self) {
  return greater(moving(dst_bytes(self), TARN_COPY_COST_PACK_RATE),
                 moving(dst_bytes(self), TARN_COPY_COST_BUS_RATE));
}

static double by_staging(const tarn__copy_question *self) {
  const double hops = crosses_bus(self) ? 1 : 2;
  return hops * moving(dst_bytes(self), TARN_COPY_COST_PAGEABLE_RATE) +
         moving(dst_bytes(self), TARN_COPY_COST_PACK_RATE);
}

static uint64_t rounded(double ns) {
  const double most = 1e18;
  return (uint64_t)(ns < most ? ns : most);
}

void tarn__copy_estimate_direct(const tarn__copy_question *question,
                                uint64_t estimates_ns[TARN_COPY_WAYS]) {
  const bool converts = question->element->convert != NULL;
  const bool has_pageable =
      is_pageable(question->dst->device) || is_pageable(question->src->device);
  for (int way = 0; way < TARN_COPY_WAYS; way++) estimates_ns[way] = UINT64_MAX;
  if (!converts) estimates_ns[TARN_COPY_BY_ROWS] = rounded(by_rows(question));
  if (has_pageable) return;
  if ((question->abilities & TARN_STREAM_COPIES_GRIDS) != 0 &&
      tarn__copy_plan_fits_grid(question->plan)) {
    estimates_ns[TARN_COPY_BY_KERNEL] = rounded(by_kernel(question));
  }
  if (!converts && (question->abilities & TARN_STREAM_COPIES_BATCHES) != 0) {
    estimates_ns[TARN_COPY_BY_BATCH] = rounded(by_batch(question));
  }
}

void tarn__copy_estimate(const tarn__copy_question *question,
                         uint64_t estimates_ns[TARN_COPY_WAYS]) {
  tarn__copy_estimate_direct(question, estimates_ns);
  const double around = around_cpu(question);
  estimates_ns[TARN_COPY_BY_STAGING] = rounded(around + by_staging(question));
  if ((question->abilities & TARN_STREAM_COPIES_BY_RING) != 0 && crosses_bus(question)) {
    estimates_ns[TARN_COPY_BY_RING] = rounded(around + by_ring(question));
  }
}

bool tarn__copy_cheapest(const uint64_t estimates_ns[TARN_COPY_WAYS], tarn_copy_way *way) {
  int found = 0;
  for (int other = 1; other < TARN_COPY_WAYS; other++) {
    if (estimates_ns[other] < estimates_ns[found]) found = other;
  }
  *way = (tarn_copy_way)found;
  return estimates_ns[found] != UINT64_MAX;
}

bool tarn__copy_must_take_ring(const tarn__copy_question *question) {
  return (question->abilities & TARN_STREAM_COPIES_BY_RING) != 0 &&
         (is_pageable(question->dst->device) || is_pageable(question->src->device));
}

/* --- the question, asked from outside --- */

/* Where the storages lie nobody asks, but offsets and strides are counted in bytes. */
static tarn_status check_side(const tarn_tensor *tensor, size_t element_bytes) {
  const tarn_layout *layout = &tensor->layout;
  int64_t first, end, bytes;
  if (!tarn_inline_reach(layout->rank, layout->shape, layout->strides, layout->offset, &first,
                         &end)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "numbers that are those of no layout");
  }
  if (tarn_int64_mul(first, (int64_t)element_bytes, &bytes) &&
      tarn_int64_mul(end, (int64_t)element_bytes, &bytes)) {
    return TARN_OK;
  }
  return tarn_fail(TARN_TOO_LARGE, "elements %" PRId64 " to %" PRId64 " of %zu bytes", first,
                   end - 1, element_bytes);
}

static tarn_status check_types(const tarn_tensor *dst, const tarn_tensor *src,
                               tarn__convert *convert) {
  convert->step_count = 0;
  tarn_status status = tarn_dtype_check(dst->dtype);
  if (status == TARN_OK && !tarn_dtype_equal(dst->dtype, src->dtype)) {
    status = tarn__convert_find(dst->dtype, src->dtype, convert);
  }
  if (status == TARN_OK) status = check_side(dst, tarn_dtype_size_bytes(dst->dtype));
  if (status == TARN_OK) status = check_side(src, tarn_dtype_size_bytes(src->dtype));
  return status;
}

tarn_status tarn_copy_choose(const tarn_tensor *dst, tarn_device dst_device, const tarn_tensor *src,
                             tarn_device src_device, uint32_t abilities, tarn_copy_choice *choice) {
  if (choice == NULL || choice->struct_size != sizeof *choice) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_copy_choice has %zu bytes", sizeof *choice);
  }
  *choice = (tarn_copy_choice){.struct_size = sizeof *choice};
  if (dst == NULL || src == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "a tensor is NULL");
  if (tarn_device_is_host(dst_device) && tarn_device_is_host(src_device)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a copy on the host has nothing to choose");
  }
  tarn__convert convert;
  tarn_status status = check_types(dst, src, &convert);
  if (status != TARN_OK) return status;
  tarn__copy_side to = {NULL, dst->layout, dst_device}, from = {NULL, src->layout, src_device};
  status = tarn_layout_expand(&from.layout, to.layout.rank, to.layout.shape);
  if (status != TARN_OK) return status;
  const tarn__copy_elements element = {.dst_bytes = tarn_dtype_size_bytes(dst->dtype),
                                       .src_bytes = tarn_dtype_size_bytes(src->dtype),
                                       .convert = convert.step_count > 0 ? &convert : NULL};
  tarn__copy_plan plan;
  tarn__copy_plan_make(&to.layout, &from.layout, element.dst_bytes, element.src_bytes, &plan);
  const tarn__copy_question question = {&plan, &to, &from, &element, abilities};
  choice->run_count = plan.run_count;
  if (plan.kind == TARN__COPY_NONE) return TARN_OK;
  int32_t row_dim, plane_dim;
  choice->call_count = (abilities & TARN_STREAM_COPIES_PLANES) != 0
                           ? tarn__copy_plan_box(&plan, &row_dim, &plane_dim)
                           : tarn__copy_plan_call_count(&plan);
  tarn__copy_estimate(&question, choice->estimates_ns);
  (void)tarn__copy_cheapest(choice->estimates_ns, &choice->way);
  if (tarn__copy_must_take_ring(&question)) choice->way = TARN_COPY_BY_RING;
  return TARN_OK;
}
