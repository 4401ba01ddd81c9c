/* dlpack_foreign.h: a producer that is not tarn: says what the test wants, counts deleters. */
#ifndef TESTS_DLPACK_FOREIGN_H
#define TESTS_DLPACK_FOREIGN_H

#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tensor/tarn_dlpack.h"

enum { FOREIGN_RANK = 16 };

/* Both forms of one tensor; the test hands out one of them. */
typedef struct foreign {
  tarn_dl_managed_tensor_versioned versioned;
  tarn_dl_managed_tensor legacy;
  _Alignas(64) char bytes[512];
  int64_t shape[FOREIGN_RANK];
  int64_t strides[FOREIGN_RANK];
  atomic_int deleted_count;
  pthread_t deleted_by;
} foreign;

static inline void foreign_note_deleter(foreign *self) {
  self->deleted_by = pthread_self();
  atomic_fetch_add(&self->deleted_count, 1);
}

static inline void foreign_delete_versioned(tarn_dl_managed_tensor_versioned *managed) {
  foreign_note_deleter(managed->manager_ctx);
}

static inline void foreign_delete_legacy(tarn_dl_managed_tensor *managed) {
  foreign_note_deleter(managed->manager_ctx);
}

/* A good float32 tensor of shape 3 x 4, row-major. Change it, then foreign_finish. */
static inline void foreign_begin(foreign *self) {
  *self = (foreign){
      .versioned = {.version = {TARN_DLPACK_MAJOR, TARN_DLPACK_MINOR},
                    .manager_ctx = self,
                    .deleter = foreign_delete_versioned,
                    .dl_tensor = {.data = self->bytes,
                                  .device = {TARN_DEVICE_CPU, 0},
                                  .ndim = 2,
                                  .dtype = TARN_F32,
                                  .shape = self->shape,
                                  .strides = self->strides}},
      .shape = {3, 4},
      .strides = {4, 1},
  };
}

/* Gives the legacy form the same tensor. */
static inline void foreign_finish(foreign *self) {
  self->legacy = (tarn_dl_managed_tensor){.dl_tensor = self->versioned.dl_tensor,
                                          .manager_ctx = self->versioned.manager_ctx,
                                          .deleter = foreign_delete_legacy};
  if (self->versioned.deleter == NULL) self->legacy.deleter = NULL;
}

#endif
