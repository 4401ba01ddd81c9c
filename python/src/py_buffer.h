/* py_buffer.h: the buffer protocol (PEP 3118), both ways. */
#ifndef TARN_PY_BUFFER_H
#define TARN_PY_BUFFER_H

#include "python/src/py_limited.h"
#include "tensor/tarn_tensor.h"

int tarn__py_buffer_init(PyObject *module);

/* The slots of a Tensor as an exporter. A buffer keeps the Tensor alive. */
int tarn__py_buffer_get(PyObject *self, Py_buffer *buffer, int flags);

/* A Tensor over an exporter's memory, shape and strides; the exporter stays locked (a bytearray, an
 * array does not resize) until the last tensor of that memory is gone. NULL with an exception. */
PyObject *tarn__py_buffer_tensor(PyObject *exporter);
/* The same with another element type of the same size, for types the protocol cannot name. */
PyObject *tarn__py_buffer_tensor_as(PyObject *exporter, tarn_dtype dtype);

/* Strided foreign memory: `strides` in bytes. On success the deleter is the tensor's, else it has
 * not run. 0, or -1 with an exception. */
typedef struct tarn_py_memory {
  void *first; /* the element at index (0, 0, ...) */
  tarn_dtype dtype;
  tarn_device device;
  int32_t rank;
  const int64_t *shape;
  const int64_t *strides_bytes; /* NULL: row-major */
  bool is_read_only;
  bool is_checked; /* the kernel, or the driver that is open, is asked whether it is so */
  tarn_deleter deleter;
  void *context;
} tarn_py_memory;
int tarn__py_wrap(const tarn_py_memory *memory, tarn_tensor *tensor);

/* A deleter that gives back a Py_buffer of PyMem_Malloc, likewise. */
void tarn__py_release_buffer(void *buffer);
/* A deleter that drops a Python reference, on any thread, also while Python ends. */
void tarn__py_drop_reference(void *object);

#endif
