/* handles.h: a GPU's memory by handle: the one place that makes it, some of it ahead.
 *
 * Memory comes in two sizes, granules and pieces (granules.h). What is made ahead waits in a stock
 * for each; nothing that was in use goes there, so that what is given back is the machine's. */
#ifndef TARN_HANDLES_H
#define TARN_HANDLES_H

#include "cuda/cuda_status.h"
#include "cuda/driver.h"

#include <pthread.h>

typedef struct tarn__handle_stock {
  size_t size_bytes; /* of each */
  CUmemGenericAllocationHandle *handles;
  size_t count;
  size_t capacity;
} tarn__handle_stock;

typedef struct tarn__handles {
  const tarn__driver *driver;
  CUmemAllocationProp properties;
  pthread_mutex_t lock;         /* a leaf: guards all below, no driver call under it */
  tarn__handle_stock stocks[2]; /* granules; pieces, of 0 bytes where there are none */
  size_t lost_bytes;            /* that the driver refused to take back */
  uint64_t created_count;
  uint64_t ready_count; /* handles that were made ahead and then used */
} tarn__handles;

void tarn__handles_init(tarn__handles *self, const tarn__driver *driver,
                        const CUmemAllocationProp *properties);
/* The stocks are empty, or in a child of fork. */
void tarn__handles_deinit(tarn__handles *self);

/* The functions below call the driver: the device's context is current. */

/* Memory of a granule's or a piece's size. Where the machine has no more, what was made ahead in
 * the other size goes back, and it is asked again. */
CUresult tarn__handle_take(tarn__handles *self, size_t size_bytes,
                           CUmemGenericAllocationHandle *handle);
/* Gives memory back: at once where it is mapped nowhere. What the driver refuses is lost. */
void tarn__handle_give(tarn__handles *self, size_t size_bytes, CUmemGenericAllocationHandle handle);

/* Counts memory that the driver keeps for another reason. */
void tarn__handles_lose(tarn__handles *self, size_t size_bytes);

/* Brings the stocks to size_bytes, a piece's worth of granules first and then pieces. A failure
 * leaves what there is by then. */
TARN_NODISCARD tarn_status tarn__handles_prepare(tarn__handles *self, size_t size_bytes);
size_t tarn__handles_prepared_bytes(tarn__handles *self);

#endif
