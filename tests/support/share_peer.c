/* share_peer.c: the child's loop of commands, and what both processes do with a storage. */
#include "tests/support/share_peer.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tests/support/pools.h"

extern char **environ;

enum { PATIENCE_MS = 60000 };

tarn_status share_fill(const share_side *side, tarn_storage *storage, unsigned char value) {
  const tarn_status status =
      tarn_stream_fill(side->stream, tarn_storage_data_mutable(storage),
                       tarn_storage_device(storage), value, tarn_storage_size_bytes(storage));
  return status == TARN_OK ? tarn_storage_note_use(storage, side->stream) : status;
}

bool share_is_full_of(const share_side *side, tarn_storage *storage, unsigned char value) {
  const size_t size_bytes = tarn_storage_size_bytes(storage);
  unsigned char *bytes = calloc(1, size_bytes);
  bool is_full = bytes != NULL;
  is_full = is_full &&
            tarn_stream_copy(side->stream, bytes, tarn_device_make(TARN_DEVICE_CPU, 0),
                             tarn_storage_data(storage), tarn_storage_device(storage),
                             size_bytes) == TARN_OK &&
            tarn_stream_synchronize(side->stream) == TARN_OK;
  for (size_t i = 0; i < size_bytes && is_full; i++) is_full = bytes[i] == value;
  free(bytes);
  return is_full;
}

tarn_status share_make(const share_side *side, tarn_storage **storage, tarn_parcel **parcel) {
  const tarn_export_options options = {.struct_size = sizeof options,
                                       .stream = side->stream,
                                       .flags = side->export_flags,
                                       .note = "a note",
                                       .note_bytes = 6};
  *parcel = NULL;
  tarn_status status = tarn_storage_create(side->pool, SHARE_BYTES, side->stream, storage);
  if (status == TARN_OK) status = share_fill(side, *storage, SHARE_FIRST);
  if (status == TARN_OK) status = tarn_storage_export(*storage, &options, parcel);
  if (status != TARN_OK) {
    tarn_storage_release(*storage);
    *storage = NULL;
  }
  return status;
}

share_side share_host_side(void) {
  share_side side = {.pool = NULL};
  const tarn_pages_options options = {.struct_size = sizeof options, .flags = TARN_PAGES_SHARED};
  tarn_provider *provider;
  assert_ok(tarn_pages_provider_create(&options, &provider));
  side.pool = pool_over(provider, NULL);
  return side;
}

void share_side_end(share_side *side) {
  tarn_stream_release(side->stream);
  tarn_pool_release(side->pool);
  tarn_provider_release(side->importer);
  *side = (share_side){.pool = NULL};
}

size_t share_live_blocks(const share_side *side) {
  tarn_pool_stats stats = stats_of(side->pool);
  return (size_t)(stats.alloc_count - stats.free_count);
}

tarn_parcel *share_pass_through(const tarn_parcel *parcel, int type) {
  tarn_parcel *received;
  int ends[2];
  assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
  assert_ok(tarn_share_send(ends[0], parcel, PATIENCE_MS));
  assert_ok(tarn_share_receive(ends[1], PATIENCE_MS, &received));
  close(ends[0]);
  close(ends[1]);
  return received;
}

/* --- the child --- */

typedef struct peer {
  const share_side *side;
  int socket;
  tarn_storage *storage;
  tarn_parcel *parcel;
} peer;

static bool is_pending(tarn_stream *stream) {
  tarn_fence *fence;
  if (tarn_fence_create(stream, &fence) != TARN_OK) return false;
  const bool is_pending =
      tarn_fence_record(fence, stream) == TARN_OK && tarn_fence_query(fence) == TARN_NOT_READY;
  tarn_fence_destroy(fence);
  return is_pending;
}

static tarn_status obey(peer *self, char command) {
  tarn_status status = TARN_OK;
  switch (command) {
    case SHARE_EXPORT:
      return share_make(self->side, &self->storage, &self->parcel);
    case SHARE_SEND:
      return tarn_share_send(self->socket, self->parcel, PATIENCE_MS);
    case SHARE_RECEIVE:
      return tarn_share_receive(self->socket, PATIENCE_MS, &self->parcel);
    case SHARE_IMPORT:
      status = tarn_storage_import(self->parcel, self->side->importer, self->side->stream,
                                   &self->storage);
      if (status == TARN_OK) self->parcel = NULL;
      return status;
    case SHARE_CHECK:
      return share_is_full_of(self->side, self->storage, SHARE_FIRST)
                 ? TARN_OK
                 : tarn_fail(TARN_BAD_FORMAT, "other bytes than were written");
    case SHARE_PENDING:
      return is_pending(self->side->stream) ? TARN_OK
                                            : tarn_fail(TARN_BAD_FORMAT, "nothing is waited for");
    case SHARE_WRITE:
      return share_fill(self->side, self->storage, SHARE_SECOND);
    default: /* SHARE_DESTROY, SHARE_RELEASE, SHARE_QUIT */
      tarn_storage_release(self->storage);
      self->storage = NULL;
      tarn_parcel_destroy(self->parcel);
      self->parcel = NULL;
      return TARN_OK;
  }
}

int share_peer_serve(int socket, const share_side *side) {
  peer self = {.side = side, .socket = socket};
  char command = SHARE_QUIT;
  fcntl(socket, F_SETFD, FD_CLOEXEC);
  alarm(120); /* a child that nobody ends */
  do {
    if (read(socket, &command, 1) != 1) return 1; /* the parent is gone */
    const tarn_status status = obey(&self, command);
    const char answer = status == TARN_OK ? SHARE_DONE : SHARE_FAILED;
    if (status != TARN_OK) fprintf(stderr, "peer: %c: %s\n", command, tarn_last_error()->message);
    if (command == SHARE_SEND) continue;
    if (send(socket, &answer, 1, MSG_NOSIGNAL) != 1) return 1;
  } while (command != SHARE_QUIT);
  return 0;
}

/* --- the parent --- */

pid_t share_peer_start(const char *role, int *socket) {
  int ends[2];
  pid_t child = 0;
  char name[32];
  posix_spawn_file_actions_t actions;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  snprintf(name, sizeof name, "%s", role);
  char *arguments[] = {(char[]){"share_peer"}, name, NULL};
  assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
  assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], SHARE_PEER_SOCKET), 0);
  assert_int_equal(posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  *socket = ends[0];
  return child;
}

void share_peer_tell(int socket, char command) {
  assert_int_equal(send(socket, &command, 1, MSG_NOSIGNAL), 1);
}

char share_peer_ask(int socket, char command) {
  char answer = 0;
  share_peer_tell(socket, command);
  assert_int_equal(read(socket, &answer, 1), 1);
  return answer;
}

void share_peer_hand_over(int socket, const tarn_parcel *parcel) {
  char answer = 0;
  share_peer_tell(socket, SHARE_RECEIVE);
  assert_ok(tarn_share_send(socket, parcel, PATIENCE_MS));
  assert_int_equal(read(socket, &answer, 1), 1);
  assert_int_equal(answer, SHARE_DONE);
}

tarn_status share_peer_fetch(int socket, tarn_parcel **parcel) {
  share_peer_tell(socket, SHARE_SEND);
  return tarn_share_receive(socket, PATIENCE_MS, parcel);
}

void share_peer_kill(pid_t child) {
  int how = 0;
  assert_int_equal(kill(child, SIGKILL), 0);
  assert_int_equal(waitpid(child, &how, 0), child);
}

int share_peer_quit(pid_t child, int socket) {
  int how = 0;
  assert_int_equal(share_peer_ask(socket, SHARE_QUIT), SHARE_DONE);
  close(socket);
  assert_int_equal(waitpid(child, &how, 0), child);
  return WIFEXITED(how) ? WEXITSTATUS(how) : 1000 + WTERMSIG(how);
}

/* --- what a process has --- */

size_t share_count_descriptors(void) {
  size_t count = 0;
  DIR *folder = opendir("/proc/self/fd");
  assert_non_null(folder);
  while (readdir(folder) != NULL) count++;
  closedir(folder);
  return count;
}

size_t share_count_mappings(void) {
  size_t count = 0;
  char line[1024];
  FILE *maps = fopen("/proc/self/maps", "re");
  assert_non_null(maps);
  while (fgets(line, sizeof line, maps) != NULL) count++;
  fclose(maps);
  return count;
}
