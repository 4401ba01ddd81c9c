/* py_placement.h: where host memory shall lie, as Python says it: a node, a GPU, a placement. */
#ifndef TARN_PY_PLACEMENT_H
#define TARN_PY_PLACEMENT_H

#include "alloc/tarn_provider.h"
#include "python/src/py_limited.h"

/* As a caller gave them; NULL or None: not said. */
typedef struct tarn_py_place {
  PyObject *node;       /* its number: strictly there */
  PyObject *near;       /* a GPU's index: preferably on the node nearest to it */
  PyObject *placement;  /* a tarn.numa.Placement */
  PyObject *page_bytes; /* of explicit huge pages */
  bool is_populated;    /* pages are made at once, not at the first touch */
} tarn_py_place;

/* Whether any of it is said, and whether that is a node and no more. */
bool tarn__py_place_is_said(const tarn_py_place *place);
bool tarn__py_place_is_node_alone(const tarn_py_place *place);

/* Pages that lie so, for the caller to release; all of `place` may be unsaid. 0, or -1 with an
 * exception. */
int tarn__py_place_provider(const tarn_py_place *place, tarn_provider **provider);
/* The same page-locked; unsaid, the driver chooses. */
int tarn__py_pinned_provider(const tarn_py_place *place, tarn_provider **provider);

#endif
