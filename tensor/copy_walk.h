/* copy_walk.h: how the CPU goes through a copy's plan: which kernel, in which order; pure.
 *
 * The plan says which runs go where. A walk takes two of its dimensions (or one, or none) as the
 * plane that a kernel copies at a time, and puts the others in the order of its loops:
 *
 *     for each index of loops[0] .. loops[rank - 1]        the last one turns fastest
 *       kernel: outer.count x inner.count runs of unit_bytes
 */
#ifndef TENSOR_COPY_WALK_H
#define TENSOR_COPY_WALK_H

#include "tensor/copy_plan.h"

typedef enum tarn__copy_executor {
  TARN__COPY_BY_NOTHING,   /* no elements */
  TARN__COPY_BY_MEMCPY,    /* one run; the only one that may overlap */
  TARN__COPY_BY_ROWS,      /* runs of some length */
  TARN__COPY_BY_TRANSPOSE, /* consecutive along `outer` in the source, `inner` in the destination */
  TARN__COPY_BY_INTERLEAVE, /* a transpose whose rows, of a few runs each, adjoin one another */
  TARN__COPY_BY_GATHER,     /* consecutive in the destination, spaced in the source */
  TARN__COPY_BY_SCATTER,    /* spaced in the destination */
  TARN__COPY_BY_BROADCAST,  /* one run of the source again and again along `inner` */
  TARN__COPY_BY_FLIP,       /* consecutive on both sides, in opposite directions */
  TARN__COPY_BY_STRIDED,    /* anything else, in tiles where `tile` says so */
} tarn__copy_executor;

typedef struct tarn__copy_dim {
  int64_t count, dst_stride, src_stride; /* strides in bytes */
} tarn__copy_dim;

typedef struct tarn__copy_walk {
  tarn__copy_executor executor;
  bool is_streaming; /* whole lines of the destination are written around the caches */
  int32_t rank;      /* of loops */
  size_t unit_bytes;
  size_t total_bytes;
  int64_t
      tile; /* indices of `inner`, and of `outer` where strided, before the other one moves on */
  int64_t dst_offset, src_offset;
  tarn__copy_dim outer, inner;         /* count 1 where there is none */
  tarn__copy_dim loops[TARN_RANK_MAX]; /* outermost first */
} tarn__copy_walk;

/* `plan` is of equal element sizes. */
void tarn__copy_walk_make(const tarn__copy_plan *plan, tarn__copy_walk *walk);

/* How many parts the walk is worth for so many threads; 1 or more. Several for each thread where
 * they are large enough, so that none waits long for the last one. */
int64_t tarn__copy_walk_part_count(const tarn__copy_walk *walk, int thread_count);

/* Says that the walk writes its part of a destination of so many bytes, and streams accordingly. */
void tarn__copy_walk_belongs_to(tarn__copy_walk *walk, size_t total_bytes);

/* Part `index` of `count`, which part_count gave; together they are the walk and share no byte of
 * the destination. They are cut along the widest dimension of the destination that has enough
 * indices. */
void tarn__copy_walk_part(const tarn__copy_walk *walk, int64_t index, int64_t count,
                          tarn__copy_walk *part);

/* A literal, as a report tells it: "memcpy", "rows", ... */
const char *tarn__copy_executor_name(tarn__copy_executor executor);

/* From which size of the destination on a walk streams. Streaming is faster than ordinary stores
 * from the size of the second-level cache on; but whoever reads the destination next then finds it
 * in memory only, and together the two pay from 16 MiB on (measured: a 260 MiB third-level cache,
 * 2 MiB second-level). */
enum { TARN__STREAM_BYTES_MIN = 16 << 20 };

/* A part for a thread moves at least so much: waking one costs about as long as it takes to move a
 * quarter of that. */
enum { TARN__PART_BYTES_MIN = 1 << 20 };

/* The size to stream from that holds now. */
size_t tarn__copy_stream_bytes(void);

/* In how many parts so many threads should share a copy of that size; 1 or more. */
int64_t tarn__copy_part_count(size_t total_bytes, int thread_count);

/* For tests: other sizes; 0 brings the constant back. Not for use while copies run. */
void tarn__copy_walk_limits(size_t stream_bytes, size_t part_bytes);

#endif
