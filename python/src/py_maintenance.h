/* py_maintenance.h: tarn.Maintenance: a thread that lets pools give back what they do not need. */
#ifndef TARN_PY_MAINTENANCE_H
#define TARN_PY_MAINTENANCE_H

#include "python/src/py_limited.h"

int tarn__py_maintenance_init(PyObject *module);

#endif
