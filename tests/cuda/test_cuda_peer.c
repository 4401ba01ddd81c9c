/* test_cuda_peer.c: copies between two devices, let in to each other's memory or not. */
#include "tests/support/test.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_stream_copy.h"
#include "cuda/cuda_device.h"
#include "cuda/sim/cusim.h"
#include "cuda/tarn_cuda.h"
#include "tests/support/open_cuda.h"

enum { SKIPPED = 77, BYTES = 3 << 20, ROWS = 7, ROW_BYTES = 100, PITCH_BYTES = 300 };

static tarn_cuda *cuda;

/* As on a machine that connects its devices, or does not; a real one is what it is. */
static void connect_devices(int are_connected) {
  __typeof__(cusim_set_peers) *set_peers = NULL;
  if (!tarn_cuda_is_simulated(cuda)) return;
  void *address = dlsym(cuda->driver.library, "cusim_set_peers");
  memcpy(&set_peers, &address, sizeof set_peers);
  assert_non_null(set_peers);
  set_peers(are_connected);
}

typedef enum maker { MAKER_BLOCKS, MAKER_VIRTUAL, MAKER_DRIVER, MAKER_COUNT } maker;

static tarn_status make_pool(maker how, int32_t device, const int32_t *peers, int32_t peer_count,
                             tarn_pool **pool) {
  const tarn_cuda_virtual_options virtual = {
      .struct_size = sizeof virtual, .peers = peers, .peer_count = peer_count};
  const tarn_cuda_driver_pool_options driver = {
      .struct_size = sizeof driver, .peers = peers, .peer_count = peer_count};
  *pool = NULL;
  if (how == MAKER_DRIVER) return tarn_cuda_driver_pool_create(cuda, device, &driver, pool);
  tarn_provider *provider;
  tarn_status status = how == MAKER_VIRTUAL
                           ? tarn_cuda_virtual_provider_create(cuda, device, &virtual, &provider)
                           : tarn_cuda_device_provider_create(cuda, device, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, pool);
  tarn_provider_release(provider);
  return status;
}

/* A copy with the host, by the device's own stream. */
static void copy_host(int32_t device, void *dst, tarn_device dst_device, const void *src,
                      tarn_device src_device, size_t size_bytes) {
  tarn_stream *stream;
  assert_ok(tarn_cuda_stream_create(cuda, device, &stream));
  assert_ok(tarn_stream_copy(stream, dst, dst_device, src, src_device, size_bytes));
  assert_ok(tarn_stream_synchronize(stream));
  tarn_stream_release(stream);
}

/* From one place of a device's memory to another by any device's stream: in lines, and in spans. */
static void copy_within(char *place, tarn_device device, tarn_stream *stream) {
  const tarn_device host = tarn_device_make(TARN_DEVICE_CPU, 0);
  unsigned char bytes[3 * ROW_BYTES], back[3 * ROW_BYTES];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 3 >> 1);
  copy_host(device.index, place, device, bytes, host, sizeof bytes);
  assert_ok(tarn_stream_copy(stream, place + BYTES / 2, device, place, device, ROW_BYTES));
  tarn_copy_span spans[2];
  for (size_t i = 0; i < 2; i++) {
    spans[i] = (tarn_copy_span){.dst = place + BYTES / 2 + (i + 1) * ROW_BYTES,
                                .src = place + (i + 1) * ROW_BYTES,
                                .size_bytes = ROW_BYTES,
                                .dst_device = device,
                                .src_device = device};
  }
  assert_ok(tarn_stream_copy_batch(stream, spans, 2));
  assert_ok(tarn_stream_synchronize(stream));
  copy_host(device.index, back, host, place + BYTES / 2, device, sizeof back);
  assert_memory_equal(back, bytes, sizeof bytes);
}

/* Two spans of a pattern from device 0 to 1, behind one that stays on the stream's, and two planes
 * of its rows back. */
static void copy_many(char *const places[2], tarn_stream *stream) {
  const tarn_device host = tarn_device_make(TARN_DEVICE_CPU, 0);
  const tarn_device devices[2] = {tarn_device_make(TARN_DEVICE_CUDA, 0),
                                  tarn_device_make(TARN_DEVICE_CUDA, 1)};
  unsigned char bytes[4 * ROW_BYTES], back[4 * ROW_BYTES];
  tarn_copy_span spans[3];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 5 >> 2);
  copy_host(0, places[0], devices[0], bytes, host, sizeof bytes);
  const tarn_device own = tarn_stream_device(stream);
  spans[0] = (tarn_copy_span){.dst = places[own.index] + BYTES / 2,
                              .src = places[own.index] + BYTES / 4,
                              .size_bytes = ROW_BYTES,
                              .dst_device = own,
                              .src_device = own};
  for (size_t i = 0; i < 2; i++) {
    spans[1 + i] = (tarn_copy_span){.dst = places[1] + i * 2 * ROW_BYTES,
                                    .src = places[0] + i * 2 * ROW_BYTES,
                                    .size_bytes = 2 * ROW_BYTES,
                                    .dst_device = devices[1],
                                    .src_device = devices[0]};
  }
  assert_ok(tarn_stream_copy_batch(stream, spans, 3));
  const tarn_copy_planes planes = {.rows = {.dst = places[0] + 4 * ROW_BYTES,
                                            .src = places[1],
                                            .dst_pitch_bytes = 2 * ROW_BYTES,
                                            .src_pitch_bytes = ROW_BYTES,
                                            .row_bytes = ROW_BYTES,
                                            .row_count = 2,
                                            .dst_device = devices[0],
                                            .src_device = devices[1]},
                                   .dst_pitch_bytes = 4 * ROW_BYTES,
                                   .src_pitch_bytes = 2 * ROW_BYTES,
                                   .plane_count = 2};
  assert_ok(tarn_stream_copy_planes(stream, &planes));
  assert_ok(tarn_stream_synchronize(stream));
  for (size_t row = 0; row < 4; row++) {
    copy_host(0, back + row * ROW_BYTES, host, places[0] + (4 + 2 * row) * ROW_BYTES, devices[0],
              ROW_BYTES);
  }
  assert_memory_equal(back, bytes, sizeof bytes);
}

/* A pattern goes to one device, to the other in lines and in rows, and back to the host. */
static void copy_there(tarn_pool *const pools[2], tarn_stream *stream) {
  const tarn_device host = tarn_device_make(TARN_DEVICE_CPU, 0);
  const tarn_device devices[2] = {tarn_device_make(TARN_DEVICE_CUDA, 0),
                                  tarn_device_make(TARN_DEVICE_CUDA, 1)};
  unsigned char *bytes = malloc(BYTES);
  char *places[2];
  assert_non_null(bytes);
  for (int i = 0; i < 2; i++) {
    assert_ok(tarn_pool_alloc(pools[i], BYTES, NULL, (void **)&places[i]));
  }
  for (size_t i = 0; i < BYTES; i++) bytes[i] = (unsigned char)(i * 7 >> 3);
  copy_host(0, places[0], devices[0], bytes, host, BYTES);
  assert_ok(tarn_stream_copy(stream, places[1], devices[1], places[0], devices[0], BYTES));
  assert_ok(tarn_stream_synchronize(stream));
  memset(bytes, 0, BYTES);
  copy_host(1, bytes, host, places[1], devices[1], BYTES);
  bool is_equal = true;
  for (size_t i = 0; i < BYTES; i++) is_equal &= bytes[i] == (unsigned char)(i * 7 >> 3);
  assert_true(is_equal);

  const tarn_copy_rows rows = {.dst = places[0],
                               .src = places[1] + 5,
                               .dst_pitch_bytes = ROW_BYTES,
                               .src_pitch_bytes = PITCH_BYTES,
                               .row_bytes = ROW_BYTES,
                               .row_count = ROWS,
                               .dst_device = devices[0],
                               .src_device = devices[1]};
  assert_ok(tarn_stream_copy_rows(stream, &rows));
  assert_ok(tarn_stream_synchronize(stream));
  copy_host(0, bytes, host, places[0], devices[0], ROWS * ROW_BYTES);
  for (size_t i = 0; i < (size_t)ROWS * ROW_BYTES; i++) {
    const size_t from = 5 + i / ROW_BYTES * PITCH_BYTES + i % ROW_BYTES;
    assert_int_equal(bytes[i], (unsigned char)(from * 7 >> 3));
  }
  copy_many(places, stream);
  for (int i = 0; i < 2; i++) copy_within(places[i], devices[i], stream);
  for (int i = 0; i < 2; i++) assert_ok(tarn_pool_free(pools[i], places[i], NULL));
  free(bytes);
}

TEST(copies_between_devices_need_no_connection) {
  connect_devices(0);
  for (maker how = MAKER_BLOCKS; how < MAKER_COUNT; how++) {
    for (int32_t device = 0; device < 2; device++) { /* the stream's */
      tarn_pool *pools[2];
      tarn_stream *stream;
      assert_ok(make_pool(how, 0, NULL, 0, &pools[0]));
      assert_ok(make_pool(how, 1, NULL, 0, &pools[1]));
      assert_ok(tarn_cuda_stream_create(cuda, device, &stream));
      copy_there(pools, stream);
      tarn_stream_release(stream);
      tarn_pool_release(pools[0]);
      tarn_pool_release(pools[1]);
    }
  }
}

static void write_rows(void *host) {
  for (size_t i = 0; i < ROWS * PITCH_BYTES; i++) {
    ((unsigned char *)host)[i] = (unsigned char)(i * 11 >> 2);
  }
}

/* Pinned or pageable rows to a device and back by the other device's stream, and a fill before.
 * What is pinned is written by the stream as well. */
static void copy_by_other(tarn_pool *pool, tarn_device device, tarn_stream *stream,
                          unsigned char *host, tarn_device host_device) {
  char *place;
  assert_ok(tarn_pool_alloc(pool, BYTES, NULL, (void **)&place));
  if (host_device.type == TARN_DEVICE_CPU) {
    write_rows(host);
  } else {
    assert_ok(tarn_stream_call(stream, write_rows, host));
  }
  tarn_copy_rows rows = {.dst = place + 3,
                         .src = host,
                         .dst_pitch_bytes = ROW_BYTES + 1,
                         .src_pitch_bytes = PITCH_BYTES,
                         .row_bytes = ROW_BYTES,
                         .row_count = ROWS,
                         .dst_device = device,
                         .src_device = host_device};
  assert_ok(tarn_stream_fill(stream, place, device, 0xEE, BYTES));
  assert_ok(tarn_stream_copy_rows(stream, &rows));
  assert_ok(tarn_cuda_synchronize(cuda, device.index)); /* first, whatever it does itself */
  assert_ok(tarn_stream_synchronize(stream));
  memset(host, 0, ROWS * PITCH_BYTES);
  assert_ok(tarn_stream_copy(stream, host, host_device, place, device, ROWS * (ROW_BYTES + 1)));
  assert_ok(tarn_stream_synchronize(stream));
  for (size_t i = 0; i < (size_t)ROWS * (ROW_BYTES + 1) - 1; i++) {
    const size_t row = (i - 3) / (ROW_BYTES + 1), at = (i - 3) % (ROW_BYTES + 1);
    const bool is_copied = i >= 3 && row < ROWS && at < ROW_BYTES;
    assert_int_equal(host[i],
                     is_copied ? (unsigned char)((row * PITCH_BYTES + at) * 11 >> 2) : 0xEE);
  }
  assert_ok(tarn_pool_free(pool, place, NULL));
}

TEST(the_host_reaches_a_device_by_any_stream) {
  connect_devices(0);
  tarn_provider *provider;
  void *pinned;
  unsigned char pageable[ROWS * PITCH_BYTES];
  assert_ok(tarn_cuda_pinned_provider_create(cuda, NULL, &provider));
  assert_ok(tarn_provider_alloc(provider, 1 << 20, &pinned));
  for (maker how = MAKER_BLOCKS; how < MAKER_COUNT; how++) {
    for (int32_t device = 0; device < 2; device++) { /* the stream's */
      const tarn_device other = tarn_device_make(TARN_DEVICE_CUDA, 1 - device);
      tarn_pool *pool;
      tarn_stream *stream;
      assert_ok(make_pool(how, other.index, NULL, 0, &pool));
      assert_ok(tarn_cuda_stream_create(cuda, device, &stream));
      copy_by_other(pool, other, stream, pinned, tarn_device_make(TARN_DEVICE_CUDA_HOST, 0));
      copy_by_other(pool, other, stream, pageable, tarn_device_make(TARN_DEVICE_CPU, 0));
      tarn_stream_release(stream);
      tarn_pool_release(pool);
    }
  }
  assert_ok(tarn_provider_free(provider, pinned, 1 << 20));
  tarn_provider_release(provider);
}

static void find(const char *name, void *function) {
  void *found = dlsym(cuda->driver.library, name);
  assert_non_null(found);
  memcpy(function, &found, sizeof found);
}

/* What the other device does is a part of the graph, and comes again with it. */
TEST(a_capture_takes_along_what_another_device_does) {
  PFN_cuStreamBeginCapture_v10010 begin = NULL;
  PFN_cuStreamEndCapture_v10000 end = NULL;
  PFN_cuGraphInstantiateWithFlags_v11040 instantiate = NULL;
  PFN_cuGraphLaunch_v10000 launch = NULL;
  PFN_cuGraphExecDestroy_v10000 destroy_executable = NULL;
  PFN_cuGraphDestroy_v10000 destroy_graph = NULL;
  find("cuStreamBeginCapture_v2", &begin);
  find("cuStreamEndCapture", &end);
  find("cuGraphInstantiateWithFlags", &instantiate);
  find("cuGraphLaunch", &launch);
  find("cuGraphExecDestroy", &destroy_executable);
  find("cuGraphDestroy", &destroy_graph);
  connect_devices(0);
  const tarn_device host = tarn_device_make(TARN_DEVICE_CUDA_HOST, 0);
  const tarn_device device = tarn_device_make(TARN_DEVICE_CUDA, 1);
  tarn_provider *provider;
  tarn_pool *pool;
  tarn_stream *stream;
  void *pinned, *place, *native;
  CUcontext context;
  tarn__cuda_scope scope; /* the application's own */
  CUgraph graph;
  CUgraphExec executable;
  assert_ok(tarn_cuda_pinned_provider_create(cuda, NULL, &provider));
  assert_ok(tarn_provider_alloc(provider, 1 << 20, &pinned));
  assert_ok(make_pool(MAKER_DRIVER, 1, NULL, 0, &pool));
  assert_ok(tarn_pool_alloc(pool, BYTES, NULL, &place));
  assert_ok(tarn_cuda_stream_create(cuda, 0, &stream));
  assert_ok(tarn_cuda_stream_native(stream, &native));
  unsigned char *bytes = pinned;
  assert_ok(tarn__cuda_context(cuda, 0, &context));
  assert_ok(tarn__cuda_enter(cuda, context, &scope));
  assert_int_equal(begin(native, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
  assert_ok(tarn_stream_copy(stream, place, device, bytes, host, ROW_BYTES));
  assert_ok(tarn_stream_copy(stream, bytes + ROW_BYTES, host, place, device, ROW_BYTES));
  assert_int_equal(end(native, &graph), CUDA_SUCCESS);
  assert_int_equal(instantiate(&executable, graph, 0), CUDA_SUCCESS);
  for (unsigned char round = 1; round < 3; round++) {
    memset(bytes, round, ROW_BYTES);
    assert_int_equal(launch(executable, native), CUDA_SUCCESS);
    assert_ok(tarn_stream_synchronize(stream));
    assert_int_equal(bytes[2 * ROW_BYTES - 1], round);
  }
  assert_int_equal(destroy_executable(executable), CUDA_SUCCESS);
  assert_int_equal(destroy_graph(graph), CUDA_SUCCESS);
  tarn__cuda_leave(&scope);
  tarn_stream_release(stream);
  assert_ok(tarn_pool_free(pool, place, NULL));
  tarn_pool_release(pool);
  assert_ok(tarn_provider_free(provider, pinned, 1 << 20));
  tarn_provider_release(provider);
}

TEST(peers_are_let_in_where_the_machine_connects_them) {
  bool can = false;
  connect_devices(1);
  assert_ok(tarn_cuda_can_access_peer(cuda, 0, 1, &can));
  if (!can) {
    print_message("skipped: this machine does not connect its devices\n");
    skip();
  }
  const int32_t other[2] = {1, 0};
  assert_ok(tarn_cuda_enable_peer(cuda, 0, 1));
  assert_ok(tarn_cuda_enable_peer(cuda, 0, 1)); /* nothing is done */
  assert_ok(tarn_cuda_enable_peer(cuda, 1, 0));
  for (maker how = MAKER_BLOCKS; how < MAKER_COUNT; how++) {
    tarn_pool *pools[2];
    tarn_stream *stream;
    assert_ok(make_pool(how, 0, &other[0], 1, &pools[0]));
    assert_ok(make_pool(how, 1, &other[1], 1, &pools[1]));
    assert_ok(tarn_cuda_stream_create(cuda, 0, &stream));
    copy_there(pools, stream);
    tarn_stream_release(stream);
    tarn_pool_release(pools[0]);
    tarn_pool_release(pools[1]);
  }
  connect_devices(0);
}

TEST(a_list_of_peers_is_checked) {
  tarn_pool *pool;
  const int32_t unknown = tarn_cuda_device_count(cuda);
  const int32_t itself = 0;
  const int32_t twice[2] = {1, 1};
  for (maker how = MAKER_VIRTUAL; how < MAKER_COUNT; how++) {
    connect_devices(1);
    assert_status(make_pool(how, 0, &unknown, 1, &pool), TARN_INVALID_ARGUMENT);
    assert_status(make_pool(how, 0, &itself, 1, &pool), TARN_NOT_SUPPORTED);
    assert_status(make_pool(how, 0, twice, TARN_CUDA_PEERS_MAX + 1, &pool), TARN_INVALID_ARGUMENT);
    assert_status(make_pool(how, 0, NULL, 1, &pool), TARN_INVALID_ARGUMENT);
    if (tarn_cuda_is_simulated(cuda)) {
      assert_status(make_pool(how, 0, twice, 2, &pool), TARN_INVALID_ARGUMENT);
      connect_devices(0);
      assert_status(make_pool(how, 0, &twice[0], 1, &pool), TARN_NOT_SUPPORTED);
      assert_status(tarn_cuda_enable_peer(cuda, 0, 1), TARN_NOT_SUPPORTED);
    }
    assert_null(pool);
  }
}

int main(void) {
  setenv("CUSIM_DEVICES", "2", /*overwrite=*/0);
  setenv("CUSIM_POLICY", "lazy", /*overwrite=*/0); /* work without an order is done too late */
  if (test_open_cuda(&cuda) != TARN_OK || tarn_cuda_device_count(cuda) < 2) {
    print_message("skipped: two devices are needed\n");
    return SKIPPED;
  }
  const int failed = run_listed_tests(NULL, NULL);
  tarn_cuda_release(cuda);
  return failed;
}
