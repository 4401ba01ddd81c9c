/* cuda_peer.c: which devices reach each other's memory, and letting them in. */
#include "cuda/cuda_peer.h"

#include "cuda/tarn_cuda_share.h"

static tarn_status check_devices(const tarn_cuda *cuda, int32_t device, int32_t peer) {
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  if (device >= 0 && device < cuda->device_count && peer >= 0 && peer < cuda->device_count) {
    return tarn__cuda_check_process(cuda);
  }
  return tarn_fail(TARN_INVALID_ARGUMENT, "there are %d CUDA devices; %d and %d are asked about",
                   (int)cuda->device_count, (int)device, (int)peer);
}

tarn_status tarn_cuda_can_access_peer(tarn_cuda *cuda, int32_t device, int32_t peer, bool *can) {
  if (can == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "can is NULL");
  *can = false;
  const tarn_status status = check_devices(cuda, device, peer);
  if (status != TARN_OK || device == peer || cuda->driver.DeviceCanAccessPeer == NULL) {
    return status;
  }
  int answer = 0;
  const CUresult result = cuda->driver.DeviceCanAccessPeer(&answer, cuda->devices[device].native,
                                                           cuda->devices[peer].native);
  *can = result == CUDA_SUCCESS && answer != 0;
  return tarn__cuda_status(&cuda->driver, result, "cuDeviceCanAccessPeer",
                           "memory of CUDA device %d for device %d", (int)peer, (int)device);
}

tarn_status tarn__cuda_check_peer(tarn_cuda *cuda, int32_t device, int32_t peer) {
  bool can = false;
  const tarn_status status = tarn_cuda_can_access_peer(cuda, device, peer, &can);
  if (status != TARN_OK || can) return status;
  return tarn_fail(TARN_NOT_SUPPORTED, "CUDA device %d does not reach memory of device %d",
                   (int)device, (int)peer);
}

tarn_status tarn__cuda_peers_init(tarn_cuda *cuda, int32_t device, const int32_t *listed,
                                  int32_t count, tarn__cuda_peers *peers) {
  peers->count = 0;
  if (count < 0 || count > TARN_CUDA_PEERS_MAX || (count > 0 && listed == NULL)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d peers of a device at %p; at most %d", (int)count,
                     (const void *)listed, (int)TARN_CUDA_PEERS_MAX);
  }
  for (int32_t i = 0; i < count; i++) {
    const tarn_status status = tarn__cuda_check_peer(cuda, listed[i], device);
    if (status != TARN_OK) return status;
    for (int32_t earlier = 0; earlier < i; earlier++) {
      if (listed[earlier] == listed[i]) {
        return tarn_fail(TARN_INVALID_ARGUMENT, "CUDA device %d is a peer twice", (int)listed[i]);
      }
    }
    peers->devices[i] = listed[i];
  }
  peers->count = count;
  return TARN_OK;
}

size_t tarn__cuda_access(const tarn_cuda *cuda, int32_t device, const tarn__cuda_peers *peers,
                         CUmemAccess_flags flags, CUmemAccessDesc access[TARN__CUDA_ACCESS_MAX]) {
  size_t count = 0;
  for (int32_t i = -1; i < peers->count; i++) {
    const int32_t let_in = i < 0 ? device : peers->devices[i];
    if (i >= 0 && let_in == device) continue;
    access[count++] = (CUmemAccessDesc){
        .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = cuda->devices[let_in].native},
        .flags = flags};
  }
  return count;
}

tarn_status tarn_cuda_enable_peer(tarn_cuda *cuda, int32_t device, int32_t peer) {
  CUcontext context, peer_context;
  tarn__cuda_scope scope;
  tarn_status status = check_devices(cuda, device, peer);
  if (status == TARN_OK) status = tarn__cuda_check_peer(cuda, device, peer);
  if (status == TARN_OK && cuda->driver.CtxEnablePeerAccess == NULL) {
    status = tarn_fail(TARN_NOT_SUPPORTED, "the driver lacks cuCtxEnablePeerAccess");
  }
  if (status == TARN_OK) status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = tarn__cuda_context(cuda, peer, &peer_context);
  if (status == TARN_OK) status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status != TARN_OK) return status;
  CUresult result = cuda->driver.CtxEnablePeerAccess(peer_context, 0);
  tarn__cuda_leave(&scope);
  if (result == CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED) result = CUDA_SUCCESS;
  return tarn__cuda_status(&cuda->driver, result, "cuCtxEnablePeerAccess",
                           "memory of CUDA device %d for device %d", (int)peer, (int)device);
}

tarn_status tarn__cuda_open_pool(tarn_cuda *cuda, int32_t device, CUmemoryPool pool,
                                 const int32_t *listed, int32_t count) {
  tarn__cuda_peers peers;
  CUmemAccessDesc access[TARN__CUDA_ACCESS_MAX];
  const tarn_status status = tarn__cuda_peers_init(cuda, device, listed, count, &peers);
  if (status != TARN_OK || count == 0) return status;
  if (cuda->driver.MemPoolSetAccess == NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED, "the driver lacks cuMemPoolSetAccess");
  }
  const size_t access_count =
      tarn__cuda_access(cuda, device, &peers, CU_MEM_ACCESS_FLAGS_PROT_READWRITE, access);
  const CUresult result = cuda->driver.MemPoolSetAccess(pool, access, access_count);
  return tarn__cuda_status(&cuda->driver, result, "cuMemPoolSetAccess",
                           "peers of a pool on CUDA device %d", (int)device);
}

/* --- copies --- */

static bool is_of_another(int32_t own, tarn_device device) {
  return device.type == TARN_DEVICE_CUDA && device.index != own;
}

bool tarn__cuda_is_elsewhere(int32_t own, tarn_device dst, tarn_device src) {
  return is_of_another(own, dst) || is_of_another(own, src);
}

bool tarn__cuda_can_copy_between(const tarn_cuda *cuda) {
  return cuda->driver.MemcpyPeerAsync != NULL && cuda->driver.Memcpy3DPeerAsync != NULL;
}

static tarn_status copy_lines(const tarn_cuda *cuda, CUcontext to, CUcontext from, CUstream stream,
                              const tarn_copy_rows *rows) {
  CUresult result = CUDA_SUCCESS;
  for (size_t row = 0; row < rows->row_count && result == CUDA_SUCCESS; row++) {
    result = cuda->driver.MemcpyPeerAsync(
        (CUdeviceptr)(uintptr_t)rows->dst + row * rows->dst_pitch_bytes, to,
        (CUdeviceptr)(uintptr_t)rows->src + row * rows->src_pitch_bytes, from, rows->row_bytes,
        stream);
  }
  return tarn__cuda_status(&cuda->driver, result, "cuMemcpyPeerAsync",
                           "a copy of %zu rows of %zu bytes from CUDA device %d to device %d",
                           rows->row_count, rows->row_bytes, (int)rows->src_device.index,
                           (int)rows->dst_device.index);
}

static tarn_status copy_plane(const tarn_cuda *cuda, CUcontext to, CUcontext from, CUstream stream,
                              const tarn_copy_rows *rows) {
  const CUDA_MEMCPY3D_PEER copy = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                                   .srcDevice = (CUdeviceptr)(uintptr_t)rows->src,
                                   .srcContext = from,
                                   .srcPitch = rows->src_pitch_bytes,
                                   .srcHeight = rows->row_count,
                                   .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                                   .dstDevice = (CUdeviceptr)(uintptr_t)rows->dst,
                                   .dstContext = to,
                                   .dstPitch = rows->dst_pitch_bytes,
                                   .dstHeight = rows->row_count,
                                   .WidthInBytes = rows->row_bytes,
                                   .Height = rows->row_count,
                                   .Depth = 1};
  const CUresult result = cuda->driver.Memcpy3DPeerAsync(&copy, stream);
  return tarn__cuda_status(&cuda->driver, result, "cuMemcpy3DPeerAsync",
                           "a copy of %zu rows of %zu bytes, pitches %zu and %zu, from CUDA device "
                           "%d to device %d",
                           rows->row_count, rows->row_bytes, rows->src_pitch_bytes,
                           rows->dst_pitch_bytes, (int)rows->src_device.index,
                           (int)rows->dst_device.index);
}

tarn_status tarn__cuda_copy_between(tarn_cuda *cuda, CUstream stream, const tarn_copy_rows *rows) {
  CUcontext to, from;
  tarn_copy_rows one = *rows;
  tarn_status status = tarn__cuda_context(cuda, rows->dst_device.index, &to);
  if (status == TARN_OK) status = tarn__cuda_context(cuda, rows->src_device.index, &from);
  if (status != TARN_OK) return status;
  if (rows->dst_pitch_bytes == rows->row_bytes && rows->src_pitch_bytes == rows->row_bytes) {
    one.row_count = 1;
    if (!tarn_size_mul(rows->row_bytes, rows->row_count, &one.row_bytes)) {
      return tarn_fail(TARN_TOO_LARGE, "a copy of %zu rows of %zu bytes", rows->row_count,
                       rows->row_bytes);
    }
  }
  const size_t dst_max = cuda->devices[rows->dst_device.index].pitch_bytes_max;
  const size_t src_max = cuda->devices[rows->src_device.index].pitch_bytes_max;
  const bool is_plane = one.row_count > 1 && one.dst_pitch_bytes >= one.row_bytes &&
                        one.src_pitch_bytes >= one.row_bytes && one.dst_pitch_bytes <= dst_max &&
                        one.src_pitch_bytes <= src_max;
  return is_plane ? copy_plane(cuda, to, from, stream, &one)
                  : copy_lines(cuda, to, from, stream, &one);
}
