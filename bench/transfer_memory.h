/* transfer_memory.h: one buffer of a transfer: where it lies, how it was made, and its bytes. */
#ifndef BENCH_TRANSFER_MEMORY_H
#define BENCH_TRANSFER_MEMORY_H

#include "bench/transfer_driver.h"
#include "bench/where.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_tensor.h"

typedef enum transfer_memory {
  TRANSFER_DEVICE = 0,
  TRANSFER_PAGEABLE = 1,
  TRANSFER_PINNED = 2,         /* cuMemHostAlloc */
  TRANSFER_WRITE_COMBINED = 3, /* the same, write-combined */
  TRANSFER_REGISTERED = 4,     /* a node's pages, locked */
  TRANSFER_HUGEPAGES = 5,      /* a node's huge pages, locked */
} transfer_memory;

enum { TRANSFER_PLACED_BYTES = 96 };

typedef struct transfer_buffer {
  transfer_memory memory;
  int32_t node; /* that was asked for; -1: none */
  char *address;
  size_t size_bytes;
  tarn_tensor bytes;                  /* all of it, as uint8; owned */
  char placed[TRANSFER_PLACED_BYTES]; /* where the kernel says it lies, and on which pages */
  bool is_misplaced;                  /* not all of it is on the node that was asked for */
  /* What it was made with. */
  transfer_driver *driver;
  tarn_provider *provider;
  tarn_cuda_pin *pin;
} transfer_buffer;

/* Makes size_bytes (a multiple of 2 MiB) on `node`, touched, and asks the kernel where they lie.
 * `driver` may be NULL for pageable memory of a machine without a device. TARN_UNAVAILABLE and
 * others where there is no such memory: the message says why. */
TARN_NODISCARD tarn_status transfer_buffer_create(const where_place *where, transfer_driver *driver,
                                                  tarn_topology *topology, transfer_memory memory,
                                                  int32_t node, size_t size_bytes,
                                                  transfer_buffer *buffer);
void transfer_buffer_destroy(transfer_buffer *buffer);

/* --- the bytes: a pattern of the place and a seed --- */

/* Through `stage` (a page-locked buffer) and `stream` for a device's memory. The CPU reads
 * write-combined memory some hundred times slower than other: that goes through `bounce`, as much
 * of the device's memory, and the stage; NULL: it is read all the same. */
typedef struct transfer_bytes {
  transfer_driver *driver;
  void *stream;
  char *stage;
  char *bounce;
  size_t stage_bytes;
} transfer_bytes;

/* Writes [offset, offset + size_bytes) of the buffer with the pattern of `seed`. */
TARN_NODISCARD tarn_status transfer_bytes_write(const transfer_bytes *bytes,
                                                const transfer_buffer *buffer, size_t offset,
                                                size_t size_bytes, uint64_t seed);
/* Looks for the pattern as it lies at src_offset of another buffer. *wrong_at: the first byte that
 * differs, or size_bytes. */
TARN_NODISCARD tarn_status transfer_bytes_compare(const transfer_bytes *bytes,
                                                  const transfer_buffer *buffer, size_t offset,
                                                  size_t size_bytes, size_t src_offset,
                                                  uint64_t seed, size_t *wrong_at);
/* Anything that is no pattern, quickly. */
TARN_NODISCARD tarn_status transfer_bytes_spoil(const transfer_bytes *bytes,
                                                const transfer_buffer *buffer);

#endif
