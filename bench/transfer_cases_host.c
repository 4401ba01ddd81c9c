/* transfer_cases_host.c: copies inside the host: near and far nodes, one thread and several. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/stream_baseline.h"
#include "bench/transfer_cases.h"

enum { THREADS_MAX = 64 };

/* --- one thread --- */

/* Whose memory a thread on the first node, where the session put it, reads and writes. */
typedef struct host_row {
  const char *name;
  bool is_src_far;
  bool is_dst_far;
} host_row;

static const host_row rows[] = {
    {"h2h.pageable", false, false},
    {"h2h.from_far", true, false},
    {"h2h.to_far", false, true},
};

static tarn_status make_pair(transfer_session *session, int32_t dst_node, int32_t src_node,
                             size_t bytes, transfer_buffer *dst, transfer_buffer *src) {
  const where_place *where = &session->bench->where;
  *src = (transfer_buffer){.address = NULL};
  tarn_status status = transfer_buffer_create(where, session->driver, session->topology,
                                              TRANSFER_PAGEABLE, dst_node, bytes, dst);
  if (status == TARN_OK) {
    status = transfer_buffer_create(where, session->driver, session->topology, TRANSFER_PAGEABLE,
                                    src_node, bytes, src);
  }
  if (status == TARN_OK) {
    status = transfer_bytes_write(&session->bytes, src, 0, bytes, transfer_base_seed);
  }
  return status;
}

static tarn_status run_size(transfer_session *session, const host_row *row, const char *name,
                            const transfer_buffer *dst, const transfer_buffer *src,
                            size_t size_bytes) {
  char placed[2 * TRANSFER_PLACED_BYTES];
  transfer_copy copy;
  transfer_copy_init(session, dst, src, size_bytes, &copy);
  tarn_status status = transfer_bytes_spoil(&session->bytes, dst);
  if (status != TARN_OK) return status;
  /* A CUDA stream copies host memory in its own way; what a program without one does is asked. */
  const bool has_worker = where_is_host(&session->bench->where);
  const transfer_subject subjects[] = {{"tarn", transfer_enqueue_tarn, &copy, false},
                                       {"memcpy", transfer_enqueue_memcpy, &copy, false}};
  snprintf(placed, sizeof placed, "%.90s to %.90s", src->placed, dst->placed);
  transfer_case what = {.name = name,
                        .unit = "GB/s",
                        .subjects = has_worker ? subjects : &subjects[1],
                        .subject_count = has_worker ? 2 : 1,
                        .lane = transfer_default_lane(session),
                        .options = transfer_default_options(session),
                        .plot = "inside the host",
                        .curve = row->name,
                        .size_bytes = size_bytes,
                        .placed = placed,
                        .note = has_worker ? "" : "memcpy",
                        .verify = transfer_verify_copy,
                        .verify_context = &copy};
  what.lane.driver = NULL;
  what.options.bytes = size_bytes;
  return transfer_run_case(session, &what);
}

static tarn_status run_row(transfer_session *session, const host_row *row) {
  static const size_t sizes[] = {4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20, 256 << 20};
  const size_t count = session->is_quick ? 3 : sizeof sizes / sizeof sizes[0];
  const int32_t near = session->nodes[0];
  const int32_t far = session->node_count > 1 ? session->nodes[1] : near;
  const bool is_list = session->bench->options->list;
  transfer_buffer dst = {.address = NULL};
  transfer_buffer src = {.address = NULL};
  tarn_status status = TARN_OK;
  for (size_t i = 0; status == TARN_OK && i < count; i++) {
    char name[96];
    snprintf(name, sizeof name, "transfer.%s.%s", row->name, bench_size_name(sizes[i]).text);
    if (!is_list && sizes[i] > session->rotation_bytes) break;
    if (!bench_wants(session->bench, name)) continue;
    if (dst.address == NULL) {
      status = make_pair(session, row->is_dst_far ? far : near, row->is_src_far ? far : near,
                         session->rotation_bytes, &dst, &src);
    }
    if (status == TARN_OK) status = run_size(session, row, name, &dst, &src, sizes[i]);
  }
  transfer_buffer_destroy(&dst);
  transfer_buffer_destroy(&src);
  return status;
}

/* --- several threads --- */

typedef void (*copy_function)(void *dst, const void *src, size_t size_bytes);

typedef struct crew {
  transfer_copy *copy;
  copy_function function;
  int thread_count;
  uint64_t count; /* copies of each thread's part */
} crew;

typedef struct crew_member {
  const crew *crew;
  int index;
} crew_member;

static void copy_plainly(void *dst, const void *src, size_t size_bytes) {
  memcpy(dst, src, size_bytes);
}

static void copy_around_caches(void *dst, const void *src, size_t size_bytes) {
  stream_baseline_copy(dst, src, size_bytes);
}

/* The member's part of each of the next stretches. */
static void *work(void *context) {
  const crew_member *member = context;
  const crew *self = member->crew;
  const transfer_copy *copy = self->copy;
  const size_t part = copy->size_bytes / (size_t)self->thread_count / 64 * 64;
  const size_t start = part * (size_t)member->index;
  const bool is_last = member->index == self->thread_count - 1;
  const size_t bytes = is_last ? copy->size_bytes - start : part;
  for (uint64_t i = 0; i < self->count; i++) {
    const size_t offset =
        (size_t)((copy->done + i) % copy->place_count) * copy->stride_bytes + start;
    self->function(copy->dst->address + offset, copy->src->address + offset, bytes);
    measure_keep(copy->dst->address);
  }
  return NULL;
}

static tarn_status enqueue_crew(void *context, uint64_t count) {
  crew *self = context;
  pthread_t threads[THREADS_MAX];
  crew_member members[THREADS_MAX];
  int started = 1; /* the calling thread is one */
  self->count = count;
  for (int i = 0; i < self->thread_count; i++) members[i] = (crew_member){self, i};
  while (started < self->thread_count &&
         pthread_create(&threads[started], NULL, work, &members[started]) == 0) {
    started++;
  }
  const bool has_all = started == self->thread_count;
  if (has_all) work(&members[0]);
  for (int i = 1; i < started; i++) pthread_join(threads[i], NULL);
  self->copy->done += count;
  return has_all ? TARN_OK : tarn_fail(TARN_SYSTEM_ERROR, "no thread for a copy");
}

static tarn_status run_threads(transfer_session *session, int thread_count,
                               const transfer_buffer *dst, const transfer_buffer *src,
                               const char *name, size_t size_bytes) {
  transfer_copy copy;
  transfer_copy_init(session, dst, src, size_bytes, &copy);
  crew plain = {&copy, copy_plainly, thread_count, 0};
  crew around = {&copy, copy_around_caches, thread_count, 0};
  const transfer_subject subjects[] = {{"memcpy", enqueue_crew, &plain, false},
                                       {"streaming stores", enqueue_crew, &around, false}};
  tarn_status status = transfer_bytes_spoil(&session->bytes, dst);
  if (status != TARN_OK) return status;
  transfer_case what = {.name = name,
                        .unit = "GB/s",
                        .subjects = subjects,
                        .subject_count = 2,
                        .lane = {.driver = NULL},
                        .options = transfer_default_options(session),
                        .placed = dst->placed,
                        .note = "memcpy",
                        .verify = transfer_verify_copy,
                        .verify_context = &copy};
  what.options.bytes = size_bytes;
  return transfer_run_case(session, &what);
}

/* All threads where the process may run, both sides on the first node: 1, 2, 4 ... of them. */
static tarn_status run_crews(transfer_session *session) {
  const size_t size_bytes = session->is_quick ? 4 << 20 : 64 << 20;
  const long cpu_count = sysconf(_SC_NPROCESSORS_ONLN);
  const size_t bytes = session->rotation_bytes > size_bytes ? session->rotation_bytes : size_bytes;
  transfer_buffer dst = {.address = NULL};
  transfer_buffer src = {.address = NULL};
  tarn_status status = TARN_OK;
  for (int32_t count = 1; status == TARN_OK && count <= THREADS_MAX; count *= 2) {
    char name[96];
    snprintf(name, sizeof name, "transfer.h2h.memcpy.%dthreads", (int)count);
    if (count > 1 && count > cpu_count) break;
    if (!bench_wants(session->bench, name)) continue;
    if (dst.address == NULL) {
      status = make_pair(session, session->nodes[0], session->nodes[0], bytes, &dst, &src);
    }
    if (status == TARN_OK) status = run_threads(session, count, &dst, &src, name, size_bytes);
  }
  transfer_buffer_destroy(&dst);
  transfer_buffer_destroy(&src);
  return status;
}

tarn_status transfer_cases_host(transfer_session *session) {
  tarn_status status = TARN_OK;
  for (size_t i = 0; status == TARN_OK && i < sizeof rows / sizeof rows[0]; i++) {
    const bool is_far = rows[i].is_src_far || rows[i].is_dst_far;
    if (is_far && session->node_count < 2) continue;
    status = run_row(session, &rows[i]);
  }
  return status == TARN_OK ? run_crews(session) : status;
}
