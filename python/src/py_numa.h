/* py_numa.h: the host's memory nodes for Python: what they are, which is best, what lies where. */
#ifndef TARN_PY_NUMA_H
#define TARN_PY_NUMA_H

#include "numa/tarn_topology.h"
#include "python/src/py_limited.h"

int tarn__py_numa_init(PyObject *module);

/* This machine's, read at first use and kept; borrowed. NULL with an exception. */
tarn_topology *tarn__py_topology(void);

/* Each returns 0, or -1 with an exception. No node leaves *node as it is. */
int tarn__py_node_parse(PyObject *object, int32_t *node);
int tarn__py_attribute_parse(PyObject *object, tarn_node_attribute *attribute);

#endif
