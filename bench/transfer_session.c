/* transfer_session.c: opens what cases share; measures one case, verifies it and reports it. */
#include "bench/transfer_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  STAGE_BYTES = 8 << 20,
  QUICK_STAGE_BYTES = 2 << 20,
  QUICK_BYTES = 8 << 20,
  SIMULATED_BYTES = 64 << 20,
  LOAD_TRIES = 6,
  LOAD_COUNT = 8,
};
#define MIB ((size_t)1 << 20)

/* --- opening --- */

static size_t last_level_cache_bytes(void) {
  long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (bytes <= 0) bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? (size_t)bytes : 32 * MIB;
}

size_t transfer_round_bytes(size_t size_bytes) {
  return (size_bytes + 2 * MIB - 1) / (2 * MIB) * (2 * MIB);
}

/* The nodes of processors and memory, the nearest to the device first. */
static void find_nodes(transfer_session *session) {
  const int32_t near = session->bench->where.node;
  session->nodes[0] = -1;
  session->node_count = 1;
  if (tarn_topology_create(NULL, &session->topology) != TARN_OK) return;
  int32_t count = 0;
  if (tarn_topology_nodes_near(session->topology, near < 0 ? TARN_NODE_ANY : near,
                               TRANSFER_NODES_MAX, session->nodes, &count) != TARN_OK ||
      count == 0) {
    session->nodes[0] = -1;
    return;
  }
  session->node_count = count < TRANSFER_NODES_MAX ? count : TRANSFER_NODES_MAX;
}

/* The CPU takes part in copies of pageable memory, and in every call. */
static void enter_node(transfer_session *session) {
  if (session->node_count < 2) return;
  affinity_enter(session->topology, session->nodes[0], &session->affinity);
  report_fact_set(session->bench->report, "thread runs on", "%s %d",
                  session->affinity.is_moved ? "node" : "any node: it may not choose node",
                  (int)session->nodes[0]);
}

/* A quarter of what there is: two buffers, what runs beside them, and others in this machine. */
static void find_room(transfer_session *session) {
  const where_place *where = &session->bench->where;
  tarn_node_room room = {.struct_size = sizeof room};
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  session->host_bytes_max = 1024 * MIB;
  if (session->topology != NULL &&
      tarn_topology_room(session->topology, TARN_NODE_ANY, &room) == TARN_OK) {
    session->host_bytes_max = room.room_bytes / 4;
  }
  session->device_bytes_max = session->host_bytes_max;
  if (session->driver != NULL &&
      tarn_cuda_device_info_of(where->cuda, where->index, &info) == TARN_OK) {
    session->device_bytes_max = info.free_bytes / 4;
  }
}

static size_t lesser(size_t a, size_t b) {
  return a < b ? a : b;
}

/* How much every copy rotates over, and no copy is larger than. */
static void find_bounds(transfer_session *session) {
  const size_t cache_bytes = last_level_cache_bytes();
  const size_t l2_bytes = session->driver == NULL ? 0 : transfer_driver_l2_bytes(session->driver);
  const char *why = "twice the last caches of host and device";
  size_t rotation = 2 * (cache_bytes > l2_bytes ? cache_bytes : l2_bytes);
  size_t most = SIZE_MAX;
  find_room(session);
  if (session->bench->where.is_simulated) { /* no cache and no bus is there to be measured */
    most = SIMULATED_BYTES;
    why = "simulated: nothing larger is copied";
  }
  if (session->is_quick) {
    most = QUICK_BYTES;
    why = "quick: caches may serve copies";
  }
  session->host_bytes_max = lesser(session->host_bytes_max, most);
  session->device_bytes_max = lesser(session->device_bytes_max, most);
  const size_t room = lesser(session->host_bytes_max, session->device_bytes_max);
  if (rotation > room && room < most) why = "less than twice the caches, for want of memory";
  rotation = lesser(rotation, room);
  session->rotation_bytes = transfer_round_bytes(rotation);
  report_fact_set(session->bench->report, "buffers rotate over", "%.0f MiB (%s)",
                  (double)session->rotation_bytes / (double)MIB, why);
  report_fact_set(session->bench->report, "host cache", "%.0f MiB",
                  (double)cache_bytes / (double)MIB);
}

static tarn_status open_device(transfer_session *session) {
  const where_place *where = &session->bench->where;
  const bool has_device = where_is_device(where);
  tarn_status status = transfer_driver_open(where->driver_path, where->index, &session->driver);
  if (status == TARN_OK) status = tarn_cuda_stream_native(session->stream, &session->native_stream);
  if (status == TARN_OK) status = transfer_stream_create(session->driver, &session->other_stream);
  const size_t stage_bytes = session->is_quick ? QUICK_STAGE_BYTES : STAGE_BYTES;
  void *stage = NULL;
  if (status == TARN_OK) {
    status = transfer_driver_host_alloc(session->driver, stage_bytes, /*is_write_combined=*/false,
                                        &stage);
  }
  session->bytes = (transfer_bytes){.driver = session->driver,
                                    .stream = session->native_stream,
                                    .stage = stage,
                                    .stage_bytes = stage_bytes};
  if (status != TARN_OK || !has_device) return status;
  const size_t load_bytes = session->is_quick ? 2 * MIB : 64 * MIB;
  status = transfer_buffer_create(where, session->driver, session->topology, TRANSFER_PINNED,
                                  session->nodes[0], load_bytes, &session->load_host);
  if (status == TARN_OK) {
    status = transfer_buffer_create(where, session->driver, session->topology, TRANSFER_DEVICE, -1,
                                    load_bytes, &session->load_device);
  }
  session->bytes.bounce = session->load_device.address; /* as large as the stage, at least */
  return status;
}

static tarn_status open_link(transfer_session *session) {
  const where_place *where = &session->bench->where;
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  link_sources sources = {.nvml_path = session->bench->options->nvml,
                          .pci_folder = session->bench->options->pci_folder};
  tarn_status status = TARN_OK;
  if (where_is_device(where)) {
    status = tarn_cuda_device_info_of(where->cuda, where->index, &info);
    sources.pci_bus_id = info.pci_bus_id;
  }
  if (status == TARN_OK) status = link_reader_create(&sources, &session->link);
  if (status != TARN_OK || sources.pci_bus_id == NULL) return status;
  report_table *report = session->bench->report;
  report_fact_set(report, "device", "%s, %s", info.name, info.pci_bus_id);
  report_fact_set(report, "CUDA driver", "%d.%d", tarn_cuda_driver_version(where->cuda) / 1000,
                  tarn_cuda_driver_version(where->cuda) % 1000 / 10);
  if (link_reader_nvml_absence(session->link)[0] != '\0') {
    report_fact_set(report, "NVML", "%s", link_reader_nvml_absence(session->link));
  }
  report_fact_set(report, "latch", "%s",
                  transfer_driver_latch(session->driver) == TRANSFER_LATCH_VALUE
                      ? "cuStreamWaitValue32 on a page-locked word"
                      : "none: the driver or device cannot wait for a value, so the device's clock "
                        "counts gaps between calls");
  report_fact_set(
      report, "batch copies", "%s",
      transfer_driver_has_batch(session->driver) ? "cuMemcpyBatchAsync" : "the driver has none");
  return transfer_check_link(session);
}

tarn_status transfer_session_open(bench_run *bench, transfer_session *session) {
  *session = (transfer_session){.bench = bench, .is_quick = bench->options->quick};
  find_nodes(session);
  enter_node(session);
  tarn_status status = where_stream_create(&bench->where, &session->stream);
  if (status == TARN_OK && bench->where.cuda != NULL) status = open_device(session);
  if (status == TARN_OK) status = transfer_method_create(session->driver, &session->method);
  if (status == TARN_OK) find_bounds(session);
  if (status == TARN_OK) status = open_link(session);
  if (status != TARN_OK) transfer_session_close(session);
  return status;
}

void transfer_session_close(transfer_session *session) {
  tarn_status status = TARN_OK;
  transfer_method_destroy(session->method);
  link_reader_destroy(session->link);
  transfer_buffer_destroy(&session->load_host);
  transfer_buffer_destroy(&session->load_device);
  if (session->driver != NULL) {
    status = transfer_driver_host_free(session->driver, session->bytes.stage);
    transfer_stream_destroy(session->driver, session->other_stream);
  }
  (void)status; /* the driver goes next, and all of it */
  tarn_stream_release(session->stream);
  transfer_driver_close(session->driver);
  affinity_leave(&session->affinity);
  tarn_topology_release(session->topology);
  memset(session, 0, sizeof *session);
}

/* --- the link --- */

/* Some copies, and the link's state while they run: with more of them until one was. */
static tarn_status read_under_load(transfer_session *session, link_state *state,
                                   bool *is_under_load) {
  transfer_driver *driver = session->driver;
  void *end = NULL;
  tarn_status status = transfer_event_create(driver, &end);
  *is_under_load = false;
  for (int try = 0; status == TARN_OK && !*is_under_load && try < LOAD_TRIES; try++) {
    for (int i = 0; status == TARN_OK && i < LOAD_COUNT << try; i++) {
      status =
          transfer_driver_copy(driver, session->load_device.address, session->load_host.address,
                               session->load_host.size_bytes, session->native_stream);
    }
    bool is_passed = true;
    if (status == TARN_OK) status = transfer_event_record(driver, end, session->native_stream);
    if (status != TARN_OK) break;
    link_read(session->link, state);
    status = transfer_event_is_passed(driver, end, &is_passed);
    *is_under_load = !is_passed;
    const tarn_status waited = transfer_stream_synchronize(driver, session->native_stream);
    if (status == TARN_OK) status = waited;
    if ((session->is_quick || session->bench->where.is_simulated) && try == 1) break;
  }
  transfer_event_destroy(driver, end);
  return status;
}

static void report_link(transfer_session *session, const link_state *state, bool is_under_load) {
  report_table *report = session->bench->report;
  char text[LINK_TEXT_BYTES];
  link_describe(state, text);
  report_fact_set(report, "link", "%s%s", text,
                  is_under_load ? ", under load" : ", read right behind a load");
  if (state->told_by[0] != '\0') report_fact_set(report, "told by", "%s", state->told_by);
  if (state->driver[0] != '\0') report_fact_set(report, "driver", "%s", state->driver);
  if (state->sm_mhz != 0) {
    report_fact_set(report, "clocks under load", "SM %d of %d MHz, memory %d of %d MHz",
                    state->sm_mhz, state->sm_mhz_max, state->memory_mhz, state->memory_mhz_max);
  }
  link_describe_throttle(state, text);
  report_fact_set(report, "throttled by", "%s", text);
  report_fact_set(report, "ECC", "%s", state->ecc < 0 ? "not told" : state->ecc ? "on" : "off");
  report_fact_set(report, "persistence", "%s",
                  state->persistence < 0 ? "not told"
                  : state->persistence   ? "on"
                                         : "off");
  if (state->numa_node >= 0) {
    report_fact_set(report, "device's node", "%d", state->numa_node);
  }
}

tarn_status transfer_check_link(transfer_session *session) {
  link_state state;
  bool is_under_load = false;
  char why[LINK_TEXT_BYTES];
  if (session->load_device.address == NULL) return TARN_OK;
  const tarn_status status = read_under_load(session, &state, &is_under_load);
  if (status != TARN_OK) return status;
  report_link(session, &state, is_under_load);
  if (!link_is_downgraded(&state, why)) return TARN_OK;
  bench_run *bench = session->bench;
  if (bench->options->allow_downgraded) {
    bench->is_downgraded = true;
    return TARN_OK;
  }
  bench->is_refused = true;
  return tarn_fail(TARN_DEVICE_ERROR,
                   "%s: no figure is given of a link below its own speed (--allow-downgraded "
                   "gives them, marked)",
                   why);
}

/* --- copies --- */

const uint64_t transfer_base_seed = UINT64_C(0xBAADF00DCAFEBABE);

void transfer_copy_init(transfer_session *session, const transfer_buffer *dst,
                        const transfer_buffer *src, size_t size_bytes, transfer_copy *copy) {
  enum { STRIDE_LEAST = 4096 }; /* small copies: each in a page of its own */
  const size_t least = dst->size_bytes < src->size_bytes ? dst->size_bytes : src->size_bytes;
  const size_t stride = size_bytes < STRIDE_LEAST ? STRIDE_LEAST : size_bytes;
  *copy = (transfer_copy){.session = session,
                          .dst = dst,
                          .src = src,
                          .size_bytes = size_bytes,
                          .stride_bytes = stride,
                          .place_count = least / stride,
                          .stream = session->native_stream};
}

static size_t next_offset(transfer_copy *copy) {
  return (size_t)(copy->done++ % copy->place_count) * copy->stride_bytes;
}

tarn_status transfer_enqueue_tarn(void *context, uint64_t count) {
  transfer_copy *copy = context;
  for (uint64_t i = 0; i < count; i++) {
    const int64_t offset = (int64_t)next_offset(copy);
    tarn_tensor dst = copy->dst->bytes; /* borrowed */
    tarn_tensor src = copy->src->bytes;
    tarn_status status = tarn_tensor_narrow(&dst, 0, offset, (int64_t)copy->size_bytes);
    if (status == TARN_OK) {
      status = tarn_tensor_narrow(&src, 0, offset, (int64_t)copy->size_bytes);
    }
    if (status == TARN_OK) status = tarn_tensor_copy(&dst, &src, copy->session->stream, NULL);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

tarn_status transfer_enqueue_driver(void *context, uint64_t count) {
  transfer_copy *copy = context;
  for (uint64_t i = 0; i < count; i++) {
    const size_t offset = next_offset(copy);
    const tarn_status status =
        transfer_driver_copy(copy->session->driver, copy->dst->address + offset,
                             copy->src->address + offset, copy->size_bytes, copy->stream);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

tarn_status transfer_enqueue_memcpy(void *context, uint64_t count) {
  transfer_copy *copy = context;
  for (uint64_t i = 0; i < count; i++) {
    const size_t offset = next_offset(copy);
    memcpy(copy->dst->address + offset, copy->src->address + offset, copy->size_bytes);
    measure_keep(copy->dst->address);
  }
  return TARN_OK;
}

static tarn_status wait_for_stream(void *context) {
  const transfer_session *session = context;
  return tarn_stream_synchronize(session->stream);
}

static tarn_status expect_bytes(const transfer_copy *copy, size_t offset, size_t size_bytes,
                                uint64_t seed, const char *subject_name, const char *name) {
  size_t wrong_at = 0;
  const tarn_status status = transfer_bytes_compare(&copy->session->bytes, copy->dst, offset,
                                                    size_bytes, offset, seed, &wrong_at);
  if (status != TARN_OK || wrong_at == size_bytes) return status;
  return tarn_fail(TARN_DEVICE_ERROR,
                   "%s: wrong result: %s: byte %zu of copies of %zu is not the source's", name,
                   subject_name, wrong_at % copy->stride_bytes, copy->size_bytes);
}

/* Other bytes into the next stretch of both sides, the copy, and a look at the destination. */
static tarn_status try_pattern(transfer_copy *copy, uint64_t seed, const transfer_subject *subject,
                               const char *name) {
  const transfer_bytes *bytes = &copy->session->bytes;
  const size_t offset = (size_t)(copy->done % copy->place_count) * copy->stride_bytes;
  tarn_status status = transfer_bytes_write(bytes, copy->dst, offset, copy->size_bytes, ~seed);
  if (status == TARN_OK) {
    status = transfer_bytes_write(bytes, copy->src, offset, copy->size_bytes, seed);
  }
  if (status == TARN_OK) status = subject->enqueue(subject->context, 1);
  if (status == TARN_OK) status = tarn_stream_synchronize(copy->session->stream);
  if (status == TARN_OK)
    status = expect_bytes(copy, offset, copy->size_bytes, seed, subject->name, name);
  copy->done--; /* the same stretch again */
  return status;
}

/* All that the timed copies have moved, whoever of the subjects it was. */
static tarn_status check_touched(transfer_copy *copy, const char *name) {
  const uint64_t touched = copy->done < copy->place_count ? copy->done : copy->place_count;
  const bool is_dense = copy->stride_bytes == copy->size_bytes;
  const uint64_t piece_count = is_dense ? 1 : touched;
  const size_t piece_bytes = is_dense ? (size_t)touched * copy->stride_bytes : copy->size_bytes;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; status == TARN_OK && i < piece_count; i++) {
    status = expect_bytes(copy, (size_t)i * copy->stride_bytes, piece_bytes, transfer_base_seed,
                          "timed copies", name);
  }
  return status;
}

tarn_status transfer_verify_copy(void *context, const transfer_subject *subject, const char *name) {
  transfer_copy *copy = context;
  tarn_status status = copy->is_checked ? TARN_OK : check_touched(copy, name);
  copy->is_checked = true;
  if (status == TARN_OK) status = try_pattern(copy, ~transfer_base_seed, subject, name);
  if (status == TARN_OK) status = try_pattern(copy, transfer_base_seed, subject, name);
  return status;
}

/* --- cases --- */

transfer_options transfer_default_options(const transfer_session *session) {
  return (transfer_options){
      .samples_min = 11,
      .samples_max = session->is_quick ? 11 : 101,
      .sample_ns = session->is_quick ? 100 * 1000 : 2 * 1000 * 1000,
      .time_ns_max = 400 * 1000 * 1000,
      .width_max = 0.01,
  };
}

transfer_lane transfer_default_lane(transfer_session *session) {
  return (transfer_lane){.driver = session->driver,
                         .stream = session->native_stream,
                         .wait = wait_for_stream,
                         .wait_context = session};
}

static void write_note(const transfer_session *session, const transfer_case *what,
                       const transfer_result *result, char *note, size_t note_bytes) {
  snprintf(note, note_bytes, "%s", what->note == NULL ? "" : what->note);
  const char *more[3] = {NULL};
  int count = 0;
  if (session->bench->is_downgraded) more[count++] = "downgraded link";
  if (result->short_disturbances > 0) more[count++] = "what runs beside it ended first at times";
  if (result->clock == TRANSFER_CLOCK_EVENTS) more[count++] = "without a latch";
  for (int i = 0; i < count; i++) {
    const size_t length = strlen(note);
    snprintf(note + length, note_bytes - length, "%s%s", length == 0 ? "" : "; ", more[i]);
  }
}

/* The row of the first subject by one clock, the others as its baselines. */
static tarn_status add_row(transfer_session *session, const transfer_case *what,
                           const transfer_result *results, int count, bool is_second_clock) {
  const statistics_summary *first = &results[0].summary;
  report_row row = {
      .unit = what->unit,
      .stats = {first->median, first->min, first->p95, first->samples},
      .detail = {.clock = transfer_clock_name(results[0].clock),
                 .stop = results[0].stop,
                 .interval = first->interval,
                 .cv = first->cv,
                 .size_bytes = what->size_bytes},
  };
  snprintf(row.name, sizeof row.name, "%s%s", what->name, is_second_clock ? ".host_clock" : "");
  snprintf(row.detail.plot, sizeof row.detail.plot, "%s", what->plot == NULL ? "" : what->plot);
  snprintf(row.detail.curve, sizeof row.detail.curve, "%s", what->curve == NULL ? "" : what->curve);
  snprintf(row.detail.placed, sizeof row.detail.placed, "%s",
           what->placed == NULL ? "" : what->placed);
  write_note(session, what, &results[0], row.detail.note, sizeof row.detail.note);
  for (int i = 1; i < count; i++) {
    report_baseline *baseline = &row.baselines[row.baseline_count++];
    *baseline = (report_baseline){.name = what->subjects[results[i].subject].name,
                                  .median = results[i].summary.median,
                                  .interval = results[i].summary.interval};
    if (results[i].count == results[0].count) {
      baseline->ratio =
          statistics_ratio(results[0].samples, results[i].samples, results[0].count, /*seed=*/2);
    }
  }
  return report_add(session->bench->report, &row);
}

static bool is_host_clock(const transfer_result *result) {
  return result->clock == TRANSFER_CLOCK_HOST;
}

tarn_status transfer_run_case(transfer_session *session, const transfer_case *what) {
  transfer_result *results = calloc(TRANSFER_RESULTS_MAX, sizeof *results);
  if (results == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for samples");
  int count = 0;
  tarn_status status = transfer_measure(session->method, &what->lane, what->subjects,
                                        what->subject_count, &what->options, results, &count);
  for (int i = 0; status == TARN_OK && what->verify != NULL && i < what->subject_count; i++) {
    status = what->verify(what->verify_context, &what->subjects[i], what->name);
  }
  for (int i = 0; status == TARN_OK && i < count;) {
    int end = i + 1;
    while (end < count && is_host_clock(&results[end]) == is_host_clock(&results[i])) end++;
    status = add_row(session, what, &results[i], end - i, /*is_second_clock=*/i > 0);
    i = end;
  }
  free(results);
  return status;
}
