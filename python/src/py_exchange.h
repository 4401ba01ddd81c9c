/* py_exchange.h: DLPackExchangeAPI: tensors handed between extensions without a Python call. */
#ifndef TARN_PY_EXCHANGE_H
#define TARN_PY_EXCHANGE_H

#include "python/src/py_limited.h"

/* Puts the capsule of the table on the type tarn.Tensor, which is there already. */
int tarn__py_exchange_init(void);

#endif
