/* copy_grid.c: checks that a kernel reaches both sides of a grid, and launches what is planned. */
#include "cuda/copy_grid.h"

#include "cuda/grid_plan.h"

typedef struct target {
  tarn_cuda *cuda;
  int32_t device;
  CUstream stream;
  const void *value; /* of a fill; else NULL */
} target;

static tarn_status check_reach(int32_t own, tarn_device device) {
  if (device.type == TARN_DEVICE_CUDA_HOST || device.type == TARN_DEVICE_CUDA_MANAGED ||
      (device.type == TARN_DEVICE_CUDA && device.index == own)) {
    return TARN_OK;
  }
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "a kernel of CUDA device %d does not reach device type %d index %d", (int)own,
                   (int)device.type, (int)device.index);
}

/* Memory that was page-locked in pieces is one memory to no call of the driver, and to kernels only
 * where the driver promises it. */
static tarn_status check_seams(tarn_cuda *cuda, const tarn__grid *grid, bool is_dst) {
  uint64_t start;
  const size_t extent = tarn__grid_extent(grid, is_dst, &start);
  if (tarn__seams_room(&cuda->seams, (const void *)(uintptr_t)start) >= extent) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "a kernel over page-locked memory that was locked in pieces");
}

/* One element of pageable memory, repeated: a fill, whose value travels with the launch. */
static bool is_fill(const tarn_copy_grid *grid) {
  return grid->src_device.type == TARN_DEVICE_CPU;
}

/* As a source that is nowhere; its value is in the plan. */
static tarn_status reduce_fill(const tarn_copy_grid *grid, tarn__grid *reduced) {
  tarn_copy_grid placeless = *grid;
  placeless.src = NULL;
  const tarn_status status = tarn__grid_reduce(&placeless, reduced);
  if (status != TARN_OK || (!reduced->converts && reduced->dst_bytes == grid->element_bytes)) {
    return status;
  }
  return tarn_fail(TARN_NOT_SUPPORTED, "a kernel that fills with elements of %zu bytes, at %p",
                   grid->element_bytes, grid->dst);
}

static tarn_status launch_grid(const target *to, const tarn__grid *grid) {
  if (!tarn__grid_fits(grid)) {
    tarn__grid halves[2];
    tarn__grid_halve(grid, halves);
    tarn_status status = launch_grid(to, &halves[0]);
    if (status != TARN_OK) return status;
    status = launch_grid(to, &halves[1]);
    return status == TARN_NOT_SUPPORTED ? TARN_DEVICE_ERROR : status; /* the first is under way */
  }
  tarn__grid_launch launch;
  if (to->value != NULL) {
    tarn__grid_plan_fill(grid, to->value, &launch);
  } else {
    tarn__grid_plan(grid, &launch);
  }
  return tarn__kernels_launch(to->cuda, to->device, to->stream, launch.kernel, launch.block_count,
                              &launch.as);
}

tarn_status tarn__cuda_copy_grid(tarn_cuda *cuda, int32_t device, CUcontext context,
                                 CUstream stream, const tarn_copy_grid *grid) {
  tarn__grid reduced;
  const bool fills = is_fill(grid);
  tarn_status status = check_reach(device, grid->dst_device);
  if (status == TARN_OK && !fills) status = check_reach(device, grid->src_device);
  if (status == TARN_OK) {
    status = fills ? reduce_fill(grid, &reduced) : tarn__grid_reduce(grid, &reduced);
  }
  if (status == TARN_OK) status = check_seams(cuda, &reduced, /*is_dst=*/true);
  if (status == TARN_OK && !fills) status = check_seams(cuda, &reduced, /*is_dst=*/false);
  if (status != TARN_OK) return status;
  tarn__cuda_scope scope;
  status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status != TARN_OK) return status;
  status = launch_grid(&(target){cuda, device, stream, fills ? grid->src : NULL}, &reduced);
  tarn__cuda_leave(&scope);
  return status;
}
