/* sim_peer.c: devices that reach each other's memory, where cusim_set_peers says that they do. */
#include "cuda/sim/sim.h"

bool sim_peer_can(int device, int peer) {
  return sim.are_peers && device != peer;
}

bool sim_peer_reaches(int device, int owner) {
  return device == owner || sim.is_peer_enabled[device][owner];
}

void sim_peers_abandon(int device) {
  for (int other = 0; other < SIM_DEVICES_MAX; other++) {
    sim.is_peer_enabled[device][other] = sim.is_peer_enabled[other][device] = false;
  }
}

/* No two simulated devices reach each other's memory without a copy, unless they are told to. */
CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer) {
  SIM_ENTER(cuDeviceCanAccessPeer, SIM_NEEDS_INIT);
  if (can == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (device < 0 || device >= sim.device_count || peer < 0 || peer >= sim.device_count) {
    return sim_leave(CUDA_ERROR_INVALID_DEVICE);
  }
  *can = sim_peer_can(device, peer);
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
  SIM_ENTER(cuCtxEnablePeerAccess, SIM_NEEDS_CONTEXT);
  if (flags != 0) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (!sim_context_exists(peer)) return sim_leave(CUDA_ERROR_INVALID_CONTEXT);
  bool *is_enabled = &sim.is_peer_enabled[sim_current()->device][peer->device];
  if (!sim_peer_can(sim_current()->device, peer->device)) {
    return sim_leave(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
  }
  if (*is_enabled) return sim_leave(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
  *is_enabled = true;
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuCtxDisablePeerAccess(CUcontext peer) {
  SIM_ENTER(cuCtxDisablePeerAccess, SIM_NEEDS_CONTEXT);
  if (!sim_context_exists(peer)) return sim_leave(CUDA_ERROR_INVALID_CONTEXT);
  bool *is_enabled = &sim.is_peer_enabled[sim_current()->device][peer->device];
  if (!*is_enabled) return sim_leave(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
  *is_enabled = false;
  return sim_leave(CUDA_SUCCESS);
}

void cusim_set_peers(int are_peers) {
  sim_lock();
  sim.are_peers = are_peers != 0;
  sim.are_peers_set = true;
  sim_unlock();
}
