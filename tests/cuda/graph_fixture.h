/* graph_fixture.h: a stream captured into graphs, and a pool, for the tests of captures. */
#ifndef TARN_GRAPH_FIXTURE_H
#define TARN_GRAPH_FIXTURE_H

#include "alloc/tarn_capture.h"
#include "tests/cuda/cuda_fixture.h"

/* What the application calls itself, found in the driver under test. */
typedef struct graph_driver {
  PFN_cuStreamBeginCapture_v10010 begin;
  PFN_cuStreamEndCapture_v10000 end;
  PFN_cuStreamIsCapturing_v10000 is_capturing;
  PFN_cuStreamSynchronize_v2000 synchronize;
  PFN_cuGraphInstantiateWithFlags_v11040 instantiate;
  PFN_cuGraphExecUpdate_v12000 update;
  PFN_cuGraphLaunch_v10000 launch;
  PFN_cuGraphExecDestroy_v10000 destroy_executable;
  PFN_cuGraphDestroy_v10000 destroy_graph;
} graph_driver;

extern graph_driver driver;

#define CU(call) assert_int_equal((call), CUDA_SUCCESS)

/* Setup of a group: fixture_setup, and the functions above. */
int graph_setup(void **state);

typedef struct graph_subject {
  tarn_cuda *cuda;
  tarn_stream *stream;
  CUstream native;
  tarn_pool *pool; /* given */
  tarn_capture *capture;
  CUgraphExec executable;
  tarn__cuda_scope scope; /* the application's own context */
} graph_subject;

graph_subject make_graph_subject(tarn_cuda *cuda, tarn_pool *pool);
/* Waits for the stream, and releases the pool. */
void drop_graph_subject(graph_subject *self);

/* tarn is told first. */
void graph_begin(graph_subject *self, CUstreamCaptureMode mode);
/* The capture becomes an executable. */
void graph_end(graph_subject *self);
void graph_launch(graph_subject *self, tarn_stream *stream);
/* The executable, where there is one, and the capture. */
void graph_destroy(graph_subject *self);
CUstreamCaptureStatus graph_status(const graph_subject *self);

void *graph_take(const graph_subject *self, size_t size_bytes, tarn_stream *stream);
void graph_fill(void *block, uint8_t value, size_t size_bytes, tarn_stream *stream);
/* From device memory to a block of the fixture's. */
void graph_bring(const fixture_block *out, size_t offset, const void *block, size_t size_bytes,
                 tarn_stream *stream);
tarn_pool_stats graph_stats(const graph_subject *self);
size_t graph_kept(const tarn_capture *capture);

#endif
