# test_python_package.py: the package alone, without NumPy, PyTorch or JAX.
import array
import copy
import ctypes
import gc
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import unittest
import weakref

import tarn

import capsules
from capsules import Producer


class Boxed:
    """A number as NumPy's scalars hold it."""

    def __init__(self, number, ndim=0):
        self.number, self.ndim = number, ndim

    def item(self):
        if isinstance(self.number, BaseException):
            raise self.number
        return self.number


class Interface:
    """Four float64 of zero, told as the array interface tells."""

    def __init__(self, **changes):
        self.memory = (ctypes.c_double * 4)()
        self.__array_interface__ = {"shape": (4,), "typestr": "<f8", "version": 3, "strides": None,
                                    "data": (ctypes.addressof(self.memory), False), **changes}


class Creation(unittest.TestCase):
    def test_a_new_tensor_says_what_it_is(self):
        t = tarn.empty((2, 3))
        self.assertEqual((t.shape, t.strides, t.stride()), ((2, 3), (12, 4), (3, 1)))
        self.assertEqual((t.ndim, t.size, t.itemsize, t.nbytes), (2, 6, 4, 24))
        self.assertEqual((t.dtype, t.device, len(t)), ("float32", "cpu", 2))
        self.assertTrue(t.is_contiguous())
        self.assertFalse(t.read_only or t.was_copied)
        self.assertEqual(t.data_ptr() % 256, 0)

    def test_zeros_and_full(self):
        self.assertEqual(tarn.zeros((2, 2), "int8").tolist(), [[0, 0], [0, 0]])
        self.assertEqual(tarn.full(3, 2.5).tolist(), [2.5] * 3)
        self.assertEqual(tarn.full((), True, bool).tolist(), True)
        self.assertEqual(tarn.full(1, 1 + 2j, "complex64").item(), 1 + 2j)
        self.assertEqual(tarn.zeros((0, 3)).tolist(), [])

    def test_nested_lists(self):
        for values, dtype in (([[1, 2], [3, 4]], "int64"), ([True, False], "bool"),
                              ([1, 2.5], "float64"), ([1j, 2], "complex128"), ([], "float64"),
                              (7, "int64"), (((1,), (2,)), "int64")):
            t = tarn.asarray(values)
            self.assertEqual(t.dtype, dtype)
            self.assertTrue(t.was_copied)
            as_lists = [list(v) for v in values] if isinstance(values, tuple) else values
            self.assertEqual(t.tolist(), as_lists)
        self.assertEqual(tarn.asarray([1, 2], "uint8").dtype, "uint8")
        for bad in ([[1], [2, 3]], [1, [2]], [[1], 2], ["a"], [None], object()):
            with self.assertRaises((tarn.ArgumentError, tarn.ElementTypeError)):
                tarn.asarray(bad)
        with self.assertRaises(tarn.CopyNeededError):
            tarn.asarray([1], copy=False)

    def test_numbers_that_do_not_fit_are_refused(self):
        for dtype, number in (("int8", 128), ("uint8", -1), ("uint64", 2**64), ("int64", 2**63)):
            with self.assertRaises(OverflowError):
                tarn.zeros(1, dtype).fill_(number)
        tarn.zeros(1, "uint64").fill_(2**64 - 1)
        self.assertEqual(tarn.full(1, -(2**63), "int64").item(), -(2**63))

    def test_bad_arguments_name_themselves(self):
        for call in (lambda: tarn.empty(), lambda: tarn.empty(2, size=3),
                     lambda: tarn.empty(2, "float33"), lambda: tarn.empty("ab"),
                     lambda: tarn.empty(2, "f4", 3, 4), lambda: tarn.empty(2, shape=2),
                     lambda: tarn.empty(2, pool=3)):
            with self.assertRaises(TypeError):
                call()
        for call in (lambda: tarn.empty(-1), lambda: tarn.empty((1,) * 13),
                     lambda: tarn.empty(2, device="mars")):
            with self.assertRaises(ValueError):
                call()
        with self.assertRaises((MemoryError, ValueError)):
            tarn.empty(2**62)

    def test_a_number_may_come_in_a_zero_dimensional_array(self):
        """As NumPy's scalars do, and 0-d tensors of any library."""
        one, two = Boxed(1), tarn.asarray(2.5)
        self.assertEqual(tarn.full(2, one, "int32").tolist(), [1, 1])
        self.assertEqual(tarn.zeros(1).fill_(two).item(), 2.5)
        self.assertEqual(tarn.asarray([[one, two], [3, Boxed(True)]]).tolist(), [[1, 2.5], [3, 1]])
        self.assertEqual(tarn.asarray([one, 2]).dtype, "int64")
        for bad in (Boxed("a"), Boxed(None), Boxed(1, ndim=1), Boxed(one), tarn.zeros(1)):
            with self.assertRaises(TypeError):
                tarn.zeros(1).fill_(bad)
            with self.assertRaises(TypeError):
                tarn.asarray([bad])
        with self.assertRaises(ZeroDivisionError):
            tarn.full(1, Boxed(ZeroDivisionError()))

    def test_lists_may_change_while_they_are_read(self):
        class Emptying(int):
            def __int__(self):
                rows.clear()
                return 5

        rows = [[Emptying(), 1, 2], [3, 4, 5]]
        with self.assertRaises((IndexError, ValueError)):
            tarn.asarray(rows, "int32")
        rows = [[1, Emptying()]]
        self.assertEqual(tarn.asarray(rows, "int32").tolist(), [[1, 5]])

    def test_a_repr_is_short(self):
        self.assertEqual(repr(tarn.asarray([1, 2], "int8")),
                         "tarn.Tensor([1, 2], dtype=int8, device='cpu')")
        self.assertEqual(repr(tarn.zeros((2**40, 0))),
                         "tarn.Tensor([], shape=(1099511627776, 0), dtype=float32, device='cpu')")
        self.assertLess(len(repr(tarn.zeros(10**6))), 100)


class Types(unittest.TestCase):
    def test_a_type_has_one_object_and_equals_its_name(self):
        self.assertIs(tarn.empty(1).dtype, tarn.float32)
        self.assertIs(tarn.DType("float32"), tarn.float32)
        self.assertEqual(tarn.float32, "float32")
        self.assertNotEqual(tarn.float32, "float64")
        self.assertNotEqual(tarn.float32, 3)
        self.assertEqual({tarn.int8: 1}["int8"], 1)
        self.assertEqual((repr(tarn.bool), str(tarn.bfloat16)), ("tarn.bool", "bfloat16"))
        self.assertEqual((tarn.complex128.name, tarn.complex128.itemsize), ("complex128", 16))
        self.assertIs(pickle.loads(pickle.dumps(tarn.int32)), tarn.int32)
        self.assertIs(copy.deepcopy(tarn.int32), tarn.int32)

    def test_names_are_read_to_their_end(self):
        with self.assertRaises(TypeError):
            tarn.zeros(1, "float32\0x")
        with self.assertRaises(ValueError):
            tarn.zeros(1, device="cpu\0x")
        for typestr in ("<f8\0", "<f8 ", "<f8x", "<f08x", "<f-8"):
            with self.assertRaises(TypeError):
                tarn.asarray(Interface(typestr=typestr))

    def test_an_interface_may_change_while_it_is_read(self):
        class Two:
            def __index__(self):
                interface.clear()
                return 2

        fake = Interface(shape=(Two(),), strides=tuple([8]))
        interface = fake.__array_interface__
        self.assertEqual(tarn.asarray(fake).tolist(), [0.0, 0.0])


class Copies(unittest.TestCase):
    def test_what_copied_says_so(self):
        t = tarn.asarray([[0, 1, 2], [3, 4, 5]])
        self.assertFalse(t.reshape(3, 2).was_copied)
        self.assertTrue(t.reshape(3, 2).shares_memory(t))
        self.assertTrue(t.T.reshape(6).was_copied)
        self.assertTrue(t.reshape(6, copy=True).was_copied)
        self.assertIs(t.contiguous(), t)
        self.assertTrue(t.T.contiguous().was_copied)
        self.assertIs(t.to("cpu"), t)
        self.assertIs(t.to("int64"), t)
        self.assertTrue(t.to("cpu", copy=True).was_copied)
        self.assertTrue(t.clone().was_copied)
        self.assertFalse(t.T.was_copied)
        for call in (lambda: t.T.reshape(6, copy=False), lambda: t.T.view(6),
                     lambda: t.T.flatten(copy=False), lambda: t.to("float32", copy=False)):
            with self.assertRaises(tarn.CopyNeededError):
                call()

    def test_a_copy_comes_from_the_tensors_own_pool(self):
        pool = tarn.Pool(name="mine")
        t = tarn.zeros((2, 3), pool=pool)
        kept = t.clone(), t.T.contiguous()
        self.assertEqual(pool.stats()["alloc_count"], 3)
        del kept

    def test_types_convert(self):
        t = tarn.asarray([1.5, -2.25, 300]).to("float16")
        self.assertEqual(t.tolist(), [1.5, -2.25, 300])
        self.assertEqual(t.to(dtype="int32").tolist(), [1, -2, 300])
        self.assertEqual(tarn.full(2, 1.1, "bfloat16").tolist(), [1.1015625] * 2)


class Pools(unittest.TestCase):
    def test_a_pool_counts_and_gives_back(self):
        pool = tarn.Pool(name="small", limit_bytes=1 << 20)
        self.assertEqual((pool.name, pool.device), ("small", "cpu"))
        t = tarn.empty(1000, pool=pool)
        stats = pool.stats()
        self.assertEqual((stats["alloc_count"], stats["requested_bytes"]), (1, 4000))
        with self.assertRaises(tarn.OutOfMemoryError) as caught:
            tarn.empty(1 << 20, pool=pool)
        self.assertIsInstance(caught.exception, MemoryError)
        self.assertEqual(caught.exception.status, "TARN_OUT_OF_MEMORY")
        del t
        self.assertEqual(pool.stats()["requested_bytes"], 0)
        self.assertGreater(pool.trim(), 0)
        self.assertEqual(pool.stats()["reserved_bytes"], 0)

    def test_a_paused_pool_gives_its_memory_back_and_keeps_its_tensors(self):
        pool = tarn.Pool(name="sleeper")
        with tarn.tagged("weights") as name:
            weights = tarn.full(3 << 20, 2.5, "float32", pool=pool)
        scratch = tarn.full(1 << 20, 7, "float32", pool=pool)
        self.assertEqual(name, "weights")
        address, before = weights.data_ptr(), pool.stats()
        with pool.paused(tags="weights") as done:
            self.assertEqual(done["block_count"], 1)
            self.assertEqual(pool.stats()["paused_bytes"], done["moved_bytes"])
            self.assertEqual(pool.stats()["graph_bytes"], 0)
            self.assertEqual(pool.stats()["reserved_bytes"],
                             before["reserved_bytes"] - done["moved_bytes"])
            self.assertEqual(scratch[-1].item(), 7)
            self.assertEqual(pool.pause(tags=["weights"])["moved_bytes"], 0)
        self.assertEqual(pool.stats()["paused_bytes"], 0)
        self.assertEqual(weights.data_ptr(), address)
        self.assertEqual((weights[0].item(), weights[-1].item()), (2.5, 2.5))
        self.assertEqual(pool.pause(keep=False)["copied_bytes"], 0)
        del weights, scratch
        self.assertEqual(pool.stats()["paused_bytes"], 0)
        self.assertEqual(pool.resume(), {"block_count": 0, "moved_bytes": 0, "copied_bytes": 0,
                                         "shared_bytes": 0})

    def test_a_pause_refuses_what_it_cannot_do(self):
        pool = tarn.Pool()
        for arguments in ({"tags": []}, {"tags": "weights\0x"}, {"backup": pool}):
            with self.assertRaises(tarn.ArgumentError):
                pool.pause(**arguments)
        with self.assertRaises(TypeError):
            pool.pause(tags=[3])
        with self.assertRaises(tarn.UnsupportedError):
            tarn.Pool("cpu", node=0).pause()
        with self.assertRaises(tarn.ArgumentError), tarn.tagged(""):
            pass

    def test_memory_outlives_the_pools_object(self):
        t = tarn.full(10, 4, pool=tarn.Pool())
        gc.collect()
        self.assertEqual(t.tolist(), [4.0] * 10)

    def test_a_gpu_that_is_not_there_is_an_error(self):
        try:
            tarn.empty(1, device="cuda")
        except tarn.TarnError as error:
            self.assertIsInstance(error, RuntimeError)


class Buffers(unittest.TestCase):
    def test_a_memoryview_sees_the_tensor(self):
        t = tarn.asarray([[0, 1, 2], [3, 4, 5]], "int16")
        view = memoryview(t.T)
        self.assertEqual((view.shape, view.strides, view.format), ((3, 2), (2, 6), "h"))
        self.assertEqual(view.tolist(), [[0, 3], [1, 4], [2, 5]])
        self.assertEqual(memoryview(t[:, ::-1]).strides, (6, -2))
        view[2, 1] = 9
        self.assertEqual(t[1, 2].item(), 9)
        self.assertEqual(bytes(t), memoryview(t).tobytes())

    def test_formats_go_both_ways(self):
        for name in ("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 "
                     "float64 complex64 complex128").split():
            t = tarn.zeros((2, 2), name)
            self.assertEqual(tarn.from_buffer(t).dtype, name)
            self.assertEqual(memoryview(t).itemsize, t.itemsize)
        for code in "bBhHiIlLqQfd":
            a = array.array(code, [1, 2, 3])
            self.assertEqual(tarn.from_buffer(a).tolist(), a.tolist())

    def test_requests_are_answered_truthfully(self):
        frozen = tarn.from_buffer(b"abcd")
        self.assertTrue(frozen.read_only)
        self.assertTrue(memoryview(frozen).readonly)
        with self.assertRaises((BufferError, TypeError)):
            (ctypes.c_char * 4).from_buffer(frozen)
        with self.assertRaises(BufferError):
            memoryview(tarn.zeros(2, "bfloat16"))
        with self.assertRaises((BufferError, TypeError)):
            (ctypes.c_char * 8).from_buffer(tarn.zeros((4, 4), "int8").T)
        self.assertEqual(len(memoryview(tarn.zeros((0, 3)))), 0)

    def test_the_exporter_stays_locked_until_the_last_view_is_gone(self):
        data = bytearray(b"12345678")
        t = tarn.from_buffer(data)[2:]
        with self.assertRaises(BufferError):
            data.append(1)
        t[0] = 65
        self.assertEqual(data[2], 65)
        del t
        data.append(1)

    def test_bytes_are_read_as_elements(self):
        data = bytearray(16)
        t = tarn.frombuffer(data, "int32", count=2, offset=4)
        t[1] = -1
        self.assertEqual(data, bytes(8) + b"\xff" * 4 + bytes(4))
        self.assertEqual(tarn.frombuffer(data).shape, (4,))
        for arguments in ({"offset": 17}, {"count": 5}, {"offset": -4}, {"offset": 2, "count": 1},
                          {"offset": 3}):
            with self.assertRaises(ValueError):
                tarn.frombuffer(data, "int32", **arguments)
        del t
        data.append(1)  # the refusals left no lock behind

    def test_a_tensor_is_weakly_referable_and_lives_as_long_as_its_exports(self):
        t = tarn.zeros(4)
        reference, view = weakref.ref(t), memoryview(t)
        del t
        self.assertIsNotNone(reference())
        del view
        self.assertIsNone(reference())


class Linear(unittest.TestCase):
    def test_what_lies_in_order_is_free(self):
        t = tarn.asarray([[0, 1], [2, 3]], "float32")
        with t.linear("rw") as span:
            self.assertTrue(span.zero_copy)
            span.data[3] = 9
        self.assertEqual(t.tolist(), [[0, 1], [2, 9]])
        self.assertEqual(span.moved_bytes, 0)

    def test_else_one_copy_each_way_is_reported(self):
        t = tarn.asarray([[0, 1], [2, 3]], "float32")
        with t.T.linear("rw") as span:
            self.assertFalse(span.zero_copy)
            self.assertEqual((span.data.tolist(), span.moved_bytes), ([0, 2, 1, 3], 16))
            span.data[1] = 7
        self.assertEqual((t.tolist(), span.moved_bytes), ([[0, 1], [7, 3]], 32))
        with t.T.linear() as span, self.assertRaises(TypeError):
            span.data[0] = 1
        with self.assertRaises(ValueError):
            t.linear("x")
        with self.assertRaises(tarn.OverlapError), t[0].expand(2, 2).linear("w"):
            pass

    def test_a_span_that_is_looked_at_does_not_end_yet(self):
        t = tarn.zeros((2, 2), "int32")
        with self.assertRaises(tarn.BusyError):
            with t.T.linear("rw") as span:
                view = memoryview(span)
        view[1] = 5
        self.assertEqual(t.tolist(), [[0, 0], [0, 0]])
        view.release()
        self.assertEqual(t.tolist(), [[0, 0], [5, 0]])
        with self.assertRaises(BufferError):
            memoryview(span)

    def test_a_span_forgets_the_view_that_it_gave(self):
        t = tarn.zeros((2, 2), "int32")
        with t.T.linear("rw") as span:
            with span.data as view:
                view[0] = 3
            self.assertEqual(span.data[0], 3)
            self.assertIs(span.data, view := span.data)
        with self.assertRaises(ValueError):
            view[0]
        uses = t.storage_use_count()
        abandoned = t.T.linear("rw").__enter__()
        abandoned.data[1] = 8
        del abandoned
        self.assertEqual((t.storage_use_count(), t.tolist()), (uses, [[3, 0], [8, 0]]))


class Files(unittest.TestCase):
    def test_a_mapping_has_no_pool_and_no_device(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "a.npy")
            tarn.save_npy(path, tarn.zeros(3))
            for mode in ("r", "c", "r+"):
                tarn.load_npy(path, mmap_mode=mode, pool=None, device="cpu")
                for options in ({"device": "cuda"}, {"pool": tarn.default_pool()}):
                    with self.assertRaisesRegex(ValueError, "mapped"):
                        tarn.load_npy(path, mmap_mode=mode, **options)


class DLPack(unittest.TestCase):
    def test_names_and_versions(self):
        t = tarn.zeros((2, 3))
        for version, name in ((None, capsules.LEGACY), ((0, 8), capsules.LEGACY),
                              ((1, 0), capsules.VERSIONED), ((1, 3), capsules.VERSIONED),
                              ((2, 0), capsules.VERSIONED)):
            capsule = t.__dlpack__(max_version=version)
            self.assertEqual(capsules.name_of(capsule), name)
            managed = capsules.read(capsule)
            if version and version[0] >= 1:
                self.assertEqual((managed.major, managed.minor), (1, 3))
            self.assertEqual(managed.tensor.shape[:2], [2, 3])
            self.assertEqual(managed.tensor.strides[:2], [3, 1])
            again = tarn.from_dlpack(capsule)
            self.assertEqual(capsules.name_of(capsule), b"used_" + name)
            self.assertTrue(again.data_ptr() == t.data_ptr())
            with self.assertRaises(BufferError):
                tarn.from_dlpack(capsule)
        self.assertEqual(t.__dlpack_device__(), (1, 0))

    def test_an_unconsumed_capsule_gives_back_its_reference(self):
        t = tarn.zeros(3)
        for version in (None, (1, 0)):
            capsule = t.__dlpack__(max_version=version)
            self.assertEqual(t.storage_use_count(), 2)
            del capsule
            self.assertEqual(t.storage_use_count(), 1)
            consumed = t.__dlpack__(max_version=version)
            other = tarn.from_dlpack(consumed)
            del consumed
            self.assertEqual(other.tolist(), [0.0] * 3)
            del other
            self.assertEqual(t.storage_use_count(), 1)

    def test_arguments(self):
        t = tarn.zeros(3)
        t.__dlpack__(stream=-1)
        t.__dlpack__(stream=None, max_version=(1, 0), dl_device=(1, 0), copy=False)
        for keywords, error in (({"stream": 1}, BufferError), ({"stream": 0}, BufferError),
                                ({"stream": "a"}, TypeError), ({"stream": True}, TypeError),
                                ({"max_version": 1}, TypeError), ({"copy": 1}, TypeError),
                                ({"dl_device": "cpu"}, TypeError),
                                ({"dl_device": (16, 0)}, BufferError),
                                ({"dl_device": (2, 0), "copy": False}, BufferError)):
            with self.subTest(keywords), self.assertRaises(error):
                t.__dlpack__(**keywords)
        with self.assertRaises(TypeError):
            t.__dlpack__(None)
        self.assertEqual(t.storage_use_count(), 1)

    def test_a_copy_is_marked(self):
        t = tarn.asarray([1, 2])
        capsule = t.__dlpack__(max_version=(1, 0), copy=True)
        self.assertEqual(capsules.read(capsule).flags & 2, 2)
        copied = tarn.from_dlpack(capsule)
        self.assertTrue(copied.was_copied)
        self.assertNotEqual(copied.data_ptr(), t.data_ptr())
        self.assertFalse(tarn.from_dlpack(t).was_copied)
        self.assertTrue(tarn.from_dlpack(t, copy=True).was_copied)

    def test_read_only_is_kept(self):
        t = tarn.from_buffer(b"abc")
        self.assertEqual(capsules.read(t.__dlpack__(max_version=(1, 0))).flags & 1, 1)
        self.assertTrue(tarn.from_dlpack(t).read_only)
        with self.assertRaises(BufferError):
            t.__dlpack__()
        self.assertFalse(tarn.from_dlpack(t.__dlpack__(copy=True)).read_only)

    def test_a_producer_is_taken_and_deleted_once(self):
        for versioned in (True, False):
            producer = Producer(versioned=versioned)
            t = tarn.from_dlpack(producer)
            self.assertEqual(t.tolist(), [[0, 1, 2], [3, 4, 5]])
            view = t[1]
            del t
            gc.collect()
            self.assertEqual((view.tolist(), producer.deleted_count), ([3, 4, 5], 0))
            del view
            self.assertEqual(producer.deleted_count, 1)

    def test_old_and_odd_producers(self):
        self.assertEqual(tarn.from_dlpack(Producer(strides=None)).stride(), (3, 1))
        self.assertEqual(tarn.from_dlpack(Producer(shape=(), strides=None)).tolist(), 0)
        self.assertEqual(tarn.from_dlpack(Producer(shape=(0, 3))).shape, (0, 3))
        self.assertEqual(tarn.from_dlpack(Producer(strides=(1, 2))).stride(), (1, 2))
        self.assertEqual(tarn.from_dlpack(Producer(byte_offset=8))[0, 0].item(), 2)
        self.assertTrue(tarn.from_dlpack(Producer(flags=1)).read_only)
        self.assertTrue(tarn.from_dlpack(Producer(flags=2)).was_copied)
        self.assertEqual(tarn.from_dlpack(Producer(minor=9)).shape, (2, 3))

        class Old(Producer):
            def __dlpack__(self, stream=None):
                return self.capsule()

        old = Old(versioned=False)
        self.assertEqual(tarn.from_dlpack(old).shape, (2, 3))
        copied = tarn.from_dlpack(Old(versioned=False), copy=True)
        self.assertTrue(copied.was_copied)

    def test_bad_producers_are_refused_and_keep_what_is_theirs(self):
        for changes in ({"device_type": 16}, {"lanes": 3}, {"bits": 12, "code": 0}, {"code": 3},
                        {"code": 99}, {"ndim": -1}, {"ndim": 99}, {"byte_offset": 2},
                        {"shape": (2, -3)}, {"shape": (2**62, 2**62)}, {"data": None},
                        {"flags": 1 << 40}, {"shape": None}):
            with self.subTest(changes):
                shape = changes.pop("shape", (2, 3))
                producer = Producer(**changes) if shape is None else Producer(
                    shape=shape, **changes)
                if shape is None:
                    producer.managed.tensor.shape = None
                capsule = producer.capsule()
                for _ in range(1000):
                    with self.assertRaises(BufferError):
                        tarn.from_dlpack(capsule)
                self.assertEqual(capsules.name_of(capsule), capsules.VERSIONED)
                self.assertEqual(producer.deleted_count, 0)

    def test_another_major_version_is_deleted_and_not_read(self):
        producer = Producer(major=2)
        producer.managed.tensor.ndim = 1 << 30
        capsule = producer.capsule()
        with self.assertRaises(BufferError):
            tarn.from_dlpack(capsule)
        self.assertEqual(producer.deleted_count, 1)
        with self.assertRaises(BufferError):
            tarn.from_dlpack(capsule)
        self.assertEqual(producer.deleted_count, 1)

    def test_what_is_no_producer_is_a_type_error(self):
        for thing in (3, "a", [1], object()):
            with self.assertRaises(TypeError):
                tarn.from_dlpack(thing)
        with self.assertRaises(TypeError):
            tarn.from_dlpack(capsules.python.PyCapsule_New(1, b"something", None))

    def test_a_producers_own_exception_comes_through(self):
        class Broken(Producer):
            def __dlpack__(self, **keywords):
                raise KeyError("mine")

        with self.assertRaises(KeyError):
            tarn.from_dlpack(Broken())

    def test_the_exchange_table_is_there(self):
        capsule = tarn.Tensor.__dlpack_c_exchange_api__
        self.assertEqual(capsules.name_of(capsule), b"dlpack_exchange_api")
        self.assertEqual(capsules.version_of_table(capsule), (1, 3))

    def test_another_thread_may_drop_the_last_reference(self):
        producers = [Producer() for _ in range(50)]
        kept = [tarn.from_dlpack(producer) for producer in producers]
        thread = threading.Thread(target=kept.clear)
        thread.start()
        thread.join()
        self.assertEqual([producer.deleted_count for producer in producers], [1] * 50)


class ExchangeTable(unittest.TestCase):
    """The C functions behind __dlpack_c_exchange_api__, called as another extension would."""

    def setUp(self):
        address = capsules.address_of_table(tarn.Tensor.__dlpack_c_exchange_api__)
        pointers = (ctypes.c_void_p * 7).from_address(address)
        kinds = (
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
                             ctypes.c_void_p),
            ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p),
            ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
            ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p),
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p),
        )
        (self.allocate, self.from_object, self.to_object, self.describe,
         self.stream) = (kind(pointer) for kind, pointer in zip(kinds, pointers[2:]))
        self.out = ctypes.c_void_p()

    def managed(self):
        return capsules.ManagedVersioned.from_address(self.out.value)

    def test_a_tensor_is_made_after_a_prototype(self):
        producer = Producer()
        prototype = ctypes.addressof(producer.managed.tensor)
        self.assertEqual(self.allocate(prototype, ctypes.addressof(self.out), None, None), 0)
        self.assertEqual(self.managed().tensor.shape[:2], [2, 3])
        result = ctypes.c_void_p()
        self.assertEqual(self.to_object(self.out, ctypes.addressof(result)), 0)
        t = ctypes.cast(result, ctypes.py_object).value
        self.assertEqual((type(t), t.shape, t.dtype), (tarn.Tensor, (2, 3), "float32"))
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(t))

    def test_a_tensor_goes_out_and_comes_back(self):
        t = tarn.asarray([[1, 2], [3, 4]]).T
        self.assertEqual(self.from_object(t, ctypes.addressof(self.out)), 0)
        self.assertEqual(self.managed().tensor.strides[:2], [1, 2])
        self.assertEqual(self.managed().tensor.data, t.data_ptr())
        self.assertEqual(t.storage_use_count(), 2)
        self.managed().deleter(self.out.value)
        self.assertEqual(t.storage_use_count(), 1)
        with self.assertRaises(TypeError):
            self.from_object("no tensor", ctypes.addressof(self.out))

    def test_a_borrowed_description_owns_nothing(self):
        t, described = tarn.zeros((2, 3)), capsules.DLTensor()
        self.assertEqual(self.describe(t, ctypes.addressof(described)), 0)
        self.assertEqual((described.data, described.shape[:2]), (t.data_ptr(), [2, 3]))
        self.assertEqual(t.storage_use_count(), 1)

    def test_the_cpu_has_no_stream(self):
        self.assertEqual(self.stream(1, 0, ctypes.addressof(self.out)), 0)
        self.assertIsNone(self.out.value)


class Process(unittest.TestCase):
    def run_python(self, text):
        return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True,
                              check=False)

    def test_importing_needs_no_numpy(self):
        done = self.run_python("import sys, tarn; tarn.zeros(3).tolist(); "
                               "assert 'numpy' not in sys.modules")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_process_ends_with_tensors_alive(self):
        done = self.run_python(
            "import tarn, threading\n"
            "data = bytearray(100)\n"
            "kept = [tarn.from_buffer(data), tarn.zeros(5).__dlpack__(), tarn.Pool()]\n"
            "def use():\n"
            "    while True: tarn.from_buffer(data)[1:].clone()\n"
            "threading.Thread(target=use, daemon=True).start()\n"
            "print('end')\n")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "end\n", ""))

    def test_every_public_name_has_a_type(self):
        """The stub names what the extension has, and nothing else."""
        import ast
        stub = os.path.join(os.path.dirname(tarn.__file__), "__init__.pyi")
        with open(stub, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        typed, assigned = {}, {}
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                typed[node.name] = {
                    item.name if isinstance(item, ast.FunctionDef) else item.target.id
                    for item in node.body if isinstance(item, (ast.FunctionDef, ast.AnnAssign))}
                assigned[node.name] = {item.target.id for item in node.body
                                       if isinstance(item, ast.AnnAssign)}
            elif isinstance(node, ast.FunctionDef):
                typed[node.name] = None
            elif isinstance(node, ast.AnnAssign):
                typed[node.target.id] = None
            elif isinstance(node, ast.ImportFrom):
                typed.update({each.name: None for each in node.names if each.name == each.asname})
        for node in ast.walk(tree):  # in this module the word is an element type
            self.assertFalse(isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
                             and node.id == "bool", "line " + str(getattr(node, "lineno", 0)))
        public = {name for name in vars(tarn) if not name.startswith("_")}
        self.assertEqual(public, {name for name in typed if not name.startswith("_")})
        for kind in (tarn.Tensor, tarn.Pool, tarn.DType, tarn.LinearSpan, tarn.Staging,
                     tarn.Maintenance):
            names = {name for name in vars(kind) if not name.startswith("_")}
            stubbed = {name for name in typed[kind.__name__] if not name.startswith("_")}
            self.assertEqual(names, stubbed, kind)
            self.assertEqual(assigned[kind.__name__], set(), "properties are read-only")


if __name__ == "__main__":
    print(f"tarn {tarn.__version__}, Python {sys.version.split()[0]}")
    unittest.main()
