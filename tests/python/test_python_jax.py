# test_python_jax.py: tarn and real JAX on the CPU: the third DLPack peer, with bfloat16 and float8.
#
# usage: test_python_jax.py [--seed N] [--count VIEWS] [--chain NUMBER] [unittest's arguments]
import gc
import os
import random
import sys
import unittest

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import tarn

import chains
import numpy_peer

jax.config.update("jax_enable_x64", True)
OPTIONS, REST = chains.arguments(10_000)
NAMES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 "
    "complex64 complex128 float8_e3m4 float8_e4m3 float8_e4m3fn float8_e4m3b11fnuz float8_e5m2 "
    "float8_e8m0fnu"
).split()


def bits(x):
    return np.asarray(x).tobytes()


def is_compact(tensor):
    """What JAX takes: some order of the dimensions is row-major without gaps."""
    steps = sorted((stride, size) for size, stride in zip(tensor.shape, tensor.stride())
                   if size != 1)
    expected = 1
    for stride, size in steps:
        if stride != expected:
            return False
        expected *= size
    return True


class Types(unittest.TestCase):
    def test_every_type_is_shared_both_ways(self):
        for name in NAMES:
            with self.subTest(dtype=name):
                x = jnp.arange(1, 7).astype(name).reshape(2, 3)
                t = tarn.from_dlpack(x)
                self.assertEqual((t.dtype, t.shape, t.stride()), (name, (2, 3), (3, 1)))
                self.assertEqual(t.data_ptr(), x.unsafe_buffer_pointer())
                back = jnp.from_dlpack(t)
                self.assertEqual((back.dtype, back.shape), (x.dtype, x.shape))
                self.assertEqual(back.unsafe_buffer_pointer(), t.data_ptr())
                self.assertEqual(bits(back), bits(x))
                self.assertEqual(bits(t.numpy()), bits(x))

    def test_transposes_go_both_ways(self):
        t = tarn.asarray([[1, 2, 3], [4, 5, 6]], "int32")
        x = jnp.from_dlpack(t.T)
        self.assertEqual(x.tolist(), t.T.tolist())
        self.assertEqual(x.unsafe_buffer_pointer(), t.data_ptr())
        self.assertEqual(tarn.from_dlpack(x).tolist(), x.tolist())

    def test_copies_are_asked_for(self):
        t = tarn.asarray([1.0, 2.0])
        self.assertEqual(jnp.from_dlpack(t, copy=False).unsafe_buffer_pointer(), t.data_ptr())
        copied = tarn.from_dlpack(jnp.arange(3), copy=True)
        self.assertEqual((copied.tolist(), copied.was_copied), ([0, 1, 2], True))

    def test_read_only_memory_is_refused_where_it_cannot_be_said(self):
        frozen = tarn.from_buffer(b"abcd")
        try:
            x = jnp.from_dlpack(frozen)
        except BufferError:
            pass  # JAX asks for the form that has no flag
        else:
            self.assertEqual(x.tolist(), list(b"abcd"))

    def test_the_memory_lives_as_long_as_its_last_owner(self):
        pool = tarn.Pool()
        x = jnp.from_dlpack(tarn.full((4, 16), 3, pool=pool))
        gc.collect()
        self.assertEqual(float(x.sum()), 192)
        del x
        gc.collect()
        self.assertEqual(pool.stats()["free_count"], 1)
        t = tarn.from_dlpack(jnp.arange(100) * 2)[10:]
        gc.collect()
        self.assertEqual(t[0].item(), 20)


class Views(unittest.TestCase):
    def test_random_views_arrive_with_the_same_bits_or_are_refused(self):
        """JAX takes compact strides alone; the tensors come from chains of NumPy's steps."""
        peer, taken, shared = numpy_peer.NumpyPeer(), 0, 0
        print(f"seed {OPTIONS.seed}")
        numbers = range(OPTIONS.count) if OPTIONS.chain is None else [OPTIONS.chain]
        for number in numbers:
            rng = random.Random(f"{OPTIONS.seed}/{number}")
            dtype = rng.choice(numpy_peer.NAMES)
            _, keeper = peer.base(rng, dtype, chains.random_shape(rng, rank_max=4))
            t = tarn.from_numpy(keeper)
            for _ in range(rng.randint(0, 3)):
                try:
                    t = peer.apply_to_tarn(t, peer.random_step(rng, t))
                except (tarn.TarnError, TypeError, ValueError):
                    continue
            words = f"view {number} of seed {OPTIONS.seed}: {t.dtype} {t.shape} {t.stride()}"
            held, x = t.storage_use_count(), None
            try:
                x = jnp.from_dlpack(t)
            except Exception as error:  # noqa: BLE001 - JAX has several classes for it
                self.assertFalse(is_compact(t) and t.size, f"{words}: {error}")
            if x is None:
                self.assertEqual(t.storage_use_count(), held, words)
                continue
            taken += 1
            shared += bool(t.size) and x.unsafe_buffer_pointer() == t.data_ptr()
            self.assertEqual((x.shape, str(x.dtype)), (t.shape, str(t.dtype)), words)
            self.assertEqual(bits(x), t.numpy().tobytes(), words)
            again = tarn.from_dlpack(x)
            self.assertEqual(again.clone().numpy().tobytes(), bits(x), words)
        print(f"{len(numbers)} views, {taken} taken by JAX, {shared} of them without a copy")


if __name__ == "__main__":
    print(f"tarn {tarn.__version__}, JAX {jax.__version__}, Python {sys.version.split()[0]}")
    sys.exit(unittest.main(argv=[sys.argv[0], *REST]))
