/* test_struct_sizes.c: a struct of alloc/, numa/ or tensor/ that says how large it is is refused by
 * that alone: nothing behind struct_size is read or written of one that is another version's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_capture.h"
#include "alloc/tarn_fallback.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_maintenance.h"
#include "alloc/tarn_mapping.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_pool_provider.h"
#include "alloc/tarn_share.h"
#include "alloc/tarn_staging.h"
#include "numa/tarn_numa.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_copy_costs.h"
#include "tensor/tarn_dlpack.h"
#include "tensor/tarn_image.h"
#include "tensor/tarn_npy.h"
#include "tensor/tarn_tensor.h"
#include "tensor/tarn_text.h"
#include "tests/support/test.h"

static struct {
  tarn_provider *pages;
  tarn_pool *pool;
  tarn_pool *node_pool;
  tarn_budget *budget;
  tarn_staging *ring;
  tarn_topology *topology;
  tarn_storage *storage;
  tarn_tensor tensor;
  tarn_fallback *fallback;
  tarn_dl_tensor bare;
  tarn_stream *stream;
  tarn_capture *capture;
} fixture;

static void *made;
static char place[4096];

/* One call with the struct under test as `it`. */
#define ROW(name, call)                        \
  static tarn_status refuse_##name(void *it) { \
    return call;                               \
  }
#define OUT (void *)&made

ROW(budget, tarn_budget_create(it, OUT))
ROW(caching, tarn_caching_pool_create(fixture.pages, it, OUT))
ROW(fixed, tarn_fixed_provider_create(place, sizeof place, it, OUT))
ROW(maintenance, tarn_maintenance_create(it, OUT))
ROW(map_path, tarn_storage_map_path("/dev/null", it, OUT))
ROW(map_shared, tarn_storage_map_shared("/tarn", it, OUT))
ROW(map_descriptor, tarn_storage_map_descriptor(0, it, OUT))
ROW(pages, tarn_pages_provider_create(it, OUT))
ROW(pause, tarn_pool_pause(fixture.pool, it, NULL))
ROW(pause_report, tarn_pool_pause(fixture.pool, NULL, it))
ROW(resume, tarn_pool_resume(fixture.pool, it, NULL))
ROW(resume_report, tarn_pool_resume(fixture.pool, NULL, it))
ROW(fallback, tarn_fallback_create(it, 1, OUT))
ROW(granted_by, tarn_fallback_alloc(fixture.fallback, 1, NULL, it))
ROW(granted_storage, tarn_fallback_storage_create(fixture.fallback, 1, NULL, OUT, it))
ROW(pool_provider, tarn_pool_provider_create(fixture.pool, it, OUT))
ROW(export_storage, tarn_storage_export(fixture.storage, it, OUT))
ROW(staging, tarn_staging_create(fixture.pages, it, OUT))
ROW(reserve, tarn_storage_reserve(fixture.pages, it, OUT))
ROW(touch, tarn_touch(place, sizeof place, it))
ROW(blob, tarn_storage_wrap(it, OUT))
ROW(pool_ops, tarn_pool_create(it, NULL, OUT))
ROW(provider_ops, tarn_provider_create(it, NULL, OUT))
ROW(stream_ops, tarn_stream_create(it, NULL, NULL, OUT))
ROW(stream,
    tarn_stream_create(&(tarn_stream_ops){.struct_size = sizeof(tarn_stream_ops)}, NULL, it, OUT))
ROW(topology, tarn_topology_create(it, OUT))
ROW(node_pool, tarn_node_pool_create(fixture.topology, it, OUT))
ROW(node, tarn_node_provider_create(fixture.topology, it, OUT))
ROW(placement, tarn_placement_apply(fixture.topology, it, place, sizeof place, NULL))
ROW(npy_open, tarn_npy_open("/dev/null", it, &(tarn_tensor){.storage = NULL}))
ROW(npy_save, tarn_npy_save(&fixture.tensor, "/dev/null/x", NULL, it))
ROW(dlpack_export, tarn_dlpack_export(&fixture.tensor, it, OUT))
ROW(dlpack_legacy, tarn_dlpack_export_legacy(&fixture.tensor, it, OUT))
ROW(dlpack_view, tarn_dlpack_view(&fixture.bare, it, &(tarn_tensor){.storage = NULL}))
ROW(dlpack_import, tarn_dlpack_import(&(tarn_dl_managed_tensor_versioned){.version = {1, 3}}, it,
                                      &(tarn_tensor){.storage = NULL}))
ROW(dlpack_import_legacy, tarn_dlpack_import_legacy(&(tarn_dl_managed_tensor){.manager_ctx = NULL},
                                                    it, &(tarn_tensor){.storage = NULL}))
ROW(chosen, tarn_copy_choose(&fixture.tensor, tarn_device_make(TARN_DEVICE_CUDA, 0),
                             &fixture.tensor, tarn_device_make(TARN_DEVICE_CPU, 0), 0, it))
ROW(capture_stats, tarn_capture_stats_of(fixture.capture, it))
ROW(copied, tarn_tensor_copy(&fixture.tensor, &fixture.tensor, NULL, it))
ROW(text, tarn_tensor_text(&fixture.tensor, it, NULL, NULL, place, sizeof place, NULL))
ROW(image, tarn_tensor_wrap_image(it, &(tarn_tensor){.storage = NULL}))
ROW(wrapped, tarn_tensor_wrap(it, TARN_F32, 0, NULL, NULL, 0, &(tarn_tensor){.storage = NULL}))
ROW(budget_stats, tarn_budget_stats_of(fixture.budget, it))
ROW(pool_stats, tarn_pool_stats_of(fixture.pool, it))
ROW(staging_stats, tarn_staging_stats_of(fixture.ring, it))
ROW(pages_state, tarn_pages_inspect(place, sizeof place, it))
ROW(snapshot, tarn_snapshot_take(fixture.pool, it))
ROW(node_info, tarn_topology_node(fixture.topology, 0, it))
ROW(node_room, tarn_topology_room(fixture.topology, TARN_NODE_ANY, it))
ROW(best_node, tarn_topology_best_node(fixture.topology, 0, TARN_NODE_CAPACITY, 0, it))
ROW(verified, tarn_placement_verify(place, sizeof place, it))
ROW(resolved,
    tarn_placement_resolve(fixture.topology,
                           &(tarn_placement){.struct_size = sizeof(tarn_placement)}, 1, it))
ROW(granted,
    tarn_placement_apply(fixture.topology, &(tarn_placement){.struct_size = sizeof(tarn_placement)},
                         place, sizeof place, it))
ROW(node_pool_stats, tarn_node_pool_stats_of(fixture.node_pool, it))

#define LISTED(name) \
  { #name, refuse_##name }

static const struct {
  const char *name;
  tarn_status (*call)(void *it);
} rows[] = {
    LISTED(budget),         LISTED(caching),        LISTED(fixed),
    LISTED(maintenance),    LISTED(map_path),       LISTED(map_shared),
    LISTED(map_descriptor), LISTED(pages),          LISTED(pause),
    LISTED(pause_report),   LISTED(resume),         LISTED(resume_report),
    LISTED(fallback),       LISTED(granted_by),     LISTED(granted_storage),
    LISTED(pool_provider),  LISTED(export_storage), LISTED(staging),
    LISTED(reserve),        LISTED(touch),          LISTED(blob),
    LISTED(pool_ops),       LISTED(provider_ops),   LISTED(stream_ops),
    LISTED(stream),         LISTED(topology),       LISTED(node_pool),
    LISTED(node),           LISTED(placement),      LISTED(npy_open),
    LISTED(npy_save),       LISTED(dlpack_export),  LISTED(dlpack_legacy),
    LISTED(dlpack_view),    LISTED(dlpack_import),  LISTED(dlpack_import_legacy),
    LISTED(chosen),         LISTED(capture_stats),  LISTED(copied),
    LISTED(text),           LISTED(image),          LISTED(wrapped),
    LISTED(budget_stats),   LISTED(pool_stats),     LISTED(staging_stats),
    LISTED(pages_state),    LISTED(snapshot),       LISTED(node_info),
    LISTED(node_room),      LISTED(best_node),      LISTED(verified),
    LISTED(resolved),       LISTED(granted),        LISTED(node_pool_stats),
};

static int make_all(void **state) {
  (void)state;
  const tarn_node_pool_options on_any = {.struct_size = sizeof on_any};
  assert_ok(tarn_pages_provider_create(NULL, &fixture.pages));
  assert_ok(tarn_caching_pool_create(fixture.pages, NULL, &fixture.pool));
  assert_ok(tarn_budget_create(NULL, &fixture.budget));
  assert_ok(tarn_staging_create(fixture.pages, NULL, &fixture.ring));
  assert_ok(tarn_topology_create(NULL, &fixture.topology));
  assert_ok(tarn_node_pool_create(fixture.topology, &on_any, &fixture.node_pool));
  assert_ok(tarn_storage_create(fixture.pool, 64, NULL, &fixture.storage));
  assert_ok(tarn_worker_stream_create(&fixture.stream));
  assert_ok(tarn_capture_begin(fixture.stream, &fixture.capture));
  const tarn_fallback_choice only = {
      .struct_size = sizeof only, .name = "only", .pool = fixture.pool};
  assert_ok(tarn_fallback_create(&only, 1, &fixture.fallback));
  return tarn_tensor_create(fixture.pool, TARN_F32, 1, (int64_t[]){4}, NULL, &fixture.tensor);
}

static int end_all(void **state) {
  (void)state;
  tarn_tensor_release(&fixture.tensor);
  tarn_storage_release(fixture.storage);
  tarn_fallback_release(fixture.fallback);
  assert_ok(tarn_capture_end(fixture.capture));
  assert_ok(tarn_capture_destroy(fixture.capture));
  tarn_stream_release(fixture.stream);
  tarn_pool_release(fixture.node_pool);
  tarn_topology_release(fixture.topology);
  tarn_staging_release(fixture.ring);
  tarn_budget_release(fixture.budget);
  tarn_pool_release(fixture.pool);
  tarn_provider_release(fixture.pages);
  return 0;
}

/* The struct is its size alone, and behind that the program may not look. */
TEST(a_struct_of_another_size_is_not_looked_into) {
  static const size_t sizes[] = {0, 1, sizeof(size_t), 4096, SIZE_MAX};
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  char *pages =
      mmap(NULL, 2 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(pages != MAP_FAILED);
  assert_int_equal(mprotect(pages + page_bytes, page_bytes, PROT_NONE), 0);
  size_t *it = (size_t *)(void *)(pages + page_bytes) - 1;
  for (size_t row = 0; row < COUNT_OF(rows); row++) {
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
      *it = sizes[i];
      made = NULL;
      const tarn_status status = rows[row].call(it);
      if (status != TARN_INVALID_ARGUMENT || made != NULL || *it != sizes[i]) {
        fail_msg("%s, struct_size %zu: %s", rows[row].name, sizes[i], tarn_status_name(status));
      }
      assert_int_equal(tarn_last_error()->status, TARN_INVALID_ARGUMENT);
      assert_true(strpbrk(tarn_last_error()->message, "0123456789") != NULL); /* the right one */
    }
  }
  munmap(pages, 2 * page_bytes);
}

/* As they come from a program that was built with a later version. */
TEST(a_larger_struct_is_refused_whatever_it_says) {
  size_t *it = malloc(4096);
  assert_non_null(it);
  for (size_t row = 0; row < COUNT_OF(rows); row++) {
    memset(it, 0xFF, 4096);
    *it = 4096;
    if (rows[row].call(it) != TARN_INVALID_ARGUMENT) fail_msg("%s", rows[row].name);
  }
  free(it);
}

int main(void) {
  return run_listed_tests(make_all, end_all);
}
