/* share.h: what a parcel is made of, for the files that fill, send, read and map it. */
#ifndef TARN_SHARE_PRIVATE_H
#define TARN_SHARE_PRIVATE_H

#include <poll.h>

#include "alloc/tarn_share.h"

/* The two ends of a pipe that nobody writes to tell who is left. Every copy of a parcel carries the
 * end for writing, and so the end for reading hangs up when the last copy is gone, whatever became
 * of its process; and the one for writing fails where the exporter is. */
struct tarn_parcel {
  tarn_parcel *next; /* the exporter's, of all parcels; guarded by the lock in share.c */
  bool is_received;
  bool is_destroyed;     /* the exporter's, of which copies are left */
  int watch;             /* the exporter's: the end for reading; -1: a child of fork has none */
  int life;              /* the end for writing; -1: no more can be sent */
  tarn_storage *storage; /* the exporter's: a reference */
  tarn_share_memory memory;
  size_t note_bytes;
  unsigned char *note; /* owned */
};

/* Closes all descriptors and frees the pieces; runs `end`. */
void tarn__share_memory_deinit(tarn_share_memory *memory);

/* Whether a storage that begins within these bytes is exported by this process, or about to be. */
bool tarn__share_is_exported(const void *start, size_t size_bytes);

/* A parcel of which nothing is there yet; NULL without memory. And what was received, or never
 * shown to anybody, with all that it has. */
tarn_parcel *tarn__parcel_create(void);
void tarn__parcel_free(tarn_parcel *parcel);

/* --- share_wire.c --- */
/* The part of a parcel that says how much more there is, as it travels: TARN__WIRE_HEADER_BYTES of
 * them, and then the note and the pieces. */
enum { TARN__WIRE_HEADER_BYTES = 256, TARN__WIRE_PIECE_BYTES = 16 };
/* How many bytes follow the header. TARN_BAD_FORMAT where it is none. */
TARN_NODISCARD tarn_status tarn__wire_body_bytes(const void *header, size_t *body_bytes);
/* Fills in an empty parcel, all but the descriptors, of which it answers how many there shall be.
 * TARN_BAD_FORMAT where the bytes are inconsistent; the parcel is then to be freed as it is. */
TARN_NODISCARD tarn_status tarn__wire_decode(const void *header, const void *body,
                                             tarn_parcel *parcel, size_t *descriptor_count);

/* poll, of one descriptor, at most so long in all however many signals come. */
int tarn__share_poll(struct pollfd *waited, int timeout_ms);

/* --- share_file.c: memory files --- */
/* What a provider with `share` alone has: one piece of its file. */
TARN_NODISCARD tarn_status tarn__share_file(tarn_provider *provider, const void *address,
                                            size_t size_bytes, tarn_stream *stream,
                                            tarn_share_memory *memory);
/* Maps it, and takes that back. */
TARN_NODISCARD tarn_status tarn__share_file_map(const tarn_share_memory *memory, void **address);
void tarn__share_file_unmap(void *address, size_t size_bytes);

#endif
