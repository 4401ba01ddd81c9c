# test_python_views.py: keys, shapes and views of the package alone, without NumPy or PyTorch.
import array
import collections.abc
import sys
import unittest

import tarn


class Indexing(unittest.TestCase):
    def setUp(self):
        self.t = tarn.asarray([[0, 1, 2], [3, 4, 5]])

    def test_keys(self):
        t = self.t
        self.assertEqual(t[1].tolist(), [3, 4, 5])
        self.assertEqual(t[-1, ::-2].tolist(), [5, 3])
        self.assertEqual(t[..., None, 1].tolist(), [[1], [4]])
        self.assertEqual(t[()].tolist(), t.tolist())
        self.assertEqual([row.tolist() for row in t], t.tolist())
        self.assertEqual(t[:, -(2**63) :: -1].tolist(), [[], []])
        self.assertEqual(t[:, : -(2**63)].tolist(), [[], []])
        self.assertEqual(t[tarn.asarray(1), 0].item(), 3)
        for key in (2, -3, (0, 0, 0), True, [0, 1], "a", 1.0, (..., ...), (0, True), 2**70):
            with self.assertRaises(IndexError):
                t[key]
        with self.assertRaises(IndexError):
            t[0, 0][0]

    def test_assignment_broadcasts(self):
        t = self.t
        t[0] = 7
        t[:, 1] = tarn.asarray([8, 9])
        t[1, ::2] = [[1, 2]]
        self.assertEqual(t.tolist(), [[7, 8, 7], [1, 9, 2]])
        with self.assertRaises(ValueError):
            t[0] = [1, 2]
        with self.assertRaises(TypeError):
            del t[0]

    def test_overlap_is_exact_or_an_error(self):
        t = tarn.asarray([0, 1, 2, 3])
        t[1:] = t[:-1]
        self.assertEqual(t.tolist(), [0, 0, 1, 2])
        with self.assertRaises(tarn.OverlapError):
            t[:] = t[::-1]
        with self.assertRaises(tarn.OverlapError):
            t.expand(3, 4).fill_(1)

    def test_scalars_are_numbers(self):
        t = self.t
        self.assertEqual((int(t[1, 1]), float(t[1, 1]), complex(t[1, 1])), (4, 4.0, 4 + 0j))
        self.assertTrue(t[1, 1])
        self.assertFalse(t[0, 0])
        self.assertEqual([10, 20, 30][t[0, 1]], 20)
        with self.assertRaises(ValueError):
            t.item()
        with self.assertRaises(ValueError):
            bool(t)
        with self.assertRaises(TypeError):
            len(t[0, 0])
        with self.assertRaises(TypeError):
            [1][tarn.zeros(())]

    def test_a_shape_may_be_any_sequence(self):
        for shape in (tarn.asarray([2, 3]), array.array("i", [2, 3]), range(2, 4), [2, 3]):
            self.assertEqual(tarn.zeros(shape).shape, (2, 3))
            self.assertEqual(tarn.zeros(6).reshape(shape).shape, (2, 3))
        self.assertEqual(tarn.zeros(tarn.asarray([4])).shape, (4,))
        self.assertEqual(tarn.zeros(tarn.asarray(4)).shape, (4,))
        for bad in (2.0, None, (2, 3.0)):
            with self.assertRaisesRegex(TypeError, "integer"):
                tarn.zeros(bad)

    def test_arrays_of_indices_are_refused_as_copies(self):
        for key in (tarn.asarray([0, 1]), tarn.asarray([True, False]), tarn.asarray(True),
                    (0, tarn.asarray([0, 1])), 1.0, [0]):
            with self.assertRaisesRegex(IndexError, "would be a copy"):
                self.t[key]
            with self.assertRaisesRegex(IndexError, "would be a copy"):
                self.t[key] = 0

    def test_what_compares_elements_is_refused_and_not_wrong(self):
        with self.assertRaisesRegex(TypeError, "tolist"):
            1 in self.t
        with self.assertRaises(TypeError):
            iter(self.t[0, 0])
        self.assertEqual([row.tolist() for row in iter(self.t)], self.t.tolist())
        self.assertIsInstance(self.t, collections.abc.Iterable)

    def test_a_dimension_is_cut_into_views(self):
        t = tarn.asarray([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])

        def rows(pieces):
            self.assertIsInstance(pieces, tuple)
            self.assertTrue(all(piece.shares_memory(t) for piece in pieces))
            return [piece[0].tolist() if piece.ndim > 1 else piece.tolist() for piece in pieces]

        self.assertEqual(rows(t.split(2, 1)), [[0, 1], [2, 3], [4]])
        self.assertEqual(rows(t.split([1, 0, 4], dim=-1)), [[0], [], [1, 2, 3, 4]])
        self.assertEqual(rows(t.chunk(4, 1)), [[0, 1], [2, 3], [4]])
        self.assertEqual(rows(t.tensor_split(3, 1)), [[0, 1], [2, 3], [4]])
        self.assertEqual(rows(t.tensor_split((-2, 2, -(2**63)), 1)),
                         [[0, 1, 2], [], [], [0, 1, 2, 3, 4]])
        self.assertEqual(rows(t.unbind()), t.tolist())
        self.assertEqual([len(tarn.zeros(0).split(3)), len(tarn.zeros(0).chunk(3)),
                          len(tarn.zeros(0).unbind())], [1, 3, 0])
        self.assertEqual(t.unfold(1, 3, 2).tolist(),
                         [[[0, 1, 2], [2, 3, 4]], [[5, 6, 7], [7, 8, 9]]])
        self.assertEqual(t.diagonal(1).tolist(), [1, 7])
        self.assertEqual(t.flatten().unflatten(0, (5, -1)).shape, (5, 2))
        for bad in (lambda: t.split(0), lambda: t.split(-1), lambda: t.split([1]),
                    lambda: t.split([3, -1]), lambda: t.split([2**63 - 1, 2**63 - 1]),
                    lambda: t.chunk(0), lambda: t.tensor_split(0), lambda: t.unfold(0, 3, 1),
                    lambda: t.unfold(0, 1, 0), lambda: t.unflatten(0, (3,)),
                    lambda: t.diagonal(0, 1, 1), lambda: t.split([])):
            with self.assertRaises(tarn.ArgumentError):
                bad()
        for bad in (lambda: t.split(1, 2), lambda: t.unbind(-3), lambda: t.diagonal(0, 0, 2),
                    lambda: t[0].diagonal(), lambda: t.unflatten(2, (1,))):
            with self.assertRaises(IndexError):
                bad()
        for bad in (lambda: t.split(1.0), lambda: t.split(None), lambda: t.chunk([1])):
            with self.assertRaises(TypeError):
                bad()

    def test_channels_may_lie_innermost(self):
        t = tarn.empty((2, 3, 4, 5), memory_format="channels_last")
        self.assertEqual((t.shape, t.stride()), ((2, 3, 4, 5), (60, 1, 15, 3)))
        t.copy_(tarn.asarray([float(i) for i in range(120)]).view(2, 3, 4, 5))
        self.assertTrue(t.is_contiguous(memory_format="channels_last"))
        self.assertFalse(t.is_contiguous() or t.is_contiguous(memory_format="channels_last_3d"))
        self.assertIs(t.contiguous(memory_format="channels_last"), t)
        rows = t.contiguous(memory_format="contiguous_format")
        self.assertEqual((rows.stride(), rows.was_copied), ((60, 20, 5, 1), True))
        back = rows.contiguous(memory_format="channels_last")
        self.assertEqual((back.stride(), back.was_copied), (t.stride(), True))
        self.assertEqual((back.tolist(), rows.tolist()), (t.tolist(), t.tolist()))
        cube = tarn.zeros((1, 2, 3, 4, 5)).contiguous(memory_format="channels_last_3d")
        self.assertEqual(cube.stride()[1], 1)
        uses = tarn.default_pool().stats()["active_bytes"]
        for bad in (lambda: tarn.empty(3, memory_format="channels_last"),
                    lambda: rows.contiguous(memory_format="channels_last_3d"),
                    lambda: rows.is_contiguous(memory_format="nhwc"),
                    lambda: tarn.empty(3, memory_format=4)):
            with self.assertRaises(tarn.ArgumentError):
                bad()
        self.assertEqual(tarn.default_pool().stats()["active_bytes"], uses)


if __name__ == "__main__":
    print(f"tarn {tarn.__version__}, Python {sys.version.split()[0]}")
    unittest.main()
