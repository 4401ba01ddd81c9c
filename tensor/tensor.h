/* tensor.h: what the files of tensor/ share about tensors. */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include "tensor/tarn_tensor.h"

/* TARN_INVALID_ARGUMENT where no C code may load values of `dtype` through the address. */
tarn_status tarn__tensor_check_alignment(const void *address, tarn_dtype dtype);

#endif
