/* where.h: --on WHERE: the memory that a run works on, and the streams that reach it. */
#ifndef BENCH_WHERE_H
#define BENCH_WHERE_H

#include "alloc/tarn_provider.h"
#include "alloc/tarn_stream.h"
#include "cuda/tarn_cuda.h"
#include "numa/tarn_numa.h"

/* The values of --on, for help texts. */
#define WHERE_VALUES "host|node:N|pinned[:N]|cuda:N[:virtual|:driver]|sim[:virtual|:driver|:pinned]"

typedef enum where_kind {
  WHERE_HOST,
  WHERE_NODE,
  WHERE_PINNED,
  WHERE_CUDA,
  WHERE_CUDA_VIRTUAL,
  WHERE_CUDA_DRIVER,
  WHERE_SIM,
  WHERE_SIM_VIRTUAL,
  WHERE_SIM_DRIVER,
  WHERE_SIM_PINNED,
} where_kind;

typedef struct where_place {
  where_kind kind;
  int32_t index; /* of cuda:N... */
  int32_t node;  /* of node:N and pinned:N; the GPU's once it is open; -1: any */
  char name[32]; /* as --on takes it, with the node that was found for `pinned` */
  bool is_simulated;
  char *driver_path;         /* NULL: the machine's own driver */
  tarn_cuda *cuda;           /* NULL without a driver */
  tarn_topology *topology;   /* NULL where no node was looked for */
  tarn_provider *provider;   /* the memory itself, or, below the driver's pool, of its device */
  tarn_provider *host_pages; /* host memory that copies with `provider` use: pinned beside a GPU */
} where_place;

/* False for a text that --on does not take. NULL is host. Opens nothing. */
bool where_parse(const char *text, where_place *where);

/* Makes what where_parse understood. On failure `where` is as where_parse left it. */
TARN_NODISCARD tarn_status where_open(where_place *where);
void where_close(where_place *where);

/* A new asynchronous stream that reaches both memories: a CUDA stream, or a host worker. */
TARN_NODISCARD tarn_status where_stream_create(const where_place *where, tarn_stream **stream);

/* True where the memory comes from a pool of its own, the CUDA driver's, and `provider` is only
 * another way to it. */
bool where_has_own_pool(const where_place *where);
TARN_NODISCARD tarn_status where_pool_create(const where_place *where, tarn_pool **pool);

/* True where the memory is the CPU's and no driver is involved. */
bool where_is_host(const where_place *where);
/* True where the memory is a device's, and not the CPU's to touch. */
bool where_is_device(const where_place *where);

/* The simulated driver near this command: beside it in a build, in lib/tarn/sim once installed.
 * malloc'ed; NULL where there is none. */
char *where_find_sim(void);

#endif
