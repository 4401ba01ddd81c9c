/* test_share.c: host storages shared between two processes, either of which may end at any step. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_maintenance.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_pool_provider.h"
#include "tests/support/share_peer.h"
#include "tests/support/test.h"

enum { PATIENCE_MS = 60000 };

static void make(const share_side *side, tarn_storage **storage, tarn_parcel **parcel) {
  assert_ok(share_make(side, storage, parcel));
}

static tarn_storage *import(tarn_parcel *parcel) {
  tarn_storage *storage;
  assert_ok(tarn_storage_import(parcel, NULL, NULL, &storage));
  return storage;
}

/* --- two processes --- */

TEST(another_process_sees_the_bytes_and_changes_them) {
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel;
  int socket;
  make(&side, &storage, &parcel);
  const pid_t child = share_peer_start("host", &socket);
  share_peer_hand_over(socket, parcel);
  assert_int_equal(share_peer_ask(socket, SHARE_IMPORT), SHARE_DONE);
  assert_int_equal(share_peer_ask(socket, SHARE_CHECK), SHARE_DONE);
  assert_int_equal(share_peer_ask(socket, SHARE_WRITE), SHARE_DONE);
  assert_int_equal(share_peer_ask(socket, SHARE_RELEASE), SHARE_DONE);
  assert_ok(tarn_parcel_wait(parcel, PATIENCE_MS));
  assert_true(share_is_full_of(&side, storage, SHARE_SECOND));
  assert_int_equal(share_peer_quit(child, socket), 0);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

TEST(memory_is_kept_until_the_importer_has_released_it) {
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel;
  int socket;
  make(&side, &storage, &parcel);
  const pid_t child = share_peer_start("host", &socket);
  share_peer_hand_over(socket, parcel);
  assert_int_equal(share_peer_ask(socket, SHARE_IMPORT), SHARE_DONE);
  tarn_storage_release(storage);
  tarn_parcel_destroy(parcel);
  assert_int_equal(tarn_share_collect(), 1);
  assert_int_equal(share_live_blocks(&side), 1);
  assert_int_equal(share_peer_ask(socket, SHARE_CHECK), SHARE_DONE);
  assert_int_equal(share_peer_ask(socket, SHARE_RELEASE), SHARE_DONE);
  assert_int_equal(tarn_share_collect(), 0);
  assert_int_equal(share_live_blocks(&side), 0);
  assert_int_equal(share_peer_quit(child, socket), 0);
  share_side_end(&side);
}

TEST(maintenance_takes_back_what_importers_released) {
  const tarn_maintenance_options options = {.struct_size = sizeof options,
                                            .flags = TARN_MAINTENANCE_MANUAL};
  share_side side = share_host_side();
  tarn_maintenance *maintenance;
  tarn_storage *storage;
  tarn_parcel *parcel;
  assert_ok(tarn_maintenance_create(&options, &maintenance));
  make(&side, &storage, &parcel);
  tarn_storage *imported = import(share_pass_through(parcel, SOCK_STREAM));
  tarn_storage_release(storage);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(imported);
  assert_int_equal(share_live_blocks(&side), 1);
  assert_ok(tarn_maintenance_step(maintenance, 1, NULL));
  assert_int_equal(share_live_blocks(&side), 0);
  tarn_maintenance_destroy(maintenance);
  share_side_end(&side);
}

/* It reads nothing any more. */
static void stop(pid_t child) {
  int status = 0;
  assert_int_equal(kill(child, SIGSTOP), 0);
  assert_int_equal(waitpid(child, &status, WUNTRACED), child);
  assert_true(WIFSTOPPED(status));
}

TEST(an_importer_killed_at_any_step_gives_the_memory_back) {
  static const char steps[] = {SHARE_IMPORT, SHARE_CHECK, SHARE_WRITE};
  for (size_t step = 0; step <= COUNT_OF(steps) + 1; step++) {
    share_side side = share_host_side();
    tarn_storage *storage;
    tarn_parcel *parcel;
    int socket;
    make(&side, &storage, &parcel);
    const pid_t child = share_peer_start("host", &socket);
    if (step > 0) {
      share_peer_hand_over(socket, parcel);
    } else {
      stop(child); /* the parcel is on its way for ever */
      assert_ok(tarn_share_send(socket, parcel, PATIENCE_MS));
    }
    for (size_t i = 0; i + 1 < step; i++) {
      assert_int_equal(share_peer_ask(socket, steps[i]), SHARE_DONE);
    }
    tarn_storage_release(storage);
    assert_int_equal(share_live_blocks(&side), 1);
    assert_status(tarn_parcel_wait(parcel, 0), TARN_NOT_READY);
    share_peer_kill(child);
    assert_ok(tarn_parcel_wait(parcel, PATIENCE_MS));
    tarn_parcel_destroy(parcel);
    assert_int_equal(share_live_blocks(&side), 0);
    close(socket);
    share_side_end(&side);
  }
}

TEST(an_exporter_killed_at_any_step_takes_nothing_from_the_importer) {
  share_side side = {.pool = NULL};
  for (int step = 0; step < 3; step++) {
    tarn_parcel *parcel;
    tarn_storage *storage = NULL;
    int socket;
    const pid_t child = share_peer_start("host", &socket);
    assert_int_equal(share_peer_ask(socket, SHARE_EXPORT), SHARE_DONE);
    share_peer_tell(socket, SHARE_SEND);
    struct pollfd arrived = {.fd = socket, .events = POLLIN};
    assert_int_equal(poll(&arrived, 1, PATIENCE_MS), 1);
    if (step == 0) share_peer_kill(child);
    if (step == 0) { /* all of it lies in the socket, or a part */
      const tarn_status status = tarn_share_receive(socket, PATIENCE_MS, &parcel);
      assert_true(status == TARN_OK || status == TARN_BAD_FORMAT);
    } else {
      assert_ok(tarn_share_receive(socket, PATIENCE_MS, &parcel));
    }
    if (step == 1) share_peer_kill(child);
    if (parcel != NULL) storage = import(parcel);
    if (step == 2) {
      assert_false(tarn_storage_is_orphaned(storage));
      share_peer_kill(child);
    }
    if (storage != NULL) {
      assert_true(tarn_storage_is_orphaned(storage));
      assert_true(share_is_full_of(&side, storage, SHARE_FIRST));
      memset(tarn_storage_data_mutable(storage), 1, SHARE_BYTES);
      tarn_storage_release(storage);
    }
    close(socket);
  }
}

TEST(an_exporter_that_is_gone_before_it_sends_is_told) {
  tarn_parcel *parcel;
  int socket;
  const pid_t child = share_peer_start("host", &socket);
  share_peer_kill(child);
  assert_status(tarn_share_receive(socket, PATIENCE_MS, &parcel), TARN_UNAVAILABLE);
  assert_null(parcel);
  close(socket);
}

TEST(a_parcel_that_nobody_reads_any_more_cannot_be_sent) {
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel;
  int ends[2];
  make(&side, &storage, &parcel);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  close(ends[1]);
  assert_status(tarn_share_send(ends[0], parcel, PATIENCE_MS), TARN_UNAVAILABLE);
  close(ends[0]);
  assert_ok(tarn_parcel_wait(parcel, 0));
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

TEST(a_child_of_fork_keeps_nothing_of_its_parents_parcels) {
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel;
  int ends[2];
  char byte = 0;
  const size_t descriptors = share_count_descriptors();
  make(&side, &storage, &parcel);
  tarn_parcel *received = share_pass_through(parcel, SOCK_STREAM);
  tarn_parcel_destroy(received);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    (void)!read(ends[1], &byte, 1); /* lives until the parent has looked */
    close(ends[1]);
    _exit(share_count_descriptors() == descriptors ? 0 : 1);
  }
  close(ends[1]);
  assert_ok(tarn_parcel_wait(parcel, PATIENCE_MS));
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  close(ends[0]);
  int how = 1;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_int_equal(how, 0);
  share_side_end(&side);
}

/* --- one process, both sides --- */

TEST(what_is_shared_keeps_its_memory_when_its_pool_is_paused) {
  const tarn_pause_options options = {.struct_size = sizeof options,
                                      .contents = TARN_PAUSE_DISCARD};
  tarn_pause_report report = {.struct_size = sizeof report};
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel, *refused;
  make(&side, &storage, &parcel);
  tarn_storage *imported = import(share_pass_through(parcel, SOCK_STREAM));
  assert_ok(tarn_pool_pause(side.pool, &options, &report));
  assert_int_equal(report.block_count, 0);
  assert_true(report.shared_bytes >= SHARE_BYTES);
  assert_true(share_is_full_of(&side, imported, SHARE_FIRST));
  assert_true(share_is_full_of(&side, storage, SHARE_FIRST));
  tarn_storage_release(imported);
  tarn_parcel_destroy(parcel);
  assert_ok(tarn_pool_pause(side.pool, &options, &report));
  assert_int_equal(report.block_count, 1);
  assert_status(tarn_storage_export(storage, NULL, &refused), TARN_BUSY);
  assert_ok(tarn_pool_resume(side.pool, NULL, NULL));
  tarn_storage_release(storage);
  share_side_end(&side);
}

TEST(several_importers_are_all_waited_for) {
  share_side side = share_host_side();
  tarn_storage *storage, *first, *second;
  tarn_parcel *parcel;
  make(&side, &storage, &parcel);
  first = import(share_pass_through(parcel, SOCK_STREAM));
  second = import(share_pass_through(parcel, SOCK_SEQPACKET));
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  memset(tarn_storage_data_mutable(first), 7, SHARE_BYTES);
  assert_true(share_is_full_of(&side, second, 7));
  tarn_storage_release(first);
  assert_int_equal(tarn_share_collect(), 1);
  assert_int_equal(share_live_blocks(&side), 1);
  tarn_storage_release(second);
  assert_int_equal(tarn_share_collect(), 0);
  assert_int_equal(share_live_blocks(&side), 0);
  share_side_end(&side);
}

TEST(a_parcel_says_what_it_is) {
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel;
  size_t note_bytes = 0;
  make(&side, &storage, &parcel);
  tarn_parcel *received = share_pass_through(parcel, SOCK_STREAM);
  assert_int_equal(tarn_parcel_size_bytes(received), SHARE_BYTES);
  assert_false(tarn_parcel_is_read_only(received));
  assert_true(tarn_device_is_host(tarn_parcel_device(received)));
  assert_string_equal(tarn_parcel_kind(received), "file");
  assert_memory_equal(tarn_parcel_note(received, &note_bytes), "a note", 6);
  assert_int_equal(note_bytes, 6);
  tarn_parcel_destroy(received);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

TEST(what_is_shared_for_reading_cannot_be_written) {
  share_side side = share_host_side();
  side.export_flags = TARN_SHARE_READ_ONLY;
  tarn_storage *storage, *imported;
  tarn_parcel *parcel;
  make(&side, &storage, &parcel);
  tarn_parcel *received = share_pass_through(parcel, SOCK_STREAM);
  assert_true(tarn_parcel_is_read_only(received));
  imported = import(received);
  assert_true(tarn_storage_is_read_only(imported));
  assert_null(tarn_storage_data_mutable(imported));
  assert_true(share_is_full_of(&side, imported, SHARE_FIRST));
  const uintptr_t address = (uintptr_t)tarn_storage_data(imported);
  assert_int_equal(mprotect((void *)(address & ~(uintptr_t)4095), 4096, PROT_READ | PROT_WRITE),
                   -1);
  assert_int_equal(errno, EACCES);
  memset(tarn_storage_data_mutable(storage), 9, SHARE_BYTES); /* the exporter still may */
  assert_true(share_is_full_of(&side, imported, 9));
  tarn_storage_release(imported);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

TEST(blocks_of_one_segment_are_found_at_their_places) {
  enum { COUNT = 8, BYTES = 1000 };
  share_side side = share_host_side();
  tarn_storage *storages[COUNT], *imported[COUNT];
  tarn_parcel *parcel;
  for (int i = 0; i < COUNT; i++) {
    assert_ok(tarn_storage_create(side.pool, BYTES, NULL, &storages[i]));
    memset(tarn_storage_data_mutable(storages[i]), i + 1, BYTES);
    assert_ok(tarn_storage_export(storages[i], NULL, &parcel));
    imported[i] = import(share_pass_through(parcel, SOCK_STREAM));
    tarn_parcel_destroy(parcel);
  }
  for (int i = 0; i < COUNT; i++) {
    assert_true(share_is_full_of(&side, imported[i], (unsigned char)(i + 1)));
    assert_int_equal((uintptr_t)tarn_storage_data(imported[i]) % 4096,
                     (uintptr_t)tarn_storage_data(storages[i]) % 4096);
    tarn_storage_release(imported[i]);
    tarn_storage_release(storages[i]);
  }
  assert_int_equal(tarn_share_collect(), 0);
  share_side_end(&side);
}

TEST(growing_storages_and_pools_over_pools_share_too) {
  const tarn_pages_options pages = {.struct_size = sizeof pages, .flags = TARN_PAGES_SHARED};
  tarn_reserve_options reserve = {
      .struct_size = sizeof reserve, .capacity_bytes = 1 << 20, .size_bytes = 5000};
  share_side side = share_host_side();
  tarn_provider *provider, *over;
  tarn_pool *upper;
  tarn_storage *storages[2], *imported;
  tarn_parcel *parcel;
  assert_ok(tarn_pages_provider_create(&pages, &provider));
  assert_ok(tarn_storage_reserve(provider, &reserve, &storages[0]));
  assert_ok(tarn_pool_provider_create(side.pool, NULL, &over));
  assert_ok(tarn_caching_pool_create(over, NULL, &upper));
  assert_ok(tarn_storage_create(upper, 5000, NULL, &storages[1]));
  for (int i = 0; i < 2; i++) {
    memset(tarn_storage_data_mutable(storages[i]), 3, 5000);
    assert_ok(tarn_storage_export(storages[i], NULL, &parcel));
    imported = import(share_pass_through(parcel, SOCK_STREAM));
    tarn_parcel_destroy(parcel);
    assert_true(share_is_full_of(&side, imported, 3));
    tarn_storage_release(imported);
    assert_int_equal(tarn_share_collect(), 0);
    tarn_storage_release(storages[i]);
  }
  tarn_pool_release(upper);
  tarn_provider_release(over);
  tarn_provider_release(provider);
  share_side_end(&side);
}

TEST(a_storage_that_is_exported_is_not_trimmed) {
  const tarn_pages_options pages = {.struct_size = sizeof pages, .flags = TARN_PAGES_SHARED};
  const tarn_reserve_options reserve = {
      .struct_size = sizeof reserve, .capacity_bytes = 8 << 20, .size_bytes = 8 << 20};
  tarn_provider *provider;
  tarn_storage *storage;
  tarn_parcel *parcel;
  assert_ok(tarn_pages_provider_create(&pages, &provider));
  assert_ok(tarn_storage_reserve(provider, &reserve, &storage));
  assert_ok(tarn_storage_export(storage, NULL, &parcel));
  assert_ok(tarn_storage_trim(storage)); /* nothing to give back */
  assert_ok(tarn_storage_resize(storage, 1));
  assert_status(tarn_storage_trim(storage), TARN_BUSY);
  assert_int_equal(tarn_storage_committed_bytes(storage), 8 << 20);
  tarn_parcel_destroy(parcel);
  assert_ok(tarn_storage_trim(storage));
  assert_in_range(tarn_storage_committed_bytes(storage), 1, 4 << 20);
  tarn_storage_release(storage);
  tarn_provider_release(provider);
}

static void fill_late(void *argument) {
  memset(argument, 0x11, 100);
}

TEST(an_export_waits_for_its_stream) {
  share_side side = share_host_side();
  tarn_stream *worker;
  tarn_storage *storage;
  tarn_parcel *parcel;
  assert_ok(tarn_worker_stream_create(&worker));
  assert_ok(tarn_storage_create(side.pool, 100, worker, &storage));
  assert_ok(tarn_stream_call(worker, fill_late, tarn_storage_data_mutable(storage)));
  const tarn_export_options options = {.struct_size = sizeof options, .stream = worker};
  assert_ok(tarn_storage_export(storage, &options, &parcel));
  tarn_storage *imported = import(share_pass_through(parcel, SOCK_STREAM));
  assert_true(share_is_full_of(&side, imported, 0x11));
  tarn_storage_release(imported);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  tarn_stream_release(worker);
  share_side_end(&side);
}

TEST(a_thousand_cycles_leave_nothing_behind) {
  share_side side = share_host_side();
  size_t descriptors = 0;
  size_t mappings = 0;
  for (int i = 0; i < 1000; i++) {
    tarn_storage *storage;
    tarn_parcel *parcel;
    assert_ok(tarn_storage_create(side.pool, 100000, NULL, &storage));
    assert_ok(tarn_storage_export(storage, NULL, &parcel));
    tarn_parcel *received = share_pass_through(parcel, SOCK_STREAM);
    if (i % 3 == 0) {
      tarn_parcel_destroy(received); /* never imported */
    } else {
      tarn_storage_release(import(received));
    }
    tarn_storage_release(storage);
    tarn_parcel_destroy(parcel);
    if (i == 10) descriptors = share_count_descriptors();
    if (i == 10) mappings = share_count_mappings();
  }
  assert_int_equal(share_count_descriptors(), descriptors);
  /* A sanitizer's own come and go. */
  assert_true(share_count_mappings() < mappings + 100);
  assert_int_equal(share_live_blocks(&side), 0);
  share_side_end(&side);
}

/* --- what is refused --- */

TEST(what_is_nobodys_to_share_is_refused) {
  share_side side = share_host_side();
  char byte = 0;
  const tarn_blob blob = {.struct_size = sizeof blob, .address = &byte, .size_bytes = 1};
  tarn_export_options options = {.struct_size = sizeof options, .flags = 1u << 7};
  tarn_provider *private_pages;
  tarn_pool *private_pool;
  tarn_storage *storage, *wrapped, *nothing;
  tarn_parcel *parcel;
  assert_ok(tarn_storage_wrap(&blob, &wrapped));
  assert_status(tarn_storage_export(wrapped, NULL, &parcel), TARN_NOT_SUPPORTED);
  assert_null(parcel);
  tarn_storage_release(wrapped);

  assert_ok(tarn_pages_provider_create(NULL, &private_pages));
  assert_ok(tarn_caching_pool_create(private_pages, NULL, &private_pool));
  assert_ok(tarn_storage_create(private_pool, 100, NULL, &storage));
  assert_status(tarn_storage_export(storage, NULL, &parcel), TARN_NOT_SUPPORTED);
  tarn_storage_release(storage);
  tarn_pool_release(private_pool);
  tarn_provider_release(private_pages);

  assert_ok(tarn_storage_create(side.pool, 0, NULL, &storage));
  assert_status(tarn_storage_export(storage, NULL, &parcel), TARN_INVALID_ARGUMENT);
  tarn_storage_release(storage);
  make(&side, &storage, &parcel);
  tarn_storage *imported = import(share_pass_through(parcel, SOCK_STREAM));
  tarn_parcel *again;
  assert_status(tarn_storage_export(imported, NULL, &again), TARN_NOT_SUPPORTED);
  assert_status(tarn_storage_export(storage, &options, &again), TARN_INVALID_ARGUMENT);
  options.flags = 0;
  options.note_bytes = TARN_SHARE_NOTE_BYTES_MAX + 1;
  assert_status(tarn_storage_export(storage, &options, &again), TARN_INVALID_ARGUMENT);
  options.struct_size = 1;
  assert_status(tarn_storage_export(storage, &options, &again), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_export(NULL, NULL, &again), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_export(storage, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_import(parcel, NULL, NULL, &nothing), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_import(NULL, NULL, NULL, &nothing), TARN_INVALID_ARGUMENT);
  assert_null(nothing);
  assert_false(tarn_storage_is_orphaned(storage));
  tarn_parcel_destroy(parcel);
  tarn_storage_release(imported);
  tarn_storage_release(storage);
  assert_int_equal(tarn_share_collect(), 0);
  share_side_end(&side);
}

TEST(a_parcel_is_sent_by_its_exporter_alone) {
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel;
  make(&side, &storage, &parcel);
  tarn_parcel *received = share_pass_through(parcel, SOCK_STREAM);
  assert_status(tarn_share_send(0, received, 0), TARN_INVALID_ARGUMENT);
  assert_status(tarn_share_send(0, NULL, 0), TARN_INVALID_ARGUMENT);
  assert_status(tarn_parcel_wait(received, 0), TARN_INVALID_ARGUMENT);
  assert_status(tarn_parcel_wait(parcel, 0), TARN_NOT_READY);
  assert_status(tarn_share_send(0, parcel, 0), TARN_INVALID_ARGUMENT);
  tarn_parcel_destroy(received);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

TEST(memory_in_many_pieces_is_described_as_it_is) {
  tarn_share_memory memory = {.pieces = NULL};
  for (uint64_t i = 0; i < 3; i++) assert_ok(tarn_share_add_piece(&memory, -1, i, 10 + i));
  assert_int_equal(tarn_share_total_bytes(&memory), 33);
  assert_int_equal(memory.piece_count, 3);
  assert_int_equal(memory.pieces[2].offset_bytes, 2);
  memory.piece_count = TARN_SHARE_PIECES_MAX;
  assert_status(tarn_share_add_piece(&memory, -1, 0, 1), TARN_TOO_LARGE);
  free(memory.pieces);
}

TEST(what_cannot_be_described_is_refused) {
  share_side side = share_host_side();
  tarn_share_memory memory = {.pieces = NULL};
  tarn_provider *provider;
  char byte = 0;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  assert_status(tarn_provider_share_range(provider, &byte, 1, NULL, true, &memory),
                TARN_NOT_SUPPORTED);
  assert_status(tarn_provider_share_range(provider, NULL, 1, NULL, true, &memory),
                TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_share_range(side.pool, &byte, 1, NULL, true, &memory), TARN_NOT_FOUND);
  assert_status(tarn_pool_share_range(side.pool, &byte, 0, NULL, true, &memory),
                TARN_INVALID_ARGUMENT);
  assert_int_equal(memory.piece_count, 0);
  tarn_provider_release(provider);
  share_side_end(&side);
}

static int serve(void) {
  share_side side = share_host_side();
  const int code = share_peer_serve(SHARE_PEER_SOCKET, &side);
  share_side_end(&side);
  return code;
}

int main(int argument_count, char **arguments) {
  if (argument_count > 1 && strcmp(arguments[1], "host") == 0) return serve();
  return run_listed_tests(NULL, NULL);
}
