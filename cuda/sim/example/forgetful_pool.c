/* forgetful_pool.c: a small stream-ordered allocator that forgets to wait; the simulator finds it.
 *
 *     forgetful_pool            the allocator with its bug
 *     forgetful_pool --fixed    and without
 *
 * A block that was freed on one stream may be handed to another one only behind the work that the
 * first still has to do on it: the free records an event, and the other stream waits for it. The
 * wait is what this allocator forgets. On a GPU, and on the policy eager, the data is nearly always
 * right all the same; that nothing orders the two uses is seen under every policy and seed.
 *
 * The exit status is 0 where nothing was found, 1 where something was, 2 where a call failed.
 */
#include "cuda/sim/cusim.h"

#include <cuda.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { BLOCKS = 2, STREAMS = 4, STEPS = 200, BLOCK_BYTES = 4096 };

#define TRY(call)                                            \
  do {                                                       \
    const int result = (int)(call);                          \
    if (result == CUDA_SUCCESS) break;                       \
    fprintf(stderr, "%s answered with %d\n", #call, result); \
    return result;                                           \
  } while (0)

/* --- the allocator --- */

typedef struct block {
  CUdeviceptr address;
  CUevent freed;      /* on the stream that freed it last, behind its work */
  CUstream last_user; /* NULL: none yet */
} block;

typedef struct pool {
  block blocks[BLOCKS];
  size_t next; /* whose turn it is */
  bool is_fixed;
} pool;

static int pool_open(pool *self, bool is_fixed) {
  *self = (pool){.is_fixed = is_fixed};
  for (int i = 0; i < BLOCKS; i++) {
    TRY(cuMemAlloc(&self->blocks[i].address, BLOCK_BYTES));
    TRY(cuEventCreate(&self->blocks[i].freed, CU_EVENT_DISABLE_TIMING));
  }
  return CUDA_SUCCESS;
}

static int pool_close(pool *self) {
  TRY(cuCtxSynchronize());
  for (int i = 0; i < BLOCKS; i++) {
    TRY(cuMemFree(self->blocks[i].address));
    TRY(cuEventDestroy(self->blocks[i].freed));
  }
  return CUDA_SUCCESS;
}

static int pool_alloc(pool *self, CUstream stream, block **taken) {
  *taken = &self->blocks[self->next++ % BLOCKS];
  const bool is_from_another = (*taken)->last_user != NULL && (*taken)->last_user != stream;
  if (is_from_another && self->is_fixed) TRY(cuStreamWaitEvent(stream, (*taken)->freed, 0));
  return CUDA_SUCCESS;
}

static int pool_free(block *self, CUstream stream) {
  self->last_user = stream;
  TRY(cuEventRecord(self->freed, stream));
  return CUDA_SUCCESS;
}

/* --- a program that uses it as one should --- */

static int run(bool is_fixed) {
  CUcontext context;
  CUstream streams[STREAMS];
  pool blocks;
  TRY(cuInit(0));
  TRY(cuDevicePrimaryCtxRetain(&context, 0));
  TRY(cuCtxSetCurrent(context));
  for (int i = 0; i < STREAMS; i++) TRY(cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING));
  TRY(pool_open(&blocks, is_fixed));
  for (unsigned step = 0; step < STEPS; step++) {
    CUstream stream = streams[step % STREAMS];
    block *taken;
    TRY(pool_alloc(&blocks, stream, &taken));
    TRY(cusim_kernel_write(stream, taken->address, BLOCK_BYTES, step));
    TRY(cusim_kernel_check(stream, taken->address, BLOCK_BYTES, step));
    TRY(pool_free(taken, stream));
  }
  TRY(pool_close(&blocks));
  for (int i = 0; i < STREAMS; i++) TRY(cuStreamDestroy(streams[i]));
  TRY(cuDevicePrimaryCtxRelease(0));
  return CUDA_SUCCESS;
}

int main(int count, char **arguments) {
  const bool is_fixed = count == 2 && strcmp(arguments[1], "--fixed") == 0;
  if (run(is_fixed) != CUDA_SUCCESS) return 2;
  const unsigned long long races = cusim_race_count();
  const unsigned long long errors = cusim_value_error_count();
  fprintf(stdout, "%llu races, %llu wrong values\n", races, errors);
  return races != 0 || errors != 0;
}
