/* py_views.h: views of a tensor: new shapes and strides over the same bytes, never a copy. */
#ifndef TARN_PY_VIEWS_H
#define TARN_PY_VIEWS_H

#include "python/src/py_limited.h"

/* Adds the methods below to the type: select, narrow, permute, transpose, T, mT, ... */
extern PyMethodDef tarn__py_view_methods[];
extern PyGetSetDef tarn__py_view_getset[];

#endif
