/* cusim.h: steering and watching the simulated CUDA driver.
 *
 * The simulator is a libcuda.so.1 on host memory. A program finds it through LD_LIBRARY_PATH, or
 * opens it by path, and runs as on a GPU: streams are queues, device memory is memory that the CPU
 * cannot reach by its device address, and copies move real bytes. What a GPU leaves open, the
 * simulator decides against the program: a seeded scheduler runs queued work as late, as early or
 * as shuffled as CUDA's rules allow. The same seed gives the same order.
 *
 * From the environment, read by cuInit:
 *     CUSIM_SEED=n                  seed of everything random (1)
 *     CUSIM_POLICY=random|lazy|eager|starve|reuse|prompt|priority  (random)
 *     CUSIM_DEVICES=n               1 to 4 (1)
 *     CUSIM_CAPACITY=bytes          memory of each device (4 GiB)
 *     CUSIM_PINNED_CAPACITY=bytes   most page-locked memory, as by a lock limit (no limit)
 *     CUSIM_IDLE_MS=n               see cusim_set_idle_ms (250)
 *     CUSIM_RACES=off|count|report|abort  (report)
 *     CUSIM_THREADS=as-one|apart    see cusim_threads (as-one)
 *     CUSIM_PEERS=0|1               see cusim_set_peers (0)
 * Numbers are decimal, or hexadecimal behind 0x; an empty value counts as none. A value that is
 * none of these is told on stderr, and cuInit fails with CUDA_ERROR_INVALID_VALUE.
 *
 * Policies. random: every call that enqueues or asks runs nought to two ready operations of any
 * queue. lazy: nothing runs before somebody waits for it or asks for it, and then no more than that
 * needs; an answer comes before the step it causes, so a loop that asks comes to an end. eager: all
 * that can run has run when a call returns. starve: as random, but a third of the queues, chosen by
 * the seed, never advance unless somebody waits for them. reuse: as lazy, but work that touches
 * memory which another queue still has to touch overtakes it, as far as nothing orders the two.
 * prompt: as lazy, but all that can run has run before a question is answered. priority: queues and
 * the program have random priorities, and the highest that can run runs; now and then the one that
 * runs falls below all others (probabilistic concurrency testing).
 *
 * Stricter than a GPU may be, never looser:
 *   - the calling thread needs a current context, for enqueuing the stream's own;
 *   - host functions run on the driver's thread, and any call to the driver from one is refused;
 *   - freeing or unmapping memory that enqueued work still uses, or taking its access away, breaks
 *     the context (CUDA_ERROR_ILLEGAL_ADDRESS): cuMemFree and cuMemUnmap wait for nothing. Fresh
 *     memory is filled with 0xCD;
 *   - a copy past the end of an allocation is refused, and one that reaches mapped memory which the
 *     device has no access to. It may run over mappings side by side in one reservation, but not
 *     over registrations side by side;
 *   - memory is registered as far as the process may itself touch it, less than 512 GiB in one call
 *     (drivers since 580), and nothing writes to what was registered read-only;
 *   - virtual memory comes in granules of 2 MiB; access is set for whole mappings;
 *   - a pool's block may be used between its allocation and its free in stream order only: work
 *     that runs before or after breaks the context. A pool takes memory in chunks of 32 MiB where
 *     it can, reuses what its policies allow before it takes more, and gives whole chunks back when
 *     the host waits for something or trims, never a chunk with a free that the host has not seen;
 *   - destroyed handles come back at once as other objects; cuStreamGetId never repeats;
 *   - device memory is aligned to 256 bytes and to no more.
 *
 * Copies with pageable memory: to a device, the bytes are staged when the call is made, or, under
 * random, the call may instead wait for the copy; from a device, and between host addresses, the
 * call returns when the copy is done. A copy between two page-locked addresses may be left under
 * way, though the manual calls it synchronous.
 *
 * A batch of copies (cuMemcpyBatchAsync) is refused while its stream is captured, which leaves the
 * capture as it was, and always on the legacy default stream.
 *
 * Captures and graphs: copies, fills, values and host functions become nodes, and a launch enqueues
 * them on its stream, behind each other in an order that the graph's edges allow. What a driver
 * forbids during a capture is refused with its error and breaks the capture. Stricter than some:
 * pageable memory is not captured, nor a wait for an event that was never recorded; making,
 * trimming and destroying memory pools count as unsafe calls, and allocating or freeing from them
 * in a capture breaks it. An executable is updated by a graph of the same shape. Left out: graphs
 * made by hand, launches in a capture, external events, allocation nodes.
 *
 * Time, as events with timing tell it, is simulated: a start of 1 us and 16 bytes a nanosecond for
 * each operation, one after the other. It is the same in every run of a seed and says nothing about
 * a GPU.
 *
 * Kernels: a module may be any device code as nvcc makes it, but only kernels that the simulator
 * was built with run: those of the library that it belongs to, compiled for the host from the same
 * source, thread by thread. Each byte that one reads or writes must be one that follows from its
 * arguments; it writes each of those once, at aligned addresses, and takes no shared memory of
 * another thread without a barrier. Else the context breaks, as it does where the memory is not the
 * device's. A launch that runs when its module has been unloaded, a graph's too, breaks it as well.
 *
 * Other processes on the simulator: memory of cuMemCreate is exported as real descriptors, memory
 * of cuMemAlloc and events by handles, which processes of the same user open through /proc. Handles
 * are not for the process that made them. Each process has its own scheduler and capacity; a wait
 * for another's event, which its owner alone records, passes when the owner's stream has come
 * there, by calls of its own or idle (CUSIM_IDLE_MS), or breaks the context after
 * cusim_set_stall_ms. Work on memory of cuMemAlloc breaks the context, too, where the exporter has
 * freed it or is gone, and freeing what another process has open breaks the exporter's. Races
 * between processes are not looked for. Pools are not shared.
 *
 * Left out: kernels of the program's own, managed memory, arrays, P2P attributes, contexts other
 * than primary ones. Default streams of threads are found through cuGetProcAddress only. It
 * knows what there is; the attributes say no for the rest.
 *
 * cusim_guide.h tells how to run a program on it, and how to read what it reports.
 *
 * The functions below may be called from any thread at any time, also before cuInit; those that set
 * something override the environment.
 */
#ifndef CUSIM_H
#define CUSIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CUSIM_API __attribute__((visibility("default")))

/* 1. That the function exists says the same: no CUDA driver exports it. */
CUSIM_API int cusim_is_simulated(void);

typedef enum cusim_policy {
  CUSIM_RANDOM = 0,
  CUSIM_LAZY = 1,
  CUSIM_EAGER = 2,
  CUSIM_STARVE = 3,
  CUSIM_REUSE = 4,
  CUSIM_PROMPT = 5,
  CUSIM_PRIORITY = 6,
} cusim_policy;
enum { CUSIM_POLICY_COUNT = 7 };

/* "random", ...: as CUSIM_POLICY takes it. */
CUSIM_API const char *cusim_policy_name(cusim_policy policy);

CUSIM_API void cusim_set_policy(cusim_policy policy);
CUSIM_API cusim_policy cusim_get_policy(void);
/* Starts the random numbers afresh. */
CUSIM_API void cusim_set_seed(uint64_t seed);
CUSIM_API uint64_t cusim_get_seed(void);

/* Queued work runs on by itself when no call has come for so long, as on a GPU; 0: never. What ran
 * so is not repeatable: cusim_idle_steps counts it. */
CUSIM_API void cusim_set_idle_ms(unsigned idle_ms);
CUSIM_API uint64_t cusim_idle_steps(void);
/* How long a call that happened to start a host function waits for its end (50), so that the order
 * stays repeatable, before it leaves it running. Calls that wait for the stream wait for good. */
CUSIM_API void cusim_set_patience_ms(unsigned patience_ms);
/* How long a call waits where a stream waits for a value in memory (cuStreamWaitValue32), nothing
 * else can run and no host thread writes it (2000). A GPU would hang there for good; here the
 * context breaks with CUDA_ERROR_LAUNCH_TIMEOUT, cusim_fault names the stream, and what was
 * enqueued is passed over. */
CUSIM_API void cusim_set_stall_ms(unsigned stall_ms);

/* Least memory is what is allocated already. Beyond the capacity of page-locked memory, allocating
 * and registering it are refused as out of memory. */
CUSIM_API void cusim_set_capacity(int device, size_t bytes);
CUSIM_API void cusim_set_pinned_capacity(size_t bytes);

/* Whether devices can reach each other's memory: then cuCtxEnablePeerAccess and cuMemSetAccess let
 * them in, and no copy needs that. */
CUSIM_API void cusim_set_peers(int are_peers);

/* Runs one ready operation, or all; answers how many ran. */
CUSIM_API uint64_t cusim_step(void);
CUSIM_API uint64_t cusim_drain(void);

/* What happens at a race: two uses of the same bytes, one of them a write, that nothing orders. The
 * report goes to stderr once for each pair of places in the program. Switching on forgets what was
 * before. */
typedef enum cusim_races {
  CUSIM_RACES_OFF = 0,
  CUSIM_RACES_COUNT = 1,  /* silently; see cusim_race_report */
  CUSIM_RACES_REPORT = 2, /* in words on stderr, too */
  CUSIM_RACES_ABORT = 3   /* and then abort() */
} cusim_races;

CUSIM_API void cusim_set_races(cusim_races races);
CUSIM_API cusim_races cusim_get_races(void);

/* Pairs of calls that raced, since the start or cusim_forget_races. */
CUSIM_API uint64_t cusim_race_count(void);
/* The text of a race, as snprintf writes: cut to `size`, and the answer is the length of the whole;
 * 0 where there is none of the index. At most 64 are kept, each of another pair of places. */
CUSIM_API size_t cusim_race_report(size_t index, char *buffer, size_t size);
/* The count and the reports; what is known of the memory stays. */
CUSIM_API void cusim_forget_races(void);

/* The CPU reads or writes bytes that copies use, too. From any thread; from a host function the
 * access is one in the order of the stream. */
CUSIM_API void cusim_host_read(const void *address, size_t bytes);
CUSIM_API void cusim_host_write(const void *address, size_t bytes);

/* Work on `stream` (a CUstream) that writes a tag's pattern over device or page-locked memory, and
 * work that looks for it, when it runs, in stream order; a stand-in for kernels. The answer is a
 * CUresult. A check that finds another byte counts as one wrong value; its report names the first
 * such byte, and who wrote what is expected and what is there as far as that is remembered. */
CUSIM_API int cusim_kernel_write(void *stream, unsigned long long address, size_t bytes,
                                 uint64_t tag);
CUSIM_API int cusim_kernel_check(void *stream, unsigned long long address, size_t bytes,
                                 uint64_t tag);
/* Byte `index` of the tag's pattern, to write or compare it on the host. */
CUSIM_API unsigned char cusim_tag_byte(uint64_t tag, size_t index);
/* As the functions for races do; at most 16 reports, on stderr where races are reported there. */
CUSIM_API uint64_t cusim_value_error_count(void);
CUSIM_API size_t cusim_value_error_report(size_t index, char *buffer, size_t size);
CUSIM_API void cusim_forget_value_errors(void);

/* Whose order the host's calls have. As one: what a thread has waited for, all threads know, in the
 * order in which their calls come; and once a host function has started, what it comes after. That
 * never blames a program that orders its threads by locks the driver cannot see, and finds nothing
 * between two threads. Apart: each thread knows what it has waited for itself, and what
 * cusim_host_acquire brought it. Switching forgets what was before. */
typedef enum cusim_threads { CUSIM_THREADS_AS_ONE = 0, CUSIM_THREADS_APART = 1 } cusim_threads;

CUSIM_API void cusim_set_threads(cusim_threads threads);
CUSIM_API cusim_threads cusim_get_threads(void);
/* Who acquires an object comes after all that released it before: a lock, a flag, a thread. A host
 * function may release, not acquire. No effect where threads are as one. */
CUSIM_API void cusim_host_acquire(const void *object);
CUSIM_API void cusim_host_release(const void *object);

/* The n-th call from now (1: the next) of the function "cuMemAlloc", or of any function but
 * cuGetErrorName and cuGetErrorString where `call` is NULL, does nothing and returns `result`.
 * Once; a later plan for the same name replaces an earlier one. 0 for an unknown name. */
CUSIM_API int cusim_fail_call(const char *call, uint64_t nth, int result);
CUSIM_API void cusim_fail_nothing(void);
CUSIM_API uint64_t cusim_failures(void); /* how many calls have been failed so far */
/* The name of the call that was failed last; "" before. */
CUSIM_API const char *cusim_failed_call(void);

/* Every call that needs the device's context returns `result` from now on, until the last release
 * of the primary context: the error that sticks after a fault on a GPU. */
CUSIM_API void cusim_break_context(int device, int result);
/* What broke the context last, in words; "" where nothing did. */
CUSIM_API const char *cusim_fault(void);

/* cuGetProcAddress denies the name; NULL denies none again. */
CUSIM_API void cusim_hide(const char *name);

/* Calls so far of the function, or of all where `call` is NULL; failed ones count too. */
CUSIM_API uint64_t cusim_calls(const char *call);

/* What is alive. */
typedef struct cusim_counts {
  size_t device_blocks;
  size_t device_bytes;
  size_t pinned_blocks; /* cuMemHostAlloc and cuMemHostRegister */
  size_t pinned_bytes;
  size_t streams; /* created and not destroyed */
  size_t events;
  size_t context_retains; /* over all devices */
  size_t pending_operations;
  /* Objects that were alive when their context went: leaks of the program, counted for ever. */
  size_t abandoned;
  size_t reservations;    /* cuMemAddressReserve */
  size_t physical_blocks; /* cuMemCreate: with a handle, or mapped */
  size_t physical_bytes;
  size_t mappings;
  size_t pools;       /* cuMemPoolCreate; not the devices' own */
  size_t pool_blocks; /* cuMemAllocAsync */
  size_t pool_bytes;  /* that pools hold, the devices' own too */
  size_t graphs;
  size_t graph_executables;
  size_t modules;
  size_t opened_blocks; /* cuIpcOpenMemHandle */
} cusim_counts;

CUSIM_API void cusim_get_counts(cusim_counts *counts);

/* A number that two runs share where the same operations ran in the same order on streams created
 * in the same order, since the last cusim_set_seed; and how many operations that were. */
CUSIM_API uint64_t cusim_trace_hash(void);
CUSIM_API uint64_t cusim_trace_length(void);

#ifdef __cplusplus
}
#endif
#endif
