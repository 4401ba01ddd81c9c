/* torch_graphs.c: PyTorch's private pools as captures: memory that graphs keep, and graphs share.
 *
 * A route lasts from begin to end and says, by PyTorch's filter, which streams belong to it. It is
 * asked at each allocation on the device; a stream that it names is drawn into the current capture
 * of the pool, which the first of them begins. */
#include <stdlib.h>

#include "alloc/adapters/torch/torch_state.h"

/* libstdc++'s std::function<bool(cudaStream_t)>: 16 bytes for what it calls, the function that
 * copies and destroys that, and the one that calls it, which takes each argument by reference
 * (<bits/std_function.h>: _Function_base, _Manager_operation). tests/adapters/torch compares this
 * with a real one. */
typedef struct cxx_function {
  void *functor[2];
  bool (*manage)(void *to, const void *from, int operation); /* NULL: empty */
  bool (*invoke)(const void *functor, void **stream);
} cxx_function;

enum { CLONE_FUNCTOR = 2, DESTROY_FUNCTOR = 3 };

typedef struct route {
  struct route *next;
  tarn__torch_graphs *graphs;
  cxx_function filter;
  bool is_open;
  int asker_count; /* threads that are calling the filter */
} route;

/* Guarded by the lock; `current` and the captures of a pool by the turn. */
static route *routes;
static tarn__torch_graphs *begun;    /* and not released as often */
static tarn__torch_graphs *released; /* waiting for a moment to be destroyed in */

/* --- filters --- */

static void copy_filter(const void *from, cxx_function *filter) {
  const cxx_function *given = from;
  *filter = (cxx_function){.manage = NULL};
  if (given == NULL || given->manage == NULL) return;
  given->manage(filter->functor, given->functor, CLONE_FUNCTOR);
  filter->manage = given->manage;
  filter->invoke = given->invoke;
}

static void destroy_filter(cxx_function *filter) {
  if (filter->manage != NULL) filter->manage(filter->functor, filter->functor, DESTROY_FUNCTOR);
}

static bool says_yes(const route *asked, void *handle) {
  return asked->filter.manage == NULL || asked->filter.invoke(asked->filter.functor, &handle);
}

/* The first open route of the device behind `before` (NULL: of all), held until it is left; leaves
 * `before`. */
static route *next_route(int32_t device, route *before) {
  tarn__torch_lock();
  route *found = before != NULL ? before->next : routes;
  while (found != NULL && (!found->is_open || found->graphs->device != device)) found = found->next;
  if (found != NULL) found->asker_count++;
  if (before != NULL && --before->asker_count == 0) tarn__torch_wake();
  tarn__torch_unlock();
  return found;
}

static void leave_route(route **held) {
  if (*held == NULL) return;
  tarn__torch_lock();
  if (--(*held)->asker_count == 0) tarn__torch_wake();
  tarn__torch_unlock();
}

void tarn__torch_forget_askers(void) {
  for (route *at = routes; at != NULL; at = at->next) at->asker_count = 0;
}

/* --- captures --- */

/* With the turn. */
static bool make_room(tarn__torch_graphs *graphs) {
  if (graphs->capture_count < graphs->capture_room) return true;
  const size_t room = graphs->capture_room == 0 ? 4 : 2 * graphs->capture_room;
  tarn_capture **grown = realloc(graphs->captures, room * sizeof(tarn_capture *));
  if (grown == NULL) return false;
  graphs->captures = grown;
  graphs->capture_room = room;
  return true;
}

/* With the turn. */
static tarn_status enter(tarn__torch_graphs *graphs, tarn_stream *stream) {
  if (tarn_stream_is_captured(stream)) return TARN_OK;
  if (graphs->current != NULL) return tarn_capture_join(graphs->current, stream);
  if (!make_room(graphs)) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %zu captures", graphs->capture_count + 1);
  }
  tarn_capture *made = NULL;
  const tarn_status status =
      graphs->capture_count == 0
          ? tarn_capture_begin(stream, &made)
          : tarn_capture_begin_after(stream, graphs->captures[graphs->capture_count - 1], &made);
  if (status != TARN_OK) return status;
  graphs->captures[graphs->capture_count++] = graphs->current = made;
  return TARN_OK;
}

/* A filter of PyTorch's may throw, through here: the route is left then, too. */
tarn_status tarn__torch_draw_in(int32_t device, void *handle, tarn_stream *stream) {
  __attribute__((cleanup(leave_route))) route *asked = next_route(device, NULL);
  while (asked != NULL && !says_yes(asked, handle)) asked = next_route(device, asked);
  if (asked == NULL) return TARN_OK;
  tarn__torch_take_turn();
  const tarn_status status = enter(asked->graphs, stream);
  tarn__torch_end_turn();
  return status;
}

/* What could be destroyed is; false where some captures are left. Nobody else knows `graphs`. */
static bool destroy_captures(tarn__torch_graphs *graphs) {
  size_t left = 0;
  for (size_t i = 0; i < graphs->capture_count; i++) {
    if (tarn_capture_destroy(graphs->captures[i]) == TARN_OK) continue;
    graphs->captures[left++] = graphs->captures[i];
  }
  graphs->capture_count = left;
  return left == 0;
}

static void put_off(tarn__torch_graphs *graphs) {
  tarn__torch_lock();
  graphs->next = released;
  released = graphs;
  tarn__torch_unlock();
}

/* The device's released pools, which are the caller's then. */
static tarn__torch_graphs *take_released(int32_t device) {
  tarn__torch_graphs *taken = NULL;
  tarn__torch_lock();
  tarn__torch_graphs **at = &released;
  while (*at != NULL) {
    tarn__torch_graphs *graphs = *at;
    if (graphs->device != device) {
      at = &graphs->next;
      continue;
    }
    *at = graphs->next;
    graphs->next = taken;
    taken = graphs;
  }
  tarn__torch_unlock();
  return taken;
}

/* With the turn, so that no capture begins while the device is waited for. */
static bool reap(int32_t device) {
  if (atomic_load_explicit(&tarn__torch_devices[device].open_routes, memory_order_acquire) != 0) {
    return false; /* the device must not be waited for */
  }
  tarn__torch_graphs *graphs = take_released(device);
  if (graphs == NULL) return false;
  const bool is_over = tarn_cuda_synchronize(tarn__torch_cuda(), device) == TARN_OK;
  bool has_ended = false;
  while (graphs != NULL) {
    tarn__torch_graphs *next = graphs->next;
    if (is_over && destroy_captures(graphs)) {
      free(graphs->captures);
      free(graphs);
      has_ended = true;
    } else {
      put_off(graphs);
    }
    graphs = next;
  }
  return has_ended;
}

bool tarn__torch_reap(int32_t device) {
  tarn__torch_take_turn();
  const bool has_ended = reap(device);
  tarn__torch_end_turn();
  return has_ended;
}

/* --- what PyTorch calls --- */

static bool is_id(const tarn__torch_graphs *graphs, int32_t device, tarn_torch_pool_id id) {
  return graphs->device == device && graphs->id.first == id.first && graphs->id.second == id.second;
}

/* With the lock. */
static tarn__torch_graphs *find_begun(int32_t device, tarn_torch_pool_id id) {
  tarn__torch_graphs *graphs = begun;
  while (graphs != NULL && !is_id(graphs, device, id)) graphs = graphs->next;
  return graphs;
}

/* A release is due all the same: it must not be another graph's of the pool. */
static void begin_without_memory(int32_t device, tarn_torch_pool_id id) {
  tarn__torch_lock();
  tarn__torch_graphs *graphs = find_begun(device, id);
  if (graphs != NULL) graphs->use_count++;
  tarn__torch_unlock();
  (void)tarn_fail(TARN_OUT_OF_MEMORY, "no memory to begin a pool of PyTorch's");
  atomic_fetch_add_explicit(&tarn__torch_devices[device].failed_count, 1, memory_order_relaxed);
}

/* Where there is no memory for a route, what is allocated is kept by nobody. */
void tarn_torch_begin_allocate_to_pool(int device, tarn_torch_pool_id id, const void *filter) {
  tarn_pool *pool = NULL;
  if (tarn__torch_pool_of(device, &pool) != TARN_OK) return;
  tarn__torch_graphs *made = calloc(1, sizeof *made);
  route *added = calloc(1, sizeof *added);
  if (made == NULL || added == NULL) {
    free(made);
    free(added);
    begin_without_memory(device, id);
    return;
  }
  *made = (tarn__torch_graphs){.device = device, .id = id};
  copy_filter(filter, &added->filter);
  added->is_open = true;
  tarn__torch_take_turn(); /* nobody waits for the device then */
  tarn__torch_lock();
  tarn__torch_graphs *graphs = find_begun(device, id);
  if (graphs == NULL) {
    graphs = made;
    made = NULL;
    graphs->next = begun;
    begun = graphs;
  }
  graphs->use_count++;
  graphs->open_count++;
  added->graphs = graphs;
  added->next = routes;
  routes = added;
  atomic_fetch_add_explicit(&tarn__torch_devices[device].open_routes, 1, memory_order_release);
  tarn__torch_unlock();
  tarn__torch_end_turn();
  free(made);
}

/* Takes the latest route of the id out once nobody asks it; *is_last: the pool has no other. */
static route *close_route(int32_t device, tarn_torch_pool_id id, bool *is_last) {
  tarn__torch_lock();
  route *closed = routes;
  while (closed != NULL && !(closed->is_open && is_id(closed->graphs, device, id))) {
    closed = closed->next;
  }
  if (closed != NULL) {
    closed->is_open = false;
    while (closed->asker_count != 0) tarn__torch_wait();
    route **at = &routes;
    while (*at != closed) at = &(*at)->next;
    *at = closed->next;
    *is_last = --closed->graphs->open_count == 0;
  }
  tarn__torch_unlock();
  return closed;
}

void tarn_torch_end_allocate_to_pool(int device, tarn_torch_pool_id id) {
  bool is_last = false;
  if (tarn__torch_check_device(device) != TARN_OK) return;
  route *closed = close_route(device, id, &is_last);
  if (closed == NULL) return;
  if (is_last) {
    tarn__torch_take_turn();
    tarn_capture *ended = closed->graphs->current;
    closed->graphs->current = NULL;
    if (ended != NULL) (void)!tarn_capture_end(ended);
    tarn__torch_end_turn();
  }
  destroy_filter(&closed->filter);
  free(closed);
  /* Not before the captured streams are what they were. */
  atomic_fetch_sub_explicit(&tarn__torch_devices[device].open_routes, 1, memory_order_release);
  (void)tarn__torch_reap(device);
}

void tarn_torch_release_pool(int device, tarn_torch_pool_id id) {
  if (tarn__torch_check_device(device) != TARN_OK) return;
  tarn__torch_lock();
  tarn__torch_graphs **at = &begun;
  while (*at != NULL && !is_id(*at, device, id)) at = &(*at)->next;
  tarn__torch_graphs *graphs = *at;
  const bool is_last = graphs != NULL && --graphs->use_count == 0;
  if (is_last) {
    *at = graphs->next;
    graphs->next = released;
    released = graphs;
  }
  tarn__torch_unlock();
  if (is_last) (void)tarn__torch_reap(device);
}

/* --- for the rest of the adapter --- */

void tarn__torch_count_graphs(int32_t device, tarn_torch_stats *stats) {
  tarn__torch_lock();
  for (const tarn__torch_graphs *at = begun; at != NULL; at = at->next) {
    if (at->device == device) stats->graph_pool_count++;
  }
  for (const tarn__torch_graphs *at = released; at != NULL; at = at->next) {
    if (at->device == device) stats->waiting_graph_count++;
  }
  tarn__torch_unlock();
}

bool tarn__torch_has_graphs(void) {
  tarn__torch_lock();
  const bool has_graphs = begun != NULL;
  tarn__torch_unlock();
  return has_graphs;
}

tarn_status tarn__torch_close_graphs(void) {
  for (int32_t i = 0; i < TARN_TORCH_DEVICES_MAX; i++) (void)tarn__torch_reap(i);
  tarn__torch_lock();
  const bool is_left = released != NULL;
  tarn__torch_unlock();
  return is_left ? tarn_fail(TARN_BUSY, "a released pool for graphs cannot be destroyed yet")
                 : TARN_OK;
}
