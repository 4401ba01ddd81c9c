/* program.h: a program of pool and stream operations, to be generated, run, checked and shrunk.
 *
 * A program is a list of operations over numbered slots: streams, pools, blocks, storages, events.
 * Whether an operation is legal by the numbered sentences of tarn_pool.h and tarn_stream.h is
 * decided from the program's own order (program_order.h) just before it would run; an illegal one
 * is passed over. So any sublist of a program is a program again, and shrinking needs no care.
 *
 *     generate --> run (simulated driver, seed, policy) --> verdict --> shrink --> print as C
 */
#ifndef TARN_PROGRAM_H
#define TARN_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  PROGRAM_STREAMS_MAX = 16,
  PROGRAM_POOLS_MAX = 4,
  PROGRAM_BLOCKS_MAX = 40,
  PROGRAM_EVENTS_MAX = 8,
  PROGRAM_OPS_MAX = 2048,
  PROGRAM_HOST = 255, /* as a stream: the calling thread, now */
};

/* Name, and what it does; b block, s stream, t other stream, c other block, e event, p pool. */
#define PROGRAM_VERBS(X)                                                                  \
  X(ALLOC)      /* b = size_bytes at alignment_bytes from p in the order of s */          \
  X(FREE)       /* b in the order of s */                                                 \
  X(NOTE_USE)   /* s uses b */                                                            \
  X(WRITE)      /* s writes a fresh tag over b */                                         \
  X(CHECK)      /* s reads b's tag */                                                     \
  X(COPY)       /* s copies c's first bytes to b's, and tags the rest */                  \
  X(CALL)       /* s runs a host function that checks and tags b; memory of the host's */ \
  X(HOST_WRITE) /* the CPU writes a fresh tag over b */                                   \
  X(HOST_CHECK) /* the CPU reads b's tag */                                               \
  X(STORAGE)    /* b = a storage of size_bytes from p in the order of s */                \
  X(RECORD)     /* e marks what s has reached */                                          \
  X(WAIT)       /* s waits for e */                                                       \
  X(QUERY)      /* asks e */                                                              \
  X(EVENT_SYNC) /* the CPU waits for e */                                                 \
  X(HIDDEN)     /* t waits for s by an event of the driver's, which tarn does not see */  \
  X(EDGE)       /* the same, and tarn is told */                                          \
  X(SYNC)       /* the CPU waits for s */                                                 \
  X(TRIM)       /* p down to size_bytes */                                                \
  X(RETIRE)     /* the last reference to s goes, whatever is pending */                   \
  X(STREAM)     /* s is a stream again */                                                 \
  X(LIMIT)      /* p may reserve size_bytes from now on */                                \
  X(RESERVE)    /* p obtains memory until size_bytes are reserved */                      \
  X(DECAY)      /* p's clock says size_bytes nanoseconds more */                          \
  X(STEP)       /* size_bytes operations of whatever streams run */                       \
  X(CAPACITY)   /* the device has size_bytes from now on */                               \
  X(DROP_POOL)  /* p's last reference goes, whatever is lent out; no more allocations */  \
  X(PAUSE)      /* p's blocks go without their memory, and have it back with what they held */

typedef enum program_verb {
#define PROGRAM_VERB_NUMBER(name) VERB_##name,
  PROGRAM_VERBS(PROGRAM_VERB_NUMBER)
#undef PROGRAM_VERB_NUMBER
      VERB_COUNT
} program_verb;

typedef struct program_op {
  uint8_t verb;
  uint8_t stream;
  uint8_t other_stream;
  uint8_t pool;
  uint8_t block;
  uint8_t other_block;
  uint8_t event;
  uint8_t unused;
  uint32_t alignment_bytes;
  uint64_t size_bytes;
} program_op;

typedef enum program_pool_kind {
  POOL_DEVICE,       /* a caching pool over the device provider */
  POOL_PINNED,       /* a caching pool over page-locked memory */
  POOL_VIRTUAL,      /* a caching pool over virtual device memory: it grows in place */
  POOL_STACKED,      /* a caching pool over one that all pools of this kind in the program share */
  POOL_PINNED_PAGES, /* a caching pool over the system's pages, page-locked block by block */
  POOL_PINNED_GRANULES, /* the same, and it grows in place: locked granule by granule */
  POOL_DRIVER,          /* the driver's own, behind the pool seam */
  POOL_KIND_COUNT
} program_pool_kind;

typedef struct program_pool {
  program_pool_kind kind;
  uint64_t limit_bytes;
  uint64_t segment_bytes;
} program_pool;

/* Defects to plant in the pools, so that the oracles can be seen to work. */
typedef enum program_plant {
  PLANT_NOTHING,
  PLANT_NOTE_LOST,    /* note_use does nothing */
  PLANT_FREE_AT_ONCE, /* a free forgets its stream: the block is anybody's at once */
  PLANT_COUNT
} program_plant;

typedef struct program {
  uint64_t seed; /* of the driver's schedule; and what the program was generated from */
  int policy;    /* a cusim_policy */
  uint64_t capacity_bytes;
  program_plant plant;
  uint32_t pool_count;
  uint32_t stream_count;
  uint32_t ring_slots; /* of a staging ring that every stream has; then small blocks are written
                          and read by way of pageable memory. 0: none */
  program_pool pools[PROGRAM_POOLS_MAX];
  uint32_t op_count;
  program_op ops[PROGRAM_OPS_MAX];
} program;

typedef enum program_failing {
  PROGRAM_FINE,
  PROGRAM_WRONG_VALUE,  /* a tag was overwritten */
  PROGRAM_RACE,         /* two accesses that nothing orders */
  PROGRAM_WRONG_STATUS, /* a call failed that had to succeed, or the other way round */
  PROGRAM_WRONG_STATS,  /* the pool's figures are not the model's */
  PROGRAM_OVERLAP,      /* two live blocks share a byte, or one is not aligned */
  PROGRAM_LEAK,         /* something is left in the driver when all is released */
  PROGRAM_FAULT,        /* the driver's context broke: memory freed while in use */
  PROGRAM_CRASH,        /* the process ended */
  PROGRAM_HANG,         /* it took too long */
} program_failing;

typedef struct program_verdict {
  program_failing failing;
  uint32_t op_index; /* where it was found; op_count: at the end */
  char text[512];
  uint32_t run_count;     /* operations that were legal and ran */
  uint32_t check_count;   /* values compared */
  uint32_t refused_count; /* allocations that were told to be out of memory */
  uint64_t trace_hash;    /* the driver's */
  uint64_t driver_calls;  /* made by the operations */
  uint64_t driver_failures;
  char failed_call[40];                 /* the driver call that was failed on purpose */
  uint8_t did_run[PROGRAM_OPS_MAX / 8]; /* a bit per operation */
} program_verdict;

/* A random legal program; the same for the same seed. */
void program_generate(program *made, uint64_t seed);
const char *program_verb_name(program_verb verb);
const char *program_failing_name(program_failing failing);

/* Runs it in this process, on the simulated driver that the process is linked with. */
void program_run(const program *run, program_verdict *verdict);

/* The same, while one driver call fails: the nth (from 1) of all, with the CUresult `error`.
 * Operations may then fail, when a call failed during them, and are taken as not done. */
void program_run_failing(const program *run, uint64_t nth, int error, program_verdict *verdict);

/* Runs it in a process of its own, which may crash or hang without harm. The calling process must
 * not have initialised the driver. */
void program_run_isolated(const program *run, program_verdict *verdict);

/* Reduces a program that fails to a smaller one that fails in the same way; runs it isolated up to
 * run_count_max times. */
void program_shrink(program *failing, program_verdict *verdict, uint32_t run_count_max);

#endif
