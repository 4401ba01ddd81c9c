/* element.h: what the files about a tensor's values check first. */
#ifndef TENSOR_ELEMENT_H
#define TENSOR_ELEMENT_H

#include "tensor/tarn_tensor.h"

/* A storage, an element type that is one, and every element inside the storage. */
tarn_status tarn__element_check(const tarn_tensor *tensor, const char *what);

#endif
