/* maintenance.h: what a pool's end needs of maintenance. */
#ifndef TARN_MAINTENANCE_PRIVATE_H
#define TARN_MAINTENANCE_PRIVATE_H

#include "alloc/tarn_maintenance.h"

/* Nobody calls the pool any more, and from the return on no maintenance does either. */
void tarn__maintenance_forget(tarn_pool *pool);

#endif
