/* sim_module.c: modules of device code, their functions, and launches. */
#include "cuda/sim/sim_launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_THREADS_MAX = 1024, GRID_ROWS_MAX = 65535, LOG_BYTES = 128 };

/* The oldest architecture that device 0 stands for, and the newest PTX that CUDA 13.0 reads. */
enum { DEVICE_ARCH = 75, PTX_VERSION_MAX = 90 };

struct CUfunc_st {
  CUfunction next; /* of its module */
  CUmodule module;
  const sim_code *code;
};

struct CUmod_st {
  CUmodule next;   /* of all */
  uint64_t number; /* of no other, before or after */
  int device;
  char *ptx; /* owned; NULL: compiled code */
  CUfunction functions;
};

static CUmodule modules;
static uint64_t latest_number;

/* --- images --- */

static int number_behind(const char *text, const char *word) {
  const char *found = strstr(text, word);
  return found == NULL ? -1 : atoi(found + strlen(word));
}

static CUresult check_ptx(const char *ptx, char log[LOG_BYTES]) {
  const char *version = strstr(ptx, ".version ");
  int major = 0, minor = 0;
  if (version == NULL || sscanf(version, ".version %d.%d", &major, &minor) != 2) {
    snprintf(log, LOG_BYTES, "the text has no .version");
    return CUDA_ERROR_INVALID_PTX;
  }
  if (major * 10 + minor > PTX_VERSION_MAX) {
    snprintf(log, LOG_BYTES, "PTX %d.%d is newer than this driver", major, minor);
    return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  }
  const int arch = number_behind(ptx, ".target sm_");
  if (arch < 0) {
    snprintf(log, LOG_BYTES, "the text has no .target");
    return CUDA_ERROR_INVALID_PTX;
  }
  return arch > DEVICE_ARCH ? CUDA_ERROR_NO_BINARY_FOR_GPU : CUDA_SUCCESS;
}

/* A fatbin's first word; anything else that begins as text may be PTX. */
static CUresult check_image(const void *image, bool *is_ptx, char log[LOG_BYTES]) {
  static const unsigned char fatbin[] = {0x50, 0xED, 0x55, 0xBA};
  const unsigned char *bytes = image;
  *is_ptx = false;
  if (image == NULL) return CUDA_ERROR_INVALID_VALUE;
  if (memcmp(bytes, fatbin, sizeof fatbin) == 0) return CUDA_SUCCESS;
  if (bytes[0] != '/' && bytes[0] != '.') return CUDA_ERROR_INVALID_IMAGE;
  *is_ptx = true;
  return check_ptx(image, log);
}

static void free_module(CUmodule module) {
  for (CUfunction function = module->functions, next = NULL; function != NULL; function = next) {
    next = function->next;
    free(function);
  }
  free(module->ptx);
  free(module);
}

static CUresult load(CUmodule *module, const void *image, char log[LOG_BYTES]) {
  bool is_ptx;
  if (module == NULL) return CUDA_ERROR_INVALID_VALUE;
  *module = NULL;
  const CUresult result = check_image(image, &is_ptx, log);
  if (result != CUDA_SUCCESS) return result;
  CUmodule made = calloc(1, sizeof *made);
  if (made != NULL && is_ptx) made->ptx = strdup(image);
  if (made == NULL || (is_ptx && made->ptx == NULL)) {
    free(made);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  made->device = sim_current()->device;
  made->number = ++latest_number;
  made->next = modules;
  modules = made;
  sim.module_count++;
  *module = made;
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  SIM_ENTER(cuModuleLoadData, SIM_NEEDS_CONTEXT);
  char log[LOG_BYTES] = "";
  return sim_leave(load(module, image, log));
}

/* Of the options the log of errors is known; the others change nothing here. */
CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count,
                            CUjit_option *options, void **values) {
  SIM_ENTER(cuModuleLoadDataEx, SIM_NEEDS_CONTEXT);
  char log[LOG_BYTES] = "";
  char *buffer = NULL;
  size_t buffer_bytes = 0;
  if (count != 0 && (options == NULL || values == NULL)) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  for (unsigned i = 0; i < count; i++) {
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER) buffer = values[i];
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
      buffer_bytes = (uint32_t)(uintptr_t)values[i];
  }
  const CUresult result = load(module, image, log);
  if (buffer != NULL && buffer_bytes != 0) snprintf(buffer, buffer_bytes, "%s", log);
  return sim_leave(result);
}

static bool is_module(CUmodule module) {
  CUmodule found = modules;
  while (found != NULL && found != module) found = found->next;
  return module != NULL && found == module;
}

static void drop_module(CUmodule module) {
  CUmodule *link = &modules;
  while (*link != module) link = &(*link)->next;
  *link = module->next;
  free_module(module);
  sim.module_count--;
}

void sim_modules_abandon(int device) {
  for (CUmodule module = modules, next = NULL; module != NULL; module = next) {
    next = module->next;
    if (module->device != device) continue;
    drop_module(module);
    sim.abandoned_count++;
  }
}

bool sim_module_is_loaded(uint64_t number) {
  const struct CUmod_st *found = modules;
  while (found != NULL && found->number != number) found = found->next;
  return found != NULL;
}

/* Stricter than a driver, which may wait for the module's launches. */
CUresult cuModuleUnload(CUmodule module) {
  SIM_ENTER(cuModuleUnload, SIM_NEEDS_CONTEXT);
  if (!is_module(module) || module->device != sim_current()->device) {
    return sim_leave(CUDA_ERROR_INVALID_HANDLE);
  }
  drop_module(module);
  return sim_leave(CUDA_SUCCESS);
}

/* --- functions --- */

static bool names_entry(const char *ptx, const char *name) {
  for (const char *at = strstr(ptx, ".entry "); at != NULL; at = strstr(at, ".entry ")) {
    at += strlen(".entry ");
    const size_t length = strlen(name);
    if (strncmp(at, name, length) == 0 && strchr("( \n", at[length]) != NULL) return true;
  }
  return false;
}

static CUresult find_function(CUfunction *function, CUmodule module, const char *name) {
  if (function == NULL || name == NULL) return CUDA_ERROR_INVALID_VALUE;
  *function = NULL;
  if (!is_module(module) || module->device != sim_current()->device) {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  const sim_code *code = sim_code_find(name);
  if (code == NULL || (module->ptx != NULL && !names_entry(module->ptx, name))) {
    return CUDA_ERROR_NOT_FOUND;
  }
  CUfunction found = module->functions;
  while (found != NULL && found->code != code) found = found->next;
  if (found == NULL) {
    found = calloc(1, sizeof *found);
    if (found == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    *found = (struct CUfunc_st){.next = module->functions, .module = module, .code = code};
    module->functions = found;
  }
  *function = found;
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  SIM_ENTER(cuModuleGetFunction, SIM_NEEDS_CONTEXT);
  return sim_leave(find_function(function, module, name));
}

static bool is_function(CUfunction function) {
  for (CUmodule module = modules; module != NULL; module = module->next) {
    for (CUfunction found = module->functions; found != NULL; found = found->next) {
      if (found == function) return true;
    }
  }
  return false;
}

/* --- launches --- */

typedef struct extent {
  unsigned x, y, z;
} extent;

static CUresult check_launch(CUfunction function, extent grid, extent block, unsigned shared_bytes,
                             void *const *parameters, void *const *extra) {
  if (!is_function(function)) return CUDA_ERROR_INVALID_HANDLE;
  if (parameters == NULL || extra != NULL || parameters[0] == NULL || grid.x == 0 || grid.y == 0 ||
      grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0 || grid.x > INT32_MAX ||
      grid.y > GRID_ROWS_MAX || grid.z > GRID_ROWS_MAX ||
      (uint64_t)block.x * block.y * block.z > BLOCK_THREADS_MAX || shared_bytes != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (grid.y != 1 || grid.z != 1 || block.y != 1 || block.z != 1) return CUDA_ERROR_NOT_SUPPORTED;
  return block.x > function->code->threads_max ? CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES : CUDA_SUCCESS;
}

static CUresult launch(CUfunction function, uint32_t blocks, uint32_t threads,
                       void *const *parameters, CUstream stream) {
  sim_queue *queue;
  const CUresult result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return result;
  if (function->module->device != queue->device) return CUDA_ERROR_INVALID_HANDLE;
  sim_op *op = sim_op_create(queue, KIND_LAUNCH);
  if (op == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  op->as.launch = sim_launch_create(function->code, blocks, threads, parameters[0]);
  if (op->as.launch != NULL) {
    op->as.launch->module = function->module->number;
    return sim_op_enqueue(op);
  }
  sim_op_discard(op);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

/* A launch on a stream of another context than the function's is refused. No kernel here takes
 * shared memory that the launch gives it. */
CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        CUstream stream, void **parameters, void **extra) {
  SIM_ENTER(cuLaunchKernel, SIM_NEEDS_CONTEXT);
  const extent grid = {grid_x, grid_y, grid_z};
  const extent block = {block_x, block_y, block_z};
  const CUresult result = check_launch(function, grid, block, shared_bytes, parameters, extra);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  return sim_leave(launch(function, grid_x, block_x, parameters, stream));
}
