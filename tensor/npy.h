/* npy.h: what reading and writing .npy files share. */
#ifndef TENSOR_NPY_H
#define TENSOR_NPY_H

#include "alloc/tarn_status.h"

/* The status of a call to the system that has just failed, with its errno. */
tarn_status tarn__npy_failed(const char *call, const char *path);

#endif
