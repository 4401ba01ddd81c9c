/* heap.h: the bookkeeping of a caching pool: segments, free blocks by stream, best fit.
 *
 * Pure: no lock, no provider, no driver. The pool holds its lock around every call, and takes
 * blocks out as CLAIMED for whatever has to happen outside of the lock.
 *
 * A free block stands in one of these trees, keyed by size, so that a request finds what it may use
 * at once without looking at what it may not:
 *
 *     clean[b]    no stamps: anybody may use it, the CPU too; a tree for each bin of sizes
 *     by_slot[s]  one stamp, of timeline s: s may use it at once, others when it is covered
 *     mixed       several stamps, joined from neighbours of different streams; or limbo: order.h
 */
#ifndef TARN_HEAP_H
#define TARN_HEAP_H

#include "alloc/block.h"
#include "alloc/page_map.h"

/* Sizes are multiples of it; it is also the alignment that DLPack asks of producers. */
enum { TARN__HEAP_GRANULE_BYTES = 256 };

/* Sizes up to 32 granules have a bin each, beyond that 16 share a doubling; the last bin holds all
 * that are larger. The first one holds what is less than a granule: the rest of a segment of a fine
 * provider's, or what lies in front of an aligned block. */
enum { TARN__SIZE_BINS = 512 };

/* Without a branch: it lies on the way of every call. */
static inline unsigned tarn__size_bin(size_t size_bytes) {
  const size_t granules = size_bytes / TARN__HEAP_GRANULE_BYTES;
  const unsigned shift = 59 - (unsigned)__builtin_clzll(granules | 16);
  const unsigned bin = (shift << 4) + (unsigned)(granules >> shift);
  return bin < TARN__SIZE_BINS ? bin : TARN__SIZE_BINS - 1;
}

struct tarn__segment {
  tarn__segment *next;
  tarn__segment *previous;
  tarn__block *first;
  char *address;
  size_t size_bytes;
  uint64_t pieces[]; /* a bit for each multiple of the heap's piece_bytes: may be one piece */
};

typedef struct tarn__heap {
  tarn__segment *segments;
  tarn__page_map starts; /* of the live blocks */
  size_t live_count;
  tarn__block *clean[TARN__SIZE_BINS];
  uint64_t clean_used[TARN__SIZE_BINS / 64]; /* bins that may hold a block */
  tarn__block *mixed;
  tarn__block *by_slot[TARN_STREAMS_MAX];
  uint32_t slot_end;  /* timelines at and above it have no block here */
  tarn__block *holes; /* by size */
  size_t requested_bytes;
  size_t allocated_bytes;
  size_t reserved_bytes; /* in all blocks but holes, whether paused or not */
  tarn__block *paused;   /* PAUSED blocks, by address: heap_paused.h */
  size_t paused_bytes;   /* of reserved_bytes: without memory for now */
  size_t asleep_bytes;   /* of reserved_bytes: neither lent out nor free */
  size_t piece_bytes;    /* of the provider: tarn_provider_attributes; 0: none */
} tarn__heap;

/* Adds [address, address + size_bytes) as one FREE or HOLE block; NULL where there is no memory for
 * the records. The block stands in its tree. */
tarn__block *tarn__heap_add_segment(tarn__heap *heap, void *address, size_t size_bytes,
                                    tarn__block_state state);
/* What the provider committed at once, or has taken back: which pieces come of it, or have been. */
void tarn__heap_note_pieces(const tarn__heap *heap, tarn__segment *segment, uintptr_t start,
                            uintptr_t end, bool is_committed);
/* Of [*start, *end) that lies in the segment, on granules, what can go back without the rest of a
 * piece: nothing where *start is *end then. */
void tarn__heap_trim_pieces(const tarn__heap *heap, const tarn__segment *segment, uintptr_t *start,
                            uintptr_t *end);
/* The same with the rest of the pieces at both ends. */
void tarn__heap_widen_to_pieces(const tarn__heap *heap, const tarn__segment *segment,
                                uintptr_t *start, uintptr_t *end);

/* Forgets a segment and all its blocks, none of which is live. */
void tarn__heap_remove_segment(tarn__heap *heap, tarn__segment *segment);

/* The best fitting block of at least size_bytes that work on `stream` may use at once: where it is
 * captured, of those that captures keep; of those that nobody or the stream itself used last; else
 * of all. And where there is none the best fitting one that it may use behind its stamps (*pending,
 * may be NULL). */
tarn__block *tarn__heap_find(tarn__heap *heap, size_t size_bytes, const tarn_stream *stream,
                             tarn__block **pending);

/* Takes a block out of its tree; and puts a CLAIMED one back as FREE, joined with what it may. */
void tarn__heap_claim(tarn__block *block);
tarn__block *tarn__heap_put_free(tarn__heap *heap, tarn__block *block);
/* The same as HOLE, joined with neighbouring holes. */
tarn__block *tarn__heap_put_hole(tarn__heap *heap, tarn__block *block);

/* Cuts a CLAIMED block to [aligned start, + size_bytes) and returns what is over to the free trees.
 * NULL, with the block free again, where a record for the cut is not to be had. */
tarn__block *tarn__heap_cut(tarn__heap *heap, tarn__block *block, size_t size_bytes,
                            size_t alignment_bytes);
/* Cuts a CLAIMED block and makes it live. A live block keeps the stamps that the host has not seen:
 * whoever it is lent to is behind them, but the one who frees it may not be. It always has room for
 * one more, so that a free needs no memory. NULL as above. */
tarn__block *tarn__heap_lend(tarn__heap *heap, tarn__block *block, size_t size_bytes,
                             size_t alignment_bytes, size_t requested_bytes);
/* The live block that starts at `address`; or that holds it. NULL for none. */
tarn__block *tarn__heap_live_at(tarn__heap *heap, const void *address);
tarn__block *tarn__heap_live_around(tarn__heap *heap, const void *address);
/* A live block becomes CLAIMED: what it counted for is taken back. */
void tarn__heap_take_back(tarn__heap *heap, tarn__block *block);

/* The best of all free blocks that hold size_bytes at the alignment, by looking at every one: for
 * requests that the search by size, which has to ask for more, did not find. */
tarn__block *tarn__heap_find_aligned(tarn__heap *heap, size_t size_bytes, size_t alignment_bytes,
                                     const tarn_stream *stream);

/* Of all runs of free neighbours, one block or several, that hold size_bytes at the alignment: the
 * one whose use on `stream` needs the fewest fences, the smallest of these; joined to one block
 * that stands in its tree. NULL where there is none, or no memory to join stamps. */
tarn__block *tarn__heap_join_run(tarn__heap *heap, size_t size_bytes, size_t alignment_bytes,
                                 const tarn_stream *stream);

/* Joins every run of free neighbours, whatever their stamps or only those without any; true where
 * anything was joined. */
bool tarn__heap_join_all(tarn__heap *heap, bool clean_only);

/* Free bytes whose stamps the host has not seen; those of them that captures keep, and beside them
 * live ones that captures have used. */
size_t tarn__heap_pending_bytes(const tarn__heap *heap);
size_t tarn__heap_captured_bytes(const tarn__heap *heap, size_t *live_bytes);

/* Frees what an empty heap still holds. */
void tarn__heap_deinit(tarn__heap *heap);

/* Asserts that blocks tile their segments, that states and trees agree and that sums are right. */
void tarn__heap_validate(const tarn__heap *heap);

#endif
