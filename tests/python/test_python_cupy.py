# test_python_cupy.py: CuPy's memory from tarn's pools: real CuPy where it is, else a stand-in.
import ctypes
import gc
import subprocess
import sys
import threading
import unittest

import cupy_stand_in

KIND = cupy_stand_in.install()
import cupy  # noqa: E402
import tarn  # noqa: E402

driver = ctypes.CDLL("libcuda.so.1")


def fill(memory, value, stream, size):
    address = ctypes.c_uint64(memory.ptr)
    result = driver.cuMemsetD8Async(
        address, ctypes.c_ubyte(value), ctypes.c_size_t(size), ctypes.c_void_p(stream.ptr))
    assert result == 0, result


class Allocator(unittest.TestCase):
    def setUp(self):
        cupy_stand_in.enter_context()
        self.pool = tarn.Pool("cuda", name="cupy", limit_bytes=8 << 20)
        self.allocator = tarn.cupy_allocator(self.pool)
        cupy.cuda.set_allocator(self.allocator)

    def tearDown(self):
        cupy.cuda.set_allocator(None)
        gc.collect()
        stats = self.pool.stats()
        self.assertEqual(stats["allocated_bytes"], 0)
        self.assertEqual(stats["alloc_count"], stats["free_count"])
        del self.pool, self.allocator  # which waits for all that the streams do

    def live(self):
        return self.pool.stats()["requested_bytes"]

    def test_memory_comes_from_the_pool_and_goes_back_with_the_pointer(self):
        pointer = cupy.cuda.alloc(1000)
        self.assertIsInstance(pointer, cupy.cuda.MemoryPointer)
        self.assertEqual((pointer.device_id, pointer.mem.size, self.live()), (0, 1000, 1000))
        self.assertEqual(pointer.ptr, pointer.mem.ptr)
        other = cupy.cuda.alloc(2000)
        self.assertNotEqual(other.ptr, pointer.ptr)
        self.assertEqual(self.live(), 3000)
        del pointer
        self.assertEqual(self.live(), 2000)
        nothing = cupy.cuda.alloc(0)
        self.assertEqual((nothing.ptr, nothing.mem.size), (0, 0))

    def test_a_pointer_outlives_the_pool_and_the_allocator_and_its_stream(self):
        pool = tarn.Pool("cuda")
        cupy.cuda.set_allocator(tarn.cupy_allocator(pool))
        with cupy.cuda.Stream(non_blocking=True) as stream:
            pointer = cupy.cuda.alloc(1 << 20)
        cupy.cuda.set_allocator(self.allocator)
        fill(pointer, 3, stream, 1 << 20)
        del pool, stream
        gc.collect()
        del pointer  # the pool ends with it, behind what the stream had to do

    def test_out_of_memory_is_cupys_own(self):
        first = cupy.cuda.alloc(6 << 20)
        with self.assertRaises(cupy.cuda.memory.OutOfMemoryError) as caught:
            cupy.cuda.alloc(6 << 20)
        self.assertIn(str(6 << 20), str(caught.exception).replace(",", ""))
        self.assertIsInstance(caught.exception.__cause__, tarn.OutOfMemoryError)
        del first
        caught = None
        self.assertEqual(cupy.cuda.alloc(6 << 20).mem.size, 6 << 20)

    def test_what_one_stream_freed_reaches_another_behind_a_fence(self):
        first, second = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
        for _ in range(30):  # the simulated driver ends the process at a race
            with first:
                pointer = cupy.cuda.alloc(6 << 20)
            fill(pointer, 1, first, 6 << 20)
            del pointer
            with second:
                pointer = cupy.cuda.alloc(6 << 20)
            fill(pointer, 2, second, 6 << 20)
            del pointer
        self.assertGreater(self.pool.stats()["wait_count"], 0)

    def test_memory_comes_back_in_its_own_streams_order_wherever_it_is_freed(self):
        first, second = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
        for _ in range(30):
            with first:
                pointers = [cupy.cuda.alloc(6 << 20)]
            fill(pointers[0], 1, first, 6 << 20)
            with second:  # which has nothing to do with it
                thread = threading.Thread(target=pointers.clear)
                thread.start()
                thread.join()
                pointers.append(cupy.cuda.alloc(6 << 20))
            fill(pointers[0], 2, second, 6 << 20)
            pointers.clear()

    def test_a_noted_use_is_waited_for(self):
        class Array:
            def __init__(self, pointer):
                self.data = pointer

        first, second = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
        for _ in range(30):
            with first:
                array = Array(cupy.cuda.alloc(6 << 20))
            fill(array.data, 1, first, 6 << 20)
            first.synchronize()
            fill(array.data, 2, second, 6 << 20)
            self.allocator.note_use(array, second)
            del array
            with first:
                array = Array(cupy.cuda.alloc(6 << 20))
            fill(array.data, 3, first, 6 << 20)
            del array

    def test_streams_that_end_are_forgotten_before(self):
        for i in range(1200):  # more than tarn has streams
            with cupy.cuda.Stream(non_blocking=True) as stream:
                pointer = cupy.cuda.alloc(1 << 20)
            fill(pointer, 1, stream, 1 << 20)
            del stream
        self.assertEqual(pointer.mem.size, 1 << 20)  # it is freed after its stream has ended

    def test_a_stream_of_others_is_theirs_to_announce(self):
        handle = ctypes.c_void_p()
        for _ in range(20):
            self.assertEqual(driver.cuStreamCreate(ctypes.byref(handle), 1), 0)
            stream = cupy.cuda.ExternalStream(handle.value)
            with stream:
                pointer = cupy.cuda.alloc(6 << 20)
                fill(pointer, 1, stream, 6 << 20)
                del pointer
            self.allocator.forget(stream)
            self.assertEqual(driver.cuStreamDestroy_v2(handle), 0)

    def test_what_cannot_be_is_said(self):
        with self.assertRaisesRegex(ValueError, "on a GPU"):
            tarn.cupy_allocator(tarn.Pool("cpu"))
        with self.assertRaises(TypeError):
            tarn._tarn._Lender(1)
        lender = tarn._tarn._Lender(self.pool)
        for arguments in ((), (1,), ("1", 0), (1, "a"), (-1, 0)):
            with self.assertRaises((TypeError, ValueError)):
                lender.lend(*arguments)
        with self.assertRaises((TypeError, ValueError)):
            lender.note_use(1, "a")
        self.assertIn("cupy", repr(self.allocator))

    def test_without_a_pool_it_is_the_devices_default_one(self):
        before = tarn.default_pool("cuda").stats()["alloc_count"]
        cupy.cuda.set_allocator(tarn.cupy_allocator())
        cupy.cuda.alloc(100)
        cupy.cuda.set_allocator(self.allocator)
        self.assertEqual(tarn.default_pool("cuda").stats()["alloc_count"], before + 1)


class Ends(unittest.TestCase):
    def test_memory_that_is_left_at_exit_does_no_harm(self):
        program = """
import cupy_stand_in
cupy_stand_in.install()
import cupy, tarn
cupy_stand_in.enter_context()
pool = tarn.Pool("cuda")
cupy.cuda.set_allocator(tarn.cupy_allocator(pool))
stream = cupy.cuda.Stream(non_blocking=True)
with stream:
    kept = cupy.cuda.alloc(1 << 20)
more = [cupy.cuda.alloc(100)]
more.append(more)
"""
        ended = subprocess.run(
            [sys.executable, "-B", "-c", program], capture_output=True, text=True, check=False)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))


if __name__ == "__main__":
    print(KIND)
    unittest.main()
