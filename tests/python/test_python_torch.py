# test_python_torch.py: tarn and real PyTorch: DLPack both ways, and random chains of views.
#
# usage: test_python_torch.py [--seed N] [--count CHAINS] [--chain NUMBER] [unittest's arguments]
import gc
import sys
import threading
import unittest

import tarn
import torch
from torch.utils import dlpack

import capsules
import chains
import torch_peer

OPTIONS, REST = chains.arguments(40_000)
NAMES = [name for name in torch_peer.NAMES if name != "bool"]


class FromTorch(unittest.TestCase):
    def test_every_type_is_shared_both_ways(self):
        for name in NAMES:
            with self.subTest(dtype=name):
                x = torch.arange(24).to(getattr(torch, name)).reshape(4, 6)
                t = tarn.from_dlpack(x)
                self.assertEqual((t.dtype, t.shape, t.stride()), (name, (4, 6), x.stride()))
                self.assertEqual(t.data_ptr(), x.data_ptr())
                t[3, 5] = t[0, 1]
                self.assertEqual(x[3, 5], x[0, 1])
                x[2, 2] = x[0, 3]
                t.clone()
                self.assertTrue(torch.equal(torch.from_dlpack(t), x))

    def test_views_keep_their_strides(self):
        x = torch.arange(120).reshape(4, 5, 6)
        for view in (x[1:], x[:, 2], x.transpose(0, 2), x[::2, 1:4:2], x.permute(2, 0, 1)[3],
                     x[0, 0, 0], x[:, :0], x.expand(2, 4, 5, 6), x.unfold(1, 2, 2),
                     x.diagonal(dim1=0, dim2=2), x[:1]):
            t = tarn.from_dlpack(view)
            self.assertEqual(t.shape, tuple(view.shape))
            self.assertEqual(t.tolist(), view.tolist())
            for size, ours, theirs in zip(t.shape, t.stride(), view.stride()):
                if size > 1 and t.size:  # 1.13 exports 1 where nobody steps
                    self.assertEqual(ours, theirs)

    def test_memory_formats_are_pytorchs(self):
        formats = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)
        for shape in ((2, 3, 4, 5), (1, 3, 1, 5), (4, 1, 2, 2), (2, 3, 1, 1), (1, 1, 1, 1),
                      (2, 3, 4, 5, 6), (2, 1, 3, 1, 2), (3, 4)):
            x = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
            for source in (x, x.transpose(0, -1), x.movedim(1, -1), x[..., ::2]):
                for form in formats:
                    t = tarn.from_numpy(source.numpy())
                    self.assertEqual(t.is_contiguous(memory_format=form),
                                     source.is_contiguous(memory_format=form), (shape, form))
                    if form != formats[0] and source.ndim != 3 + formats.index(form):
                        continue
                    ours, theirs = (y.contiguous(memory_format=form) for y in (t, source))
                    self.assertTrue(torch.equal(torch.from_dlpack(ours), theirs))
                    for size, a, b in zip(ours.shape, ours.stride(), theirs.stride()):
                        self.assertTrue(size == 1 or a == b, (shape, form))

    def test_the_memory_lives_as_long_as_the_tensor(self):
        x = torch.arange(1000)
        t = tarn.from_dlpack(x)[::3]
        expected = x[::3].tolist()
        del x
        gc.collect()
        self.assertEqual(t.tolist(), expected)

    def test_gradients_and_conjugates_are_refused_by_the_producer(self):
        for x in (torch.zeros(2, requires_grad=True), torch.zeros(2, dtype=torch.complex64).conj()):
            with self.assertRaises((BufferError, RuntimeError)):
                tarn.from_dlpack(x)

    def test_a_capsule_of_torch_utils_is_taken_once(self):
        capsule = dlpack.to_dlpack(torch.arange(3))
        self.assertEqual(tarn.from_dlpack(capsule).tolist(), [0, 1, 2])
        with self.assertRaises(BufferError):
            tarn.from_dlpack(capsule)
        unconsumed = dlpack.to_dlpack(torch.arange(3))
        del unconsumed


class ToTorch(unittest.TestCase):
    def test_every_type_goes_both_ways(self):
        for name in NAMES:
            with self.subTest(dtype=name):
                t = tarn.zeros((3, 4), name)
                x = torch.from_dlpack(t.T)
                self.assertEqual(x.dtype, getattr(torch, name))
                self.assertEqual((tuple(x.shape), x.stride()), ((4, 3), (1, 4)))
                x[3, 2] = 1
                self.assertEqual(bytes(torch_peer.TorchPeer().bits_of_tarn(t[2, 3])),
                                 torch_peer.TorchPeer().bits(x[3, 2]))
                self.assertEqual(x.data_ptr(), t.data_ptr())

    def test_the_capsule_is_legacy_and_consumed_once(self):
        t = tarn.asarray([1, 2, 3])
        capsule = t.__dlpack__()
        x = dlpack.from_dlpack(capsule)
        self.assertEqual(capsules.name_of(capsule), b"used_dltensor")
        with self.assertRaises(RuntimeError):
            dlpack.from_dlpack(capsule)
        self.assertEqual(t.storage_use_count(), 2)
        del x
        self.assertEqual(t.storage_use_count(), 1)

    def test_torch_keeps_the_memory(self):
        pool = tarn.Pool()
        x = torch.from_dlpack(tarn.full(100, 3, pool=pool))[50:]
        gc.collect()
        self.assertEqual(x.tolist(), [3.0] * 50)
        self.assertEqual(pool.stats()["free_count"], 0)
        del x
        self.assertEqual(pool.stats()["free_count"], 1)

    def test_what_pytorch_cannot_say_is_refused(self):
        frozen = tarn.from_buffer(b"abcd")
        with self.assertRaises(BufferError):  # the form that 1.13 reads has no read-only flag
            torch.from_dlpack(frozen)
        self.assertEqual(frozen.storage_use_count(), 1)

    def test_empty_and_scalar_tensors(self):
        for shape in ((), (0,), (0, 3), (3, 0), (1, 1)):
            t = tarn.zeros(shape)
            self.assertEqual(tuple(torch.from_dlpack(t).shape), shape)
            self.assertEqual(tarn.from_dlpack(torch.zeros(shape)).shape, shape)

    def test_the_buffer_protocol_does_as_well(self):
        t = tarn.zeros(8, "int32")
        x = torch.frombuffer(t, dtype=torch.int32)
        x[3] = 5
        self.assertEqual(t[3].item(), 5)

    def test_threads_drop_the_last_references(self):
        pool = tarn.Pool()
        kept = [(torch.from_dlpack(tarn.empty(64, pool=pool)), tarn.from_dlpack(torch.zeros(64)))
                for _ in range(500)]

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
        self.assertEqual(pool.stats()["free_count"], 500)

    def test_a_thousand_round_trips_leak_nothing(self):
        t = tarn.zeros((4, 5))
        count = sys.getrefcount(t)
        for _ in range(1000):
            tarn.from_dlpack(torch.from_dlpack(t[1:]))
            with self.assertRaises(BufferError):
                t.__dlpack__(stream=3)
        self.assertEqual((t.storage_use_count(), sys.getrefcount(t)), (1, count))


class Chains(unittest.TestCase):
    def test_random_chains_of_views_and_copies(self):
        torch.set_num_threads(1)
        chains.run_chains(torch_peer.TorchPeer(), OPTIONS)


if __name__ == "__main__":
    print(f"tarn {tarn.__version__}, PyTorch {torch.__version__}, "
          f"Python {sys.version.split()[0]}")
    sys.exit(unittest.main(argv=[sys.argv[0], *REST], warnings="ignore"))
