/* py_pieces.h: views that cut a dimension up: split, chunk, unbind, unfold, diagonal, unflatten. */
#ifndef TARN_PY_PIECES_H
#define TARN_PY_PIECES_H

#include "python/src/py_limited.h"

extern PyMethodDef tarn__py_piece_methods[];

#endif
