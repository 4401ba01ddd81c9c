/* transfer_cases_small.c: many small copies one by one and as a batch, and rows of a pitch. */
#include <stdio.h>
#include <stdlib.h>

#include "alloc/tarn_stream_copy.h"
#include "bench/transfer_cases.h"

enum { SCATTER = 2 }; /* of each two places one is copied to and from */

typedef struct small_run {
  transfer_session *session;
  transfer_buffer dst;
  transfer_buffer src;
  size_t count; /* copies, or rows */
  tarn_copy_span *spans;
  uint64_t *dsts;
  uint64_t *srcs;
  size_t *sizes_bytes;
  tarn_copy_rows rows;
} small_run;

/* --- scattered copies --- */

static tarn_status enqueue_spans(void *context, uint64_t count) {
  small_run *run = context;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; status == TARN_OK && i < count; i++) {
    status = tarn_stream_copy_batch(run->session->stream, run->spans, run->count);
  }
  return status;
}

static tarn_status enqueue_loop(void *context, uint64_t count) {
  small_run *run = context;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; i < count; i++) {
    for (size_t j = 0; status == TARN_OK && j < run->count; j++) {
      const tarn_copy_span *span = &run->spans[j];
      status = transfer_driver_copy(run->session->driver, span->dst, span->src, span->size_bytes,
                                    run->session->native_stream);
    }
  }
  return status;
}

static tarn_status enqueue_batch(void *context, uint64_t count) {
  small_run *run = context;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; status == TARN_OK && i < count; i++) {
    status = transfer_driver_copy_batch(
        run->session->driver, run->dsts, run->srcs, run->sizes_bytes, run->count,
        run->src.memory != TRANSFER_DEVICE, run->session->native_stream);
  }
  return status;
}

/* --- rows --- */

static tarn_status enqueue_rows(void *context, uint64_t count) {
  small_run *run = context;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; status == TARN_OK && i < count; i++) {
    status = tarn_stream_copy_rows(run->session->stream, &run->rows);
  }
  return status;
}

static tarn_status enqueue_rows_by_driver(void *context, uint64_t count) {
  small_run *run = context;
  const tarn_copy_rows *rows = &run->rows;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; status == TARN_OK && i < count; i++) {
    status = transfer_driver_copy_rows(run->session->driver, rows->dst, rows->dst_pitch_bytes,
                                       rows->src, rows->src_pitch_bytes, rows->row_bytes,
                                       rows->row_count, run->session->native_stream);
  }
  return status;
}

/* --- bytes --- */

static tarn_status compare_spans(small_run *run, uint64_t seed, const char *who, const char *name) {
  tarn_status status = TARN_OK;
  for (size_t i = 0; status == TARN_OK && i < run->count; i++) {
    const tarn_copy_span *span = &run->spans[i];
    const size_t dst_offset = (size_t)((char *)span->dst - run->dst.address);
    const size_t src_offset = (size_t)((const char *)span->src - run->src.address);
    size_t wrong_at = 0;
    status = transfer_bytes_compare(&run->session->bytes, &run->dst, dst_offset, span->size_bytes,
                                    src_offset, seed, &wrong_at);
    if (status == TARN_OK && wrong_at != span->size_bytes) {
      status = tarn_fail(TARN_DEVICE_ERROR,
                         "%s: wrong result: %s: byte %zu of copy %zu is not the source's", name,
                         who, wrong_at, i);
    }
  }
  return status;
}

static tarn_status try_pattern(small_run *run, uint64_t seed, const transfer_subject *subject,
                               const char *name) {
  const transfer_bytes *bytes = &run->session->bytes;
  tarn_status status = transfer_bytes_spoil(bytes, &run->dst);
  if (status == TARN_OK) {
    status = transfer_bytes_write(bytes, &run->src, 0, run->src.size_bytes, seed);
  }
  if (status == TARN_OK) status = subject->enqueue(run, 1);
  if (status == TARN_OK) status = tarn_stream_synchronize(run->session->stream);
  return status == TARN_OK ? compare_spans(run, seed, subject->name, name) : status;
}

static tarn_status verify(void *context, const transfer_subject *subject, const char *name) {
  small_run *run = context;
  tarn_status status = compare_spans(run, transfer_base_seed, "timed copies", name);
  if (status == TARN_OK) status = try_pattern(run, ~transfer_base_seed, subject, name);
  if (status == TARN_OK) status = try_pattern(run, transfer_base_seed, subject, name);
  return status;
}

/* --- cases --- */

static void close_run(small_run *run) {
  transfer_buffer_destroy(&run->dst);
  transfer_buffer_destroy(&run->src);
  free(run->spans);
  free(run->dsts);
  free(run->srcs);
  free(run->sizes_bytes);
}

static tarn_status open_run(transfer_session *session, bool is_to_device, size_t count,
                            size_t bytes, small_run *run) {
  *run = (small_run){.session = session, .count = count};
  run->spans = calloc(count, sizeof *run->spans);
  run->dsts = calloc(count, sizeof *run->dsts);
  run->srcs = calloc(count, sizeof *run->srcs);
  run->sizes_bytes = calloc(count, sizeof *run->sizes_bytes);
  if (run->spans == NULL || run->dsts == NULL || run->srcs == NULL || run->sizes_bytes == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %zu copies", count);
  }
  const where_place *where = &session->bench->where;
  const size_t rounded = transfer_round_bytes(bytes);
  tarn_status status = transfer_buffer_create(
      where, session->driver, session->topology, is_to_device ? TRANSFER_DEVICE : TRANSFER_PINNED,
      is_to_device ? -1 : session->nodes[0], rounded, &run->dst);
  if (status == TARN_OK) {
    status = transfer_buffer_create(where, session->driver, session->topology,
                                    is_to_device ? TRANSFER_PINNED : TRANSFER_DEVICE,
                                    is_to_device ? session->nodes[0] : -1, rounded, &run->src);
  }
  if (status == TARN_OK) {
    status = transfer_bytes_write(&session->bytes, &run->src, 0, rounded, transfer_base_seed);
  }
  if (status == TARN_OK) status = transfer_bytes_spoil(&session->bytes, &run->dst);
  return status;
}

static void set_span(small_run *run, size_t index, size_t dst_offset, size_t src_offset,
                     size_t size_bytes) {
  tarn_copy_span *span = &run->spans[index];
  *span = (tarn_copy_span){.dst = run->dst.address + dst_offset,
                           .src = run->src.address + src_offset,
                           .size_bytes = size_bytes,
                           .dst_device = tarn_tensor_device(&run->dst.bytes),
                           .src_device = tarn_tensor_device(&run->src.bytes)};
  run->dsts[index] = (uint64_t)(uintptr_t)span->dst;
  run->srcs[index] = (uint64_t)(uintptr_t)span->src;
  run->sizes_bytes[index] = size_bytes;
}

/* Places in an order that no neighbour follows: a stride that is coprime to their number. */
static size_t shuffled(size_t index, size_t count) {
  return index * 7919 % count;
}

typedef struct small_row {
  const char *name;
  bool is_to_device;
  size_t count;
  size_t least_bytes;
  size_t most_bytes;
} small_row;

static const small_row small_rows[] = {
    {"h2d.small.128x4KiB", true, 128, 4 << 10, 4 << 10},
    {"d2h.small.128x4KiB", false, 128, 4 << 10, 4 << 10},
    {"h2d.small.128x32KiB", true, 128, 32 << 10, 32 << 10},
    {"d2h.small.128x32KiB", false, 128, 32 << 10, 32 << 10},
    {"h2d.small.10000x4-32KiB", true, 10000, 4 << 10, 32 << 10},
    {"d2h.small.10000x4-32KiB", false, 10000, 4 << 10, 32 << 10},
};

static tarn_status run_small(transfer_session *session, const small_row *row) {
  char name[96];
  const bool is_many = row->count > TRANSFER_LATCHED_MAX;
  const size_t place_bytes = SCATTER * row->most_bytes;
  small_run run = {.session = session};
  snprintf(name, sizeof name, "transfer.%s", row->name);
  if ((session->is_quick && is_many) || !bench_wants(session->bench, name)) return TARN_OK;
  tarn_status status =
      open_run(session, row->is_to_device, row->count, row->count * place_bytes, &run);
  size_t sum_bytes = 0;
  uint64_t random = 1;
  for (size_t i = 0; status == TARN_OK && i < row->count; i++) {
    const size_t steps = (row->most_bytes - row->least_bytes) / 256 + 1;
    const size_t size_bytes = row->least_bytes + statistics_random(&random) % steps * 256;
    set_span(&run, i, i * place_bytes, shuffled(i, row->count) * place_bytes, size_bytes);
    sum_bytes += size_bytes;
  }
  const transfer_subject subjects[] = {{"tarn", enqueue_spans, &run, false},
                                       {"loop", enqueue_loop, &run, false},
                                       {"batch", enqueue_batch, &run, false}};
  const bool has_batch = session->driver != NULL && transfer_driver_has_batch(session->driver);
  transfer_case what = {.name = name,
                        .unit = "GB/s",
                        .subjects = subjects,
                        .subject_count = has_batch ? 3 : 2,
                        .lane = transfer_default_lane(session),
                        .options = transfer_default_options(session),
                        .placed = row->is_to_device ? run.src.placed : run.dst.placed,
                        .note = has_batch ? "" : "the driver has no cuMemcpyBatchAsync",
                        .verify = verify,
                        .verify_context = &run};
  what.options.bytes = sum_bytes;
  what.options.count_max = 2; /* so many copies wait behind the latch as one list has, twice */
  what.options.only_host_clock = is_many; /* more than a driver's queue has room for */
  if (status == TARN_OK) status = transfer_run_case(session, &what);
  close_run(&run);
  return status;
}

typedef struct pitch_row {
  const char *name;
  bool is_to_device;
  size_t row_bytes;
  size_t row_count;
} pitch_row;

static const pitch_row pitch_rows[] = {
    {"h2d.rows.64B", true, 64, 4096},         {"d2h.rows.64B", false, 64, 4096},
    {"h2d.rows.1KiB", true, 1 << 10, 4096},   {"d2h.rows.1KiB", false, 1 << 10, 4096},
    {"h2d.rows.16KiB", true, 16 << 10, 1024}, {"d2h.rows.16KiB", false, 16 << 10, 1024},
    {"h2d.rows.256KiB", true, 256 << 10, 64}, {"d2h.rows.256KiB", false, 256 << 10, 64},
};

/* Every second row of the source, side by side at the destination. */
static tarn_status run_pitch(transfer_session *session, const pitch_row *row) {
  char name[96];
  const size_t count = session->is_quick ? row->row_count / 16 : row->row_count;
  small_run run = {.session = session};
  snprintf(name, sizeof name, "transfer.%s", row->name);
  if (!bench_wants(session->bench, name)) return TARN_OK;
  tarn_status status =
      open_run(session, row->is_to_device, count, count * SCATTER * row->row_bytes, &run);
  for (size_t i = 0; status == TARN_OK && i < count; i++) {
    set_span(&run, i, i * row->row_bytes, i * SCATTER * row->row_bytes, row->row_bytes);
  }
  if (status == TARN_OK) {
    run.rows = (tarn_copy_rows){.dst = run.dst.address,
                                .src = run.src.address,
                                .dst_pitch_bytes = row->row_bytes,
                                .src_pitch_bytes = SCATTER * row->row_bytes,
                                .row_bytes = row->row_bytes,
                                .row_count = count,
                                .dst_device = tarn_tensor_device(&run.dst.bytes),
                                .src_device = tarn_tensor_device(&run.src.bytes)};
  }
  const transfer_subject subjects[] = {{"tarn", enqueue_rows, &run, false},
                                       {"cuMemcpy2DAsync", enqueue_rows_by_driver, &run, false}};
  transfer_case what = {.name = name,
                        .unit = "GB/s",
                        .subjects = subjects,
                        .subject_count = 2,
                        .lane = transfer_default_lane(session),
                        .options = transfer_default_options(session),
                        .plot = "rows of a pitch, by the length of a row",
                        .curve = row->is_to_device ? "h2d.rows" : "d2h.rows",
                        .size_bytes = row->row_bytes,
                        .placed = row->is_to_device ? run.src.placed : run.dst.placed,
                        .verify = verify,
                        .verify_context = &run};
  what.options.bytes = count * row->row_bytes;
  if (status == TARN_OK) status = transfer_run_case(session, &what);
  close_run(&run);
  return status;
}

tarn_status transfer_cases_small(transfer_session *session) {
  tarn_status status = TARN_OK;
  for (size_t i = 0; status == TARN_OK && i < sizeof small_rows / sizeof small_rows[0]; i++) {
    status = run_small(session, &small_rows[i]);
  }
  for (size_t i = 0; status == TARN_OK && i < sizeof pitch_rows / sizeof pitch_rows[0]; i++) {
    status = run_pitch(session, &pitch_rows[i]);
  }
  return status;
}
