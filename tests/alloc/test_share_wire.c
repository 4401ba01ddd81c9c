/* test_share_wire.c: what strangers send instead of a parcel, and who is not read from in time. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "tests/support/child.h"
#include "tests/support/share_peer.h"
#include "tests/support/test.h"

enum { PATIENCE_MS = 60000 };

enum { HEADER_BYTES = 256 };

/* A parcel of one piece as it travels: a pipe's end with the header, a file with the last byte. */
typedef struct raw {
  unsigned char bytes[1024];
  size_t size_bytes;
  int life;
  int file;
} raw;

static int read_part(int socket, raw *read, size_t size_bytes) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {.iov_base = read->bytes + read->size_bytes, .iov_len = size_bytes};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  int descriptor = -1;
  const ssize_t count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  assert_true(count >= 0);
  read->size_bytes += (size_t)count;
  if (CMSG_FIRSTHDR(&message) != NULL) {
    memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
  }
  return descriptor;
}

static raw take_apart(const tarn_parcel *parcel) {
  raw read = {.size_bytes = 0};
  int ends[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  assert_ok(tarn_share_send(ends[0], parcel, PATIENCE_MS));
  read.life = read_part(ends[1], &read, HEADER_BYTES);
  (void)read_part(ends[1], &read, 500); /* the note */
  (void)read_part(ends[1], &read, 500); /* the piece */
  read.file = read_part(ends[1], &read, 500);
  assert_int_equal(read.size_bytes, HEADER_BYTES + 6 + 16 + 1);
  assert_true(read.life >= 0 && read.file >= 0);
  close(ends[0]);
  close(ends[1]);
  return read;
}

static void write_part(int socket, const unsigned char *bytes, size_t size_bytes, int descriptor,
                       int descriptor_count) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(8 * sizeof(int))];
  } control = {.bytes = {0}};
  struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size_bytes};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptor >= 0) {
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE((size_t)descriptor_count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN((size_t)descriptor_count * sizeof(int));
    for (int i = 0; i < descriptor_count; i++) {
      memcpy(CMSG_DATA(header) + (size_t)i * sizeof(int), &descriptor, sizeof descriptor);
    }
  }
  if (size_bytes != 0) assert_int_equal(sendmsg(socket, &message, 0), size_bytes);
}

/* The first size_bytes of it, and then the end; what receiving and importing that answers. */
static tarn_status offer(const raw *sent, size_t size_bytes, int count) {
  tarn_parcel *parcel = NULL;
  tarn_storage *storage = NULL;
  int ends[2];
  const size_t last = sent->size_bytes - 1;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const size_t head = size_bytes < HEADER_BYTES ? size_bytes : HEADER_BYTES;
  write_part(ends[0], sent->bytes, head, sent->life, count);
  if (size_bytes > head) {
    write_part(ends[0], sent->bytes + head, (size_bytes < last ? size_bytes : last) - head, -1, 0);
  }
  if (size_bytes > last) write_part(ends[0], sent->bytes + last, 1, sent->file, count);
  close(ends[0]);
  tarn_status status = tarn_share_receive(ends[1], PATIENCE_MS, &parcel);
  if (status == TARN_OK) status = tarn_storage_import(parcel, NULL, NULL, &storage);
  if (status == TARN_OK) {
    volatile const char *bytes = tarn_storage_data(storage);
    (void)bytes[0];
    (void)bytes[tarn_storage_size_bytes(storage) - 1];
    tarn_storage_release(storage);
  } else {
    tarn_parcel_destroy(parcel);
  }
  close(ends[1]);
  return status;
}

TEST(half_a_parcel_and_a_changed_one_are_refused) {
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel;
  assert_ok(share_make(&side, &storage, &parcel));
  raw sent = take_apart(parcel);
  assert_ok(offer(&sent, sent.size_bytes, 1));
  const size_t descriptors = share_count_descriptors();
  for (size_t size = 0; size < sent.size_bytes; size++) {
    assert_status(offer(&sent, size, 1), size == 0 ? TARN_UNAVAILABLE : TARN_BAD_FORMAT);
  }
  size_t accepted_count = 0;
  for (size_t i = 0; i < sent.size_bytes - 1; i++) {
    for (unsigned bit = 0; bit < 8; bit++) {
      sent.bytes[i] ^= (unsigned char)(1u << bit);
      const tarn_status status = offer(&sent, sent.size_bytes, 1);
      sent.bytes[i] ^= (unsigned char)(1u << bit);
      assert_true(status == TARN_OK || status == TARN_BAD_FORMAT || status == TARN_NOT_SUPPORTED ||
                  status == TARN_OUT_OF_MEMORY); /* the file is larger than the address space */
      accepted_count += status == TARN_OK;
    }
  }
  /* The note, the exporter's device and its identity, the offset and sizes as far as they fit. */
  assert_in_range(accepted_count, 1, 400);
  assert_int_equal(share_count_descriptors(), descriptors);
  close(sent.life);
  close(sent.file);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  assert_int_equal(tarn_share_collect(), 0);
  share_side_end(&side);
}

TEST(other_descriptors_than_a_parcels_are_refused) {
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel;
  assert_ok(share_make(&side, &storage, &parcel));
  raw sent = take_apart(parcel);
  const size_t descriptors = share_count_descriptors();
  const raw whole = sent;
  assert_status(offer(&sent, sent.size_bytes, 2), TARN_BAD_FORMAT); /* too many */
  sent.life = whole.file;
  assert_status(offer(&sent, sent.size_bytes, 1), TARN_BAD_FORMAT);
  sent.life = -1;
  assert_status(offer(&sent, sent.size_bytes, 1), TARN_BAD_FORMAT);
  sent = whole;
  sent.file = whole.life;
  assert_status(offer(&sent, sent.size_bytes, 1), TARN_BAD_FORMAT);
  sent.file = -1;
  assert_status(offer(&sent, sent.size_bytes, 1), TARN_BAD_FORMAT);
  sent.file = memfd_create("may shrink", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  assert_int_equal(ftruncate(sent.file, INT64_C(1) << 50), 0);
  assert_status(offer(&sent, sent.size_bytes, 1), TARN_BAD_FORMAT);
  assert_int_equal(ftruncate(sent.file, 4096), 0);
  assert_int_equal(fcntl(sent.file, F_ADD_SEALS, F_SEAL_SHRINK), 0);
  assert_status(offer(&sent, sent.size_bytes, 1), TARN_BAD_FORMAT); /* and too short */
  close(sent.file);
  sent.file = memfd_create("not to be written", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  assert_int_equal(ftruncate(sent.file, INT64_C(1) << 50), 0);
  assert_int_equal(fcntl(sent.file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE), 0);
  assert_status(offer(&sent, sent.size_bytes, 1), TARN_BAD_FORMAT);
  close(sent.file);
  assert_int_equal(share_count_descriptors(), descriptors);
  close(whole.life);
  close(whole.file);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

/* Of huge pages that the machine does not have: their first use would be a SIGBUS. */
TEST(a_file_without_its_pages_is_refused) {
  enum { HUGE_BYTES = 2 << 20 };
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel;
  assert_ok(share_make(&side, &storage, &parcel));
  raw sent = take_apart(parcel);
  const raw whole = sent;
  const uint64_t piece[2] = {(uint64_t)HUGE_BYTES, 0}; /* its size, and where it lies */
  memcpy(sent.bytes + HEADER_BYTES + 6, piece, sizeof piece);
  sent.file = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
  if (sent.file >= 0) {
    assert_int_equal(ftruncate(sent.file, HUGE_BYTES), 0);
    assert_int_equal(fcntl(sent.file, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    const tarn_status status = offer(&sent, sent.size_bytes, 1);
    assert_true(status == TARN_OK || status == TARN_OUT_OF_MEMORY);
    close(sent.file);
  }
  close(whole.life);
  close(whole.file);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

/* --- many pieces: a provider whose every page is a descriptor of its own --- */

enum { PAGE_BYTES = 4096, PIECE_COUNT = 200 }; /* more than one message of descriptors takes */

typedef struct pieces {
  int file;
  bool is_adopted;
  const int *gate; /* a socket's ends: an export forks, and the child lives as long as the first */
  pid_t child;
} pieces;

static tarn_status pieces_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->granularity_bytes = attributes->alignment_bytes = PAGE_BYTES;
  return TARN_OK;
}

static tarn_status pieces_alloc(void *context, size_t size_bytes, void **address) {
  const pieces *self = context;
  *address = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, self->file, 0);
  return *address != MAP_FAILED ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "mmap");
}

static tarn_status pieces_release(void *context, void *address, size_t size_bytes) {
  (void)context;
  munmap(address, size_bytes);
  return TARN_OK;
}

static void fork_child(pieces *self) {
  char byte;
  self->child = fork();
  if (self->child != 0) return;
  close(self->gate[0]);
  (void)!read(self->gate[1], &byte, 1);
  _exit(0);
}

/* The last page comes first over there. */
static tarn_status pieces_share_range(void *context, const void *address, size_t size_bytes,
                                      tarn_stream *stream, bool may_mark,
                                      tarn_share_memory *memory) {
  pieces *self = context;
  (void)address, (void)stream, (void)may_mark;
  assert_int_equal(size_bytes, PIECE_COUNT * PAGE_BYTES);
  memcpy(memory->kind, "pieces", sizeof "pieces");
  if (self->gate != NULL) fork_child(self);
  memory->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  for (int i = PIECE_COUNT; i-- > 0;) {
    const tarn_status status =
        tarn_share_add_piece(memory, dup(self->file), (uint64_t)i * PAGE_BYTES, PAGE_BYTES);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status pieces_adopt(void *context, const tarn_share_memory *memory, tarn_stream *stream,
                                void **address, tarn_device *device) {
  pieces *self = context;
  (void)stream;
  assert_int_equal(memory->piece_count, PIECE_COUNT);
  char *start =
      mmap(NULL, tarn_share_total_bytes(memory), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (size_t i = 0; i < memory->piece_count; i++) {
    const tarn_share_piece *piece = &memory->pieces[i];
    assert_true(mmap(start + i * PAGE_BYTES, piece->size_bytes, PROT_READ, MAP_SHARED | MAP_FIXED,
                     piece->descriptor, (off_t)piece->offset_bytes) != MAP_FAILED);
  }
  self->is_adopted = true;
  *address = start;
  *device = tarn_device_make(TARN_DEVICE_CPU, 0);
  return TARN_OK;
}

static void pieces_abandon(void *context, void *address) {
  pieces *self = context;
  self->is_adopted = false;
  munmap(address, PIECE_COUNT * PAGE_BYTES);
}

static tarn_provider *make_pieces(pieces *context) {
  tarn_provider_ops ops = {.struct_size = sizeof ops,
                           .name = "pieces",
                           .attributes = pieces_attributes,
                           .alloc = pieces_alloc,
                           .release = pieces_release,
                           .share_range = pieces_share_range,
                           .adopt = pieces_adopt};
  tarn_provider *provider;
  assert_status(tarn_provider_create(&ops, context, &provider), TARN_INVALID_ARGUMENT);
  ops.abandon = pieces_abandon;
  assert_ok(tarn_provider_create(&ops, context, &provider));
  context->file = memfd_create("pieces", MFD_CLOEXEC);
  assert_int_equal(ftruncate(context->file, PIECE_COUNT * PAGE_BYTES), 0);
  return provider;
}

TEST(many_descriptors_arrive_in_their_order) {
  pieces context = {.file = -1};
  tarn_provider *provider = make_pieces(&context);
  const tarn_caching_options options = {.struct_size = sizeof options};
  tarn_pool *pool;
  tarn_storage *storage, *imported;
  tarn_parcel *parcel;
  assert_ok(tarn_caching_pool_create(provider, &options, &pool));
  assert_ok(tarn_storage_create(pool, PIECE_COUNT * PAGE_BYTES, NULL, &storage));
  unsigned char *bytes = tarn_storage_data_mutable(storage);
  for (int i = 0; i < PIECE_COUNT; i++) bytes[i * PAGE_BYTES] = (unsigned char)i;
  assert_ok(tarn_storage_export(storage, NULL, &parcel));
  static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
  for (size_t type = 0; type < COUNT_OF(types); type++) {
    tarn_parcel *received = share_pass_through(parcel, types[type]);
    assert_ok(tarn_storage_import(received, provider, NULL, &imported));
    assert_true(context.is_adopted);
    const unsigned char *mapped = tarn_storage_data(imported);
    for (int i = 0; i < PIECE_COUNT; i++) {
      assert_int_equal(mapped[i * PAGE_BYTES], PIECE_COUNT - 1 - i);
    }
    tarn_storage_release(imported);
    assert_false(context.is_adopted);
  }
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  assert_int_equal(tarn_share_collect(), 0);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  close(context.file);
}

TEST(a_child_that_came_up_during_an_export_keeps_nothing_of_it) {
  int gate[2];
  pieces context = {.file = -1, .gate = gate};
  tarn_provider *provider = make_pieces(&context);
  tarn_pool *pool;
  tarn_storage *storage;
  tarn_parcel *parcel;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate), 0);
  assert_ok(tarn_caching_pool_create(provider, NULL, &pool));
  assert_ok(tarn_storage_create(pool, PIECE_COUNT * PAGE_BYTES, NULL, &storage));
  assert_ok(tarn_storage_export(storage, NULL, &parcel));
  assert_ok(tarn_parcel_wait(parcel, /*timeout_ms=*/1000));
  tarn_parcel_destroy(parcel);
  assert_int_equal(tarn_share_collect(), 0);
  close(gate[0]);
  close(gate[1]);
  assert_int_equal(exit_code_of(context.child), 0);
  tarn_storage_release(storage);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  close(context.file);
}

TEST(who_may_not_have_so_many_descriptors_is_told) {
  pieces context = {.file = -1};
  tarn_provider *provider = make_pieces(&context);
  tarn_pool *pool;
  tarn_storage *storage;
  tarn_parcel *parcel, *received;
  struct rlimit limit, lower;
  int ends[2];
  assert_ok(tarn_caching_pool_create(provider, NULL, &pool));
  assert_ok(tarn_storage_create(pool, PIECE_COUNT * PAGE_BYTES, NULL, &storage));
  assert_ok(tarn_storage_export(storage, NULL, &parcel));
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  assert_ok(tarn_share_send(ends[0], parcel, PATIENCE_MS));
  const size_t descriptors = share_count_descriptors();
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
  lower = limit;
  lower.rlim_cur = descriptors + 70; /* the first message's fit */
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
  assert_status(tarn_share_receive(ends[1], PATIENCE_MS, &received), TARN_OUT_OF_MEMORY);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
  assert_int_equal(share_count_descriptors(), descriptors);
  close(ends[0]);
  close(ends[1]);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  close(context.file);
}

TEST(who_takes_too_long_is_not_waited_for) {
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel, *received;
  int ends[2];
  assert_ok(share_make(&side, &storage, &parcel));
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  assert_status(tarn_share_receive(ends[1], 0, &received), TARN_NOT_READY);
  assert_status(tarn_share_receive(ends[1], 1, &received), TARN_NOT_READY);
  tarn_status status = TARN_OK;
  for (int i = 0; i < 100000 && status == TARN_OK; i++) {
    status = tarn_share_send(ends[0], parcel, /*timeout_ms=*/0);
  }
  assert_int_equal(status, TARN_NOT_READY);
  close(ends[0]);
  close(ends[1]);
  assert_status(tarn_share_receive(ends[1], 0, &received), TARN_INVALID_ARGUMENT);
  assert_status(tarn_share_receive(ends[1], 0, NULL), TARN_INVALID_ARGUMENT);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

static volatile sig_atomic_t tick_count;

/* Ends by itself, so that who starts anew at every signal comes back too late, and not never. */
static void tick(int number) {
  const struct itimerval never = {.it_value = {0}};
  (void)number;
  if (++tick_count == 1000) setitimer(ITIMER_REAL, &never, NULL);
}

TEST(signals_do_not_make_a_wait_longer) {
  const struct sigaction action = {.sa_handler = tick};
  const struct itimerval often = {.it_interval = {.tv_usec = 2000}, .it_value = {.tv_usec = 2000}};
  const struct itimerval never = {.it_value = {0}};
  share_side side = share_host_side();
  struct sigaction before;
  tarn_storage *storage;
  tarn_parcel *parcel, *received, *nothing;
  int ends[2];
  assert_ok(share_make(&side, &storage, &parcel));
  received = share_pass_through(parcel, SOCK_STREAM);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
  assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
  assert_status(tarn_parcel_wait(parcel, 50), TARN_NOT_READY);
  assert_status(tarn_share_receive(ends[1], 50, &nothing), TARN_NOT_READY);
  assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
  assert_in_range(tick_count, 1, 999);
  assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
  close(ends[0]);
  close(ends[1]);
  tarn_parcel_destroy(received);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  share_side_end(&side);
}

/* The kernel lets a user have so many descriptors on their way as one process may have. */
static int send_more_than_the_user_may(void) {
  const struct rlimit few = {.rlim_cur = 10, .rlim_max = 10};
  share_side side = share_host_side();
  tarn_storage *storage;
  tarn_parcel *parcel;
  int ends[2];
  alarm(CHILD_SECONDS);
  CHECK(share_make(&side, &storage, &parcel) == TARN_OK);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  CHECK(geteuid() != 0 || setuid(65534) == 0); /* who may do all is not counted */
  CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
  tarn_status status = TARN_OK;
  int sent_count = 0;
  for (; status == TARN_OK && sent_count < 1000; sent_count++) {
    status = tarn_share_send(ends[0], parcel, /*timeout_ms=*/20);
  }
  struct pollfd end = {.fd = ends[0], .events = POLLOUT};
  CHECK(poll(&end, 1, 0) == 1); /* it was not for want of room */
  CHECK(status == TARN_NOT_READY);
  return 0;
}

TEST(who_has_too_many_descriptors_on_their_way_is_told_in_time) {
  const pid_t child = fork();
  if (child == 0) _exit(send_more_than_the_user_may());
  assert_int_equal(exit_code_of(child), 0);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
