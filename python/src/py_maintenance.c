/* py_maintenance.c: tarn.Maintenance: a thread that lets pools give back what they do not need. */
#include "python/src/py_maintenance.h"

#include "alloc/tarn_maintenance.h"
#include "python/src/py_arguments.h"
#include "python/src/py_errors.h"
#include "python/src/py_pool.h"

typedef struct tarn_py_maintenance {
  PyObject_HEAD tarn_maintenance *maintenance; /* NULL: closed */
  int32_t user_count;                          /* calls that wait without the GIL */
} tarn_py_maintenance;

static PyObject *maintenance_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  static const char *names[] = {"period_s", "name", NULL};
  PyObject *period = NULL;
  tarn_maintenance_options options = {.struct_size = sizeof options};
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|Oz:Maintenance", (char **)(uintptr_t)names,
                                   &period, &options.name) ||
      tarn__py_seconds(period, &options.period_ns) < 0) {
    return NULL;
  }
  tarn_maintenance *maintenance;
  tarn_status status = tarn_maintenance_create(&options, &maintenance);
  if (status != TARN_OK) return tarn__py_raise(status);
  tarn_py_maintenance *self = PyObject_New(tarn_py_maintenance, type);
  if (!self) {
    tarn_maintenance_destroy(maintenance);
    return NULL;
  }
  self->maintenance = maintenance;
  self->user_count = 0;
  return (PyObject *)self;
}

/* Nobody sees it any more once it is waited for. */
static void end_thread(tarn_py_maintenance *self) {
  tarn_maintenance *maintenance = self->maintenance;
  self->maintenance = NULL;
  Py_BEGIN_ALLOW_THREADS tarn_maintenance_destroy(maintenance);
  Py_END_ALLOW_THREADS
}

static void maintenance_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  end_thread((tarn_py_maintenance *)self);
  PyObject_Free(self);
  Py_DECREF(type);
}

static tarn_maintenance *open_one(PyObject *self) {
  tarn_maintenance *maintenance = ((tarn_py_maintenance *)self)->maintenance;
  if (!maintenance) tarn__py_fail(TARN_PY_ERROR_ARGUMENT, "the maintenance is closed");
  return maintenance;
}

static PyObject *maintenance_add(PyObject *self, PyObject *pool_object) {
  tarn_maintenance *maintenance = open_one(self);
  tarn_pool *pool = maintenance ? tarn__py_pool_of(pool_object) : NULL;
  if (!pool) return NULL;
  tarn_status status = tarn_maintenance_add(maintenance, pool);
  if (status != TARN_OK) return tarn__py_raise(status);
  Py_RETURN_NONE;
}

static PyObject *maintenance_remove(PyObject *self, PyObject *pool_object) {
  tarn_maintenance *maintenance = open_one(self);
  tarn_pool *pool = maintenance ? tarn__py_pool_of(pool_object) : NULL;
  if (!pool) return NULL;
  tarn_status status;
  ((tarn_py_maintenance *)self)->user_count++;
  Py_BEGIN_ALLOW_THREADS status = tarn_maintenance_remove(maintenance, pool);
  Py_END_ALLOW_THREADS((tarn_py_maintenance *)self)->user_count--;
  if (status != TARN_OK) return tarn__py_raise(status);
  Py_RETURN_NONE;
}

static PyObject *maintenance_close(PyObject *self, PyObject *unused) {
  (void)unused;
  if (((tarn_py_maintenance *)self)->user_count > 0) {
    return tarn__py_fail(TARN_PY_ERROR_BUSY, "another thread is in remove()");
  }
  end_thread((tarn_py_maintenance *)self);
  Py_RETURN_NONE;
}

static PyObject *maintenance_enter(PyObject *self, PyObject *unused) {
  (void)unused;
  if (!open_one(self)) return NULL;
  Py_INCREF(self);
  return self;
}

static PyObject *maintenance_exit(PyObject *self, PyObject *args) {
  (void)args;
  PyObject *closed = maintenance_close(self, NULL);
  if (!closed) return NULL;
  Py_DECREF(closed);
  Py_RETURN_FALSE;
}

static PyMethodDef maintenance_methods[] = {
    {"add", maintenance_add, METH_O,
     "add(pool): its decay() is called every period from now on, as long as the pool lives."},
    {"remove", maintenance_remove, METH_O, "remove(pool): not any more."},
    {"close", maintenance_close, METH_NOARGS, "close(): ends the thread; again does nothing."},
    {"__enter__", maintenance_enter, METH_NOARGS, NULL},
    {"__exit__", maintenance_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot maintenance_slots[] = {
    {Py_tp_doc,
     (char *)"Maintenance(period_s=1.0, name=None): a thread of tarn's, without the GIL, that "
             "calls\n"
             "decay() of the pools that were added. It keeps no pool alive; it ends with close(),\n"
             "with its with block, or with the object."},
    {Py_tp_new, maintenance_new},
    {Py_tp_dealloc, maintenance_dealloc},
    {Py_tp_methods, maintenance_methods},
    {0, NULL},
};

static PyType_Spec maintenance_spec = {
    .name = "tarn.Maintenance",
    .basicsize = sizeof(tarn_py_maintenance),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = maintenance_slots,
};

int tarn__py_maintenance_init(PyObject *module) {
  PyObject *type = PyType_FromSpec(&maintenance_spec);
  if (!type) return -1;
  int result = PyModule_AddObjectRef(module, "Maintenance", type);
  Py_DECREF(type);
  return result;
}
