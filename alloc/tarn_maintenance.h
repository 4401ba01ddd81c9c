/* tarn_maintenance.h: a thread that calls tarn_pool_decay for pools now and then.
 *
 * Nothing of a pool's is given back by itself: somebody has to say that time has passed. This is
 * the one who does, for programs that have no better place for it:
 *
 *     tarn_maintenance_create(NULL, &maintenance);
 *     tarn_maintenance_add(maintenance, pool);
 *     ...
 *     tarn_maintenance_destroy(maintenance);
 *
 * Each round begins with what other processes gave back, tarn_share_collect.
 *
 * It does not keep a pool alive: one that ends is taken off by itself, and a call of decay that is
 * just under way for it is waited for by whoever ends it. No lock is held while a pool is called.
 *
 * The thread blocks all signals. It ends with tarn_maintenance_destroy, and with the process: exit
 * waits for the call that is under way, and lets no other begin. A child of fork has no such
 * thread: there what the parent made answers tarn_maintenance_add with TARN_UNAVAILABLE, its pools
 * are not called any more, and it may be destroyed; the child may create its own.
 */
#ifndef TARN_MAINTENANCE_H
#define TARN_MAINTENANCE_H

#include "alloc/tarn_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_maintenance tarn_maintenance;

enum {
  TARN_MAINTENANCE_MANUAL = 1u << 0, /* no thread: time passes by tarn_maintenance_step alone */
};

typedef struct tarn_maintenance_options {
  size_t struct_size;
  const char *name;   /* of the thread, cut to 15 bytes; NULL: "tarn-maintain" */
  uint64_t period_ns; /* between two rounds; 0: one second */
  uint32_t flags;     /* TARN_MAINTENANCE_* */
} tarn_maintenance_options;

/* `options` may be NULL. TARN_SYSTEM_ERROR where no thread is to be had. */
TARN_API TARN_NODISCARD tarn_status tarn_maintenance_create(const tarn_maintenance_options *options,
                                                            tarn_maintenance **maintenance);
/* Waits for the round that is under way. Not from a function that a pool's decay calls. */
TARN_API void tarn_maintenance_destroy(tarn_maintenance *maintenance);

/* From the next round on. The caller has a handle of the pool meanwhile. TARN_BUSY where it is
 * there already. */
TARN_API TARN_NODISCARD tarn_status tarn_maintenance_add(tarn_maintenance *maintenance,
                                                         tarn_pool *pool);
/* Waits for a call of decay that is under way for the pool. TARN_NOT_FOUND where it is not there.
 * Need not be called before the pool ends. */
TARN_API TARN_NODISCARD tarn_status tarn_maintenance_remove(tarn_maintenance *maintenance,
                                                            tarn_pool *pool);

/* One round of a manual one, by the caller's clock (tarn_pool_decay): every pool once, whatever the
 * others answer; the first failure is the status. `released_bytes`, the sum, may be NULL.
 * TARN_NOT_SUPPORTED where a thread does it, TARN_BUSY where another caller does. */
TARN_API TARN_NODISCARD tarn_status tarn_maintenance_step(tarn_maintenance *maintenance,
                                                          uint64_t now_ns, size_t *released_bytes);

#ifdef __cplusplus
}
#endif
#endif
