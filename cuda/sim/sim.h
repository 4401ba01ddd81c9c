/* sim.h: what the files of the simulated driver share: its state, under one lock.
 *
 *     context --- legacy queue                     mark: "this operation is done", counted
 *     stream ---> queue: [op] -> [op] -> [op]             ^   ^
 *                          |___ mark _________________ ___|   |
 *     event  ---------------- mark of its latest record ______|
 *
 * An operation waits for the one before it in its queue and, a WAIT, for one mark more. Marks point
 * backwards in time only, so there is always an operation that can run. A queue outlives its stream
 * until it is empty; a mark outlives both.
 *
 * Everything here is read and written with sim.lock held. Host functions run without it.
 */
#ifndef SIM_H
#define SIM_H

#include "cuda/sim/cusim.h"
#include "cuda/sim/sim_calls.h"
#include "cuda/sim/sim_race.h"

#include <cuda.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
  SIM_DEVICES_MAX = 4,
  SIM_STREAMS_MAX = 4096,
  SIM_EVENTS_MAX = 65536,
  SIM_CONTEXT_DEPTH_MAX = 32,
  SIM_DEVICE_ALIGNMENT = 256,
  SIM_PITCH_MAX = INT32_MAX,
};

typedef struct sim_op sim_op;
typedef struct sim_launch sim_launch; /* sim_launch.h */
typedef struct sim_queue sim_queue;

typedef struct sim_mark {
  size_t reference_count;
  bool is_done;
  uint64_t done_ns; /* when, by the simulated clock */
  sim_op *op;       /* NULL once it is done */
  uint64_t queue_id;
  sim_stamp stamp; /* what the operation comes after; empty where races are off */
} sim_mark;

typedef enum sim_kind {
  KIND_COPY,
  KIND_FILL,
  KIND_CALL,
  KIND_RECORD,
  KIND_WAIT,
  KIND_WAIT_VALUE,
  KIND_WRITE_VALUE,
  KIND_LEND,   /* memory of a pool begins to be a block, and is poisoned */
  KIND_TAKE,   /* it ends */
  KIND_KERNEL, /* cusim_kernel_write and _check */
  KIND_LAUNCH, /* cuLaunchKernel */
} sim_kind;

/* Memory as an operation saw it when it was enqueued. */
typedef struct sim_place {
  uintptr_t address;
  int device;          /* whose access counts: the stream's, or a peer's in a copy between two */
  uint64_t range_id;   /* the allocation, or the latest of the mappings; 0: pageable */
  size_t pitch;        /* from row to row */
  size_t plane_pitch;  /* from plane to plane */
  size_t extent_bytes; /* from the first row's start to the last row's end */
  bool is_device;
} sim_place;

/* What an operation works on, by its kind. */
typedef union sim_payload {
  struct {
    sim_place dst;
    sim_place src;
    size_t row_bytes;
    size_t row_count;
    size_t plane_count;
    void *staged;         /* owned; the source's rows without gaps, where it was pageable */
    bool is_read_by_call; /* the source, before the call returns, whether staged or not */
  } copy;
  struct {
    sim_place dst;
    size_t width; /* elements of a row */
    size_t row_count;
    unsigned element_bytes; /* 1, 2 or 4 */
    uint32_t value;
  } fill;
  struct {
    sim_place place;
    uint64_t value;
    bool is_wide;       /* 64 bits, else 32 */
    unsigned condition; /* of a wait: CU_STREAM_WAIT_VALUE_* */
  } value;
  struct {
    CUhostFn function;
    void *argument;
  } call;
  sim_mark *wait_for; /* a reference */
  struct {
    uintptr_t address;
    size_t size_bytes;
    uint64_t range_id;
    sim_mark *lent; /* of a TAKE: a reference to its LEND's */
  } pool;
  struct {
    sim_place place;
    size_t size_bytes;
    uint64_t tag;
    uint64_t call; /* its number */
    bool is_check;
  } kernel;
  sim_launch *launch; /* a reference */
} sim_payload;

struct sim_op {
  sim_op *next;
  sim_queue *queue;
  sim_mark *mark;    /* a reference */
  uint64_t sequence; /* in its queue, from 1 */
  sim_kind kind;
  sim_payload as;
};

/* Nodes of a graph that what comes next waits for; see sim_graph.h. */
typedef struct sim_frontier {
  size_t count;
  CUgraphNode *nodes; /* owned */
} sim_frontier;

struct sim_queue {
  sim_queue *next; /* all queues, oldest first */
  sim_queue *previous;
  sim_op *first;
  sim_op *last;
  sim_mark *tail; /* of the operation enqueued last; a reference; NULL: none ever */
  sim_timeline *timeline;
  uint64_t id; /* never repeated */
  uint64_t executed_count;
  uint64_t enqueued_count;
  uint64_t covered; /* scratch of sim_queue_is_behind */
  uint64_t rank;    /* CUSIM_PRIORITY's, of an epoch; see sim_adversary.c */
  uint64_t rank_epoch;
  int device;
  unsigned flags;   /* CU_STREAM_* */
  bool is_legacy;   /* the default stream of a context */
  bool is_running;  /* its first operation is a host function under way */
  bool is_detached; /* the stream is gone: free the queue when it is empty */
  int priority;
  struct sim_capture *capture; /* a reference; NULL: what it is given runs */
  sim_frontier frontier;       /* in the capture */
};

/* What handles point to. A free one is the next to be handed out. */
struct CUstream_st {
  sim_queue *queue; /* NULL: free */
  struct CUstream_st *next_free;
};

struct CUevent_st {
  bool is_alive;
  int device;
  unsigned flags;                /* CU_EVENT_* */
  sim_mark *latest;              /* NULL: never recorded */
  struct sim_capture *capture;   /* a reference, where it was recorded in one last; else NULL */
  sim_frontier frontier;         /* of that record */
  struct sim_counters *counters; /* between processes; else NULL */
  bool is_opened;                /* another process's event */
  struct CUevent_st *next_free;
};

struct CUctx_st {
  int device;
  size_t retain_count; /* 0: the context does not exist */
  CUresult error;      /* sticks until the context goes */
  sim_queue *legacy;
};

typedef enum sim_range_kind {
  RANGE_DEVICE,     /* cuMemAlloc */
  RANGE_PINNED,     /* cuMemHostAlloc */
  RANGE_REGISTERED, /* cuMemHostRegister */
  RANGE_MAPPED,     /* cuMemMap: neighbours in one reservation are one memory to a copy */
  RANGE_POOL,       /* cuMemAllocAsync */
  RANGE_OPENED,     /* cuIpcOpenMemHandle: a block of another process */
  RANGE_COUNTERS,   /* of events between processes: no program's */
} sim_range_kind;

typedef struct sim_physical sim_physical;
typedef struct sim_reservation sim_reservation;
typedef struct sim_pool_block sim_pool_block;
typedef struct sim_ipc sim_ipc;

typedef struct sim_range {
  uintptr_t start;
  size_t size_bytes;
  sim_range_kind kind;
  int device; /* of the context that made it */
  unsigned flags;
  uint64_t id; /* never repeated, never 0; a later range has a greater one */
  /* Of RANGE_MAPPED. */
  sim_physical *physical;
  sim_reservation *reservation;
  CUmemAccess_flags access[SIM_DEVICES_MAX];
  sim_pool_block *block; /* of RANGE_POOL */
  sim_ipc *ipc;          /* of RANGE_OPENED, and of a RANGE_DEVICE that has a handle; else NULL */
} sim_range;

typedef struct sim_device {
  struct CUctx_st context;
  size_t capacity_bytes;
  size_t used_bytes;
} sim_device;

/* CUSIM_PRIORITY's; see sim_adversary.c. */
enum { SIM_PRIORITY_CHANGES = 3 }; /* per epoch: d of the paper */
typedef struct sim_priorities {
  uint64_t epoch; /* 0: none has begun */
  uint64_t step_count;
  uint64_t program; /* the program's own priority */
  uint64_t fallen;  /* the next priority that an agent falls to */
  uint64_t change_steps[SIM_PRIORITY_CHANGES];
} sim_priorities;

typedef struct sim_failure {
  uint64_t countdown; /* 0: none planned */
  CUresult result;
} sim_failure;

typedef struct sim_state {
  pthread_mutex_t lock;
  pthread_cond_t progressed; /* a host function ended */
  bool is_initialised;
  /* What cusim.h has set stays, whatever the environment says. */
  bool is_seed_set;
  bool is_policy_set;
  bool is_capacity_set;
  bool is_pinned_capacity_set;
  bool is_idle_set;
  bool are_races_set;
  bool are_threads_set;
  bool are_peers_set;
  bool are_peers; /* devices can reach each other's memory */
  bool is_peer_enabled[SIM_DEVICES_MAX][SIM_DEVICES_MAX]; /* of the second, by the first */
  int device_count;
  sim_device devices[SIM_DEVICES_MAX];

  cusim_policy policy;
  sim_priorities priorities;
  uint64_t seed;
  uint64_t random_state;
  uint64_t trace_hash;
  uint64_t trace_length;
  uint64_t trace_base; /* queue ids are told from here, so that runs in one process compare */

  sim_queue *queues; /* sentinel-free doubly linked list */
  sim_queue *queues_last;
  uint64_t queue_ids;
  size_t pending_count; /* operations enqueued and not done */
  size_t stream_count;
  size_t event_count;
  size_t graph_count;
  size_t executable_count;
  size_t abandoned_count;
  size_t module_count;

  sim_op *host_op; /* given to the driver's thread; NULL: it is free */
  unsigned idle_ms;
  unsigned patience_ms;
  unsigned stall_ms;
  uint64_t clock_ns; /* what the work done so far would have taken */
  uint64_t idle_steps;
  uint64_t last_call_ns;

  sim_range *ranges; /* by address */
  size_t range_count;
  size_t range_room;
  uint64_t range_ids;
  size_t pinned_capacity_bytes;
  size_t pinned_bytes;

  cusim_races races;
  unsigned stream_ordinals; /* streams created so far */

  uint64_t calls[CALL_COUNT];
  uint64_t call_count;                  /* of all */
  sim_failure failures[CALL_COUNT + 1]; /* the last one: any call */
  uint64_t failure_count;
  const char *failed_call;
  char fault[256];
  char hidden[64];
} sim_state;

extern sim_state sim;

/* --- sim_boot.c --- */
enum { SIM_NEEDS_NOTHING = 0, SIM_NEEDS_INIT = 1, SIM_NEEDS_CONTEXT = 2 };

/* The head of every entry point: counts, fails on demand, refuses host functions and forked
 * children, checks what the call needs. On CUDA_SUCCESS the lock is held until sim_leave. */
CUresult sim_enter(sim_call call, int needs, const void *site);
CUresult sim_leave(CUresult result);
#define SIM_ENTER(name, needs)                                                             \
  do {                                                                                     \
    const CUresult refused = sim_enter(CALL_##name, (needs), __builtin_return_address(0)); \
    if (refused != CUDA_SUCCESS) return refused;                                           \
  } while (0)
/* The entry point that the calling thread is in, or was in last. */
typedef struct sim_caller {
  const char *what;
  uint64_t number;  /* of the call, as cusim_calls(NULL) counts */
  const void *site; /* where the program made it */
} sim_caller;
const sim_caller *sim_caller_now(void);
/* For calls that are no entry point's business (cusim.h). */
void sim_lock(void);
void sim_unlock(void);
const char *sim_call_name(sim_call call);
sim_call sim_call_find(const char *name); /* CALL_COUNT: unknown */
uint64_t sim_now_ns(void);

/* --- sim_settings.c --- */
/* Takes what the environment says and cusim.h has not set. False where a value is not understood:
 * each such is told on stderr, and nothing is taken. */
bool sim_settings_read(void);

/* --- sim_device.c --- */
CUcontext sim_current(void); /* of the calling thread, or NULL */
bool sim_context_exists(CUcontext context);
CUresult sim_context_error(int device);
void sim_break(int device, CUresult result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* --- sim_window.c: device addresses and the memory behind them --- */
bool sim_window_open(void);
/* Whether it is a device address: in the window, or reserved by cuMemAddressReserve. */
bool sim_window_holds(uintptr_t address);
/* Room for a device block at an address that the CPU faults on; 0: none. Lowest address first, so
 * what was freed comes back. Fills the memory behind it. */
uintptr_t sim_window_take(size_t size_bytes);
void sim_window_give(uintptr_t address, size_t size_bytes);
/* The pages that a block takes; its bytes moved into a file of so many; and a block of such a
 * file's, 0 where there is no room. */
size_t sim_window_pages(size_t size_bytes);
bool sim_window_move(uintptr_t address, size_t size_bytes, int file);
uintptr_t sim_window_open_file(size_t size_bytes, int file);
/* Where the bytes of a device address are. */
void *sim_window_view(uintptr_t address);

/* --- sim_memory.c --- */
/* The range that holds the address, or NULL. */
sim_range *sim_range_find(uintptr_t address);
/* The first range that ends behind the address, or NULL; ranges follow each other in memory. */
sim_range *sim_range_after(uintptr_t address);
/* Memory that a program may name begins and ends here and nowhere else: sim_range_insert is called
 * by cuMemAlloc, cuMemHostAlloc, cuMemHostRegister, cuMemMap, cuMemAllocFromPoolAsync and
 * cuIpcOpenMemHandle, sim_range_remove by cuMemFree, cuMemFreeHost, cuMemHostUnregister,
 * cuMemUnmap, cuMemFreeAsync and cuIpcCloseMemHandle;
 * all at the call, in the order of the host. Only of a pool's block (RANGE_POOL) work may not use
 * the bytes from call to call, but from its KIND_LEND to its KIND_TAKE in stream order: each counts
 * as a write of the whole block. sim_range_make_room comes first, so that inserting cannot fail;
 * the range gets its id. */
bool sim_range_make_room(void);
uint64_t sim_range_insert(sim_range range);
void sim_range_remove(sim_range *range);
void sim_memory_abandon(int device);

/* --- sim_virtual.c --- */
/* The reservation that holds the address, or NULL; and where the bytes behind its addresses are. */
sim_reservation *sim_virtual_find(uintptr_t address);
void *sim_virtual_view(const sim_reservation *reservation, uintptr_t address);
/* Whether work of the device may read (and write) the range. */
bool sim_range_allows(const sim_range *range, int device, bool is_written);
typedef struct sim_virtual_counts {
  size_t reservations;
  size_t physical_blocks;
  size_t physical_bytes;
} sim_virtual_counts;
sim_virtual_counts sim_virtual_count(void);
/* A reservation with memory behind all of it, for a pool; the bytes are anything. NULL: no memory.
 * No call of a program's reaches it as a reservation. */
sim_reservation *sim_virtual_take(size_t size_bytes);
void sim_virtual_give(sim_reservation *reservation);
uintptr_t sim_virtual_start(const sim_reservation *reservation);
size_t sim_virtual_size(const sim_reservation *reservation);

/* --- sim_pool.c --- */
/* The operations of cuMemAllocAsync and cuMemFreeAsync, in stream order. A broken context passes
 * over the first, but memory ends all the same. */
void sim_lend_run(sim_op *op);
void sim_take_run(sim_op *op);
/* Whether the block of that id was given to cuMemFreeAsync and its KIND_TAKE has not run. */
bool sim_pool_is_ending(uint64_t range_id);
/* Whether the KIND_LEND of a pool's block has run; true for any other range. */
bool sim_pool_has_begun(const sim_range *range);
bool sim_pool_allows(const sim_range *range, int device, bool is_written);
/* cuMemFree of a pool's block: at once, without waiting. */
void sim_pool_free_now(sim_range *range);
CUmemoryPool sim_pool_of(const sim_range *range);
/* The host has waited for a stream, or for all (0): frees there that are done count as seen, and
 * what no threshold keeps goes back to the device. The driver promises no more (cuda.h,
 * cuMemPoolTrimTo): to have asked, or waited for another stream, need not do. */
void sim_pools_observe(uint64_t queue_id);
void sim_pools_abandon(int device);
typedef struct sim_pool_counts {
  size_t pools; /* created and not destroyed */
  size_t blocks;
  size_t reserved_bytes; /* of default pools too */
} sim_pool_counts;
sim_pool_counts sim_pools_count(void);

/* --- sim_copy.c --- */
/* What lies at the address: `plane_count` planes of `row_count` rows, the pitches in `place`. It
 * must lie inside of one allocation, or outside of all. */
CUresult sim_place_find(uintptr_t address, size_t row_bytes, size_t row_count, size_t plane_count,
                        bool is_written, sim_place *place);
/* The same as another device reaches it. */
CUresult sim_place_find_of(int device, uintptr_t address, size_t row_bytes, size_t row_count,
                           size_t plane_count, bool is_written, sim_place *place);
bool sim_place_is_pageable(const sim_place *place);
void *sim_place_view(const sim_place *place);
/* Whether the memory is still the one that was there; breaks the context where not. What came in
 * its place has a greater id. */
bool sim_place_is_intact(const sim_op *op, const sim_place *place, bool is_written,
                         const char *what);
/* Moves the bytes, or breaks the context where a block is gone. */
void sim_copy_run(sim_op *op);
/* What cuMemcpyBatchAsync was before 13.0. */
CUresult sim_memcpy_batch_v12080(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count,
                                 CUmemcpyAttributes *attributes, size_t *starts,
                                 size_t attribute_count, size_t *failed, CUstream stream);

/* --- sim_fill.c --- */
void sim_fill_run(sim_op *op);

/* --- sim_kernel.c --- */
void sim_kernel_run(sim_op *op);

/* --- sim_launch.c --- */
sim_launch *sim_launch_retain(sim_launch *launch);
void sim_launch_release(sim_launch *launch);
void sim_launch_run(sim_op *op);
size_t sim_launch_bytes(const sim_launch *launch); /* that it reads or writes, the greater */

/* --- sim_module.c --- */
void sim_modules_abandon(int device);

/* --- sim_value.c: waits for and writes of values in memory --- */
/* Whether a KIND_WAIT_VALUE may pass: its memory says so, or is gone. */
bool sim_value_is_reached(const sim_op *op);
void sim_value_run(sim_op *op);
/* Enqueues a wait for at least that value, or a write of it; 64 bits. */
CUresult sim_value_wait(CUstream stream, uintptr_t address, uint64_t value);
CUresult sim_value_write(CUstream stream, uintptr_t address, uint64_t value);

/* --- sim_per_thread.c: default streams of threads --- */
/* What the NULL stream means in the calling thread now: the legacy stream but in those variants of
 * the calls that ask for the thread's own. */
bool sim_null_is_per_thread(void);
/* The calling thread's default stream in its current context; NULL: no memory. */
sim_queue *sim_thread_queue(void);
void sim_thread_queues_abandon(int device);
/* The entry that takes NULL for the own stream; NULL: the call has no stream. */
typedef void (*sim_function)(void);
sim_function sim_per_thread_variant(const char *name);

/* --- sim_stream.c --- */
sim_queue *sim_queue_create(int device, unsigned flags, bool is_legacy);
/* Frees the queue when it is empty. */
void sim_queue_detach(sim_queue *queue);
/* The queue that a handle names, checked for a caller that enqueues: the stream's own context is
 * current, and it is sound. */
CUresult sim_queue_to_enqueue(CUstream stream, sim_queue **queue);
/* The same for callers that only ask. */
CUresult sim_queue_of(CUstream stream, sim_queue **queue);
void sim_streams_abandon(int device);

/* --- sim_capture.c: refusals break the capture, which nothing but its end is left to --- */
/* Whether the call may be made by this thread while streams are captured. */
CUresult sim_capture_permits(sim_call call);
/* Whether the default stream of the context may be used, if that is what the queue is. */
CUresult sim_capture_permits_legacy(const sim_queue *queue);
/* The call cannot be captured, nor be made on a stream that is: CUDA_SUCCESS where it is not. Of
 * the device's streams; and the same for an event. */
CUresult sim_capture_refuse(const sim_queue *queue);
CUresult sim_capture_refuse_all(int device);
CUresult sim_capture_refuse_event(CUevent event);
/* The queue is captured: the operation becomes a node, or is refused. Takes it. */
CUresult sim_capture_take(sim_op *op);
CUresult sim_capture_record(CUevent event, sim_queue *queue);
/* Queue or event, or both, are captured. */
CUresult sim_capture_wait(sim_queue *queue, CUevent event);
void sim_capture_forget_event(CUevent event);
/* The stream goes. */
void sim_capture_drop(sim_queue *queue);
/* A capture is still making the graph. */
bool sim_capture_fills(CUgraph graph);
CUresult sim_get_capture_info_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                 CUgraph *graph, const CUgraphNode **dependencies,
                                 size_t *dependency_count);

/* --- sim_event.c --- */
void sim_events_abandon(int device);
bool sim_event_is_alive(CUevent event);
/* One of the current context's. */
CUresult sim_event_make(unsigned flags, CUevent *event);

/* --- sim_peer.c --- */
bool sim_peer_can(int device, int peer);
/* Whether work of the device may use what cuMemAlloc made on the owner. */
bool sim_peer_reaches(int device, int owner);
void sim_peers_abandon(int device);

/* --- sim_ipc.c: other processes --- */
/* The block, or what was opened, ends: its file is closed. */
void sim_ipc_drop(sim_range *range);
/* Whether the process that owns an opened block is. */
bool sim_ipc_is_alive(const sim_range *range);
/* Gives a new event its counters; false without room for them. */
bool sim_ipc_event_create(CUevent event);
/* Beside the record and instead of the wait. */
CUresult sim_ipc_event_record(CUevent event, CUstream stream);
CUresult sim_ipc_event_wait(CUevent event, CUstream stream);
bool sim_ipc_event_is_done(CUevent event);
/* Gives up after cusim_set_stall_ms. */
CUresult sim_ipc_event_synchronize(CUevent event);

/* --- sim_schedule.c --- */
void sim_mark_release(sim_mark *mark);
sim_mark *sim_mark_retain(sim_mark *mark);
uint64_t sim_random(void);
/* A new operation of the queue, not enqueued yet; NULL: no memory. */
sim_op *sim_op_create(sim_queue *queue, sim_kind kind);
void sim_op_discard(sim_op *op);
/* Takes the operation, and lets the policy run what it likes. Waits of the default stream's rules
 * come before it; without memory for them the operation is not enqueued but discarded. */
CUresult sim_op_enqueue(sim_op *op);
/* Takes it out of its queue, done. */
void sim_op_finish(sim_op *op);
/* Enqueues a wait for `mark` where it is not passed; false without memory. */
bool sim_queue_wait(sim_queue *queue, sim_mark *mark);
/* Whether what is enqueued on the queue from now on lies behind the mark, by the waits there are.
 * False where the mark is passed already: what led to it is forgotten. */
bool sim_queue_is_behind(const sim_queue *queue, const sim_mark *mark);
/* Runs until the mark is passed. */
void sim_wait_for(sim_mark *mark);
/* The same for a caller who thereby comes after it. */
void sim_host_wait_for(sim_mark *mark);
/* Whether the mark is passed, as the policy wants it seen. NULL is. */
bool sim_ask(sim_mark *mark);
/* The same for a caller who comes after it where it is. */
bool sim_host_ask(sim_mark *mark);
/* Runs one ready operation of any queue; false where there is none. */
bool sim_step(void);
/* The first operation of the queue can run; and runs it, which may be the queue's end. */
bool sim_queue_is_ready(const sim_queue *queue);
void sim_queue_run_first(sim_queue *queue);
/* Runs one operation that the mark needs; false where what it needs is under way, or is done. Where
 * that is a value which nobody has written yet, any operation may be the one that does. */
bool sim_step_towards(const sim_mark *mark);

/* --- sim_adversary.c: the policy at its three occasions --- */
/* Work was enqueued, the last of which is `op`. */
void sim_policy_enqueued(const sim_op *op);
/* Somebody asks for a mark that is not passed: whether it is, as the policy wants it seen. */
bool sim_policy_ask(sim_mark *mark);
/* Somebody waits for the mark: runs one operation, if there is one to run. */
bool sim_policy_wait(sim_mark *mark);
/* Forgets what it has decided so far: the seed is a new one. */
void sim_policy_reset(void);
extern const char *const sim_policy_names[CUSIM_POLICY_COUNT];

/* --- sim_host.c: the driver's own thread --- */
/* Hands the host function over and waits for a while. With one under way, none may be. */
void sim_host_run(sim_op *op);
bool sim_on_host_thread(void);
/* Work was enqueued: the thread looks after it when nobody else does. */
void sim_host_watch(void);

#endif
