/* py_limited.h: Python.h as this extension uses it: the limited API of 3.11, so that one build
 * serves that version and every later one. 3.11 brought the buffer protocol into it. */
#ifndef TARN_PY_LIMITED_H
#define TARN_PY_LIMITED_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <structmember.h>

/* Python's tables of a type hold functions as void *. */
#pragma GCC diagnostic ignored "-Wpedantic"

#endif
