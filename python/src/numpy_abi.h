/* numpy_abi.h: what tarn knows of NumPy's C interface without NumPy's headers.
 *
 * NEP 49, "Data allocation strategies": a handler is a struct of functions in a capsule. Which one
 * NumPy asks for a new array's bytes is a context variable, so each thread and each asyncio task
 * has its own; an array keeps the capsule that it was made with, and is freed through that.
 *
 * The facts are those of numpy/ndarraytypes.h (the struct) and numpy/__multiarray_api.h (places in
 * the table) of NumPy 1.26 and 2.4, the name of the capsule that of NEP 49; they have been the same
 * since 1.22. tests/python compares them with the headers of the NumPy that it finds. */
#ifndef TARN_NUMPY_ABI_H
#define TARN_NUMPY_ABI_H

#include <stddef.h>
#include <stdint.h>

#define TARN_NUMPY_HANDLER_CAPSULE "mem_handler"

/* The table is the capsule _ARRAY_API of numpy._core._multiarray_umath, before 2.0 of numpy.core,
 * without a name. */
enum {
  TARN_NUMPY_GET_FEATURE_VERSION = 211, /* unsigned (void) */
  TARN_NUMPY_SET_HANDLER = 304,         /* PyObject *(PyObject *): a new reference to the last one;
                                           NULL sets NumPy's own */
  TARN_NUMPY_HANDLERS_SINCE = 0xF,      /* the feature version of 1.22 */
  TARN_NUMPY_HANDLER_VERSION = 1,
};

typedef struct tarn_numpy_allocator {
  void *context;
  void *(*malloc)(void *context, size_t size_bytes);
  void *(*calloc)(void *context, size_t count, size_t element_bytes);
  void *(*realloc)(void *context, void *address, size_t size_bytes);
  void (*free)(void *context, void *address, size_t size_bytes);
} tarn_numpy_allocator;

typedef struct tarn_numpy_handler {
  char name[127];
  uint8_t version;
  tarn_numpy_allocator allocator;
} tarn_numpy_handler;

#endif
