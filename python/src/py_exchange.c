/* py_exchange.c: DLPackExchangeAPI: tensors handed between extensions without a Python call. */
#include "python/src/py_exchange.h"

#include "python/src/py_errors.h"
#include "python/src/py_pool.h"
#include "python/src/py_tensor.h"
#include "tensor/tarn_dlpack.h"

static tarn_dl_exchange_api api; /* static: DLPack lets consumers keep its address */

static int from_object(void *object, tarn_dl_managed_tensor_versioned **out) {
  *out = NULL;
  if (!tarn__py_is_tensor(object)) {
    tarn__py_fail(TARN_PY_ERROR_TYPE, "a tarn.Tensor is needed, not %R",
                  (PyObject *)Py_TYPE((PyObject *)object));
    return -1;
  }
  tarn_status status = tarn_dlpack_export(tarn__py_tensor_of(object), NULL, out);
  if (status != TARN_OK) tarn__py_raise_as(TARN_PY_ERROR_BUFFER, status);
  return status == TARN_OK ? 0 : -1;
}

static int to_object(tarn_dl_managed_tensor_versioned *managed, void **out) {
  tarn_tensor tensor;
  *out = NULL;
  tarn_status status = tarn_dlpack_import(managed, NULL, &tensor);
  if (status != TARN_OK)
    tarn__py_raise_as(TARN_PY_ERROR_BUFFER, status);
  else
    *out = tarn__py_tensor_take(&tensor, /*was_copied=*/false);
  return *out ? 0 : -1;
}

/* Borrowed: it points into the Tensor, whose geometry never changes. */
static int describe_object(void *object, tarn_dl_tensor *out) {
  if (!tarn__py_is_tensor(object)) {
    tarn__py_fail(TARN_PY_ERROR_TYPE, "a tarn.Tensor is needed, not %R",
                  (PyObject *)Py_TYPE((PyObject *)object));
    return -1;
  }
  tarn_status status = tarn_dlpack_describe(tarn__py_tensor_of(object), out);
  if (status != TARN_OK) tarn__py_raise_as(TARN_PY_ERROR_BUFFER, status);
  return status == TARN_OK ? 0 : -1;
}

int tarn__py_exchange_init(void) {
  tarn_dlpack_exchange_init(&api);
  api.managed_tensor_from_py_object_no_sync = from_object;
  api.managed_tensor_to_py_object_no_sync = to_object;
  api.dltensor_from_py_object_no_sync = describe_object;
  tarn_device host = tarn_device_make(TARN_DEVICE_CPU, 0);
  tarn_pool *pool = tarn__py_pool_of_device(host);
  if (!pool) return -1;
  tarn_status status = tarn_dlpack_set_exchange_pool(host, pool);
  if (status != TARN_OK) {
    tarn__py_raise(status);
    return -1;
  }
  tarn_dlpack_set_work_stream(tarn__py_device_work_stream, NULL);
  PyObject *capsule = PyCapsule_New(&api, "dlpack_exchange_api", NULL);
  if (!capsule) return -1;
  int result = PyObject_SetAttrString((PyObject *)tarn__py_tensor_type, "__dlpack_c_exchange_api__",
                                      capsule);
  Py_DECREF(capsule);
  return result;
}
