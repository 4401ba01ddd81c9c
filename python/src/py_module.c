/* py_module.c: the extension tarn._tarn: its parts, in the order in which they need each other. */

#include "python/src/py_arrays.h"
#include "python/src/py_blobs.h"
#include "python/src/py_buffer.h"
#include "python/src/py_create.h"
#include "python/src/py_dlpack.h"
#include "python/src/py_dtype.h"
#include "python/src/py_errors.h"
#include "python/src/py_fallback.h"
#include "python/src/py_lender.h"
#include "python/src/py_linear.h"
#include "python/src/py_maintenance.h"
#include "python/src/py_npy.h"
#include "python/src/py_numa.h"
#include "python/src/py_numpy.h"
#include "python/src/py_ort.h"
#include "python/src/py_pause.h"
#include "python/src/py_pool.h"
#include "python/src/py_share.h"
#include "python/src/py_staging.h"
#include "python/src/py_tensor.h"
#include "python/src/py_torch.h"

#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

/* Its types and default pools belong to the process, so one interpreter has the module. */
static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "tarn._tarn",
    .m_doc = "tarn's tensors for Python.",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__tarn(void);

PyMODINIT_FUNC PyInit__tarn(void) {
  static int (*const parts[])(PyObject *) = {
      tarn__py_errors_init,  tarn__py_dtype_init,       tarn__py_pool_init,
      tarn__py_tensor_init,  tarn__py_create_init,      tarn__py_buffer_init,
      tarn__py_arrays_init,  tarn__py_dlpack_init,      tarn__py_linear_init,
      tarn__py_npy_init,     tarn__py_numa_init,        tarn__py_fallback_init,
      tarn__py_staging_init, tarn__py_maintenance_init, tarn__py_pause_init,
      tarn__py_share_init,   tarn__py_lender_init,      tarn__py_numpy_init,
      tarn__py_ort_init,     tarn__py_torch_init,       tarn__py_blobs_init,
  };
  PyObject *module = PyModule_Create(&definition);
  if (!module) return NULL;
  int result = PyModule_AddStringConstant(
      module, "__version__", VERSION(TARN_VERSION_MAJOR, TARN_VERSION_MINOR, TARN_VERSION_PATCH));
  for (size_t i = 0; i < sizeof parts / sizeof parts[0] && result == 0; i++) {
    result = parts[i](module);
  }
  if (result < 0) Py_CLEAR(module);
  return module;
}
