/* pasted.h: the words that a printed program uses besides tarn's own calls.
 *
 * `sim_programs` prints a failing program as one function over these; paste it into a test that is
 * linked with the simulated driver, and call it. */
#ifndef TARN_PASTED_H
#define TARN_PASTED_H

#include "cuda/sim/cusim.h"
#include "tests/sim/program_runner.h"

typedef struct pasted_world pasted_world;

/* The driver under this policy and seed, with so much device memory; `plant` goes into every pool.
 * NULL where the driver cannot be opened. */
pasted_world *pasted_begin(cusim_policy policy, uint64_t seed, size_t capacity_bytes,
                           program_plant plant);
tarn_pool *pasted_pool(pasted_world *world, program_pool_kind kind, size_t limit_bytes,
                       size_t segment_bytes);
tarn_stream *pasted_stream(pasted_world *world);
/* The program's reference to a stream or a pool goes; the others go at the end. */
void pasted_retire(pasted_world *world, tarn_stream *stream);
void pasted_drop(pasted_world *world, tarn_pool *pool);
/* Pauses the pool, keeps its contents, and resumes it. */
void pasted_pause(pasted_world *world, tarn_pool *pool);
tarn_fence *pasted_fence(pasted_world *world, tarn_stream *stream);

/* `stream` writes the tag over the block, or reads it for a later comparison. */
void pasted_write(pasted_world *world, tarn_stream *stream, tarn_pool *pool, void *address,
                  size_t size_bytes, uint64_t tag);
void pasted_check(pasted_world *world, tarn_stream *stream, tarn_pool *pool, const void *address,
                  size_t size_bytes, uint64_t tag);
/* The CPU does so, now. */
void pasted_host_write(pasted_world *world, void *address, size_t size_bytes, uint64_t tag);
void pasted_host_check(pasted_world *world, const void *address, size_t size_bytes, uint64_t tag);
/* `later` waits for `earlier` by an event that tarn does not see. */
void pasted_order(pasted_world *world, tarn_stream *earlier, tarn_stream *later);

/* A call of tarn's that may be refused: only for want of memory, or where the size is too large. */
#define PASTED_TRY(world, call) pasted_told((world), (call), #call)
void pasted_told(pasted_world *world, tarn_status status, const char *call);

/* Waits for the whole device, and judges; what is still lent out may be freed afterwards. */
void pasted_settle(pasted_world *world);
/* Settles, and takes the world down: what was wrong first, into `text`. Pools,
 * streams and fences that the program has not given back go with it. */
program_failing pasted_end(pasted_world *world, char *text, size_t text_bytes);

#endif
