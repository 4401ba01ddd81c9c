/* torch_fixture.h: PyTorch's side of the adapter: its streams, its work, its captures. */
#ifndef TARN_TORCH_FIXTURE_H
#define TARN_TORCH_FIXTURE_H

#include "alloc/adapters/torch/tarn_torch.h"
#include "tests/cuda/graph_fixture.h"

enum { MIB = 1 << 20, SIZE_BYTES = 64 << 10, ROUNDS = 20 };

/* A CUstream of PyTorch's, and its own way to enqueue work there, which the adapter knows nothing
 * of. */
typedef struct torch_stream {
  void *handle;
  tarn_stream *work;
} torch_stream;

/* Setup and teardown of a group, as graph_setup, and of each test: the adapter takes the group's
 * driver, and is closed afterwards, with nothing lent out and no free refused that should not. */
int torch_group_setup(void **state);
int torch_setup(void **state);
int torch_teardown(void **state);

/* With the group's driver where none is given. */
void torch_options(const tarn_torch_options *options);
void torch_limit(size_t limit_bytes);
tarn_torch_stats torch_stats(void);

torch_stream torch_make_stream(void);
/* The adapter forgets it, and it is destroyed. */
void torch_drop_stream(torch_stream *stream);
/* The CUstream alone, without a word to the adapter. */
void torch_destroy_native(torch_stream *stream);

void *torch_take(size_t size_bytes, const torch_stream *stream); /* on device 0; never NULL */
void torch_give(void *address, const torch_stream *stream);
void torch_fill(void *address, uint8_t value, size_t size_bytes, const torch_stream *stream);
/* What is enqueued on `later` afterwards comes behind what is on `earlier`. */
void torch_order(const torch_stream *later, const torch_stream *earlier);

int run_torch_tests(void);
int run_torch_graph_tests(void);
int run_torch_thread_tests(void);

#endif
