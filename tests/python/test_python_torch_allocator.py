# test_python_torch_allocator.py: tarn.torch on the simulated driver, with a stand-in for PyTorch.
#
# The stand-in loads the allocator by what PyTorch's own class does (torch/cuda/memory.py: ctypes, a
# path and two names) and keeps what the setters are given. The real one is met on a GPU's machine:
# tests/gpu/torch_model.py.
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import types
import unittest
import weakref

import tarn

MIB = 1 << 20


class Native:
    """What torch._C makes of two addresses."""

    def __init__(self, alloc, free):
        self.alloc = ctypes.CFUNCTYPE(
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)(alloc)
        self.free = ctypes.CFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)(free)
        self.hooks = {}

    def __getattr__(self, name):
        if not name.startswith("set_") or name == "set_init_fn":  # as in a PyTorch that lacks one
            raise AttributeError(name)
        return lambda address: self.hooks.update({name: address})


class Pluggable:
    def __init__(self, path, alloc, free):
        self.library = ctypes.CDLL(path)
        addresses = [ctypes.cast(getattr(self.library, name), ctypes.c_void_p).value
                     for name in (alloc, free)]
        self.native = Native(*addresses)

    def allocator(self):
        return self.native


class StandIn(types.ModuleType):
    current = None

    def __init__(self):
        super().__init__("torch")
        self.cuda = types.SimpleNamespace(
            current_device=lambda: 0,
            memory=types.SimpleNamespace(
                CUDAPluggableAllocator=Pluggable,
                change_current_allocator=lambda made: setattr(self, "current", made)))


class Torch(unittest.TestCase):
    def setUp(self):
        self.torch = sys.modules["torch"] = StandIn()
        self.addCleanup(sys.modules.pop, "torch")
        self.addCleanup(tarn.torch.close)

    def test_what_pytorch_loads_is_the_packages_own(self):
        made = tarn.torch.use(limit_bytes=64 * MIB)
        self.assertIs(self.torch.current, made)
        block = made.native.alloc(3 * MIB, 0, None)
        self.assertEqual(tarn.torch.stats()["requested_bytes"], 3 * MIB)
        self.assertEqual(tarn.torch.pool().stats()["requested_bytes"], 3 * MIB)
        with self.assertRaises(tarn.BusyError):
            tarn.torch.close()
        made.native.free(block, 3 * MIB, 0, None)
        self.assertEqual(tarn.torch.stats(types.SimpleNamespace(index=0))["allocated_bytes"], 0)

    def test_each_hook_is_the_function_of_that_name(self):
        made = tarn.torch.allocator()
        names = {
            "set_reset_fn": "reset", "set_memory_fraction_fn": "memory_fraction",
            "set_base_alloc_fn": "base_alloc", "set_record_stream_fn": "record_stream",
            "set_begin_allocate_to_pool": "begin_allocate_to_pool",
            "set_end_allocate_to_pool_fn": "end_allocate_to_pool",
            "set_release_pool": "release_pool"}
        self.assertEqual(made.native.hooks, {
            setter: ctypes.cast(getattr(made.library, "tarn_torch_" + name), ctypes.c_void_p).value
            for setter, name in names.items()})
        self.assertIsNone(self.torch.current)

    def test_why_there_was_no_memory_stays_to_be_read(self):
        tarn.torch.use(limit_bytes=4 * MIB)
        self.assertIsNone(tarn.torch.out_of_memory())
        native = tarn.torch.segments().native
        self.assertIsNone(native.alloc(8 * MIB, 0, None))
        report = tarn.torch.out_of_memory(0)
        self.assertEqual((report["asked_bytes"], report["pool"]), (8 * MIB, "torch cuda:0"))
        self.assertEqual(tarn.torch.stats()["failed_count"], 1)

    def test_a_pool_of_pytorchs_need_not_keep_what_its_segments_come_from(self):
        native = weakref.ref(tarn.torch.segments().allocator())  # as torch.cuda.MemPool does
        gc.collect()
        self.assertIsNotNone(native())
        self.assertIs(tarn.torch.segments().allocator(), native())

    def test_tensors_of_tarns_lie_in_the_same_memory(self):
        native = tarn.torch.use(memory="blocks").native
        native.free(native.alloc(4 * MIB, 0, None), 4 * MIB, 0, None)
        tensor = tarn.zeros(MIB, "uint8", pool=tarn.torch.pool(0))
        self.assertEqual(tarn.torch.stats()["alloc_count"], 2)
        del tensor
        mine = tarn.Pool("cuda", name="mine")
        tarn.torch.set_pool(mine)
        native.free(native.alloc(MIB, 0, None), MIB, 0, None)
        self.assertEqual((mine.stats()["alloc_count"], tarn.torch.pool().name), (1, "mine"))

    def test_snapshots_and_traces_are_files(self):
        native = tarn.torch.use().native
        tarn.torch.start_trace(entries=100)
        block = native.alloc(5000, 0, None)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "now.json")
            tarn.torch.save_snapshot(path)
            with open(path, encoding="utf-8") as file:
                self.assertEqual(json.load(file)["counters"]["requested_bytes"], 5000)
            native.free(block, 5000, 0, None)
            tarn.torch.stop_trace()
            path = os.path.join(folder, "last.csv")
            tarn.torch.save_trace(path)
            with open(path, encoding="utf-8") as file:
                self.assertIn(f"a,{block},5000,", file.read())
            with self.assertRaises(FileNotFoundError) as raised:
                tarn.torch.save_trace(os.path.join(folder, "no", "where"))
            self.assertEqual(raised.exception.filename, os.path.join(folder, "no", "where"))
            with self.assertRaises(ValueError):
                tarn.torch.save_snapshot(os.path.join(folder, "cut\0short"))
        with self.assertRaises(ValueError):
            tarn.torch.start_trace(entries=0)

    def test_pytorch_goes_on_behind_pythons_end(self):
        """A block is never freed, and the process's own exit still calls in."""
        script = (
            "import ctypes, tarn\n"
            "path = tarn._tarn._torch_hooks()[0]\n"
            "library = ctypes.CDLL(path)\n"
            "library.tarn_torch_malloc_or_null.restype = ctypes.c_void_p\n"
            "assert library.tarn_torch_malloc_or_null(5000, 0, None)\n"
            "assert ctypes.CDLL(None).__cxa_atexit(library.tarn_torch_reset, None, None) == 0\n"
            "print('ends')\n")
        done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, "ends\n"), done.stderr)

    def test_what_makes_no_sense_is_refused(self):
        for options in ({"memory": "some"}, {"limit_bytes": -1}):
            with self.assertRaises(ValueError):
                tarn.torch.use(**options)
        with self.assertRaises(TypeError):
            tarn.torch.use(size=3)
        with self.assertRaises(ValueError):
            tarn.torch.pool(-1)
        with self.assertRaises(ValueError):
            tarn.torch.set_pool(tarn.Pool())
        tarn.torch.forget_stream(12345)
        tarn.torch.forget_stream(types.SimpleNamespace(cuda_stream=0), 0)


if __name__ == "__main__":
    unittest.main()
