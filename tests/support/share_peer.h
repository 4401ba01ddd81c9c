/* share_peer.h: a second process that exports or imports storages, a step at a time.
 *
 * The test program starts itself with a role. The child serves one-byte commands from a socket, and
 * answers each of them with SHARE_DONE, or SHARE_FAILED and its words on stderr. */
#ifndef TARN_SHARE_PEER_H
#define TARN_SHARE_PEER_H

#include <sys/types.h>

#include "alloc/tarn_share.h"

enum { SHARE_BYTES = 300000 }; /* no whole number of pages */

/* What one process allocates from, and what it maps others' memory with. */
typedef struct share_side {
  tarn_pool *pool;
  tarn_provider *importer; /* NULL: memory files */
  tarn_stream *stream;
  uint32_t export_flags;
} share_side;

enum {
  SHARE_EXPORT = 'E',  /* a new storage full of SHARE_FIRST, and a parcel of it */
  SHARE_SEND = 'S',    /* the parcel instead of an answer */
  SHARE_DESTROY = 'D', /* the exporter's parcel and storage */
  SHARE_RECEIVE = 'R',
  SHARE_IMPORT = 'I',
  SHARE_CHECK = 'C',   /* that all bytes are SHARE_FIRST */
  SHARE_PENDING = 'P', /* that the stream has not passed what was enqueued */
  SHARE_WRITE = 'W',   /* SHARE_SECOND everywhere, on the stream, not waited for */
  SHARE_RELEASE = 'X', /* the imported storage */
  SHARE_QUIT = 'Q',    /* everything is given back, and the process ends with 0 */
  SHARE_DONE = 'k',
  SHARE_FAILED = 'n',
  SHARE_FIRST = 0x5A,
  SHARE_SECOND = 0xC3,
};

/* The child's: serves until it is told to quit; what main returns. The side stays the caller's. */
int share_peer_serve(int socket, const share_side *side);
/* The socket that the child was started with. */
enum { SHARE_PEER_SOCKET = 3 };

/* Starts this program anew with `role` as its only argument; *socket is this side's end. */
pid_t share_peer_start(const char *role, int *socket);
/* Sends a command and answers what the child does. */
char share_peer_ask(int socket, char command);
/* Sends it alone: the answer is a parcel. */
void share_peer_tell(int socket, char command);
/* Sends it a parcel, and sees that it has received it. */
void share_peer_hand_over(int socket, const tarn_parcel *parcel);
/* Receives the parcel that it has exported. */
tarn_status share_peer_fetch(int socket, tarn_parcel **parcel);
/* Ends it by force and waits for it. */
void share_peer_kill(pid_t child);
/* Ends it by SHARE_QUIT; its exit code. */
int share_peer_quit(pid_t child, int socket);

/* On the side's stream, without waiting; and whether all bytes are so, once they are there. */
tarn_status share_fill(const share_side *side, tarn_storage *storage, unsigned char value);
bool share_is_full_of(const share_side *side, tarn_storage *storage, unsigned char value);
/* A new storage full of SHARE_FIRST and its parcel; both NULL where it fails. */
tarn_status share_make(const share_side *side, tarn_storage **storage, tarn_parcel **parcel);

/* Memory files, under a caching pool; and the end of any side. */
share_side share_host_side(void);
void share_side_end(share_side *side);
/* Of its pool, what is lent out. */
size_t share_live_blocks(const share_side *side);
/* The parcel through a socket of that type within this process. */
tarn_parcel *share_pass_through(const tarn_parcel *parcel, int type);

/* Of this process: what is open, and what is mapped. */
size_t share_count_descriptors(void);
size_t share_count_mappings(void);

#endif
