/* sim_control.c: the functions of cusim.h: steering, failures, counters. */
#include "cuda/sim/sim.h"

#include <stdio.h>
#include <string.h>

int cusim_is_simulated(void) {
  return 1;
}

/* --- scheduling --- */

void cusim_set_policy(cusim_policy policy) {
  sim_lock();
  sim.policy = policy;
  sim.is_policy_set = true;
  sim_unlock();
}

cusim_policy cusim_get_policy(void) {
  sim_lock();
  const cusim_policy policy = sim.policy;
  sim_unlock();
  return policy;
}

void cusim_set_seed(uint64_t seed) {
  sim_lock();
  sim.seed = sim.random_state = seed;
  sim.trace_hash = 0;
  sim.trace_length = 0;
  sim.trace_base = sim.queue_ids;
  sim_policy_reset();
  sim.is_seed_set = true;
  sim_unlock();
}

uint64_t cusim_get_seed(void) {
  sim_lock();
  const uint64_t seed = sim.seed;
  sim_unlock();
  return seed;
}

void cusim_set_idle_ms(unsigned idle_ms) {
  sim_lock();
  sim.idle_ms = idle_ms;
  sim.is_idle_set = true;
  sim_host_watch();
  sim_unlock();
}

uint64_t cusim_idle_steps(void) {
  sim_lock();
  const uint64_t steps = sim.idle_steps;
  sim_unlock();
  return steps;
}

void cusim_set_patience_ms(unsigned patience_ms) {
  sim_lock();
  sim.patience_ms = patience_ms;
  sim_unlock();
}

void cusim_set_stall_ms(unsigned stall_ms) {
  sim_lock();
  sim.stall_ms = stall_ms;
  sim_unlock();
}

uint64_t cusim_step(void) {
  sim_lock();
  const bool has_run = sim_step();
  sim_unlock();
  return has_run;
}

uint64_t cusim_drain(void) {
  uint64_t count = 0;
  sim_lock();
  while (sim_step()) count++;
  sim_unlock();
  return count;
}

uint64_t cusim_trace_hash(void) {
  sim_lock();
  const uint64_t hash = sim.trace_hash;
  sim_unlock();
  return hash;
}

uint64_t cusim_trace_length(void) {
  sim_lock();
  const uint64_t length = sim.trace_length;
  sim_unlock();
  return length;
}

/* --- limits --- */

void cusim_set_capacity(int device, size_t bytes) {
  sim_lock();
  if (device >= 0 && device < SIM_DEVICES_MAX) sim.devices[device].capacity_bytes = bytes;
  sim.is_capacity_set = true;
  sim_unlock();
}

void cusim_set_pinned_capacity(size_t bytes) {
  sim_lock();
  sim.pinned_capacity_bytes = bytes;
  sim.is_pinned_capacity_set = true;
  sim_unlock();
}

/* --- failures --- */

int cusim_fail_call(const char *call, uint64_t nth, int result) {
  const sim_call number = call == NULL ? CALL_COUNT : sim_call_find(call);
  if (call != NULL && number == CALL_COUNT) return 0;
  sim_lock();
  sim.failures[number] = (sim_failure){.countdown = nth, .result = (CUresult)result};
  sim_unlock();
  return 1;
}

void cusim_fail_nothing(void) {
  sim_lock();
  memset(sim.failures, 0, sizeof sim.failures);
  sim_unlock();
}

uint64_t cusim_failures(void) {
  sim_lock();
  const uint64_t count = sim.failure_count;
  sim_unlock();
  return count;
}

const char *cusim_failed_call(void) {
  sim_lock();
  const char *call = sim.failed_call;
  sim_unlock();
  return call;
}

void cusim_break_context(int device, int result) {
  sim_lock();
  if (device >= 0 && device < SIM_DEVICES_MAX && sim.devices[device].context.retain_count > 0) {
    sim_break(device, (CUresult)result, "broken on demand");
  }
  sim_unlock();
}

const char *cusim_fault(void) {
  return sim.fault;
}

void cusim_hide(const char *name) {
  sim_lock();
  snprintf(sim.hidden, sizeof sim.hidden, "%s", name != NULL ? name : "");
  sim_unlock();
}

/* --- counters --- */

uint64_t cusim_calls(const char *call) {
  uint64_t count = 0;
  sim_lock();
  for (int number = 0; number < CALL_COUNT; number++) {
    if (call == NULL || strcmp(sim_call_name((sim_call)number), call) == 0) {
      count += sim.calls[number];
    }
  }
  sim_unlock();
  return count;
}

void cusim_get_counts(cusim_counts *counts) {
  *counts = (cusim_counts){0};
  sim_lock();
  for (size_t i = 0; i < sim.range_count; i++) {
    const size_t size_bytes = sim.ranges[i].size_bytes;
    switch (sim.ranges[i].kind) {
      case RANGE_DEVICE:
        counts->device_blocks++;
        counts->device_bytes += size_bytes;
        break;
      case RANGE_PINNED:
      case RANGE_REGISTERED:
        counts->pinned_blocks++;
        counts->pinned_bytes += size_bytes;
        break;
      case RANGE_MAPPED:
        counts->mappings++;
        break;
      case RANGE_OPENED:
        counts->opened_blocks++;
        break;
      case RANGE_POOL:
      case RANGE_COUNTERS:
        break;
    }
  }
  const sim_virtual_counts virtual = sim_virtual_count();
  counts->reservations = virtual.reservations;
  counts->physical_blocks = virtual.physical_blocks;
  counts->physical_bytes = virtual.physical_bytes;
  const sim_pool_counts pools = sim_pools_count();
  counts->pools = pools.pools;
  counts->pool_blocks = pools.blocks;
  counts->pool_bytes = pools.reserved_bytes;
  counts->streams = sim.stream_count;
  counts->events = sim.event_count;
  counts->graphs = sim.graph_count;
  counts->graph_executables = sim.executable_count;
  counts->modules = sim.module_count;
  for (int i = 0; i < SIM_DEVICES_MAX; i++) {
    counts->context_retains += sim.devices[i].context.retain_count;
  }
  counts->pending_operations = sim.pending_count;
  counts->abandoned = sim.abandoned_count;
  sim_unlock();
}
