/* transfer_cases_beside.c: pinned copies while the bus or the device's memory is busy otherwise. */
#include <stdio.h>
#include <string.h>

#include "bench/transfer_cases.h"

/* What is measured, and what runs beside it. */
typedef struct beside_row {
  const char *name;
  const char *plot;
  bool is_to_device;
  bool is_disturbed_inside; /* by copies inside the device; else by copies the other way */
} beside_row;

static const char at_once[] = "both directions at once, and beside copies inside the device";

static const beside_row rows[] = {
    {"h2d.against_d2h", at_once, true, false},
    {"d2h.against_h2d", at_once, false, false},
    {"h2d.beside_d2d", at_once, true, true},
    {"d2h.beside_d2d", at_once, false, true},
};

typedef struct beside_buffers {
  transfer_buffer dst;
  transfer_buffer src;
  transfer_buffer other_dst;
  transfer_buffer other_src;
} beside_buffers;

static tarn_status make_buffer(transfer_session *session, bool is_device, size_t bytes,
                               transfer_buffer *buffer) {
  return transfer_buffer_create(&session->bench->where, session->driver, session->topology,
                                is_device ? TRANSFER_DEVICE : TRANSFER_PINNED,
                                is_device ? -1 : session->nodes[0], bytes, buffer);
}

static tarn_status make_buffers(transfer_session *session, const beside_row *row, size_t bytes,
                                beside_buffers *buffers) {
  tarn_status status = make_buffer(session, row->is_to_device, bytes, &buffers->dst);
  if (status == TARN_OK) {
    status = make_buffer(session, !row->is_to_device, bytes, &buffers->src);
  }
  if (status == TARN_OK) {
    status = make_buffer(session, row->is_disturbed_inside || !row->is_to_device, bytes,
                         &buffers->other_dst);
  }
  if (status == TARN_OK) {
    status = make_buffer(session, row->is_disturbed_inside || row->is_to_device, bytes,
                         &buffers->other_src);
  }
  if (status != TARN_OK) return status;
  status = transfer_bytes_write(&session->bytes, &buffers->src, 0, bytes, transfer_base_seed);
  if (status != TARN_OK) return status;
  return transfer_bytes_write(&session->bytes, &buffers->other_src, 0, bytes, transfer_base_seed);
}

static void destroy_buffers(beside_buffers *buffers) {
  transfer_buffer_destroy(&buffers->dst);
  transfer_buffer_destroy(&buffers->src);
  transfer_buffer_destroy(&buffers->other_dst);
  transfer_buffer_destroy(&buffers->other_src);
}

static tarn_status run_size(transfer_session *session, const beside_row *row,
                            const beside_buffers *buffers, const char *name, size_t size_bytes) {
  transfer_copy copy;
  transfer_copy other;
  transfer_copy_init(session, &buffers->dst, &buffers->src, size_bytes, &copy);
  transfer_copy_init(session, &buffers->other_dst, &buffers->other_src, size_bytes, &other);
  other.stream = session->other_stream;
  tarn_status status = transfer_bytes_spoil(&session->bytes, &buffers->dst);
  if (status != TARN_OK) return status;
  const transfer_subject subjects[] = {{"tarn", transfer_enqueue_tarn, &copy, false},
                                       {"driver", transfer_enqueue_driver, &copy, false}};
  transfer_case what = {.name = name,
                        .unit = "GB/s",
                        .subjects = subjects,
                        .subject_count = 2,
                        .lane = transfer_default_lane(session),
                        .options = transfer_default_options(session),
                        .plot = row->plot,
                        .curve = row->name,
                        .size_bytes = size_bytes,
                        .placed = row->is_to_device ? buffers->src.placed : buffers->dst.placed,
                        .verify = transfer_verify_copy,
                        .verify_context = &copy};
  what.options.bytes = size_bytes;
  what.options.count_max = 64; /* leaves room for more of what runs beside */
  what.lane.disturb = transfer_enqueue_driver;
  what.lane.disturb_context = &other;
  what.lane.other_stream = session->other_stream;
  return transfer_run_case(session, &what);
}

static tarn_status run_row(transfer_session *session, const beside_row *row) {
  static const size_t sizes[] = {64 << 10, 1 << 20, 16 << 20, 64 << 20};
  const size_t count = session->is_quick ? 2 : sizeof sizes / sizeof sizes[0];
  const bool is_list = session->bench->options->list;
  beside_buffers buffers;
  memset(&buffers, 0, sizeof buffers);
  tarn_status status = TARN_OK;
  for (size_t i = 0; status == TARN_OK && i < count; i++) {
    char name[96];
    snprintf(name, sizeof name, "transfer.%s.%s", row->name, bench_size_name(sizes[i]).text);
    if (!is_list && sizes[i] > session->rotation_bytes) break;
    if (!bench_wants(session->bench, name)) continue;
    if (buffers.dst.address == NULL) {
      status = make_buffers(session, row, session->rotation_bytes, &buffers);
    }
    if (status == TARN_OK) status = run_size(session, row, &buffers, name, sizes[i]);
  }
  const bool has_run = buffers.dst.address != NULL;
  destroy_buffers(&buffers);
  return status == TARN_OK && has_run ? transfer_check_link(session) : status;
}

tarn_status transfer_cases_beside(transfer_session *session) {
  tarn_status status = TARN_OK;
  for (size_t i = 0; status == TARN_OK && i < sizeof rows / sizeof rows[0]; i++) {
    status = run_row(session, &rows[i]);
  }
  return status;
}
