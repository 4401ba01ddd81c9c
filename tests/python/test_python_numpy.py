# test_python_numpy.py: tarn and real NumPy: memory shared both ways, and random chains of views.
#
# usage: test_python_numpy.py [--seed N] [--count CHAINS] [--chain NUMBER] [unittest's arguments]
import doctest
import gc
import io
import os
import pathlib
import re
import sys
import tempfile
import threading
import unittest
import warnings

import numpy as np
import tarn

import chains
import numpy_peer

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

OPTIONS, REST = chains.arguments(100_000)
IS_VERSION_2 = int(np.__version__.split(".")[0]) >= 2
ML_NAMES = (
    "bfloat16 float8_e3m4 float8_e4m3 float8_e4m3fn float8_e4m3fnuz float8_e4m3b11fnuz "
    "float8_e5m2 float8_e5m2fnuz float8_e8m0fnu"
).split()


def sample(dtype, shape=(4, 6)):
    count = int(np.prod(shape, dtype=int))
    return (np.arange(count) % 2 if dtype == "bool" else np.arange(count)).astype(dtype).reshape(
        shape)


class FromNumpy(unittest.TestCase):
    def test_every_type_is_shared_both_ways(self):
        for name in numpy_peer.NAMES:
            with self.subTest(dtype=name):
                array = sample(name)
                tensor = tarn.from_numpy(array)
                self.assertEqual((tensor.dtype, tensor.shape), (name, (4, 6)))
                self.assertEqual(tensor.data_ptr(), array.__array_interface__["data"][0])
                array[1, 2] = 1
                self.assertEqual(tensor[1, 2].item(), 1)
                tensor[3, 5] = tensor[0, 1]
                self.assertEqual(array[3, 5], array[0, 1])
                self.assertIs(tensor.was_copied, False)

    def test_any_strides_are_kept(self):
        base = sample("int32", (6, 8))
        for array in (base[2:], base[:, 3], base.T, base[1:, 2:].T, base[::2, ::3], base[::-1],
                      base[3:0:-2, ::-1], base[0, 0, ...], base[:0], base[:, :0], base[None],
                      np.broadcast_to(base[0], (3, 8))):
            tensor = tarn.from_numpy(array)
            self.assertEqual((tensor.shape, tensor.size), (array.shape, array.size))
            self.assertEqual(tensor.tolist(), array.tolist())
            for size, ours, theirs in zip(array.shape, tensor.strides, array.strides):
                if array.size and size > 1:  # NumPy rewrites the others as it exports them
                    self.assertEqual(ours, theirs)

    def test_empty_shapes_are_kept(self):
        for shape in ((0, 2), (2, 0), (0,), (3, 0, 5)):
            array = np.empty(shape, np.float32)
            self.assertEqual(tarn.from_numpy(array).shape, shape)
            self.assertEqual(tarn.from_numpy(array).numpy().shape, shape)
            self.assertEqual(np.from_dlpack(tarn.empty(shape)).shape, shape)

    def test_read_only_array_gives_a_read_only_tensor_without_a_warning(self):
        array = sample("float32")
        array.flags.writeable = False
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tensor = tarn.from_numpy(array)
        self.assertTrue(tensor.read_only)
        with self.assertRaises(tarn.ReadOnlyError):
            tensor[0] = 1
        with self.assertRaises(tarn.ReadOnlyError):
            tensor.T.fill_(0)
        self.assertFalse(tensor.numpy().flags.writeable)
        self.assertEqual(array[0, 0], 0)

    def test_the_array_does_not_resize_while_it_is_shared(self):
        array = np.zeros(8)
        tensor = tarn.from_numpy(array)
        with self.assertRaises(ValueError):
            array.resize(100_000)
        with self.assertRaises(ValueError):
            tensor.numpy().resize(4)

    def test_what_cannot_be_shared_is_refused(self):
        for array in (np.array(["a"]), np.array([object()]), np.zeros(2, "datetime64[s]"),
                      np.zeros(2, ">f4"), np.zeros(2, ">i8"), np.zeros(2, [("a", "i4")]),
                      np.zeros(2, np.longdouble), np.array([b"ab"])):
            with self.subTest(dtype=array.dtype), self.assertRaises(TypeError):
                tarn.from_numpy(array)
        with self.assertRaises(TypeError):
            tarn.from_numpy([1, 2])
        packed = np.zeros(3, np.dtype([("a", "i1"), ("b", "i4")]))
        with self.assertRaises(ValueError):  # a stride of 5 bytes
            tarn.from_numpy(packed["b"])
        with self.assertRaises(ValueError):  # not aligned
            tarn.from_numpy(np.zeros(17, np.uint8)[1:].view(np.float32))

    def test_a_thousand_failures_leak_nothing(self):
        bad = [np.array(["x"]), np.array([None]), np.zeros(2, ">f4"),
               np.zeros(9, np.uint8)[1:].view(np.float32), np.zeros(2, "datetime64[s]")]
        before = [sys.getrefcount(array) for array in bad]
        for _ in range(1000):
            for array in bad:
                with self.assertRaises((TypeError, ValueError)):
                    tarn.from_numpy(array)
        del array
        gc.collect()
        self.assertEqual([sys.getrefcount(array) for array in bad], before)

    def test_a_thousand_conversions_leak_nothing(self):
        gc.collect()
        array, before = sample("float32"), tarn.default_pool().stats()
        count = sys.getrefcount(array)
        for _ in range(1000):
            tensor = tarn.from_numpy(array)
            tensor[1:, ::2].T.numpy()
            tensor.clone().numpy()
            np.from_dlpack(tarn.from_dlpack(tensor))
        del tensor
        gc.collect()
        self.assertEqual(sys.getrefcount(array), count)
        after = tarn.default_pool().stats()
        self.assertEqual(after["requested_bytes"], before["requested_bytes"])
        self.assertEqual(after["alloc_count"] - after["free_count"],
                         before["alloc_count"] - before["free_count"])

    @unittest.skipUnless(ml_dtypes, "no ml_dtypes here")
    def test_types_of_ml_dtypes_are_shared_both_ways(self):
        for name in ML_NAMES:
            with self.subTest(dtype=name):
                array = np.arange(4).astype(getattr(ml_dtypes, name))
                tensor = tarn.from_numpy(array)
                self.assertEqual(tensor.dtype, name)
                self.assertEqual(tensor.data_ptr(), array.__array_interface__["data"][0])
                back = tensor.numpy()
                self.assertEqual(back.dtype, array.dtype)
                back[1] = back[2]
                self.assertEqual(array[1], array[2])
                self.assertEqual(np.asarray(tensor).dtype, array.dtype)


class ToNumpy(unittest.TestCase):
    def test_views_are_shared_with_the_right_flags(self):
        tensor = tarn.zeros((4, 6), "int16")
        for view, flag in ((tensor, True), (tensor[1:], True), (tensor.T, False),
                           (tensor[:, 1], False), (tensor.flip(0), False), (tensor[0, 0], True)):
            array = view.numpy()
            self.assertEqual(array.flags.c_contiguous, flag)
            self.assertEqual((array.shape, array.strides), (view.shape, view.strides))
        tensor.T.numpy()[5, 3] = 7
        self.assertEqual(tensor[3, 5].item(), 7)
        tensor[3, 5] = 9
        self.assertEqual(tensor.numpy()[3, 5], 9)

    def test_the_array_keeps_the_memory(self):
        pool = tarn.Pool()
        array = tarn.full(1000, 3, pool=pool).numpy()
        self.assertEqual(pool.stats()["alloc_count"] - pool.stats()["free_count"], 1)
        gc.collect()
        self.assertTrue((array == 3).all())
        del array
        self.assertEqual(pool.stats()["alloc_count"] - pool.stats()["free_count"], 0)

    def test_asarray_array_and_the_interface_agree(self):
        tensor = tarn.asarray([[1, 2], [3, 4]], "int32").T
        self.assertTrue(np.shares_memory(np.asarray(tensor), tensor.numpy()))
        self.assertFalse(np.shares_memory(np.array(tensor), tensor.numpy()))
        self.assertEqual(np.array(tensor, dtype=float).tolist(), [[1, 3], [2, 4]])

        class Other:
            __array_interface__ = tensor.__array_interface__

        other = np.asarray(Other())
        self.assertEqual((other.tolist(), other.strides), ([[1, 3], [2, 4]], (4, 8)))
        self.assertTrue(np.shares_memory(other, tensor.numpy()))

    def test_an_interface_is_taken_as_well(self):
        array = sample("float64")[::2, ::-1]

        class Other:
            __array_interface__ = array.__array_interface__

        other = Other()
        count = sys.getrefcount(other)
        tensor = tarn.asarray(other)
        self.assertEqual((tensor.tolist(), tensor.strides), (array.tolist(), array.strides))
        self.assertEqual(sys.getrefcount(other), count + 1)
        del tensor
        self.assertEqual(sys.getrefcount(other), count)


class DLPack(unittest.TestCase):
    def test_numpy_takes_tensors(self):
        tensor = tarn.zeros((3, 4), "float64")
        array = np.from_dlpack(tensor[:, ::2])
        self.assertEqual((array.shape, array.strides), ((3, 2), (32, 16)))
        tensor[2, 2] = 5
        self.assertEqual(array[2, 1], 5)

    def test_tensors_take_arrays(self):
        for name in numpy_peer.NAMES:
            array = sample(name)
            if name == "bool" and not IS_VERSION_2:
                continue
            tensor = tarn.from_dlpack(array)
            self.assertEqual((tensor.dtype, tensor.shape), (name, (4, 6)))
            self.assertEqual(tensor.data_ptr(), array.__array_interface__["data"][0])
            self.assertEqual(tensor.strides, array.strides)

    @unittest.skipUnless(IS_VERSION_2, "NumPy 1 has no versioned capsules")
    def test_read_only_goes_both_ways(self):
        array = sample("float32")
        array.flags.writeable = False
        tensor = tarn.from_dlpack(array)
        self.assertTrue(tensor.read_only)
        self.assertFalse(np.from_dlpack(tensor).flags.writeable)
        with self.assertRaises(BufferError):
            tensor.__dlpack__()  # the legacy form cannot say it

    @unittest.skipUnless(IS_VERSION_2, "NumPy 1 knows no copy")
    def test_copies_are_asked_for_and_said(self):
        array = sample("int64")
        copied = tarn.from_dlpack(array, copy=True)
        self.assertTrue(copied.was_copied)
        self.assertNotEqual(copied.data_ptr(), array.__array_interface__["data"][0])
        self.assertFalse(tarn.from_dlpack(array, copy=False).was_copied)
        tensor = tarn.from_numpy(array)
        self.assertTrue(np.shares_memory(np.from_dlpack(tensor, copy=False), array))
        self.assertFalse(np.shares_memory(np.from_dlpack(tensor, copy=True), array))
        self.assertTrue(np.from_dlpack(tensor, copy=True).flags.writeable)
        self.assertEqual(np.from_dlpack(tensor, device="cpu").tolist(), array.tolist())

    def test_the_last_reference_may_go_on_any_thread(self):
        pool = tarn.Pool()
        kept = [[np.from_dlpack(tarn.empty(100, pool=pool)), tarn.from_numpy(np.zeros(50)).T,
                 tarn.empty(10, pool=pool).numpy()] for _ in range(400)]

        def drop():
            while True:
                try:
                    kept.pop()
                except IndexError:
                    return

        threads = [threading.Thread(target=drop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stats = pool.stats()
        self.assertEqual(stats["alloc_count"], 800)
        self.assertEqual(stats["free_count"], 800)

    def test_threads_copy_side_by_side(self):
        source = np.arange(1 << 18, dtype=np.float32).reshape(512, 512)
        results = [None] * 4

        def copy(index):
            tensor = tarn.from_numpy(source)
            for _ in range(20):
                results[index] = tensor.T.clone()

        threads = [threading.Thread(target=copy, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results:
            self.assertTrue((result.numpy() == source.T).all())


class Assignment(unittest.TestCase):
    def test_whatever_holds_elements_can_be_assigned(self):
        tensor, array = tarn.zeros((3, 4), "int64"), np.zeros((3, 4), "int64")
        for key, value in (((0,), np.arange(4)), ((slice(None), 1), [5, 6, 7]), ((..., 2), 9),
                           ((2, slice(1, 3)), bytearray(b"xy")), ((1,), True),
                           ((slice(None, None, -1),), np.arange(12).reshape(3, 4))):
            tensor[key] = value
            array[key] = np.frombuffer(value, "u1") if isinstance(value, bytearray) else value
            self.assertEqual(tensor.tolist(), array.tolist())
        with self.assertRaises(ValueError):
            tensor[0] = np.zeros(3, "int64")


class Arguments(unittest.TestCase):
    def test_numpys_scalars_and_arrays_are_arguments(self):
        for name in numpy_peer.NAMES:
            scalar = np.dtype(name).type(1)
            self.assertEqual(tarn.full(2, scalar, name).tolist(), [1, 1], name)
            self.assertEqual(tarn.asarray([[scalar], [2]]).tolist(), [[1], [2]], name)
            self.assertEqual(tarn.zeros(1, name).fill_(np.array(scalar)).item(), 1, name)
        for shape in (np.array([2, 3]), np.array([4], "uint8"), np.array(5), np.int16(6)):
            self.assertEqual(tarn.zeros(shape).shape, np.zeros(shape).shape)
        for key in (np.array([0, 1]), np.array([True, False]), np.True_, (0, np.array([0]))):
            with self.assertRaisesRegex(IndexError, "would be a copy"):
                tarn.zeros((2, 2))[key]
        with self.assertRaises(TypeError):
            tarn.asarray([np.longdouble(1)])


class Conversions(unittest.TestCase):
    """Every bit pattern of 16 bits, and random ones of more, where the libraries define them."""

    FLOATS = ("float16", "float32", "float64")
    INTEGERS = [name for name in numpy_peer.NAMES if "int" in name]

    def setUp(self):
        self.random = np.random.default_rng(OPTIONS.seed)

    def patterns(self, dtype):
        if np.dtype(dtype).itemsize == 2:
            return np.arange(1 << 16, dtype="uint16").view(dtype)
        count = 20_000
        bits = self.random.integers(0, 256, count * np.dtype(dtype).itemsize, "uint8")
        return bits.view(dtype)

    def convert(self, array, dtype):
        ours = tarn.from_numpy(array).to(dtype)
        self.assertTrue(ours.was_copied)
        with np.errstate(all="ignore"):
            return ours.numpy(), array.astype(ours.numpy().dtype)

    def same(self, ours, theirs, words):
        """Equal bits, but any NaN for a NaN."""
        size = f"u{ours.dtype.itemsize}"
        wrong = (ours.view(size) != theirs.view(size)) & ~((ours != ours) & (theirs != theirs))
        self.assertEqual(int(wrong.sum()), 0, f"seed {OPTIONS.seed}: {words}")

    def test_floats_to_floats(self):
        for source in self.FLOATS:
            for target in self.FLOATS:
                if source != target:
                    with self.subTest(source=source, target=target):
                        self.same(*self.convert(self.patterns(source), target), (source, target))

    def test_integers_to_everything(self):
        for source in self.INTEGERS:
            for target in (*self.INTEGERS, "bool", *self.FLOATS):
                # NumPy rounds 64 bits to float16 by way of float32 or float64, so twice.
                if source != target and (target != "float16" or np.dtype(source).itemsize < 4):
                    with self.subTest(source=source, target=target):
                        self.same(*self.convert(self.patterns(source), target), (source, target))

    def test_floats_in_range_to_integers(self):
        for source in self.FLOATS:
            for target in self.INTEGERS:
                array = self.patterns(source)
                limits = np.iinfo(target)
                with np.errstate(all="ignore"):
                    wide = array.astype("float64")
                    inside = (wide > float(limits.min) - (target[0] != "u")) & (
                        wide < float(limits.max) / 2)
                    array = array[inside & (wide >= float(limits.min))]
                with self.subTest(source=source, target=target):
                    self.same(*self.convert(array, target), (source, target))

    def test_out_of_range_is_the_nearest_end_and_nan_is_zero(self):
        array = np.array([1e30, -1e30, np.nan, np.inf, -np.inf])
        for target in self.INTEGERS:
            limits = np.iinfo(target)
            expected = [limits.max, limits.min, 0, limits.max, limits.min]
            self.assertEqual(tarn.from_numpy(array).to(target).tolist(), expected)

    @unittest.skipUnless(ml_dtypes, "no ml_dtypes here")
    def test_bfloat16_and_float8(self):
        for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
            kind = getattr(ml_dtypes, name)
            size = np.dtype(kind).itemsize
            every = np.arange(1 << (8 * size), dtype=f"u{size}").view(kind)
            for target in ("float32", "float64"):
                self.same(*self.convert(every, target), (name, target))
            for source in ("float16", "float32"):
                self.same(*self.convert(self.patterns(source), name), (source, name))


class Files(unittest.TestCase):
    def test_files_go_both_ways(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.npy"
            for name in numpy_peer.NAMES:
                array = sample(name)
                for view in (array, array.T, array[::2, 1::3], array[:0], array[0, 0, ...]):
                    np.save(path, view)
                    whole = path.read_bytes()
                    loaded, mapped = tarn.load_npy(path), tarn.load_npy(path, mmap_mode="r")
                    for tensor in (loaded, mapped):
                        self.assertEqual((tensor.dtype, tensor.shape), (name, view.shape))
                        self.assertEqual(tensor.numpy().tobytes(), view.tobytes())
                    self.assertEqual((loaded.read_only, mapped.read_only), (False, True))
                    tarn.save_npy(path, tarn.from_numpy(view), sync=True)
                    self.assertEqual(path.read_bytes(), whole)
            written = tarn.load_npy(path, mmap_mode="r+")
            written.fill_(1)
            self.assertEqual(np.load(path).item(), 1)
            private = tarn.load_npy(str(path), mmap_mode="c")
            private.fill_(0)
            self.assertEqual(np.load(path).item(), 1)

    def test_what_is_no_file_of_ours_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "a.npy")
            with self.assertRaises(FileNotFoundError):
                tarn.load_npy(path)
            with open(path, "wb") as file:
                file.write(b"nothing of the kind")
            with self.assertRaises(tarn.ArgumentError):
                tarn.load_npy(path, mmap_mode="r")
            np.save(path, np.array(["text"]))
            with self.assertRaises(TypeError):
                tarn.load_npy(path)
            with self.assertRaises(ValueError):
                tarn.load_npy(path, mmap_mode="w")
            with self.assertRaises(OSError):
                tarn.save_npy(os.path.join(folder, "no", "a.npy"), tarn.zeros(1))


class Readme(unittest.TestCase):
    def test_the_readmes_example_says_what_happens(self):
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
            blocks = re.findall(r"^```python\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
        self.assertEqual(len(blocks), 1)
        test = doctest.DocTestParser().get_doctest(blocks[0], {}, "README.md", None, 0)
        self.assertGreater(len(test.examples), 5)
        words = io.StringIO()
        doctest.DocTestRunner().run(test, out=words.write)
        self.assertEqual(words.getvalue(), "")


class Chains(unittest.TestCase):
    def test_random_chains_of_views_and_copies(self):
        if IS_VERSION_2:
            chains.run_chains(numpy_peer.NumpyPeer(), OPTIONS)
        else:
            self.skipTest("the chains are for NumPy 2")


if __name__ == "__main__":
    print(f"tarn {tarn.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}")
    sys.exit(unittest.main(argv=[sys.argv[0], *REST], warnings="ignore"))
