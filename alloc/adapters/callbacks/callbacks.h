/* callbacks.h: what a client's context is. */
#ifndef TARN_CALLBACKS_PRIVATE_H
#define TARN_CALLBACKS_PRIVATE_H

#include "alloc/adapters/callbacks/handle_table.h"
#include "alloc/adapters/callbacks/tarn_callbacks.h"

struct tarn_callbacks {
  tarn_pool *pool; /* retained */
  bool is_blind;   /* handles are not looked at */
  bool is_cuda;    /* some handles are names of CUDA's */
  bool is_host;    /* the CPU may touch the memory */
  tarn_cuda *cuda; /* retained; may be NULL */
  int32_t device;
  tarn_status (*wrap)(void *context, void *native, tarn_stream **stream);
  void *wrap_context;
  _Atomic uint64_t refused_frees;
  tarn__handle_table handles;
};

/* In the order of the calling thread; counts what is refused. */
void tarn__callbacks_give_back_now(tarn_callbacks *self, void *address);

#endif
