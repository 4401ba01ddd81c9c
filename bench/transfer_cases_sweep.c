/* transfer_cases_sweep.c: every kind of host memory, on every node, of every size, both ways. */
#include <stdio.h>

#include "alloc/tarn_staging.h"
#include "bench/transfer_cases.h"

static const size_t sizes[] = {4,       64,      1 << 10,  4 << 10,  16 << 10,  64 << 10, 256 << 10,
                               1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30};
static const size_t ring_sizes[] = {1 << 20, 16 << 20, 256 << 20}; /* of rings beside the default */
static const size_t quick_sizes[] = {4, 4 << 10, 64 << 10, 1 << 20, 4 << 20};

/* One row of the sweep: a kind of memory, and a direction. */
typedef struct sweep_row {
  const char *name; /* of curve and case: "h2d.pinned" */
  const char *plot;
  transfer_memory dst;
  transfer_memory src;
  bool by_ring;
  bool needs_device;
} sweep_row;

static const char to_device[] = "host to device";
static const char from_device[] = "device to host";

static const sweep_row rows[] = {
    {"h2d.pinned", to_device, TRANSFER_DEVICE, TRANSFER_PINNED, false, true},
    {"h2d.pageable", to_device, TRANSFER_DEVICE, TRANSFER_PAGEABLE, false, true},
    {"h2d.ring", to_device, TRANSFER_DEVICE, TRANSFER_PAGEABLE, true, true},
    {"h2d.write_combined", to_device, TRANSFER_DEVICE, TRANSFER_WRITE_COMBINED, false, true},
    {"h2d.registered", to_device, TRANSFER_DEVICE, TRANSFER_REGISTERED, false, true},
    {"h2d.hugepages", to_device, TRANSFER_DEVICE, TRANSFER_HUGEPAGES, false, true},
    {"d2h.pinned", from_device, TRANSFER_PINNED, TRANSFER_DEVICE, false, true},
    {"d2h.pageable", from_device, TRANSFER_PAGEABLE, TRANSFER_DEVICE, false, true},
    {"d2h.ring", from_device, TRANSFER_PAGEABLE, TRANSFER_DEVICE, true, true},
    {"d2h.write_combined", from_device, TRANSFER_WRITE_COMBINED, TRANSFER_DEVICE, false, true},
    {"d2h.registered", from_device, TRANSFER_REGISTERED, TRANSFER_DEVICE, false, true},
    {"d2h.hugepages", from_device, TRANSFER_HUGEPAGES, TRANSFER_DEVICE, false, true},
    {"d2d", "inside the device", TRANSFER_DEVICE, TRANSFER_DEVICE, false, true},
    {"h2h.pinned", "inside the host", TRANSFER_PINNED, TRANSFER_PINNED, false, false},
};

static bool has_host_side(const sweep_row *row) {
  return row->dst != TRANSFER_DEVICE || row->src != TRANSFER_DEVICE;
}

/* With a device, those that touch it; with pinned memory, that. */
static bool row_fits(const where_place *where, const sweep_row *row) {
  return !where_is_host(where) && row->needs_device == where_is_device(where);
}

typedef struct case_name {
  char text[96];
} case_name;

/* The nearest node's have no suffix: they are what one asks for first. */
static case_name name_of(const sweep_row *row, const transfer_session *session, int node_index,
                         size_t size_bytes) {
  case_name name;
  char node[24] = "";
  if (node_index > 0) snprintf(node, sizeof node, ".node%d", (int)session->nodes[node_index]);
  snprintf(name.text, sizeof name.text, "transfer.%s%s.%s", row->name, node,
           bench_size_name(size_bytes).text);
  return name;
}

static size_t bound_of(const transfer_session *session, const sweep_row *row) {
  const bool has_device = row->dst == TRANSFER_DEVICE || row->src == TRANSFER_DEVICE;
  size_t bytes = has_host_side(row) ? session->host_bytes_max : SIZE_MAX;
  if (has_device && session->device_bytes_max < bytes) bytes = session->device_bytes_max;
  return bytes;
}

typedef struct size_list {
  const size_t *sizes;
  size_t count;
} size_list;

static size_list all_sizes(const transfer_session *session) {
  return session->is_quick ? (size_list){quick_sizes, sizeof quick_sizes / sizeof quick_sizes[0]}
                           : (size_list){sizes, sizeof sizes / sizeof sizes[0]};
}

/* Buffers for the largest size that is wanted and fits; 0 where none is. */
static size_t buffer_bytes(const transfer_session *session, const sweep_row *row, int node_index,
                           size_list list) {
  size_t largest = 0;
  for (size_t i = 0; i < list.count; i++) {
    const size_t size_bytes = list.sizes[i];
    if (size_bytes > bound_of(session, row)) continue;
    const case_name name = name_of(row, session, node_index, size_bytes);
    if (bench_filter_fits(session->bench, name.text) && size_bytes > largest) {
      largest = size_bytes;
    }
  }
  if (largest == 0) return 0;
  return transfer_round_bytes(largest > session->rotation_bytes ? largest
                                                                : session->rotation_bytes);
}

typedef struct sweep_buffers {
  transfer_buffer dst;
  transfer_buffer src;
} sweep_buffers;

static tarn_status make_buffers(transfer_session *session, const sweep_row *row, int32_t node,
                                size_t bytes, sweep_buffers *buffers) {
  const where_place *where = &session->bench->where;
  *buffers = (sweep_buffers){.dst = {.address = NULL}};
  tarn_status status =
      transfer_buffer_create(where, session->driver, session->topology, row->dst,
                             row->dst == TRANSFER_DEVICE ? -1 : node, bytes, &buffers->dst);
  if (status == TARN_OK) {
    status = transfer_buffer_create(where, session->driver, session->topology, row->src,
                                    row->src == TRANSFER_DEVICE ? -1 : node, bytes, &buffers->src);
  }
  if (status == TARN_OK) {
    status = transfer_bytes_write(&session->bytes, &buffers->src, 0, bytes, transfer_base_seed);
  }
  return status;
}

static void destroy_buffers(sweep_buffers *buffers) {
  transfer_buffer_destroy(&buffers->dst);
  transfer_buffer_destroy(&buffers->src);
}

static tarn_status run_size(transfer_session *session, const sweep_row *row, int node_index,
                            const sweep_buffers *buffers, size_t size_bytes) {
  const case_name name = name_of(row, session, node_index, size_bytes);
  char plot[64];
  transfer_copy copy;
  transfer_copy_init(session, &buffers->dst, &buffers->src, size_bytes, &copy);
  tarn_status status = transfer_bytes_spoil(&session->bytes, &buffers->dst);
  if (status != TARN_OK) return status;
  /* Pageable copies wait for the device; those inside the host are no device's. */
  const bool is_of_host =
      row->dst == TRANSFER_PAGEABLE || row->src == TRANSFER_PAGEABLE || !row->needs_device;
  const transfer_subject subjects[] = {
      {"tarn", transfer_enqueue_tarn, &copy, is_of_host},
      {"driver", transfer_enqueue_driver, &copy, is_of_host},
  };
  snprintf(plot, sizeof plot, "%s", row->plot);
  if (has_host_side(row) && session->node_count > 1) {
    snprintf(plot, sizeof plot, "%s, node %d", row->plot, (int)session->nodes[node_index]);
  }
  const transfer_buffer *host = row->dst != TRANSFER_DEVICE ? &buffers->dst : &buffers->src;
  transfer_case what = {.name = name.text,
                        .unit = "GB/s",
                        .subjects = subjects,
                        .subject_count = 2,
                        .lane = transfer_default_lane(session),
                        .options = transfer_default_options(session),
                        .plot = plot,
                        .curve = row->name,
                        .size_bytes = size_bytes,
                        .placed = host->placed,
                        .note = host->is_misplaced ? "the memory is not on its node" : "",
                        .verify = transfer_verify_copy,
                        .verify_context = &copy};
  what.options.bytes = size_bytes;
  return transfer_run_case(session, &what);
}

/* Memory that this machine has not, or not so much of, is left out, and said. */
static tarn_status leave_out(transfer_session *session, const sweep_row *row, int32_t node,
                             tarn_status status) {
  if (status == TARN_DEVICE_ERROR) return status;
  report_fact_set(session->bench->report, row->name, "left out on node %d: %.140s", (int)node,
                  tarn_last_error()->message);
  return TARN_OK;
}

static tarn_status run_row(transfer_session *session, const sweep_row *row, int node_index,
                           size_list list) {
  const bool is_list = session->bench->options->list;
  sweep_buffers buffers = {.dst = {0}};
  const size_t bytes = is_list ? SIZE_MAX : buffer_bytes(session, row, node_index, list);
  if (bytes == 0) return TARN_OK;
  tarn_status status = TARN_OK;
  if (!is_list) {
    const int32_t node = session->nodes[node_index];
    status = make_buffers(session, row, node, bytes, &buffers);
    if (status != TARN_OK) {
      destroy_buffers(&buffers);
      return leave_out(session, row, node, status);
    }
  }
  for (size_t i = 0; status == TARN_OK && i < list.count; i++) {
    const size_t size_bytes = list.sizes[i];
    if (size_bytes > bytes) continue;
    if (!bench_wants(session->bench, name_of(row, session, node_index, size_bytes).text)) continue;
    status = run_size(session, row, node_index, &buffers, size_bytes);
  }
  if (is_list) return status;
  destroy_buffers(&buffers);
  return status == TARN_OK && has_host_side(row) ? transfer_check_link(session) : status;
}

/* With `ring`, which is made where it is not there yet. */
static tarn_status run_ring_row(transfer_session *session, const sweep_row *row, int node_index,
                                size_list list, tarn_staging **ring) {
  tarn_status status = TARN_OK;
  if (session->bench->options->list) return run_row(session, row, node_index, list);
  if (*ring == NULL) status = tarn_staging_create(session->bench->where.host_pages, NULL, ring);
  if (status == TARN_OK) status = tarn_stream_set_staging(session->stream, *ring);
  if (status == TARN_OK) status = run_row(session, row, node_index, list);
  if (status == TARN_OK) status = tarn_stream_set_staging(session->stream, NULL);
  return status;
}

/* Rings of other slots than the default: how large pieces are, and how many are under way. */
typedef struct ring_row {
  sweep_row row;
  size_t slot_bytes;
  size_t slot_count;
} ring_row;

static const ring_row ring_rows[] = {
    {{"h2d.ring.2x1MiB", to_device, TRANSFER_DEVICE, TRANSFER_PAGEABLE, true, true}, 1 << 20, 2},
    {{"h2d.ring.8x1MiB", to_device, TRANSFER_DEVICE, TRANSFER_PAGEABLE, true, true}, 1 << 20, 8},
    {{"h2d.ring.2x16MiB", to_device, TRANSFER_DEVICE, TRANSFER_PAGEABLE, true, true}, 16 << 20, 2},
    {{"d2h.ring.2x1MiB", from_device, TRANSFER_PAGEABLE, TRANSFER_DEVICE, true, true}, 1 << 20, 2},
    {{"d2h.ring.8x1MiB", from_device, TRANSFER_PAGEABLE, TRANSFER_DEVICE, true, true}, 1 << 20, 8},
    {{"d2h.ring.2x16MiB", from_device, TRANSFER_PAGEABLE, TRANSFER_DEVICE, true, true},
     16 << 20,
     2},
};

static tarn_status run_other_rings(transfer_session *session) {
  tarn_status status = TARN_OK;
  for (size_t i = 0; status == TARN_OK && i < sizeof ring_rows / sizeof ring_rows[0]; i++) {
    const ring_row *row = &ring_rows[i];
    tarn_staging *ring = NULL;
    if (session->is_quick || !row_fits(&session->bench->where, &row->row)) continue;
    const tarn_staging_options options = {.struct_size = sizeof options,
                                          .slot_bytes = row->slot_bytes,
                                          .slot_count = row->slot_count};
    if (!session->bench->options->list) {
      status = tarn_staging_create(session->bench->where.host_pages, &options, &ring);
    }
    if (status == TARN_OK) {
      const size_list list = {ring_sizes, sizeof ring_sizes / sizeof ring_sizes[0]};
      status = run_ring_row(session, &row->row, 0, list, &ring);
    }
    tarn_staging_release(ring);
  }
  return status;
}

tarn_status transfer_cases_sweep(transfer_session *session) {
  tarn_status status = TARN_OK;
  tarn_staging *ring = NULL;
  for (size_t i = 0; status == TARN_OK && i < sizeof rows / sizeof rows[0]; i++) {
    const sweep_row *row = &rows[i];
    if (!row_fits(&session->bench->where, row)) continue;
    const int node_count = has_host_side(row) ? session->node_count : 1;
    for (int node = 0; status == TARN_OK && node < node_count; node++) {
      const size_list list = all_sizes(session);
      status = row->by_ring ? run_ring_row(session, row, node, list, &ring)
                            : run_row(session, row, node, list);
    }
  }
  tarn_staging_release(ring);
  return status == TARN_OK ? run_other_rings(session) : status;
}
