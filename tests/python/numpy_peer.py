# numpy_peer.py: NumPy as the other side of a chain: the same steps in its words.
import numpy as np
import tarn

import chains
from chains import LAXER, STRICTER, Difference

NAMES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 "
    "complex64 complex128"
).split()
SAME_SIZE = {1: ("int8", "uint8"), 2: ("int16", "uint16", "float16"),
             4: ("int32", "uint32", "float32"),
             8: ("int64", "uint64", "float64", "complex64"), 16: ("complex128",)}


def is_overlapping(array):
    """Two indices reach one element; NumPy's broadcast views are so."""
    return any(size > 1 and stride == 0 for size, stride in zip(array.shape, array.strides))


class NumpyPeer:
    name = "NumPy"
    has_views = True
    can_write = True
    refusals_compared = 1
    dtypes = NAMES

    def __init__(self):
        self.differences = [
            Difference(
                "squeeze of a dimension that is not of size 1", LAXER,
                "PyTorch's meaning: it stays",
                lambda step, ours, theirs, error: step[0] == "squeeze"
                and "not equal to one" in str(error)),
            Difference(
                "writing through a view that reaches an element twice", STRICTER,
                "the result would depend on the order; NumPy refuses broadcast views only",
                lambda step, ours, theirs, error: step[0] == "copy_"
                and isinstance(error, tarn.OverlapError)),
            Difference(
                "writing to broadcasts, windows and diagonals that have no element twice", LAXER,
                "NumPy makes all of them read-only",
                lambda step, ours, theirs, error: step[0] in ("copy_", "overlap")
                and "read-only" in str(error)),
            Difference(
                "a size of -2 or less in reshape", STRICTER, "NumPy takes it for -1",
                lambda step, *_: step[0].startswith("reshape") and min(step[1]) < -1),
            Difference(
                "complex to a real type", STRICTER,
                "NumPy drops the imaginary part, with a warning",
                lambda step, ours, theirs, error: step[0] == "copy_" and "complex" in step[1]),
            Difference(
                "a copy between two views that overlap", STRICTER,
                "exact where memmove is, else an error; NumPy makes a hidden copy first",
                lambda step, ours, theirs, error: step[0] == "overlap"
                and isinstance(error, tarn.OverlapError)),
        ]

    # --- bases ---

    def base(self, rng, dtype, shape, values_for=None):
        count = chains.product(shape)
        if values_for in (None, dtype):
            size = np.dtype(dtype).itemsize
            array = np.frombuffer(rng.randbytes(count * size), np.uint8)
            array = (array & 1).view(bool) if dtype == "bool" else array.view(dtype)
            array = array.reshape(shape)
        else:
            array = self.values(rng, dtype, values_for, count).reshape(shape)
        return array.copy(), array.copy()

    def values(self, rng, dtype, target, count):
        """Values that the target can hold, so that every library's conversion means the same."""
        low = 0 if "uint" in target or "uint" in dtype else -60
        numbers = [rng.randint(low, 120) for _ in range(count)]
        array = np.array(numbers, "float64")
        if "float" in dtype or "complex" in dtype:
            array = array + np.array([rng.choice((0, 0.5, 0.3, 0.126)) for _ in range(count)])
        with np.errstate(all="ignore"):
            return array.astype(dtype)

    def tensor(self, keeper):
        return tarn.from_numpy(keeper)

    def random_source_dtype(self, rng, dtype):
        return rng.choice(NAMES)

    def transposed(self, theirs, ours):
        return theirs.T, ours.T

    def place(self, array):
        return array.__array_interface__["data"][0]

    def strides(self, array):
        return array.strides

    def is_copy(self, new, old):
        return new.size > 0 and not np.may_share_memory(new, old)

    def may_copy(self, step):
        return False

    def bits(self, array):
        return array.tobytes()

    def bits_of_tarn(self, tensor):
        return np.asarray(tensor).tobytes()

    def same_list(self, ours, array):
        return np.array(ours, array.dtype).tobytes() == array.tobytes() or repr(ours) == repr(
            array.tolist())

    def copy_into(self, array, source):
        with np.errstate(all="ignore"):
            np.copyto(array, source, casting="unsafe")

    def same_after_copy(self, ours, theirs, source_dtype, dtype):
        return np.asarray(ours).tobytes() == theirs.tobytes()

    # --- steps ---

    def random_step(self, rng, view):
        shape, rank = view.shape, view.ndim
        name = rng.choice((
            "index", "index", "index", "permute", "swapaxes", "moveaxis", "reshape", "reshape",
            "reshape_view", "squeeze", "unsqueeze", "broadcast", "flip", "ravel", "T", "mT",
            "view_dtype", "as_strided", "tensor_split", "diagonal", "windows"))
        if name == "index":
            return name, chains.random_key(rng, shape)
        if name == "permute":
            axes = list(range(rank))
            rng.shuffle(axes)
            axes = [axis - rank if rng.random() < 0.3 else axis for axis in axes]
            if axes and rng.random() < 0.05:
                axes[0] = rng.randint(-rank - 1, rank)
            return name, tuple(axes)
        if name in ("swapaxes", "moveaxis"):
            return name, chains.random_dim(rng, rank), chains.random_dim(rng, rank)
        if name == "tensor_split":
            return name, *chains.random_pieces(rng, name, rank, shape[-1] if rank else 0)
        if name == "diagonal":
            return (name, rng.randint(-4, 4), chains.random_dim(rng, rank),
                    chains.random_dim(rng, rank))
        if name == "windows":
            dim = chains.random_dim(rng, rank)
            return name, dim, chains.random_window(rng, shape, dim)
        if name in ("reshape", "reshape_view"):
            return name, chains.random_new_shape(rng, shape)
        if name == "squeeze":
            ones = [i for i, size in enumerate(shape) if size == 1]
            if not ones or rng.random() < 0.3:
                return name, None if rng.random() < 0.6 else chains.random_dim(rng, rank)
            return name, rng.choice(ones)
        if name == "unsqueeze":
            return name, rng.randint(-rank - 2, rank + 1) if rng.random() < 0.1 else rng.randint(
                -rank - 1, rank)
        if name == "broadcast":
            return name, chains.random_broadcast(rng, shape)
        if name == "flip":
            count = rng.randint(0, min(rank, 3))
            return name, tuple(rng.sample(range(-rank, 0), count)) if rank else ()
        if name == "view_dtype":
            return name, rng.choice(SAME_SIZE[view.itemsize])
        if name == "as_strided":
            return (name, *self.random_strided(rng, view))
        return (name,)

    def random_strided(self, rng, view):
        """A window on what the view reaches, in its own strides: NumPy checks no bounds."""
        sizes, strides = [], []
        if view.ndim == 1 and view.size > 1 and rng.random() < 0.3:  # windows that overlap
            width = rng.randint(1, view.size)
            return (view.size - width + 1, width), (view.stride(0), view.stride(0))
        for size, stride in zip(view.shape, view.stride()):
            step = rng.choice((1, 1, 2))
            kept = rng.randint(0 if rng.random() < 0.05 else min(1, size), size)
            if step * (kept - 1) >= size:
                step = 1
            sizes.append(kept)
            strides.append(stride * step)
        return tuple(sizes), tuple(strides)

    def apply_to_tarn(self, t, step):
        name, args = step[0], step[1:]
        if name == "index":
            return t[args[0]]
        if name == "permute":
            return t.permute(args[0])
        if name in ("swapaxes", "moveaxis"):
            return getattr(t, name)(*args)
        if name == "reshape":
            return t.reshape(args[0])
        if name == "reshape_view":
            return t.reshape(args[0], copy=False)
        if name == "squeeze":
            return t.squeeze(args[0])
        if name == "unsqueeze":
            return t.unsqueeze(args[0])
        if name == "broadcast":
            return t.broadcast_to(args[0])
        if name == "flip":
            return t.flip(*args[0]) if args[0] else t[...]
        if name == "ravel":
            return t.flatten()
        if name == "tensor_split":
            return chains.pick(t.tensor_split(*args[:-1]), args[-1])
        if name == "diagonal":
            return t.diagonal(*args)
        if name == "windows":
            return t.unfold(*args, 1)
        if name == "view_dtype":
            return t.view(args[0])
        if name == "as_strided":
            return t.as_strided(*args)
        return getattr(t, name)

    def apply_to_peer(self, a, step):
        name, args = step[0], step[1:]
        if name == "index":
            return a[args[0]]
        if name == "permute":
            return a.transpose(args[0]) if args[0] else a.view()
        if name == "swapaxes":
            return a.swapaxes(*args)
        if name == "moveaxis":
            return np.moveaxis(a, *args)
        if name == "reshape":
            return a.reshape(args[0])
        if name == "reshape_view":
            return a.reshape(args[0], copy=False)
        if name == "squeeze":
            return a.squeeze(args[0])
        if name == "unsqueeze":
            return np.expand_dims(a, args[0])
        if name == "broadcast":
            return np.broadcast_to(a, args[0])
        if name == "flip":
            return np.flip(a, args[0]) if args[0] else a[...]  # a scalar's would be a copy
        if name == "ravel":
            return a.reshape(-1)  # ravel() copies what is not contiguous, too
        if name == "view_dtype":
            return a.view(args[0])
        if name == "tensor_split":
            return chains.pick(np.array_split(a, *args[:-1]), args[-1])
        if name == "diagonal":
            return a.diagonal(*args)
        if name == "windows":
            return np.lib.stride_tricks.sliding_window_view(a, args[1], args[0])
        if name == "as_strided":
            sizes, strides = args
            strides = tuple(stride * a.itemsize for stride in strides)
            return np.lib.stride_tricks.as_strided(a, sizes, strides)
        return getattr(a, name)
