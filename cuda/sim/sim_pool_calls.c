/* sim_pool_calls.c: the calls on memory pools: make, set, ask, trim, allocate. */
#include "cuda/sim/sim_pool.h"

sim_pool_state sim_pools;

sim_pool_counts sim_pools_count(void) {
  return sim_pools.counts;
}

enum { POOL_COUNT = SIM_DEVICES_MAX + SIM_POOLS_MAX };

void sim_pools_observe(uint64_t queue_id) {
  for (size_t i = 0; i < POOL_COUNT; i++) sim_pool_observe(&sim_pools.pools[i], queue_id);
}

/* Blocks went with sim_memory_abandon. */
void sim_pools_abandon(int device) {
  for (size_t i = 0; i < POOL_COUNT; i++) {
    if (sim_pools.pools[i].device == device) sim_pool_abandon(&sim_pools.pools[i]);
  }
}

static void start_pool(CUmemoryPool pool, int device, size_t size_bytes_max) {
  *pool = (struct CUmemPoolHandle_st){.is_alive = true,
                                      .device = device,
                                      .size_bytes_max = size_bytes_max,
                                      .follows_events = 1,
                                      .is_opportunistic = 1,
                                      .adds_dependencies = 1};
  pool->access[device] = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
}

static CUmemoryPool default_pool(int device) {
  CUmemoryPool pool = &sim_pools.pools[device];
  if (!pool->is_alive) {
    start_pool(pool, device, 0);
    pool->is_default = true;
  }
  return pool;
}

static bool is_pool(CUmemoryPool pool) {
  const uintptr_t address = (uintptr_t)pool;
  const uintptr_t start = (uintptr_t)sim_pools.pools;
  if (address < start || address >= start + sizeof sim_pools.pools) return false;
  return (address - start) % sizeof sim_pools.pools[0] == 0 && pool->is_alive;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *properties) {
  SIM_ENTER(cuMemPoolCreate, SIM_NEEDS_INIT);
  if (pool == NULL || properties == NULL ||
      properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
      properties->handleTypes != CU_MEM_HANDLE_TYPE_NONE ||
      properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE || properties->location.id < 0 ||
      properties->location.id >= sim.device_count || properties->win32SecurityAttributes != NULL ||
      properties->usage != 0) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  for (size_t i = 0; i < sizeof properties->reserved; i++) {
    if (properties->reserved[i] != 0) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  for (size_t i = SIM_DEVICES_MAX; i < POOL_COUNT; i++) {
    if (sim_pools.pools[i].is_alive || sim_pools.pools[i].is_leaving) continue;
    start_pool(&sim_pools.pools[i], properties->location.id, properties->maxSize);
    sim_pools.counts.pools++;
    *pool = &sim_pools.pools[i];
    return sim_leave(CUDA_SUCCESS);
  }
  return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
}

/* Returns at once; blocks that are lent live on. */
CUresult cuMemPoolDestroy(CUmemoryPool pool) {
  SIM_ENTER(cuMemPoolDestroy, SIM_NEEDS_INIT);
  if (!is_pool(pool) || pool->is_default) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (sim_pools.current[pool->device] == pool) sim_pools.current[pool->device] = NULL;
  pool->is_alive = false;
  pool->is_leaving = true;
  sim_pools.counts.pools--;
  sim_pool_end(pool);
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep_bytes) {
  SIM_ENTER(cuMemPoolTrimTo, SIM_NEEDS_INIT);
  if (!is_pool(pool)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  sim_pool_release_above(pool, keep_bytes);
  return sim_leave(CUDA_SUCCESS);
}

static int *find_policy(CUmemoryPool pool, CUmemPool_attribute attribute) {
  switch ((int)attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
      return &pool->follows_events;
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
      return &pool->is_opportunistic;
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
      return &pool->adds_dependencies;
    default:
      return NULL;
  }
}

static cuuint64_t *find_amount(CUmemoryPool pool, CUmemPool_attribute attribute) {
  switch ((int)attribute) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      return &pool->threshold_bytes;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
      return &pool->reserved_bytes;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
      return &pool->reserved_bytes_high;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
      return &pool->used_bytes;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      return &pool->used_bytes_high;
    default:
      return NULL;
  }
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
  SIM_ENTER(cuMemPoolSetAttribute, SIM_NEEDS_INIT);
  if (!is_pool(pool) || value == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  int *policy = find_policy(pool, attribute);
  if (policy != NULL) {
    *policy = *(const int *)value != 0;
    return sim_leave(CUDA_SUCCESS);
  }
  const cuuint64_t amount = *(const cuuint64_t *)value;
  /* What is counted is only read; a high-water mark may be put back to where the water is. */
  if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
    pool->threshold_bytes = amount;
  } else if (attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH && amount == 0) {
    pool->reserved_bytes_high = pool->reserved_bytes;
  } else if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH && amount == 0) {
    pool->used_bytes_high = pool->used_bytes;
  } else {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
  SIM_ENTER(cuMemPoolGetAttribute, SIM_NEEDS_INIT);
  if (!is_pool(pool) || value == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const int *policy = find_policy(pool, attribute);
  const cuuint64_t *amount = find_amount(pool, attribute);
  if (policy != NULL) *(int *)value = *policy;
  if (amount != NULL) *(cuuint64_t *)value = *amount;
  return sim_leave(policy != NULL || amount != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

static bool is_location(const CUmemLocation *location) {
  return location->type == CU_MEM_LOCATION_TYPE_DEVICE && location->id >= 0 &&
         location->id < sim.device_count;
}

/* The device whose memory it is keeps its access. */
CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *wanted, size_t count) {
  SIM_ENTER(cuMemPoolSetAccess, SIM_NEEDS_INIT);
  if (!is_pool(pool) || (wanted == NULL && count != 0)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  for (size_t i = 0; i < count; i++) {
    const bool is_known = wanted[i].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE ||
                          wanted[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    const bool is_own = wanted[i].location.id == pool->device;
    if (!is_location(&wanted[i].location) || !is_known ||
        (is_own && wanted[i].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE)) {
      return sim_leave(CUDA_ERROR_INVALID_VALUE);
    }
    if (!is_own && !sim_peer_can(wanted[i].location.id, pool->device)) {
      return sim_leave(CUDA_ERROR_INVALID_DEVICE);
    }
  }
  for (size_t i = 0; i < count; i++) pool->access[wanted[i].location.id] = wanted[i].flags;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool pool, CUmemLocation *location) {
  SIM_ENTER(cuMemPoolGetAccess, SIM_NEEDS_INIT);
  if (flags == NULL || !is_pool(pool) || location == NULL || !is_location(location)) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  *flags = pool->access[location->id];
  return sim_leave(CUDA_SUCCESS);
}

static CUresult check_device(const void *pool, CUdevice device) {
  if (pool == NULL) return CUDA_ERROR_INVALID_VALUE;
  return device >= 0 && device < sim.device_count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

static CUmemoryPool current_pool(int device) {
  return sim_pools.current[device] != NULL ? sim_pools.current[device] : default_pool(device);
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) {
  SIM_ENTER(cuDeviceGetDefaultMemPool, SIM_NEEDS_INIT);
  const CUresult result = check_device(pool, device);
  if (result == CUDA_SUCCESS) *pool = default_pool(device);
  return sim_leave(result);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device) {
  SIM_ENTER(cuDeviceGetMemPool, SIM_NEEDS_INIT);
  const CUresult result = check_device(pool, device);
  if (result == CUDA_SUCCESS) *pool = current_pool(device);
  return sim_leave(result);
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
  SIM_ENTER(cuDeviceSetMemPool, SIM_NEEDS_INIT);
  CUresult result = check_device(pool, device);
  if (result == CUDA_SUCCESS && (!is_pool(pool) || pool->device != device)) {
    result = CUDA_ERROR_INVALID_VALUE;
  }
  if (result == CUDA_SUCCESS) sim_pools.current[device] = pool;
  return sim_leave(result);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t size_bytes, CUmemoryPool pool,
                                 CUstream stream) {
  SIM_ENTER(cuMemAllocFromPoolAsync, SIM_NEEDS_CONTEXT);
  if (address == NULL || size_bytes == 0 || !is_pool(pool)) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  return sim_leave(sim_pool_lend(pool, size_bytes, stream, address));
}

CUresult cuMemAllocAsync(CUdeviceptr *address, size_t size_bytes, CUstream stream) {
  SIM_ENTER(cuMemAllocAsync, SIM_NEEDS_CONTEXT);
  if (address == NULL || size_bytes == 0) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  return sim_leave(sim_pool_lend(current_pool(sim_current()->device), size_bytes, stream, address));
}
