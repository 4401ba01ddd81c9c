/* test_cuda_share.c: a GPU's memory shared between two processes, either of which may end. */
#include "cuda/tarn_cuda.h"

#include <dlfcn.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pause.h"
#include "cuda/cuda_device.h"
#include "cuda/sim/cusim.h"
#include "tests/support/open_cuda.h"
#include "tests/support/share_peer.h"
#include "tests/support/test.h"

enum { PATIENCE_MS = 60000, SKIPPED = 77 };

/* The kinds of memory, each a role of the child. */
typedef struct kind {
  const char *role;
  const char *name; /* as a parcel says */
  bool is_virtual;
} kind;
static const kind kinds[] = {{"virtual", "cuda virtual", true}, {"block", "cuda block", false}};

static tarn_cuda *cuda;

static tarn_status make_provider(bool is_virtual, tarn_provider **provider) {
  const tarn_cuda_virtual_options options = {.struct_size = sizeof options,
                                             .flags = TARN_CUDA_VIRTUAL_SHARED};
  return is_virtual ? tarn_cuda_virtual_provider_create(cuda, 0, &options, provider)
                    : tarn_cuda_device_provider_create(cuda, 0, provider);
}

static share_side make_side(const kind *made) {
  share_side side = {.pool = NULL};
  assert_ok(make_provider(made->is_virtual, &side.importer));
  assert_ok(tarn_caching_pool_create(side.importer, NULL, &side.pool));
  assert_ok(tarn_cuda_stream_create(cuda, 0, &side.stream));
  return side;
}

TEST(another_process_sees_the_bytes_and_changes_them) {
  for (size_t i = 0; i < COUNT_OF(kinds); i++) {
    share_side side = make_side(&kinds[i]);
    tarn_storage *storage;
    tarn_parcel *parcel;
    int socket;
    const pid_t child = share_peer_start(kinds[i].role, &socket);
    assert_ok(share_make(&side, &storage, &parcel));
    assert_string_equal(tarn_parcel_kind(parcel), kinds[i].name);
    share_peer_hand_over(socket, parcel);
    assert_int_equal(share_peer_ask(socket, SHARE_IMPORT), SHARE_DONE);
    assert_int_equal(share_peer_ask(socket, SHARE_CHECK), SHARE_DONE);
    assert_int_equal(share_peer_ask(socket, SHARE_WRITE), SHARE_DONE);
    assert_int_equal(share_live_blocks(&side), 1);
    assert_int_equal(share_peer_ask(socket, SHARE_RELEASE), SHARE_DONE);
    assert_ok(tarn_parcel_wait(parcel, PATIENCE_MS));
    assert_true(share_is_full_of(&side, storage, SHARE_SECOND));
    assert_int_equal(share_peer_quit(child, socket), 0);
    tarn_parcel_destroy(parcel);
    tarn_storage_release(storage);
    assert_int_equal(share_live_blocks(&side), 0);
    share_side_end(&side);
  }
}

static void wait_at_gate(void *gate) {
  sem_wait(gate);
}

/* The export does not wait for the exporter's stream: the importer's stream does. */
TEST(the_importers_work_comes_behind_the_exporters) {
  for (size_t i = 0; i < COUNT_OF(kinds); i++) {
    share_side side = make_side(&kinds[i]);
    tarn_storage *storage;
    tarn_parcel *parcel;
    sem_t gate;
    int socket;
    sem_init(&gate, 0, 0);
    const pid_t child = share_peer_start(kinds[i].role, &socket);
    assert_ok(tarn_stream_call(side.stream, wait_at_gate, &gate));
    assert_ok(share_make(&side, &storage, &parcel));
    share_peer_hand_over(socket, parcel);
    assert_int_equal(share_peer_ask(socket, SHARE_IMPORT), SHARE_DONE);
    assert_int_equal(share_peer_ask(socket, SHARE_PENDING), SHARE_DONE);
    share_peer_tell(socket, SHARE_CHECK);
    sem_post(&gate);
    char answer = 0;
    assert_int_equal(read(socket, &answer, 1), 1);
    assert_int_equal(answer, SHARE_DONE);
    assert_int_equal(share_peer_quit(child, socket), 0);
    tarn_parcel_destroy(parcel);
    tarn_storage_release(storage);
    share_side_end(&side);
    sem_destroy(&gate);
  }
}

TEST(an_importer_killed_at_any_step_gives_the_memory_back) {
  static const char steps[] = {SHARE_IMPORT, SHARE_CHECK, SHARE_WRITE};
  for (size_t i = 0; i < COUNT_OF(kinds); i++) {
    for (size_t step_count = 0; step_count <= COUNT_OF(steps); step_count++) {
      share_side side = make_side(&kinds[i]);
      tarn_storage *storage;
      tarn_parcel *parcel;
      int socket;
      const pid_t child = share_peer_start(kinds[i].role, &socket);
      assert_ok(share_make(&side, &storage, &parcel));
      share_peer_hand_over(socket, parcel);
      for (size_t step = 0; step < step_count; step++) {
        assert_int_equal(share_peer_ask(socket, steps[step]), SHARE_DONE);
      }
      tarn_storage_release(storage);
      share_peer_kill(child);
      assert_ok(tarn_parcel_wait(parcel, PATIENCE_MS));
      tarn_parcel_destroy(parcel);
      assert_int_equal(share_live_blocks(&side), 0);
      close(socket);
      share_side_end(&side);
    }
  }
}

/* Of virtual memory alone: a block goes with its process. */
TEST(virtual_memory_outlives_its_exporter) {
  share_side side = make_side(&kinds[0]);
  for (int step = 0; step < 2; step++) {
    tarn_parcel *parcel;
    tarn_storage *storage;
    int socket;
    const pid_t child = share_peer_start("virtual waiting", &socket);
    assert_int_equal(share_peer_ask(socket, SHARE_EXPORT), SHARE_DONE);
    assert_ok(share_peer_fetch(socket, &parcel));
    if (step == 0) share_peer_kill(child);
    assert_ok(tarn_storage_import(parcel, side.importer, side.stream, &storage));
    if (step == 1) share_peer_kill(child);
    assert_true(tarn_storage_is_orphaned(storage));
    assert_true(share_is_full_of(&side, storage, SHARE_FIRST));
    assert_ok(share_fill(&side, storage, SHARE_SECOND));
    assert_true(share_is_full_of(&side, storage, SHARE_SECOND));
    tarn_storage_release(storage);
    close(socket);
  }
  share_side_end(&side);
}

TEST(a_block_of_a_process_that_is_gone_is_refused) {
  share_side side = make_side(&kinds[1]);
  tarn_parcel *parcel;
  tarn_storage *storage;
  int socket;
  const pid_t child = share_peer_start("block", &socket);
  assert_int_equal(share_peer_ask(socket, SHARE_EXPORT), SHARE_DONE);
  assert_ok(share_peer_fetch(socket, &parcel));
  share_peer_kill(child);
  assert_int_not_equal(tarn_storage_import(parcel, side.importer, side.stream, &storage), TARN_OK);
  assert_null(storage);
  tarn_parcel_destroy(parcel);
  close(socket);
  share_side_end(&side);
}

/* Two storages of one block: the driver's handle of it is opened once, and closed last. */
TEST(storages_of_one_block_are_opened_together) {
  share_side side = make_side(&kinds[1]);
  tarn_parcel *parcel;
  tarn_storage *storages[2];
  int socket;
  const pid_t child = share_peer_start("block", &socket);
  assert_int_equal(share_peer_ask(socket, SHARE_EXPORT), SHARE_DONE);
  for (int i = 0; i < 2; i++) { /* the same one twice: two parcels of one block */
    assert_ok(share_peer_fetch(socket, &parcel));
    assert_ok(tarn_storage_import(parcel, side.importer, side.stream, &storages[i]));
  }
  assert_ptr_equal(tarn_storage_data(storages[0]), tarn_storage_data(storages[1]));
  tarn_storage_release(storages[0]);
  assert_true(share_is_full_of(&side, storages[1], SHARE_FIRST));
  tarn_storage_release(storages[1]);
  assert_int_equal(share_peer_quit(child, socket), 0);
  share_side_end(&side);
}

TEST(virtual_memory_comes_to_its_own_process_too) {
  enum { BYTES = 5 << 20 };
  share_side side = make_side(&kinds[0]);
  tarn_export_options options = {
      .struct_size = sizeof options, .stream = side.stream, .flags = TARN_SHARE_WAIT};
  tarn_storage *storage, *imported;
  tarn_parcel *parcel;
  for (int is_read_only = 0; is_read_only < 2; is_read_only++) {
    if (is_read_only) options.flags |= TARN_SHARE_READ_ONLY;
    assert_ok(tarn_storage_create(side.pool, BYTES, side.stream, &storage)); /* several granules */
    assert_ok(share_fill(&side, storage, SHARE_FIRST));
    assert_ok(tarn_storage_export(storage, &options, &parcel));
    tarn_parcel *received = share_pass_through(parcel, SOCK_STREAM);
    assert_ok(tarn_storage_import(received, side.importer, side.stream, &imported));
    assert_int_equal(tarn_storage_is_read_only(imported), is_read_only);
    assert_ptr_not_equal(tarn_storage_data(imported), tarn_storage_data(storage));
    assert_true(share_is_full_of(&side, imported, SHARE_FIRST));
    assert_ok(share_fill(&side, storage, SHARE_SECOND));
    assert_ok(tarn_stream_synchronize(side.stream));
    assert_true(share_is_full_of(&side, imported, SHARE_SECOND));
    tarn_storage_release(imported);
    tarn_parcel_destroy(parcel);
    tarn_storage_release(storage);
  }
  share_side_end(&side);
}

/* New memory behind the exporter's addresses would be another's than the importer's. */
TEST(what_is_shared_keeps_its_memory_when_its_pool_is_paused) {
  const tarn_pause_options options = {.struct_size = sizeof options,
                                      .contents = TARN_PAUSE_DISCARD};
  tarn_pause_report report = {.struct_size = sizeof report};
  share_side side = make_side(&kinds[0]);
  side.export_flags = TARN_SHARE_WAIT;
  tarn_storage *storage, *imported;
  tarn_parcel *parcel;
  assert_ok(share_make(&side, &storage, &parcel));
  assert_ok(tarn_storage_import(share_pass_through(parcel, SOCK_STREAM), side.importer, side.stream,
                                &imported));
  assert_ok(tarn_pool_pause(side.pool, &options, &report));
  assert_ok(tarn_pool_resume(side.pool, NULL, NULL));
  assert_true(report.shared_bytes >= SHARE_BYTES);
  assert_ok(share_fill(&side, storage, SHARE_SECOND));
  assert_true(share_is_full_of(&side, imported, SHARE_SECOND));
  tarn_storage_release(imported);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

TEST(a_thousand_cycles_leave_nothing_behind) {
  share_side side = make_side(&kinds[0]);
  const tarn_export_options options = {
      .struct_size = sizeof options, .stream = side.stream, .flags = TARN_SHARE_WAIT};
  tarn_storage *storage, *imported;
  tarn_parcel *parcel;
  size_t descriptors = 0, mappings = 0;
  assert_ok(tarn_storage_create(side.pool, 100000, side.stream, &storage));
  for (int i = 0; i < 1000; i++) {
    assert_ok(tarn_storage_export(storage, &options, &parcel));
    tarn_parcel *received = share_pass_through(parcel, SOCK_STREAM);
    if (i % 3 == 0) {
      tarn_parcel_destroy(received);
    } else {
      assert_ok(tarn_storage_import(received, side.importer, side.stream, &imported));
      tarn_storage_release(imported);
    }
    tarn_parcel_destroy(parcel);
    if (i == 10) descriptors = share_count_descriptors();
    if (i == 10) mappings = share_count_mappings();
  }
  assert_int_equal(share_count_descriptors(), descriptors);
  assert_true(share_count_mappings() < mappings + 100);
  assert_int_equal(tarn_share_collect(), 0);
  tarn_storage_release(storage);
  share_side_end(&side);
}

TEST(what_is_not_made_to_be_shared_is_refused) {
  const tarn_cuda_virtual_options unknown = {.struct_size = sizeof unknown, .flags = 1u << 9};
  tarn_provider *provider;
  tarn_pool *pool;
  tarn_storage *storage;
  tarn_parcel *parcel;
  assert_ok(tarn_cuda_virtual_provider_create(cuda, 0, NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, NULL, &pool));
  assert_ok(tarn_storage_create(pool, 100, NULL, &storage));
  assert_status(tarn_storage_export(storage, NULL, &parcel), TARN_NOT_SUPPORTED);
  tarn_storage_release(storage);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  assert_status(tarn_cuda_virtual_provider_create(cuda, 0, &unknown, &provider),
                TARN_INVALID_ARGUMENT);
}

/* A device's provider does not know a host's parcel, nor the other way round. */
TEST(each_kind_goes_to_its_own_provider) {
  share_side device = make_side(&kinds[0]);
  share_side host = share_host_side();
  tarn_storage *storages[2], *imported;
  tarn_parcel *parcels[2];
  assert_ok(share_make(&device, &storages[0], &parcels[0]));
  assert_ok(share_make(&host, &storages[1], &parcels[1]));
  for (int i = 0; i < 2; i++) {
    tarn_parcel *received = share_pass_through(parcels[i], SOCK_STREAM);
    assert_status(tarn_storage_import(received, i == 0 ? NULL : device.importer, NULL, &imported),
                  TARN_NOT_SUPPORTED);
    tarn_parcel_destroy(received);
    tarn_parcel_destroy(parcels[i]);
    tarn_storage_release(storages[i]);
  }
  share_side_end(&host);
  share_side_end(&device);
}

TEST(pinned_memory_over_shared_pages_is_a_file_to_others) {
  const tarn_pages_options shared = {.struct_size = sizeof shared, .flags = TARN_PAGES_SHARED};
  tarn_cuda_pinned_options options = {.struct_size = sizeof options};
  share_side side = {.pool = NULL};
  tarn_provider *pinned;
  tarn_storage *storage, *imported;
  tarn_parcel *parcel;
  assert_ok(tarn_pages_provider_create(&shared, &options.host));
  assert_ok(tarn_cuda_pinned_provider_create(cuda, &options, &pinned));
  assert_ok(tarn_caching_pool_create(pinned, NULL, &side.pool));
  assert_ok(tarn_cuda_stream_create(cuda, 0, &side.stream));
  assert_ok(share_make(&side, &storage, &parcel)); /* filled on the stream, which it waits for */
  assert_string_equal(tarn_parcel_kind(parcel), "file");
  assert_ok(tarn_storage_import(share_pass_through(parcel, SOCK_STREAM), NULL, NULL, &imported));
  assert_int_equal(tarn_storage_device(imported).type, TARN_DEVICE_CPU);
  const unsigned char *bytes = tarn_storage_data(imported);
  for (size_t i = 0; i < SHARE_BYTES; i++) assert_true(bytes[i] == SHARE_FIRST);
  tarn_storage_release(imported);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
  tarn_provider_release(pinned);
  tarn_provider_release(options.host);
}

TEST(devices_say_whom_they_reach) {
  bool can = true;
  assert_ok(tarn_cuda_can_access_peer(cuda, 0, 0, &can));
  assert_false(can);
  assert_status(tarn_cuda_enable_peer(cuda, 0, 0), TARN_NOT_SUPPORTED);
  const int32_t count = tarn_cuda_device_count(cuda);
  assert_status(tarn_cuda_can_access_peer(cuda, 0, count, &can), TARN_INVALID_ARGUMENT);
  assert_status(tarn_cuda_can_access_peer(NULL, 0, 0, &can), TARN_INVALID_ARGUMENT);
  assert_status(tarn_cuda_enable_peer(cuda, count, 0), TARN_INVALID_ARGUMENT);
}

/* --- each call of the driver's fails once --- */

static void *sim_function(const char *name) {
  void *address = dlsym(cuda->driver.library, name);
  assert_non_null(address);
  return address;
}

/* The parcel is made here, or by another process where it has to be, and comes to life here. */
static tarn_status import_once(const share_side *side, tarn_storage *storage, int socket,
                               uint32_t flags) {
  const tarn_export_options options = {
      .struct_size = sizeof options, .stream = side->stream, .flags = flags};
  tarn_storage *imported = NULL;
  tarn_parcel *parcel = NULL, *received = NULL;
  tarn_status status = TARN_OK;
  if (socket >= 0) {
    status = share_peer_fetch(socket, &received);
  } else {
    status = tarn_storage_export(storage, &options, &parcel);
    if (status == TARN_OK) received = share_pass_through(parcel, SOCK_STREAM);
  }
  /* A mark is not for the process that made it. */
  if (status == TARN_OK && (socket >= 0 || flags == TARN_SHARE_WAIT)) {
    status = tarn_storage_import(received, side->importer, side->stream, &imported);
    if (status == TARN_OK) received = NULL;
  }
  tarn_storage_release(imported);
  tarn_parcel_destroy(received);
  tarn_parcel_destroy(parcel);
  return status;
}

/* How often a call failed before none was left to. */
static int fail_each_call(const share_side *side, int socket, uint32_t flags) {
  __typeof__(cusim_fail_call) *fail_call = NULL;
  __typeof__(cusim_fail_nothing) *fail_nothing = NULL;
  __typeof__(cusim_failures) *failures = NULL;
  __typeof__(cusim_get_counts) *get_counts = NULL;
  *(void **)&fail_call = sim_function("cusim_fail_call");
  *(void **)&fail_nothing = sim_function("cusim_fail_nothing");
  *(void **)&failures = sim_function("cusim_failures");
  *(void **)&get_counts = sim_function("cusim_get_counts");
  cusim_counts before, after;
  tarn_storage *storage;
  assert_ok(tarn_storage_create(side->pool, 3 << 20, side->stream, &storage));
  assert_ok(import_once(side, storage, socket, flags)); /* what is made once is there */
  get_counts(&before);
  const size_t descriptors = share_count_descriptors();
  for (int nth = 1;; nth++) {
    const uint64_t failed_before = failures();
    fail_call(NULL, (uint64_t)nth, CUDA_ERROR_UNKNOWN);
    (void)!import_once(side, storage, socket, flags);
    fail_nothing();
    if (failures() == failed_before) {
      tarn_storage_release(storage);
      return nth - 1;
    }
    assert_int_equal(share_count_descriptors(), descriptors);
    get_counts(&after);
    assert_int_equal(after.physical_blocks, before.physical_blocks);
    assert_int_equal(after.reservations, before.reservations);
    assert_int_equal(after.opened_blocks, before.opened_blocks);
    assert_int_equal(after.events, before.events);
  }
}

/* A driver that knows no memory which is only read: the storage is read-only all the same. */
TEST(read_only_memory_is_imported_where_the_driver_has_none) {
  if (!tarn_cuda_is_simulated(cuda)) {
    print_message("skipped: only the simulated driver fails on demand\n");
    skip();
  }
  __typeof__(cusim_fail_call) *fail_call = NULL;
  *(void **)&fail_call = sim_function("cusim_fail_call");
  share_side side = make_side(&kinds[0]);
  side.export_flags = TARN_SHARE_READ_ONLY | TARN_SHARE_WAIT;
  tarn_storage *storage, *imported;
  tarn_parcel *parcel;
  assert_ok(share_make(&side, &storage, &parcel));
  tarn_parcel *received = share_pass_through(parcel, SOCK_STREAM);
  assert_int_equal(fail_call("cuMemSetAccess", 1, CUDA_ERROR_NOT_SUPPORTED), 1);
  assert_ok(tarn_storage_import(received, side.importer, side.stream, &imported));
  assert_true(tarn_storage_is_read_only(imported));
  assert_null(tarn_storage_data_mutable(imported));
  assert_true(share_is_full_of(&side, imported, SHARE_FIRST));
  tarn_storage_release(imported);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

TEST(any_call_of_the_driver_may_fail) {
  if (!tarn_cuda_is_simulated(cuda)) {
    print_message("skipped: only the simulated driver fails on demand\n");
    skip();
  }
  int socket;
  share_side side = make_side(&kinds[0]);
  assert_true(fail_each_call(&side, -1, 0) > 8);
  assert_true(fail_each_call(&side, -1, TARN_SHARE_WAIT) > 16);
  share_side_end(&side);
  side = make_side(&kinds[1]);
  const pid_t child = share_peer_start("block", &socket);
  assert_int_equal(share_peer_ask(socket, SHARE_EXPORT), SHARE_DONE);
  assert_true(fail_each_call(&side, socket, 0) > 6);
  assert_int_equal(share_peer_quit(child, socket), 0);
  share_side_end(&side);
  assert_int_equal(tarn_share_collect(), 0);
}

static int serve(const char *role) {
  share_side side = make_side(&kinds[strcmp(role, "block") == 0 ? 1 : 0]);
  if (strcmp(role, "virtual waiting") == 0) side.export_flags = TARN_SHARE_WAIT;
  const int code = share_peer_serve(SHARE_PEER_SOCKET, &side);
  share_side_end(&side);
  return code;
}

int main(int argument_count, char **arguments) {
  setenv("CUSIM_IDLE_MS", "5", /*overwrite=*/0); /* nobody calls while the other side works */
  if (test_open_cuda(&cuda) != TARN_OK) {
    print_message("skipped: %s\n", tarn_last_error()->message);
    return SKIPPED;
  }
  if (argument_count > 1) {
    const int code = serve(arguments[1]);
    tarn_cuda_release(cuda);
    return code;
  }
  const int failed = run_listed_tests(NULL, NULL);
  tarn_cuda_release(cuda);
  return failed;
}
