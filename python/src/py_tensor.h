/* py_tensor.h: tarn.Tensor: a tensor value, and one strong reference to its storage.
 *
 * A Tensor's geometry never changes: views are new objects. So a buffer that was exported stays
 * true, and no lock is needed beside the GIL.
 */
#ifndef TARN_PY_TENSOR_H
#define TARN_PY_TENSOR_H

#include "python/src/py_limited.h"
#include "tensor/tarn_tensor.h"

typedef struct tarn_py_tensor {
  PyObject_HEAD tarn_tensor tensor;
  Py_ssize_t *strides_bytes; /* made at the first export of a buffer */
  PyObject *weak_references;
  bool was_copied; /* the call that made it moved bytes */
} tarn_py_tensor;

extern PyTypeObject *tarn__py_tensor_type;
int tarn__py_tensor_init(PyObject *module);

static inline tarn_tensor *tarn__py_tensor_of(PyObject *self) {
  return &((tarn_py_tensor *)self)->tensor;
}
static inline bool tarn__py_is_tensor(PyObject *object) {
  return Py_TYPE(object) == tarn__py_tensor_type;
}

/* Takes the tensor's reference, on failure too: then NULL with an exception. */
PyObject *tarn__py_tensor_take(tarn_tensor *tensor, bool was_copied);
/* An object of its own for a borrowed view. */
PyObject *tarn__py_tensor_view(const tarn_tensor *view);
/* The same, or the exception of the view function's status. */
PyObject *tarn__py_tensor_view_if(tarn_status status, const tarn_tensor *view);

#endif
