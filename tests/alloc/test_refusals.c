/* test_refusals.c: a kernel that refuses, or has nothing left, is told by name, and costs nothing
 * that was there before. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_mapping.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_touch.h"
#include "numa/tarn_numa.h"
#include "tests/support/child.h"
#include "tests/support/hardship.h"
#include "tests/support/share_peer.h"

/* LEFT_OUT: of a child that could not be put into need; no line's number in CHECK. */
enum { PAGE_BYTES = 4096, LEFT_OUT = 4 };
#define MIB ((size_t)1 << 20)

#define CHECK_NATIVE(call, status, name, code)                         \
  do {                                                                 \
    CHECK((call) == (status));                                         \
    CHECK(strcmp(tarn_last_error()->native_call, (name)) == 0);        \
    CHECK(tarn_last_error()->native_code == (code));                   \
    CHECK(strstr(tarn_last_error()->message, strerror(code)) != NULL); \
  } while (0)

static tarn_status make_pages(uint32_t flags, tarn_provider **provider) {
  const tarn_pages_options options = {
      .struct_size = sizeof options, .flags = flags, .huge = TARN_PAGES_HUGE_NEVER};
  return tarn_pages_provider_create(&options, provider);
}

static tarn_status make_pool(uint32_t flags, tarn_pool **pool) {
  tarn_provider *provider = NULL;
  *pool = NULL;
  tarn_status status = make_pages(flags, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, pool);
  tarn_provider_release(provider);
  return status;
}

static void survive(int (*work)(void)) {
  const int code = hardship_in_child(work);
  if (code == LEFT_OUT) {
    print_message("left out: this kernel lets nobody take away from it what the test takes\n");
    skip();
  }
  assert_int_equal(code, 0);
}

/* --- the first thread has ended --- */

static int inspect_pages(void) {
  tarn_provider *provider;
  char *block;
  tarn_pages_state pages = {.struct_size = sizeof pages};
  CHECK(make_pages(0, &provider) == TARN_OK);
  CHECK(tarn_provider_alloc(provider, MIB, (void **)&block) == TARN_OK);
  block[0] = 1;
  CHECK(tarn_extent_check(block, MIB, /*is_written=*/true) == TARN_OK);
  CHECK(tarn_extent_check(NULL, 1, /*is_written=*/false) == TARN_NOT_FOUND);
  CHECK(tarn_pages_inspect(block, MIB, &pages) == TARN_OK);
  CHECK(pages.resident_bytes == PAGE_BYTES && pages.page_bytes == PAGE_BYTES);
  CHECK(tarn_provider_free(provider, block, MIB) == TARN_OK);
  tarn_provider_release(provider);
  return 0;
}

static int share_pages(void) {
  tarn_pool *pool;
  tarn_storage *storage;
  tarn_parcel *parcel;
  const tarn_export_options options = {.struct_size = sizeof options,
                                       .flags = TARN_SHARE_READ_ONLY};
  CHECK(make_pool(TARN_PAGES_SHARED, &pool) == TARN_OK);
  CHECK(tarn_storage_create(pool, MIB, NULL, &storage) == TARN_OK);
  CHECK(tarn_storage_export(storage, &options, &parcel) == TARN_OK);
  tarn_storage_release(storage);
  tarn_parcel_destroy(parcel);
  tarn_pool_release(pool);
  return 0;
}

TEST(pages_are_known_once_the_first_thread_has_ended) {
  assert_int_equal(hardship_without_first_thread(inspect_pages), 0);
}

TEST(memory_is_shared_once_the_first_thread_has_ended) {
  assert_int_equal(hardship_without_first_thread(share_pages), 0);
}

/* --- a filter of calls --- */

static int share_nothing(void) {
  static const int errors[] = {ENOSYS, EPERM}; /* the last filter's error counts, if both refuse */
  const long memfd[] = {SYS_memfd_create};
  for (size_t i = 0; i < COUNT_OF(errors); i++) {
    tarn_provider *provider = (tarn_provider *)&provider;
    if (!hardship_refuse(errors[i], memfd, 1)) return LEFT_OUT;
    const size_t before = share_count_descriptors();
    CHECK_NATIVE(make_pages(TARN_PAGES_SHARED, &provider), TARN_NOT_SUPPORTED, "memfd_create",
                 errors[i]);
    CHECK(provider == NULL);
    CHECK(share_count_descriptors() == before);
  }
  return 0;
}

TEST(without_memory_files_nothing_is_shared) {
  survive(share_nothing);
}

static int seal_nothing(void) {
  tarn_provider *provider;
  const long seals[] = {SYS_fcntl};
  if (!hardship_refuse(EPERM, seals, 1)) return LEFT_OUT;
  CHECK_NATIVE(make_pages(TARN_PAGES_SHARED, &provider), TARN_NOT_SUPPORTED, "fcntl", EPERM);
  return 0;
}

TEST(what_cannot_be_sealed_is_not_shared) {
  survive(seal_nothing);
}

static int count_blindly(void) {
  char *pages = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const long asking[] = {SYS_mincore, SYS_ioctl};
  size_t resident_bytes = 1;
  tarn_pages_state told = {.struct_size = sizeof told};
  CHECK(pages != MAP_FAILED);
  if (!hardship_refuse(EPERM, asking, 2)) return LEFT_OUT;
  CHECK_NATIVE(tarn_pages_resident(pages, MIB, &resident_bytes), TARN_NOT_SUPPORTED, "mincore",
               EPERM);
  CHECK(resident_bytes == 0);
  CHECK_NATIVE(tarn_pages_inspect(pages, MIB, &told), TARN_NOT_SUPPORTED, "mincore", EPERM);
  CHECK(mprotect(pages, MIB, PROT_READ) == 0);
  CHECK(tarn_touch(pages, MIB, NULL) == TARN_OUT_OF_MEMORY); /* not: "is not mapped" */
  return 0;
}

TEST(a_kernel_that_tells_of_no_page_is_not_taken_for_one_without) {
  survive(count_blindly);
}

/* What Docker's default filter refuses without CAP_SYS_NICE. */
static int place_in_a_container(void) {
  const long placing[] = {SYS_mbind, SYS_get_mempolicy, SYS_set_mempolicy, SYS_move_pages,
                          450 /* set_mempolicy_home_node */};
  tarn_topology *topology;
  tarn_provider *provider;
  char *block;
  tarn_node_info first = {.struct_size = sizeof first};
  tarn_node_granted granted = {.struct_size = sizeof granted};
  if (!hardship_refuse(EPERM, placing, COUNT_OF(placing))) return LEFT_OUT;
  CHECK(tarn_topology_create(NULL, &topology) == TARN_OK);
  CHECK(tarn_topology_node(topology, 0, &first) == TARN_OK);
  const tarn_node_options options = tarn_node_options_on(first.node);
  const bool is_alone = tarn_topology_node_count(topology) == 1;
  const tarn_status status = tarn_node_provider_create(topology, &options, &provider);
  if (is_alone) { /* there is nothing to bind to */
    CHECK(status == TARN_OK);
    CHECK(tarn_provider_alloc(provider, MIB, (void **)&block) == TARN_OK);
    CHECK_NATIVE(tarn_node_provider_granted(provider, block, MIB, &granted), TARN_NOT_SUPPORTED,
                 "move_pages", EPERM);
    CHECK(!granted.is_bound);
    CHECK(tarn_provider_free(provider, block, MIB) == TARN_OK);
    tarn_provider_release(provider);
  } else if (status == TARN_OK) {
    CHECK_NATIVE(tarn_provider_alloc(provider, MIB, (void **)&block), TARN_NOT_SUPPORTED, "mbind",
                 EPERM);
    tarn_provider_release(provider);
  } else {
    CHECK_NATIVE(status, TARN_NOT_SUPPORTED, "mbind", EPERM);
  }
  tarn_topology_release(topology);
  return 0;
}

TEST(a_container_that_forbids_placement_is_told) {
  survive(place_in_a_container);
}

/* --- no /proc, no /sys --- */

static int live_without_folders(void) {
  tarn_topology *topology;
  tarn_provider *provider;
  tarn_pool *pool;
  char *block;
  int printed[2];
  tarn_node_info first = {.struct_size = sizeof first};
  tarn_pages_state told = {.struct_size = sizeof told};
  if (!hardship_hide("/proc") || !hardship_hide("/sys")) return LEFT_OUT;
  CHECK(pipe2(printed, O_NONBLOCK) == 0 && dup2(printed[1], 1) == 1 && dup2(printed[1], 2) == 2);
  CHECK(tarn_topology_create(NULL, &topology) == TARN_OK);
  CHECK(tarn_topology_node_count(topology) == 1);
  CHECK(tarn_topology_node(topology, 0, &first) == TARN_OK);
  const tarn_node_options options = tarn_node_options_on(first.node);
  CHECK(tarn_node_provider_create(topology, &options, &provider) == TARN_OK);
  CHECK(tarn_caching_pool_create(provider, NULL, &pool) == TARN_OK);
  CHECK(tarn_pool_alloc(pool, MIB, NULL, (void **)&block) == TARN_OK);
  memset(block, 1, MIB);
  CHECK_NATIVE(tarn_pages_inspect(block, PAGE_BYTES, &told), TARN_NOT_SUPPORTED, "fopen", ENOENT);
  CHECK_NATIVE(tarn_extent_check(block, MIB, true), TARN_SYSTEM_ERROR, "open", ENOENT);
  CHECK(tarn_pool_free(pool, block, NULL) == TARN_OK);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  tarn_topology_release(topology);
  char byte;
  CHECK(read(printed[0], &byte, 1) < 0); /* neither tarn nor hwloc has anything to say */
  return 0;
}

TEST(without_proc_and_sys_there_is_memory_and_silence) {
  survive(live_without_folders);
}

/* --- limits --- */

static size_t count_mapped_bytes(void) {
  size_t pages = 0;
  FILE *file = fopen("/proc/self/statm", "re");
  if (file == NULL || fscanf(file, "%zu", &pages) != 1) pages = 0;
  if (file != NULL) fclose(file);
  return pages * PAGE_BYTES;
}

/* The soft limit alone: who is not root cannot raise the other one again. */
static bool limit_mapped_bytes(size_t bytes) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0) return false;
  limit.rlim_cur = bytes;
  return setrlimit(RLIMIT_AS, &limit) == 0;
}

static int fill_the_address_space(void) {
  tarn_pool *pool;
  tarn_stream *stream;
  char *small, *large;
  tarn_pool_stats before = {.struct_size = sizeof before}, after = before;
  CHECK(limit_mapped_bytes(count_mapped_bytes() + 128 * MIB));
  CHECK(make_pool(0, &pool) == TARN_OK); /* with little address space to reserve */
  CHECK(tarn_pool_alloc(pool, MIB, NULL, (void **)&small) == TARN_OK);
  small[0] = 1;
  CHECK(tarn_pool_stats_of(pool, &before) == TARN_OK);
  CHECK(tarn_pool_alloc(pool, 256 * MIB, NULL, (void **)&large) == TARN_OUT_OF_MEMORY);
  CHECK(large == NULL && strstr(tarn_last_error()->message, strerror(ENOMEM)) != NULL);
  CHECK(tarn_pool_stats_of(pool, &after) == TARN_OK);
  CHECK(after.reserved_bytes <= before.reserved_bytes); /* what was idle was given back */
  CHECK(before.allocated_bytes == after.allocated_bytes && small[0] == 1);
  CHECK(limit_mapped_bytes(count_mapped_bytes()));
  CHECK_NATIVE(tarn_worker_stream_create(&stream), TARN_SYSTEM_ERROR, "pthread_create", EAGAIN);
  CHECK(stream == NULL);
  CHECK(tarn_pool_free(pool, small, NULL) == TARN_OK);
  CHECK(tarn_pool_alloc(pool, MIB, NULL, (void **)&small) == TARN_OK);
  CHECK(tarn_pool_free(pool, small, NULL) == TARN_OK);
  tarn_pool_release(pool);
  return 0;
}

TEST(a_full_address_space_is_told_and_costs_nothing) {
  if (!HAS_PLAIN_MEMORY) skip();
  survive(fill_the_address_space);
}

/* Mappings of one page each, none like its neighbour, until there can be no more. */
static bool use_up_mappings(void) {
  const size_t size_bytes = (size_t)200000 * PAGE_BYTES;
  char *pages =
      mmap(NULL, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return false;
  for (size_t at = 0; at < size_bytes; at += (size_t)2 * PAGE_BYTES) {
    if (mprotect(pages + at, PAGE_BYTES, PROT_READ) != 0) return errno == ENOMEM;
  }
  return false;
}

static int run_out_of_mappings(void) {
  tarn_provider *provider;
  char *range;
  CHECK(make_pages(0, &provider) == TARN_OK);
  CHECK(tarn_provider_reserve(provider, 4 * MIB, (void **)&range) == TARN_OK);
  CHECK(tarn_provider_commit(provider, range, 2 * MIB) == TARN_OK);
  memset(range, 7, 2 * MIB);
  if (!use_up_mappings()) return LEFT_OUT; /* a kernel that allows any number */
  CHECK_NATIVE(tarn_provider_commit(provider, range + 3 * MIB, 64 << 10), TARN_OUT_OF_MEMORY,
               "mprotect", ENOMEM);
  CHECK(tarn_extent_check(range + 3 * MIB, 1, false) == TARN_NOT_FOUND);
  CHECK(tarn_extent_check(range, 2 * MIB, true) == TARN_OK);
  CHECK(range[0] == 7 && range[2 * MIB - 1] == 7);
  CHECK(tarn_provider_free(provider, range, 4 * MIB) == TARN_OK);
  tarn_provider_release(provider);
  return 0;
}

TEST(a_process_out_of_mappings_is_told_and_loses_nothing) {
  if (!HAS_PLAIN_MEMORY) skip();
  survive(run_out_of_mappings);
}

static int run_out_of_descriptors(void) {
  tarn_provider *provider;
  char *block;
  const struct rlimit none = {0, 0};
  size_t resident_bytes;
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  CHECK_NATIVE(make_pages(TARN_PAGES_SHARED, &provider), TARN_OUT_OF_MEMORY, "memfd_create",
               EMFILE);
  CHECK(make_pages(0, &provider) == TARN_OK);
  CHECK(tarn_provider_alloc(provider, MIB, (void **)&block) == TARN_OK);
  block[0] = 1;
  CHECK(tarn_pages_resident(block, MIB, &resident_bytes) == TARN_OK && resident_bytes > 0);
  CHECK_NATIVE(tarn_extent_check(block, MIB, true), TARN_SYSTEM_ERROR, "open", EMFILE);
  CHECK(tarn_provider_free(provider, block, MIB) == TARN_OK);
  tarn_provider_release(provider);
  return 0;
}

TEST(a_process_out_of_descriptors_still_has_memory) {
  survive(run_out_of_descriptors);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
