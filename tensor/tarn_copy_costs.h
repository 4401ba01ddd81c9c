/* tarn_copy_costs.h: what the steps of a copy with a device cost, and who would run one.
 *
 * A copy in which a device's memory takes part may go several ways, and which is the fastest
 * depends on the machine. One small table says what their steps cost; a copy goes the way for which
 * the sum is smallest. The values that are built in are guesses, each with its origin, until the
 * machine at hand was measured: `tarn bench copy --measure-table` prints the macro below anew, but
 * for WAIT: what a stream does not do meanwhile is no matter of the machine alone.
 */
#ifndef TARN_COPY_COSTS_H
#define TARN_COPY_COSTS_H

#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One row per cost: name, the value that is built in, unit, what it is, where the value is from. */
#define TARN_COPY_COST_TABLE(X)                                                                \
  X(ROW_CALL, 4000, "ns", "a copy of bytes, rows or planes enqueued",                          \
    "guess: a put by one copy is published at 3.55 us, H100")                                  \
  X(ROW, 25, "ns", "each row in such a copy, where its bytes take less",                       \
    "guess: rows of 4 bytes at some 150 MB/s")                                                 \
  X(BATCH_CALL, 8000, "ns", "a batch of copies enqueued", "guess: two plain copies")           \
  X(BATCH_SPAN, 1500, "ns", "each copy in a batch, where its bytes take less",                 \
    "guess: batches of small copies are published at 1.9 to 2.4 times a loop")                 \
  X(KERNEL_CALL, 6000, "ns", "a kernel that copies elements enqueued and started",             \
    "guess: somewhat more than a copy's")                                                      \
  X(WAIT, 250000, "ns", "waiting for the stream, and what it does not do meanwhile",           \
    "guess: as many plain copies as are worth enqueueing instead")                             \
  X(DEVICE_RATE, 2000000, "MB/s", "bytes from device memory to device memory",                 \
    "guess: an H200's memory moves 4800000, read and written, at its peak")                    \
  X(KERNEL_RATE, 1700000, "MB/s", "the same by a kernel, whatever the strides",                \
    "guess: what the kernels aim at, 0.85 of the plain copy")                                  \
  X(BUS_RATE, 50000, "MB/s", "bytes between page-locked memory and a device",                  \
    "guess: 55600 is published for an H100 on PCIe 5 x16")                                     \
  X(KERNEL_BUS_RATE, 40000, "MB/s", "the same by a kernel that reads or writes whole sectors", \
    "guess: somewhat below the copy engine's")                                                 \
  X(PAGEABLE_RATE, 10000, "MB/s", "bytes between pageable memory and a device, by the driver", \
    "guess: a fifth of page-locked memory's")                                                  \
  X(PACK_RATE, 5000, "MB/s", "bytes brought into another order by the CPU",                    \
    "guess: half of what one core copies in order")

typedef enum tarn_copy_cost {
#define TARN_COPY_COST_ROW(name, value, unit, what, origin) TARN_COPY_COST_##name,
  TARN_COPY_COST_TABLE(TARN_COPY_COST_ROW)
#undef TARN_COPY_COST_ROW
      TARN_COPY_COSTS,
} tarn_copy_cost;

/* The cost in its unit, as built in or set; 0 for a number that is none of a cost. MB/s are bytes
 * per microsecond. */
TARN_API uint64_t tarn_copy_cost_get(tarn_copy_cost cost);
/* For all copies of the process from now on; 0: what is built in. Set what was measured together:
 * a copy that is planned meanwhile sees some of the values. TARN_INVALID_ARGUMENT for a number that
 * is none of a cost, and beyond 1e12. */
TARN_API TARN_NODISCARD tarn_status tarn_copy_cost_set(tarn_copy_cost cost, uint64_t value);
/* Literals; "?" for a number that is none of a cost. The origin is "set" where the value was. */
TARN_API const char *tarn_copy_cost_name(tarn_copy_cost cost);
TARN_API const char *tarn_copy_cost_unit(tarn_copy_cost cost);
TARN_API const char *tarn_copy_cost_text(tarn_copy_cost cost);
TARN_API const char *tarn_copy_cost_origin(tarn_copy_cost cost);

/* The ways; their names are those of tarn_copy_report's executors. */
typedef enum tarn_copy_way {
  TARN_COPY_BY_ROWS,   /* copies of the stream, rows and planes at once */
  TARN_COPY_BY_KERNEL, /* one grid (tarn_stream_copy.h) */
  TARN_COPY_BY_BATCH,  /* all runs at once */
  TARN_COPY_BY_RING,   /* through slots of the stream's ring, the CPU ordering the elements */
  TARN_COPY_BY_STAGING /* the same through packed pageable memory, and synchronous */
} tarn_copy_way;
enum { TARN_COPY_WAYS = TARN_COPY_BY_STAGING + 1 };

/* "rows", ...; "?" for a number that is none of a way. */
TARN_API const char *tarn_copy_way_name(tarn_copy_way way);

typedef struct tarn_copy_choice {
  size_t struct_size;
  tarn_copy_way way;
  uint64_t run_count;                    /* contiguous runs after reduction */
  uint64_t call_count;                   /* of TARN_COPY_BY_ROWS */
  uint64_t estimates_ns[TARN_COPY_WAYS]; /* UINT64_MAX: it cannot go that way */
} tarn_copy_choice;

/* Which way a copy of these layouts and dtypes would go between memory of these devices, on a
 * stream with these abilities (TARN_STREAM_COPIES_*, tarn_stream_copy.h): nothing is copied, and
 * storages may be NULL. Pageable memory goes through the ring where there is one, whatever the sum,
 * and a conversion by the kernel where it can. A kernel that refuses a copy leaves the next best
 * way. TARN_INVALID_ARGUMENT where neither device is another than the host's, or shapes do not fit;
 * TARN_NOT_SUPPORTED where the dtypes do not convert; TARN_TOO_LARGE as tarn_copy_explain. */
TARN_API TARN_NODISCARD tarn_status tarn_copy_choose(const tarn_tensor *dst, tarn_device dst_device,
                                                     const tarn_tensor *src, tarn_device src_device,
                                                     uint32_t abilities, tarn_copy_choice *choice);

#ifdef __cplusplus
}
#endif
#endif
