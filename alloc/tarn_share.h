/* tarn_share.h: storages that several processes use: one exports, others import.
 *
 *     exporter                                              importer
 *     tarn_storage_export --> parcel
 *     tarn_share_send ============ Unix socket ===========> tarn_share_receive --> parcel
 *     tarn_parcel_destroy                                   tarn_storage_import --> storage
 *     (the storage is kept) <--- nobody has it any more --- tarn_storage_release
 *
 * A parcel says how another process gets at a storage's memory: a memory file, the handles of a
 * GPU's virtual memory, or a handle of the driver's. No byte is copied. Descriptors travel in the
 * socket's messages (SCM_RIGHTS), so that neither side needs any right over the other.
 *
 * In numbered sentences:
 *
 * 1. The exporter keeps the storage, whoever else releases it, until its parcel is destroyed and
 *    every copy that was sent is gone: released where it was imported, destroyed where not, left in
 *    a socket that nobody reads any more, or its process ended, in whatever way.
 * 2. Nobody calls the exporter when that happens. It looks, without blocking, at every export, in
 *    each round of tarn_maintenance.h, and when it is asked to: tarn_parcel_wait and
 *    tarn_share_collect, which a pressure function may call (tarn_budget.h): a pool does not look
 *    by itself before it runs out of memory.
 * 3. What was enqueued on the export's stream by then is done before the importer's work begins,
 *    and what a third process imports comes behind nothing else. Where the memory has marks (CUDA's
 *    inter-process events) nobody blocks for it: the import's stream waits. Else the export blocks.
 * 4. The importer's last release blocks until the streams have passed that it noted with
 *    tarn_storage_note_use; only then the exporter learns of it.
 * 5. Both sides see each other's writes. Who writes when is theirs to agree upon.
 * 6. The exporter's end takes nothing from an importer who has a memory file or handles of virtual
 *    memory: the pages live as long as anybody has them. Memory of cuMemAlloc goes with its
 *    process, and so do marks: what then becomes of work that uses them, the driver does not say.
 *    Export with TARN_SHARE_WAIT where the exporter may die early. tarn_storage_is_orphaned tells.
 * 7. Nothing of the importer's end hurts the exporter. What a GPU still runs for a process that was
 *    killed ends with its context, which the driver takes down as the process goes.
 * 8. A child of fork has none of the parcels that its parent exported: their copies there are
 *    closed, and the memory is kept for nobody but the importers. A received parcel lives on in the
 *    child, and so does an imported storage where its memory is host memory: the exporter waits for
 *    the child, too.
 * 9. As long as the exporter keeps a storage for others its memory stays behind its addresses:
 *    tarn_pool_pause passes over it, and tarn_storage_trim answers TARN_BUSY.
 */
#ifndef TARN_SHARE_H
#define TARN_SHARE_H

#include "alloc/tarn_storage.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  TARN_SHARE_KIND_BYTES = 16,
  TARN_SHARE_IDENTITY_BYTES = 16,
  TARN_SHARE_HANDLE_BYTES = 64,
  TARN_SHARE_NOTE_BYTES_MAX = 4096,
  TARN_SHARE_PIECES_MAX = 16384, /* 32 GiB of granules of 2 MiB */
};

typedef struct tarn_parcel tarn_parcel;

enum {
  TARN_SHARE_READ_ONLY = 1u << 0, /* importers get a read-only storage; a read-only one is so too */
  TARN_SHARE_WAIT = 1u << 1,      /* the export blocks rather than to use a mark; see sentence 6 */
};

typedef struct tarn_export_options {
  size_t struct_size;
  tarn_stream *stream; /* behind whose work the bytes are ready; NULL: they are */
  uint32_t flags;      /* TARN_SHARE_* */
  const void *note;    /* bytes for whoever receives the parcel, copied: a shape, a name */
  size_t note_bytes;   /* at most TARN_SHARE_NOTE_BYTES_MAX */
} tarn_export_options;

/* Makes a parcel of all of a storage's bytes; `options` may be NULL. Costs two descriptors, and one
 * for each piece of memory the driver made at once, until the parcel is destroyed; the first two
 * until every copy is gone. TARN_NOT_SUPPORTED where the memory is this process's alone: a wrapped
 * blob, an imported storage, a pool whose provider does not share (tarn_pages.h with
 * TARN_PAGES_SHARED does, tarn_cuda_memory.h says which of a GPU's do), or a stream that is
 * captured. TARN_BUSY for a paused block, TARN_INVALID_ARGUMENT for a storage without bytes.
 *
 * A read-only export of a memory file is a descriptor that cannot be mapped for writing. A process
 * of the same user can open the file anew; a GPU's handles know no such right at all. It keeps
 * programs from mistakes, and nobody from malice. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_export(tarn_storage *storage,
                                                        const tarn_export_options *options,
                                                        tarn_parcel **parcel);

/* Writes a parcel to a Unix socket, SOCK_STREAM or SOCK_SEQPACKET, any number of times, to anybody.
 * Blocks as long as the socket is full, at most timeout_ms milliseconds (-1: for good). Part of it
 * may have been sent where it fails: close the socket then. TARN_UNAVAILABLE where nobody reads the
 * other end any more, TARN_NOT_READY where the time is over, TARN_INVALID_ARGUMENT for a parcel
 * that was received, or waited for. */
TARN_API TARN_NODISCARD tarn_status tarn_share_send(int socket, const tarn_parcel *parcel,
                                                    int timeout_ms);

/* Reads one parcel; the other side is not trusted. TARN_BAD_FORMAT for anything but a parcel of
 * this version of tarn, or half of one, TARN_UNAVAILABLE where the other end was closed before it
 * began, TARN_NOT_READY where the time is over, TARN_OUT_OF_MEMORY where this process may not have
 * so many descriptors (`ulimit -n`). Whatever had arrived is closed then; close the socket, too. */
TARN_API TARN_NODISCARD tarn_status tarn_share_receive(int socket, int timeout_ms,
                                                       tarn_parcel **parcel);

TARN_API size_t tarn_parcel_size_bytes(const tarn_parcel *parcel);
TARN_API bool tarn_parcel_is_read_only(const tarn_parcel *parcel);
/* Where the memory lies, as the exporter counts devices. */
TARN_API tarn_device tarn_parcel_device(const tarn_parcel *parcel);
/* "file", "cuda virtual", "cuda block": what makes it reachable. */
TARN_API const char *tarn_parcel_kind(const tarn_parcel *parcel);
/* The exporter's note, borrowed; NULL where there is none. Not trusted either. */
TARN_API const void *tarn_parcel_note(const tarn_parcel *parcel, size_t *note_bytes);

/* Maps a received parcel and takes it: on TARN_OK it is gone. `provider` is one of the memory's
 * kind, which maps it and is retained: a CUDA device's, or NULL for a memory file. Work enqueued on
 * `stream` afterwards comes behind the exporter's, and NULL or a synchronous stream blocks for it;
 * tell other streams, or order them behind this one. The storage has the parcel's size, is
 * read-only where that is, lies on the device as this process counts it, and has the offset within
 * its pages that it has at the exporter. TARN_NOT_SUPPORTED where the provider does not know the
 * kind; TARN_UNAVAILABLE where this process does not see the device; TARN_BAD_FORMAT where the
 * descriptors are not what the parcel says. */
TARN_API TARN_NODISCARD tarn_status tarn_storage_import(tarn_parcel *parcel,
                                                        tarn_provider *provider,
                                                        tarn_stream *stream,
                                                        tarn_storage **storage);

/* Whether the storage was imported and its exporter's process is gone. */
TARN_API bool tarn_storage_is_orphaned(const tarn_storage *storage);

/* Ends sending, for good, and waits until every copy that was sent is gone, at most timeout_ms
 * milliseconds (0: only looks, -1: for good); TARN_NOT_READY where some are left, which is an
 * answer and leaves the last error alone. TARN_INVALID_ARGUMENT for a received parcel. */
TARN_API TARN_NODISCARD tarn_status tarn_parcel_wait(tarn_parcel *parcel, int timeout_ms);

/* The exporter's: no more can be sent; the storage is released as soon as no copy is left, by this
 * call or a later one of those in sentence 2. The importer's: nobody needs it here. */
TARN_API void tarn_parcel_destroy(tarn_parcel *parcel);

/* Releases what no importer has any more, and answers of how many destroyed parcels copies are
 * left. To be called now and then by a process that exports and then exports no more. */
TARN_API size_t tarn_share_collect(void);

/* --- for those who implement a provider that shares (tarn_provider_ops) --- */

typedef struct tarn_share_piece {
  uint64_t size_bytes;
  uint64_t offset_bytes; /* in what the descriptor names */
  int descriptor;        /* -1 where `handle` says where the memory is */
} tarn_share_piece;

/* Memory as another process finds it: pieces that follow each other there, too, all with a
 * descriptor or none of them. */
struct tarn_share_memory {
  char kind[TARN_SHARE_KIND_BYTES]; /* ends with a zero; small letters and spaces */
  tarn_device device;
  uint8_t identity[TARN_SHARE_IDENTITY_BYTES]; /* of the device, for any process; zeros: the CPU */
  uint64_t offset_bytes;                       /* where the bytes begin within the pieces */
  uint64_t size_bytes;
  bool is_read_only;
  bool has_handle;
  bool has_mark;
  uint8_t handle[TARN_SHARE_HANDLE_BYTES]; /* of memory that is no descriptor */
  uint8_t mark[TARN_SHARE_HANDLE_BYTES];   /* what the other side has to wait for */
  size_t piece_count;
  tarn_share_piece *pieces;
  /* The exporter's: runs once no copy is left. NULL: nothing is to be done then. */
  void (*end)(void *keeper);
  void *keeper;
};

/* Adds a piece to memory that a provider describes. Takes the descriptor, also where it fails. */
TARN_API TARN_NODISCARD tarn_status tarn_share_add_piece(tarn_share_memory *memory, int descriptor,
                                                         uint64_t offset_bytes,
                                                         uint64_t size_bytes);
/* The bytes of all pieces together. */
TARN_API uint64_t tarn_share_total_bytes(const tarn_share_memory *memory);

#ifdef __cplusplus
}
#endif
#endif
