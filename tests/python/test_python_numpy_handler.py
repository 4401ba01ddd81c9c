# test_python_numpy_handler.py: the handler that NumPy calls: by itself, at its ends, in its header.
import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import unittest

import numpy as np
import tarn
from tarn import _tarn

from numpy_case import Case, handler_name

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Handler(ctypes.Structure):
    """PyDataMem_Handler, whose functions ctypes calls without the GIL."""

    _fields_ = [
        ("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("context", ctypes.c_void_p),
        ("malloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("calloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
                                    ctypes.c_size_t)),
        ("realloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
                                     ctypes.c_size_t)),
        ("free", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t))]


class Functions(Case):
    def setUp(self):
        super().setUp()
        self.capsule = _tarn._numpy_handler(self.pool)
        find = ctypes.pythonapi.PyCapsule_GetPointer
        find.restype, find.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        self.handler = Handler.from_address(find(self.capsule, b"mem_handler"))

    def tearDown(self):
        super().tearDown()
        del self.handler, self.capsule

    def test_corners(self):
        handler, context = self.handler, self.handler.context
        self.assertEqual((handler.name, handler.version), (b"tarn:arrays", 1))
        nothing = [handler.malloc(context, 0), handler.calloc(context, 0, 8),
                   handler.realloc(context, None, 0)]
        self.assertEqual(len({*nothing, None}), 4)
        self.assert_lent(3)
        for address in nothing:
            handler.free(context, address, 0)
        handler.free(context, None, 0)
        self.assertIsNone(handler.calloc(context, 1 << 40, 1 << 40))
        self.assertIsNone(handler.malloc(context, 1 << 62))
        buffer = ctypes.create_string_buffer(8)
        self.assertIsNone(handler.realloc(context, ctypes.addressof(buffer), 100))
        handler.free(context, ctypes.addressof(buffer), 8)

    def test_many_threads_without_the_gil(self):
        handler, context = self.handler, self.handler.context
        failures, passed_on = [], []

        def work(number):
            for turn in range(300):
                size = 8 + 61 * turn % 5000
                address = handler.calloc(context, size, 1)
                if any(ctypes.string_at(address, size)):
                    failures.append("calloc")
                ctypes.memset(address, number, size)
                address = handler.realloc(context, address, 2 * size)
                if ctypes.string_at(address, size) != bytes([number]) * size:
                    failures.append("realloc")
                passed_on.append((address, 2 * size))
                if turn % 3 == 0:
                    handler.free(context, *passed_on.pop(0))

        threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assert_lent(sum(size for _, size in passed_on))
        for address, size in passed_on:
            handler.free(context, address, size)


def make_pinned(case):
    try:
        return case.make_pool(pinned=True)
    except tarn.TarnError as error:
        case.skipTest(f"no pinned memory: {error}")


def run_python(program):
    return subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True,
                          check=False, timeout=120)


class Processes(Case):
    def test_arrays_that_live_until_the_interpreter_ends(self):
        for options in ("", "node=0", "pinned=True"):
            with self.subTest(options):
                if options == "pinned=True":
                    make_pinned(self)
                self.end_with_arrays(options)

    def end_with_arrays(self, options):
        ended = run_python(f"import tarn; pool = tarn.Pool({options})" + """
import sys, threading, numpy as np
tarn.numpy_allocator(pool).set()
sys.kept = [np.zeros(1000), np.zeros(1 << 20)]
sys.kept.append(sys.kept)
class Late:
    def __init__(self): self.array = np.ones(100)
    def __del__(self): assert self.array.sum() == 100; del self.array
late, here = Late(), np.arange(10)
def linger(array, is_set=threading.Event()):
    is_set.wait()
threading.Thread(target=linger, args=(np.ones(5),), daemon=True).start()
del pool
print('ok')
""")
        self.assertEqual((ended.stdout, ended.stderr, ended.returncode), ("ok\n", "", 0))

    def test_a_forked_child_goes_on_with_its_copy(self):
        with tarn.numpy_allocator(self.pool):
            array = np.arange(1000)
            child = os.fork()
            if child == 0:
                status = 1
                with contextlib.suppress(BaseException):
                    more = array + 1
                    array[:] = 0
                    is_right = int(more.sum()) == 500500 and handler_name(more) == "tarn:arrays"
                    del array, more
                    status = 0 if is_right and self.pool.stats()["requested_bytes"] == 0 else 2
                os._exit(status)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertEqual(int(array.sum()), 499500)

    def test_a_forked_child_gets_no_pinned_memory_and_frees_what_it_has(self):
        pool = make_pinned(self)
        with tarn.numpy_allocator(pool):
            array = np.arange(1000)
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    np.empty(1 << 20)
                except MemoryError:
                    del array
                    status = 0 if pool.stats()["requested_bytes"] == 0 else 2
                finally:
                    os._exit(status)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertEqual(int(array.sum()), 499500)
        del array

    def test_another_interpreter_is_refused_politely(self):
        ended = run_python("""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import numpy, tarn
tarn.Pool()
try:
    # Without its own GIL: the other kind does not import such extensions at all.
    number = interpreters.create('legacy')
except TypeError:
    number = interpreters.create(isolated=False)
failed = None
try:
    failed = interpreters.run_string(number, '''
try:
    import tarn
    with tarn.numpy_allocator(tarn.Pool()):
        told = 'accepted'
except (ImportError, tarn.UnsupportedError) as error:
    told = type(error).__name__
assert told in ('ImportError', 'UnsupportedError'), told
''')
finally:
    interpreters.destroy(number)
print(failed)
""")
        if "No module named '_xxsubinterpreters'" in ended.stderr:
            self.skipTest("this Python has no subinterpreters to ask for")
        self.assertEqual((ended.stdout, ended.returncode), ("None\n", 0), ended.stderr)

    def test_without_numpy_the_error_says_so(self):
        ended = run_python("""
import sys, tarn
sys.modules['numpy'] = None
allocator = tarn.numpy_allocator(tarn.Pool())
try:
    allocator.set()
except ImportError as error:
    print('numpy' in str(error))
""")
        self.assertEqual((ended.stdout, ended.stderr), ("True\n", ""))


# Compiled, not run.
SAME = """
#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define NPY_TARGET_VERSION NPY_1_22_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
#include "python/src/numpy_abi.h"

#define SAME(ours, theirs)                                                                     \\
  _Static_assert(offsetof(tarn_numpy_handler, ours) == offsetof(PyDataMem_Handler, theirs) &&  \\
                     sizeof(((tarn_numpy_handler *)0)->ours) ==                                \\
                         sizeof(((PyDataMem_Handler *)0)->theirs),                             \\
                 #ours)
SAME(name, name);
SAME(version, version);
SAME(allocator, allocator);
SAME(allocator.context, allocator.ctx);
SAME(allocator.malloc, allocator.malloc);
SAME(allocator.calloc, allocator.calloc);
SAME(allocator.realloc, allocator.realloc);
SAME(allocator.free, allocator.free);
_Static_assert(sizeof(tarn_numpy_handler) == sizeof(PyDataMem_Handler), "the whole");
_Static_assert(TARN_NUMPY_HANDLERS_SINCE == NPY_1_22_API_VERSION, "the version");

PyDataMemAllocator same(tarn_numpy_allocator ours) {
  return (PyDataMemAllocator){ours.context, ours.malloc, ours.calloc, ours.realloc, ours.free};
}
"""


class Abi(unittest.TestCase):
    """What python/src/numpy_abi.h says is what NumPy's headers say."""

    def read(self, *path):
        with open(os.path.join(*path), encoding="utf-8") as file:
            return file.read()

    def test_places_in_the_table(self):
        ours = self.read(ROOT, "python", "src", "numpy_abi.h")
        theirs = self.read(np.get_include(), "numpy", "__multiarray_api.h")
        for name, function in (("SET_HANDLER", "PyDataMem_SetHandler"),
                               ("GET_FEATURE_VERSION", "PyArray_GetNDArrayCFeatureVersion")):
            place = re.search(rf"#define {function} \\\n.*\\\n\s*PyArray_API\[(\d+)\]", theirs)
            self.assertIn(f"TARN_NUMPY_{name} = {place[1]},", ours)
        self.assertIn("(*(PyObject * (*)(PyObject *))", theirs)

    def test_the_struct(self):
        compiler, include = shutil.which("cc"), sysconfig.get_paths()["include"]
        if not compiler or not os.path.exists(os.path.join(include, "Python.h")):
            self.assertNotEqual(os.environ.get("CI"), "true")
            self.skipTest("no compiler, or no Python.h")
        with tempfile.TemporaryDirectory() as folder:
            compiled = subprocess.run(
                [compiler, "-std=c11", "-Werror", "-xc", "-c", "-", "-o", f"{folder}/same.o",
                 *(f"-I{place}" for place in (ROOT, include, np.get_include()))],
                input=SAME, capture_output=True, text=True, check=False)
        self.assertEqual((compiled.returncode, compiled.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
