/* transfer_cases_around.c: what stands around a copy: memory for it, pinning, the way to the device
 * and back. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/transfer_cases.h"

/* --- allocation, copy, free --- */

typedef struct around_run {
  transfer_session *session;
  tarn_pool *pool; /* NULL: the driver's own calls */
  bool is_ordered; /* cuMemAllocAsync, else cuMemAlloc */
  const transfer_buffer *src;
  const transfer_buffer *back; /* for the check */
  size_t size_bytes;
} around_run;

static tarn_status take(const around_run *run, void **address) {
  const transfer_session *session = run->session;
  if (run->pool != NULL) {
    return tarn_pool_alloc(run->pool, run->size_bytes, session->stream, address);
  }
  if (!run->is_ordered) return transfer_driver_alloc(session->driver, run->size_bytes, address);
  return transfer_driver_alloc_ordered(session->driver, run->size_bytes, session->native_stream,
                                       address);
}

/* cuMemFree does not wait for work that a stream still has by contract: so that is waited for. */
static tarn_status give(const around_run *run, void *address) {
  const transfer_session *session = run->session;
  if (run->pool != NULL) return tarn_pool_free(run->pool, address, session->stream);
  if (run->is_ordered) {
    return transfer_driver_free_ordered(session->driver, address, session->native_stream);
  }
  const tarn_status status = transfer_stream_synchronize(session->driver, session->native_stream);
  const tarn_status freed = transfer_driver_free(session->driver, address);
  return status == TARN_OK ? freed : status;
}

static tarn_status enqueue_around(void *context, uint64_t count) {
  const around_run *run = context;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; status == TARN_OK && i < count; i++) {
    void *address = NULL;
    status = take(run, &address);
    if (status != TARN_OK) break;
    status = transfer_driver_copy(run->session->driver, address, run->src->address, run->size_bytes,
                                  run->session->native_stream);
    const tarn_status given = give(run, address);
    if (status == TARN_OK) status = given;
  }
  return status;
}

/* There and back: the memory that was lent holds what was copied to it. */
static tarn_status verify_around(void *context, const transfer_subject *subject, const char *name) {
  const around_run *run = subject->context;
  const transfer_session *session = run->session;
  size_t wrong_at = run->size_bytes;
  (void)context;
  tarn_status status = TARN_OK;
  for (int i = 0; status == TARN_OK && i < 2 && wrong_at == run->size_bytes; i++) {
    const uint64_t seed = i == 0 ? ~transfer_base_seed : transfer_base_seed;
    void *address = NULL;
    status = transfer_bytes_write(&session->bytes, run->src, 0, run->size_bytes, seed);
    if (status == TARN_OK) status = transfer_bytes_spoil(&session->bytes, run->back);
    if (status == TARN_OK) status = take(run, &address);
    if (status != TARN_OK) return status;
    status = transfer_driver_copy(session->driver, address, run->src->address, run->size_bytes,
                                  session->native_stream);
    if (status == TARN_OK) {
      status = transfer_driver_copy(session->driver, run->back->address, address, run->size_bytes,
                                    session->native_stream);
    }
    const tarn_status given = give(run, address);
    if (status == TARN_OK) status = given;
    if (status == TARN_OK) {
      status = transfer_stream_synchronize(session->driver, session->native_stream);
    }
    if (status != TARN_OK) return status;
    status =
        transfer_bytes_compare(&session->bytes, run->back, 0, run->size_bytes, 0, seed, &wrong_at);
  }
  if (status != TARN_OK || wrong_at == run->size_bytes) return status;
  return tarn_fail(TARN_DEVICE_ERROR, "%s: wrong result: %s: byte %zu was lost", name,
                   subject->name, wrong_at);
}

static tarn_status measure_around(transfer_session *session, tarn_pool *caching, tarn_pool *ordered,
                                  const transfer_buffer *src, const transfer_buffer *back,
                                  const char *name, size_t size_bytes) {
  const around_run base = {.session = session, .src = src, .back = back, .size_bytes = size_bytes};
  around_run runs[TRANSFER_SUBJECTS_MAX] = {base, base, base, base};
  transfer_subject subjects[TRANSFER_SUBJECTS_MAX];
  int count = 0;
  runs[count].pool = caching;
  subjects[count] = (transfer_subject){"tarn", enqueue_around, &runs[count], false};
  count++;
  if (transfer_driver_has_ordered_alloc(session->driver) && ordered != NULL) {
    runs[count].is_ordered = true;
    subjects[count] = (transfer_subject){"cuMemAllocAsync", enqueue_around, &runs[count], false};
    count++;
    runs[count].pool = ordered;
    subjects[count] = (transfer_subject){"driver's pool", enqueue_around, &runs[count], false};
    count++;
  }
  subjects[count] = (transfer_subject){"cuMemAlloc", enqueue_around, &runs[count], false};
  count++;
  transfer_case what = {.name = name,
                        .unit = "ns",
                        .subjects = subjects,
                        .subject_count = count,
                        .lane = transfer_default_lane(session),
                        .options = transfer_default_options(session),
                        .placed = src->placed,
                        .verify = verify_around};
  what.options.only_host_clock = true;
  what.options.count_max = TRANSFER_LATCHED_MAX;
  return transfer_run_case(session, &what);
}

static tarn_status run_around(transfer_session *session, size_t size_bytes) {
  char name[96];
  const where_place *where = &session->bench->where;
  transfer_buffer src = {.address = NULL};
  transfer_buffer back = {.address = NULL};
  tarn_pool *caching = NULL;
  tarn_pool *ordered = NULL;
  snprintf(name, sizeof name, "transfer.alloc_copy_free.%s", bench_size_name(size_bytes).text);
  if (!bench_wants(session->bench, name)) return TARN_OK;
  const size_t bytes = transfer_round_bytes(size_bytes);
  tarn_status status = transfer_buffer_create(where, session->driver, session->topology,
                                              TRANSFER_PINNED, session->nodes[0], bytes, &src);
  if (status == TARN_OK) {
    status = transfer_buffer_create(where, session->driver, session->topology, TRANSFER_PINNED,
                                    session->nodes[0], bytes, &back);
  }
  if (status == TARN_OK) status = where_pool_create(where, &caching);
  if (status == TARN_OK &&
      tarn_cuda_driver_pool_create(where->cuda, where->index, NULL, &ordered) != TARN_OK) {
    ordered = NULL; /* the device has none: then it is not measured */
  }
  if (status == TARN_OK) {
    status = measure_around(session, caching, ordered, &src, &back, name, size_bytes);
  }
  tarn_pool_release(ordered);
  tarn_pool_release(caching);
  transfer_buffer_destroy(&src);
  transfer_buffer_destroy(&back);
  return status;
}

/* --- pinning --- */

enum { PIN_THREADS_MAX = 16 };

typedef enum pin_way { PIN_TARN, PIN_REGISTER, PIN_HOST_ALLOC } pin_way;

typedef struct pin_run {
  transfer_session *session;
  const transfer_buffer *memory;
  pin_way way;
  int thread_count;
  uint64_t count;
} pin_run;

typedef struct pin_member {
  const pin_run *run;
  int index;
  tarn_status status;
  char message[TARN_ERROR_MESSAGE_BYTES];
} pin_member;

static tarn_status pin_once(const pin_run *run, char *part, size_t part_bytes) {
  transfer_driver *driver = run->session->driver;
  tarn_cuda_pin *pin = NULL;
  void *block = NULL;
  tarn_status status = TARN_OK;
  switch (run->way) {
    case PIN_TARN:
      status = tarn_cuda_pin_create(run->session->bench->where.cuda, part, part_bytes, 0, &pin);
      tarn_cuda_pin_destroy(pin);
      return status;
    case PIN_REGISTER:
      status = transfer_driver_register(driver, part, part_bytes);
      return status == TARN_OK ? transfer_driver_unregister(driver, part) : status;
    case PIN_HOST_ALLOC:
      status = transfer_driver_host_alloc(driver, part_bytes, /*is_write_combined=*/false, &block);
      return status == TARN_OK ? transfer_driver_host_free(driver, block) : status;
  }
  return status;
}

static void *pin_parts(void *context) {
  pin_member *member = context;
  const pin_run *run = member->run;
  const size_t part_bytes = run->memory->size_bytes / (size_t)run->thread_count;
  char *part = run->memory->address + part_bytes * (size_t)member->index;
  const bool is_new = member->index > 0; /* the first is the calling thread, which has a context */
  if (is_new) member->status = transfer_driver_enter(run->session->driver, /*enters=*/true);
  for (uint64_t i = 0; member->status == TARN_OK && i < run->count; i++) {
    member->status = pin_once(run, part, part_bytes);
  }
  if (member->status != TARN_OK) {
    snprintf(member->message, sizeof member->message, "%s", tarn_last_error()->message);
  } else if (is_new) {
    member->status = transfer_driver_enter(run->session->driver, /*enters=*/false);
  }
  return NULL;
}

static tarn_status enqueue_pins(void *context, uint64_t count) {
  pin_run *run = context;
  pthread_t threads[PIN_THREADS_MAX];
  pin_member members[PIN_THREADS_MAX] = {{.run = run}};
  int started = 1;
  run->count = count;
  for (int i = 0; i < run->thread_count; i++) {
    members[i] = (pin_member){.run = run, .index = i, .status = TARN_OK};
  }
  while (started < run->thread_count &&
         pthread_create(&threads[started], NULL, pin_parts, &members[started]) == 0) {
    started++;
  }
  pin_parts(&members[0]);
  for (int i = 1; i < started; i++) pthread_join(threads[i], NULL);
  if (started < run->thread_count) return tarn_fail(TARN_SYSTEM_ERROR, "no thread for pinning");
  for (int i = 0; i < run->thread_count; i++) {
    if (members[i].status != TARN_OK) return tarn_fail(members[i].status, "%s", members[i].message);
  }
  return TARN_OK;
}

static tarn_status run_pins(transfer_session *session, const transfer_buffer *memory,
                            int thread_count, const char *name) {
  const pin_run base = {.session = session, .memory = memory, .thread_count = thread_count};
  pin_run runs[3] = {base, base, base};
  runs[0].way = PIN_TARN;
  runs[1].way = PIN_REGISTER;
  runs[2].way = PIN_HOST_ALLOC;
  const transfer_subject subjects[] = {{"tarn", enqueue_pins, &runs[0], false},
                                       {"cuMemHostRegister", enqueue_pins, &runs[1], false},
                                       {"cuMemHostAlloc", enqueue_pins, &runs[2], false}};
  transfer_case what = {.name = name,
                        .unit = "GB/s",
                        .subjects = subjects,
                        .subject_count = 3,
                        .lane = transfer_default_lane(session),
                        .options = transfer_default_options(session),
                        .placed = memory->placed,
                        .note = "locked and unlocked"};
  what.options.bytes = memory->size_bytes;
  what.options.only_host_clock = true;
  what.options.count_max = 4;
  return transfer_run_case(session, &what);
}

/* Touched memory on pages of one size, locked by 1, 2, 4 ... threads, each its part. */
static tarn_status run_pin_pages(transfer_session *session, transfer_memory kind,
                                 const char *pages) {
  const long cpu_count = sysconf(_SC_NPROCESSORS_ONLN);
  const size_t bytes = session->is_quick ? 4 << 20 : 256 << 20;
  transfer_buffer memory = {.address = NULL};
  tarn_status status = TARN_OK;
  for (int count = 1; status == TARN_OK && count <= PIN_THREADS_MAX; count *= 2) {
    char name[96];
    snprintf(name, sizeof name, "transfer.pin.%s.%dthreads", pages, count);
    if (count > 1 && (count > cpu_count || (session->is_quick && count > 2))) break;
    if (!bench_wants(session->bench, name)) continue;
    if (memory.address == NULL) {
      status = transfer_buffer_create(&session->bench->where, session->driver, session->topology,
                                      kind, session->nodes[0], bytes, &memory);
      tarn_cuda_pin_destroy(memory.pin); /* it is this that is measured */
      memory.pin = NULL;
    }
    if (status == TARN_OK) status = run_pins(session, &memory, count, name);
  }
  transfer_buffer_destroy(&memory);
  return status;
}

/* --- to the device and back --- */

static tarn_status enqueue_round_trips(void *context, uint64_t count) {
  const transfer_session *session = context;
  transfer_driver *driver = session->driver;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; status == TARN_OK && i < count; i++) {
    transfer_latch_close(driver);
    status = transfer_latch_wait(driver, session->native_stream);
    if (status == TARN_OK) status = transfer_latch_answer(driver, session->native_stream);
    transfer_latch_open(driver);
    const tarn_status waited = transfer_latch_await_answer(driver, session->native_stream);
    if (status == TARN_OK) status = waited;
  }
  return status;
}

static tarn_status run_latency(transfer_session *session) {
  const char *name = "transfer.latency.stream_value";
  const bool is_list = session->bench->options->list;
  if (!is_list && transfer_driver_latch(session->driver) == TRANSFER_LATCH_NONE) return TARN_OK;
  if (!bench_wants(session->bench, name)) return TARN_OK;
  const transfer_subject subjects[] = {{"driver", enqueue_round_trips, session, false}};
  transfer_case what = {.name = name,
                        .unit = "ns",
                        .subjects = subjects,
                        .subject_count = 1,
                        .lane = transfer_default_lane(session),
                        .options = transfer_default_options(session),
                        .note =
                            "the host's word, a stream that waits for it, its answer; the two "
                            "calls are in it"};
  what.options.only_host_clock = true;
  what.options.count_max = session->is_quick ? 2 : 100;
  return transfer_run_case(session, &what);
}

tarn_status transfer_cases_around(transfer_session *session) {
  static const size_t sizes[] = {1 << 20, 4 << 10, 64 << 20};
  const size_t count = session->is_quick ? 1 : sizeof sizes / sizeof sizes[0];
  tarn_status status = TARN_OK;
  for (size_t i = 0; status == TARN_OK && i < count; i++) status = run_around(session, sizes[i]);
  if (status == TARN_OK) status = run_pin_pages(session, TRANSFER_REGISTERED, "4KiB");
  if (status == TARN_OK) status = run_pin_pages(session, TRANSFER_HUGEPAGES, "2MiB");
  return status == TARN_OK ? run_latency(session) : status;
}
