/* share_wire.c: a parcel as bytes and descriptors in a Unix socket.
 *
 *     header | note, then pieces | one byte for each descriptor
 *       ^                                      ^
 *       the end of the pipe goes with it       up to BATCH of them go with a message
 *
 * Numbers lie as the machine has them: both sides are on the same one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "alloc/share.h"

enum {
  WIRE_VERSION = 1,
  BATCH = 64,             /* descriptors of one message; the kernel takes 253 */
  CHUNK_BYTES = 32 << 10, /* of one message: those of SOCK_SEQPACKET are cut nowhere else */
  WIRE_READ_ONLY = 1u << 0,
  WIRE_HANDLE = 1u << 1,
  WIRE_MARK = 1u << 2,
};

static const char MAGIC[8] = "tarnpcl";

typedef struct wire_header {
  char magic[8];
  uint32_t version;
  uint32_t flags; /* WIRE_* */
  int32_t device_type;
  int32_t device_index;
  uint32_t piece_count;
  uint32_t descriptor_count; /* one for each piece, or none */
  uint32_t note_bytes;
  uint32_t reserved; /* zero, as the rest below */
  uint64_t size_bytes;
  uint64_t offset_bytes;
  char kind[TARN_SHARE_KIND_BYTES];
  uint8_t identity[TARN_SHARE_IDENTITY_BYTES];
  uint8_t handle[TARN_SHARE_HANDLE_BYTES];
  uint8_t mark[TARN_SHARE_HANDLE_BYTES];
  uint8_t rest[40];
} wire_header;
_Static_assert(sizeof(wire_header) == TARN__WIRE_HEADER_BYTES, "a header without gaps");

typedef struct wire_piece {
  uint64_t size_bytes;
  uint64_t offset_bytes;
} wire_piece;
_Static_assert(sizeof(wire_piece) == TARN__WIRE_PIECE_BYTES, "a piece without gaps");

/* --- bytes of strangers --- */

static tarn_status refuse(const char *what) {
  return tarn_fail(TARN_BAD_FORMAT, "not a parcel of this version of tarn: %s", what);
}

static bool are_zero(const void *bytes, size_t size_bytes) {
  const unsigned char *at = bytes;
  for (size_t i = 0; i < size_bytes; i++) {
    if (at[i] != 0) return false;
  }
  return true;
}

/* Letters and spaces, then zeros. */
static bool is_kind(const char kind[TARN_SHARE_KIND_BYTES]) {
  size_t length = 0;
  while (length < TARN_SHARE_KIND_BYTES &&
         (kind[length] == ' ' || (kind[length] >= 'a' && kind[length] <= 'z'))) {
    length++;
  }
  return length > 0 && length < TARN_SHARE_KIND_BYTES &&
         are_zero(kind + length, TARN_SHARE_KIND_BYTES - length);
}

static tarn_status check_header(const wire_header *header) {
  const uint32_t known = WIRE_READ_ONLY | WIRE_HANDLE | WIRE_MARK;
  if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0) return refuse("its first bytes");
  if (header->version != WIRE_VERSION) return refuse("its version");
  if ((header->flags & ~known) != 0) return refuse("its flags");
  if (!is_kind(header->kind)) return refuse("its kind");
  if (header->note_bytes > TARN_SHARE_NOTE_BYTES_MAX) return refuse("the length of its note");
  if (header->piece_count == 0 || header->piece_count > TARN_SHARE_PIECES_MAX) {
    return refuse("its number of pieces");
  }
  const bool has_handle = (header->flags & WIRE_HANDLE) != 0;
  if (header->descriptor_count != (has_handle ? 0 : header->piece_count)) {
    return refuse("its number of descriptors");
  }
  if ((!has_handle && !are_zero(header->handle, sizeof header->handle)) ||
      ((header->flags & WIRE_MARK) == 0 && !are_zero(header->mark, sizeof header->mark)) ||
      header->reserved != 0 || !are_zero(header->rest, sizeof header->rest)) {
    return refuse("what shall be zero");
  }
  if (header->size_bytes == 0 || header->size_bytes > PTRDIFF_MAX) return refuse("its size");
  return TARN_OK;
}

tarn_status tarn__wire_body_bytes(const void *bytes, size_t *body_bytes) {
  wire_header header;
  *body_bytes = 0;
  memcpy(&header, bytes, sizeof header);
  const tarn_status status = check_header(&header);
  if (status != TARN_OK) return status;
  *body_bytes = header.note_bytes + header.piece_count * sizeof(wire_piece);
  return TARN_OK;
}

static tarn_status decode_pieces(const wire_header *header, const unsigned char *body,
                                 tarn_share_memory *memory) {
  uint64_t total_bytes = 0;
  for (uint32_t i = 0; i < header->piece_count; i++) {
    wire_piece piece;
    memcpy(&piece, body + i * sizeof piece, sizeof piece);
    if (piece.size_bytes == 0 || piece.size_bytes > PTRDIFF_MAX - total_bytes) {
      return refuse("the size of a piece");
    }
    if (piece.offset_bytes > INT64_MAX - piece.size_bytes) return refuse("where a piece lies");
    total_bytes += piece.size_bytes;
    const tarn_status status =
        tarn_share_add_piece(memory, /*descriptor=*/-1, piece.offset_bytes, piece.size_bytes);
    if (status != TARN_OK) return status;
  }
  if (header->size_bytes > total_bytes || header->offset_bytes > total_bytes - header->size_bytes) {
    return refuse("its bytes are not within its pieces");
  }
  return TARN_OK;
}

tarn_status tarn__wire_decode(const void *bytes, const void *body, tarn_parcel *parcel,
                              size_t *descriptor_count) {
  wire_header header;
  *descriptor_count = 0;
  memcpy(&header, bytes, sizeof header);
  tarn_status status = check_header(&header);
  if (status != TARN_OK) return status;
  tarn_share_memory *memory = &parcel->memory;
  memcpy(memory->kind, header.kind, sizeof memory->kind);
  memcpy(memory->identity, header.identity, sizeof memory->identity);
  memcpy(memory->handle, header.handle, sizeof memory->handle);
  memcpy(memory->mark, header.mark, sizeof memory->mark);
  memory->device = tarn_device_make(header.device_type, header.device_index);
  memory->offset_bytes = header.offset_bytes;
  memory->size_bytes = header.size_bytes;
  memory->is_read_only = (header.flags & WIRE_READ_ONLY) != 0;
  memory->has_handle = (header.flags & WIRE_HANDLE) != 0;
  memory->has_mark = (header.flags & WIRE_MARK) != 0;
  if (header.note_bytes != 0) {
    parcel->note = malloc(header.note_bytes);
    if (parcel->note == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a note");
    memcpy(parcel->note, body, header.note_bytes);
    parcel->note_bytes = header.note_bytes;
  }
  status = decode_pieces(&header, (const unsigned char *)body + header.note_bytes, memory);
  if (status == TARN_OK) *descriptor_count = header.descriptor_count;
  return status;
}

static void encode_header(const tarn_parcel *parcel, wire_header *header) {
  const tarn_share_memory *memory = &parcel->memory;
  *header = (wire_header){
      .version = WIRE_VERSION,
      .flags = (memory->is_read_only ? (uint32_t)WIRE_READ_ONLY : 0) |
               (memory->has_handle ? (uint32_t)WIRE_HANDLE : 0) |
               (memory->has_mark ? (uint32_t)WIRE_MARK : 0),
      .device_type = memory->device.type,
      .device_index = memory->device.index,
      .piece_count = (uint32_t)memory->piece_count,
      .descriptor_count = memory->has_handle ? 0 : (uint32_t)memory->piece_count,
      .note_bytes = (uint32_t)parcel->note_bytes,
      .size_bytes = memory->size_bytes,
      .offset_bytes = memory->offset_bytes,
  };
  memcpy(header->magic, MAGIC, sizeof header->magic);
  memcpy(header->kind, memory->kind, sizeof header->kind);
  memcpy(header->identity, memory->identity, sizeof header->identity);
  if (memory->has_handle) memcpy(header->handle, memory->handle, sizeof header->handle);
  if (memory->has_mark) memcpy(header->mark, memory->mark, sizeof header->mark);
}

/* --- the socket --- */

typedef struct line {
  int socket;
  bool is_timed;
  int64_t end_ms; /* where it is timed */
} line;

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static line line_on(int socket, int timeout_ms) {
  return (line){.socket = socket,
                .is_timed = timeout_ms >= 0,
                .end_ms = timeout_ms >= 0 ? now_ms() + timeout_ms : 0};
}

/* As poll takes it. */
static int left_ms(const line *self) {
  if (!self->is_timed) return -1;
  const int64_t left = self->end_ms - now_ms();
  return left > 0 ? (int)left : 0;
}

int tarn__share_poll(struct pollfd *waited, int timeout_ms) {
  const line self = line_on(waited->fd, timeout_ms);
  int count;
  do {
    count = poll(waited, 1, left_ms(&self));
  } while (count < 0 && errno == EINTR);
  return count;
}

static tarn_status refuse_slow(void) {
  return tarn_fail(TARN_NOT_READY, "the other side of the socket took too long over a parcel");
}

static tarn_status wait_for(const line *self, short event) {
  struct pollfd waited = {.fd = self->socket, .events = event};
  const int count = tarn__share_poll(&waited, left_ms(self));
  if (count > 0) return TARN_OK; /* hung up, too: the call that follows says so */
  if (count == 0) return refuse_slow();
  return tarn_fail_native(TARN_SYSTEM_ERROR, "poll", errno, "a parcel's socket: %s",
                          strerror(errno));
}

/* The user has more descriptors on their way than the kernel likes. Somebody has to read, and
 * nothing says when that was: the socket can be written to all the while. */
static tarn_status wait_for_readers(const line *self) {
  if (left_ms(self) == 0) return refuse_slow();
  (void)poll(NULL, 0, /*timeout=*/1);
  return TARN_OK;
}

static tarn_status refuse_socket(const char *call, int error) {
  const bool is_gone = error == EPIPE || error == ECONNRESET || error == ENOTCONN;
  return tarn_fail_native(is_gone ? TARN_UNAVAILABLE
                          : error == EBADF || error == ENOTSOCK || error == EOPNOTSUPP
                              ? TARN_INVALID_ARGUMENT
                              : TARN_SYSTEM_ERROR,
                          call, error, "a parcel's socket: %s", strerror(error));
}

typedef union control {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(253 * sizeof(int))]; /* whatever comes has room */
} control;

/* One message of these bytes, or its first part; the descriptors go with its first byte. */
static tarn_status send_some(const line *self, const void *bytes, size_t size_bytes,
                             const int *descriptors, size_t descriptor_count, size_t *sent_bytes) {
  control carried = {.header = {0}};
  struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size_bytes};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptor_count != 0) {
    message.msg_control = &carried;
    message.msg_controllen = CMSG_SPACE(descriptor_count * sizeof *descriptors);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptor_count * sizeof *descriptors);
    memcpy(CMSG_DATA(header), descriptors, descriptor_count * sizeof *descriptors);
  }
  for (;;) {
    const ssize_t sent = sendmsg(self->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      *sent_bytes = (size_t)sent;
      return TARN_OK;
    }
    const int error = errno;
    tarn_status status = TARN_OK;
    if (error == ETOOMANYREFS) {
      status = wait_for_readers(self);
    } else if (error == EAGAIN) {
      status = wait_for(self, POLLOUT);
    } else if (error != EINTR) {
      status = refuse_socket("sendmsg", error);
    }
    if (status != TARN_OK) return status;
  }
}

static tarn_status send_all(const line *self, const void *bytes, size_t size_bytes,
                            const int *descriptors, size_t descriptor_count) {
  for (size_t done = 0; done < size_bytes;) {
    const size_t left_bytes = size_bytes - done;
    size_t sent_bytes = 0;
    const tarn_status status = send_some(
        self, (const char *)bytes + done, left_bytes < CHUNK_BYTES ? left_bytes : CHUNK_BYTES,
        descriptors, done == 0 ? descriptor_count : 0, &sent_bytes);
    if (status != TARN_OK) return status;
    done += sent_bytes;
  }
  return TARN_OK;
}

static tarn_status send_body(const line *self, const tarn_parcel *parcel) {
  const tarn_share_memory *memory = &parcel->memory;
  tarn_status status = send_all(self, parcel->note, parcel->note_bytes, NULL, 0);
  wire_piece pieces[CHUNK_BYTES / sizeof(wire_piece) / 16];
  for (size_t i = 0; i < memory->piece_count && status == TARN_OK;) {
    size_t count = 0;
    for (; count < sizeof pieces / sizeof *pieces && i < memory->piece_count; count++, i++) {
      pieces[count] = (wire_piece){.size_bytes = memory->pieces[i].size_bytes,
                                   .offset_bytes = memory->pieces[i].offset_bytes};
    }
    status = send_all(self, pieces, count * sizeof *pieces, NULL, 0);
  }
  return status;
}

static tarn_status send_descriptors(const line *self, const tarn_share_memory *memory) {
  static const char nothing[BATCH] = {0};
  tarn_status status = TARN_OK;
  for (size_t i = 0; i < memory->piece_count && status == TARN_OK;) {
    int descriptors[BATCH];
    size_t count = 0;
    for (; count < BATCH && i < memory->piece_count; count++, i++) {
      descriptors[count] = memory->pieces[i].descriptor;
    }
    status = send_all(self, nothing, count, descriptors, count);
  }
  return status;
}

tarn_status tarn_share_send(int socket, const tarn_parcel *parcel, int timeout_ms) {
  if (parcel == NULL || parcel->is_received || parcel->life < 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "only a parcel that was exported here, and not waited for yet, is sent");
  }
  const line self = line_on(socket, timeout_ms);
  wire_header header;
  encode_header(parcel, &header);
  tarn_status status = send_all(&self, &header, sizeof header, &parcel->life, 1);
  if (status == TARN_OK) status = send_body(&self, parcel);
  if (status == TARN_OK && !parcel->memory.has_handle) {
    status = send_descriptors(&self, &parcel->memory);
  }
  return status;
}

/* --- receiving --- */

/* What arrived with the bytes, up to a number. */
typedef struct catch {
  int *descriptors;
  size_t count;
  size_t room;
}
catch;

/* Takes what came with a message. Too many are closed, which is an error. */
static bool take_descriptors(struct msghdr *message, catch *caught) {
  bool fits = true;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
       header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(header) + i * sizeof descriptor, sizeof descriptor);
      if (caught->count < caught->room) {
        caught->descriptors[caught->count++] = descriptor;
      } else {
        close(descriptor);
        fits = false;
      }
    }
  }
  return fits;
}

/* *taken_bytes is 0 where the other side has closed. */
static tarn_status receive_some(const line *self, void *bytes, size_t size_bytes, catch *caught,
                                size_t *taken_bytes) {
  control carried;
  struct iovec part = {.iov_base = bytes, .iov_len = size_bytes};
  for (;;) {
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &carried,
                             .msg_controllen = sizeof carried};
    const ssize_t taken = recvmsg(self->socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (taken >= 0) {
      *taken_bytes = (size_t)taken;
      const bool fits = take_descriptors(&message, caught);
      if ((message.msg_flags & MSG_CTRUNC) != 0) {
        return tarn_fail(
            TARN_OUT_OF_MEMORY,
            "a parcel's descriptors are more than this process may have (`ulimit -n`)");
      }
      if (!fits) return refuse("more descriptors than it says");
      return (message.msg_flags & MSG_TRUNC) != 0 ? refuse("a message of another length") : TARN_OK;
    }
    if (errno != EAGAIN && errno != EINTR) return refuse_socket("recvmsg", errno);
    const tarn_status status = errno == EINTR ? TARN_OK : wait_for(self, POLLIN);
    if (status != TARN_OK) return status;
  }
}

static tarn_status receive_all(const line *self, void *bytes, size_t size_bytes, catch *caught) {
  for (size_t done = 0; done < size_bytes;) {
    size_t taken_bytes = 0;
    const tarn_status status =
        receive_some(self, (char *)bytes + done, size_bytes - done, caught, &taken_bytes);
    if (status != TARN_OK) return status;
    if (taken_bytes == 0) return refuse("it ends in the middle");
    done += taken_bytes;
  }
  return TARN_OK;
}

/* The end of the exporter's pipe comes with the header, which tells whether anything comes. */
static tarn_status receive_header(const line *self, unsigned char header[TARN__WIRE_HEADER_BYTES],
                                  tarn_parcel *parcel) {
  catch caught = {.descriptors = &parcel->life, .room = 1};
  struct stat found = {0};
  size_t taken_bytes = 0;
  tarn_status status = receive_some(self, header, TARN__WIRE_HEADER_BYTES, &caught, &taken_bytes);
  if (status != TARN_OK) return status;
  if (taken_bytes == 0) {
    return tarn_fail(TARN_UNAVAILABLE, "the other side closed the socket, and sent no parcel");
  }
  status = receive_all(self, header + taken_bytes, TARN__WIRE_HEADER_BYTES - taken_bytes, &caught);
  if (status != TARN_OK) return status;
  const bool is_pipe =
      caught.count == 1 && fstat(parcel->life, &found) == 0 && S_ISFIFO(found.st_mode);
  return is_pipe ? TARN_OK : refuse("no pipe came with it");
}

static tarn_status receive_descriptors(const line *self, size_t count, tarn_share_memory *memory) {
  for (size_t done = 0; done < count;) {
    char nothing[BATCH];
    int descriptors[BATCH];
    const size_t batch = count - done < BATCH ? count - done : BATCH;
    catch caught = {.descriptors = descriptors, .room = batch};
    tarn_status status = receive_all(self, nothing, batch, &caught);
    if (status == TARN_OK && caught.count != batch)
      status = refuse("fewer descriptors than it says");
    for (size_t i = 0; i < caught.count; i++) memory->pieces[done + i].descriptor = descriptors[i];
    if (status != TARN_OK) return status;
    done += batch;
  }
  return TARN_OK;
}

static tarn_status receive_rest(const line *self, const unsigned char *header,
                                tarn_parcel *parcel) {
  size_t body_bytes;
  size_t descriptor_count = 0;
  tarn_status status = tarn__wire_body_bytes(header, &body_bytes);
  if (status != TARN_OK) return status;
  unsigned char *body = malloc(body_bytes);
  if (body == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to receive a parcel");
  catch none = {.room = 0};
  status = receive_all(self, body, body_bytes, &none);
  if (status == TARN_OK) status = tarn__wire_decode(header, body, parcel, &descriptor_count);
  free(body);
  if (status != TARN_OK) return status;
  return receive_descriptors(self, descriptor_count, &parcel->memory);
}

tarn_status tarn_share_receive(int socket, int timeout_ms, tarn_parcel **parcel) {
  if (parcel == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "parcel is NULL");
  *parcel = NULL;
  const line self = line_on(socket, timeout_ms);
  unsigned char header[TARN__WIRE_HEADER_BYTES] = {0};
  tarn_parcel *made = tarn__parcel_create();
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a parcel");
  made->is_received = true;
  tarn_status status = receive_header(&self, header, made);
  if (status == TARN_OK) status = receive_rest(&self, header, made);
  if (status != TARN_OK) {
    tarn__parcel_free(made);
    return status;
  }
  *parcel = made;
  return TARN_OK;
}
