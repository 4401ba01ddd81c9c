# torch_peer.py: PyTorch as the other side of a chain: the same steps in its words.
import tarn
import torch

import chains
from chains import LAXER, STRICTER, Difference

NAMES = (
    "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128"
).split()
SAME_SIZE = {1: ("int8", "uint8"), 2: ("int16", "float16", "bfloat16"), 4: ("int32", "float32"),
             8: ("int64", "float64", "complex64"), 16: ("complex128",)}
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def has_negative_step(step):
    return step[0] == "index" and any(
        isinstance(item, slice) and (item.step or 1) < 0 for item in step[1])


def has_leading_ones(source, target):
    extra = len(source) - len(target)
    return extra > 0 and set(source[:extra]) == {1}


class TorchPeer:
    name = "PyTorch"
    has_views = True
    can_write = True
    refusals_compared = 0.05  # PyTorch takes milliseconds to write an error
    dtypes = NAMES

    def __init__(self):
        self.differences = [
            Difference(
                "a slice with a negative step", LAXER, "NumPy's meaning; PyTorch has none",
                lambda step, *_: has_negative_step(step)),
            Difference(
                "as_strided with a negative stride", LAXER, "checked against the storage as well",
                lambda step, ours, *_: step[0] == "as_strided" and min(step[2], default=0) < 0),
            Difference(
                "dimension 0 or -1 of a scalar", STRICTER, "it has none; PyTorch lets it pass",
                lambda step, ours, theirs, error: isinstance(error, tarn.OutOfBoundsError)
                and theirs.ndim == 0),
            Difference(
                "mT of a scalar", STRICTER, "an error in later versions of PyTorch too",
                lambda step, ours, theirs, error: step[0] == "mT" and theirs.ndim == 0),
            Difference(
                "copying from more dimensions, those in front of size 1", LAXER,
                "NumPy's meaning; PyTorch refuses",
                lambda step, *_: step[0] == "copy_" and has_leading_ones(step[2], step[3])),
            Difference(
                "writing through a view that reaches an element twice", STRICTER,
                "exact for every layout; PyTorch sees strides of 0 alone",
                lambda step, ours, theirs, error: step[0] == "copy_"
                and isinstance(error, tarn.OverlapError)),
            Difference(
                "a copy between two views that overlap", STRICTER,
                "exact where memmove is, else an error; PyTorch gives garbage or an error",
                lambda step, ours, theirs, error: step[0] == "overlap"
                and isinstance(error, tarn.OverlapError)),
            Difference(
                "a copy between two views that overlap, which memmove can do", LAXER,
                "exact; PyTorch refuses",
                lambda step, ours, theirs, error: step[0] == "overlap"
                and "memory location" in str(error)),
            Difference(
                "complex to a real type", STRICTER,
                "PyTorch drops the imaginary part, with a warning",
                lambda step, ours, theirs, error: step[0] == "copy_" and "complex" in step[1]),
        ]

    # --- bases ---

    def base(self, rng, dtype, shape, values_for=None):
        count, kind = chains.product(shape), getattr(torch, dtype)
        if values_for in (None, dtype):
            size = torch.empty((), dtype=kind).element_size()
            data = bytearray(rng.randbytes(count * size))
            flat = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(
                0, dtype=torch.uint8)
            flat = (flat & 1).to(torch.bool) if dtype == "bool" else flat.view(kind)
        else:
            low = 0 if "uint" in values_for or "uint" in dtype else -60
            numbers = [rng.randint(low, 120) + rng.choice((0, 0.5, 0.3, 0.126))
                       for _ in range(count)]
            flat = torch.tensor(numbers, dtype=torch.float64)
            flat = (flat if "float" in dtype or "complex" in dtype else flat.trunc()).to(kind)
        return flat.reshape(shape).clone(), flat.reshape(shape).clone()

    def tensor(self, keeper):
        return tarn.from_dlpack(keeper) if keeper.dtype != torch.bool else tarn.from_numpy(
            keeper.numpy())  # 1.13 exports no bool by DLPack

    def random_source_dtype(self, rng, dtype):
        return rng.choice(NAMES)

    def transposed(self, theirs, ours):
        return theirs.transpose(0, 1), ours.transpose(0, 1)

    def place(self, tensor):
        return tensor.data_ptr()

    def strides(self, tensor):
        return tuple(stride * tensor.element_size() for stride in tensor.stride())

    def is_copy(self, new, old):
        return new.numel() > 0 and new.storage().data_ptr() != old.storage().data_ptr()

    def may_copy(self, step):
        return step[0] == "flip"

    def row_major(self, tensor):
        return tensor.contiguous()

    def bits(self, tensor):
        flat = tensor.contiguous()
        if not flat.numel():
            return b""
        if flat.dtype in (torch.bool, torch.bfloat16):
            flat = flat.reshape(-1).view(INTEGERS[flat.element_size()])
        return flat.numpy().tobytes()

    def bits_of_tarn(self, tensor):
        flat = tensor if tensor.dtype != "bfloat16" else tensor.view("int16")
        return memoryview(flat).tobytes()

    def same_list(self, ours, tensor):
        return repr(ours) == repr(tensor.tolist())

    def copy_into(self, tensor, source):
        tensor.copy_(source)

    def same_after_copy(self, ours, theirs, source_dtype, dtype):
        return self.bits_of_tarn(ours) == self.bits(theirs)

    # --- steps ---

    def random_step(self, rng, view):
        shape, rank = view.shape, view.ndim
        name = rng.choice((
            "index", "index", "index", "select", "narrow", "permute", "transpose", "movedim",
            "view", "view", "reshape", "reshape", "expand", "squeeze", "unsqueeze", "flip",
            "flatten", "T", "mT", "view_dtype", "as_strided", "split", "chunk", "tensor_split",
            "unbind", "unfold", "diagonal", "unflatten"))
        if name == "index":
            return name, chains.random_key(rng, shape, negative_steps=rng.random() < 0.05)
        if name in ("select", "narrow"):
            dim = chains.random_dim(rng, rank)
            size = shape[dim] if -rank <= dim < rank else 1
            if name == "select":
                return name, dim, rng.randint(-size - 1, size) if rng.random() < 0.1 else (
                    rng.randint(-size, max(size - 1, 0)))
            start = rng.randint(-size if rng.random() < 0.1 else 0, size)
            return name, dim, start, rng.randint(0, size - max(start, 0) + (rng.random() < 0.1))
        if name == "permute":
            axes = list(range(rank))
            rng.shuffle(axes)
            if axes and rng.random() < 0.05:
                axes[0] = rng.randint(-rank - 1, rank)
            return name, tuple(axes)
        if name in ("transpose", "movedim"):
            return name, chains.random_dim(rng, rank), chains.random_dim(rng, rank)
        if name in ("split", "chunk", "tensor_split"):
            return name, *chains.random_pieces(rng, name, rank, shape[-1] if rank else 0)
        if name == "unbind":
            return name, chains.random_dim(rng, rank), rng.random()
        if name == "unfold":
            dim = chains.random_dim(rng, rank)
            return name, dim, chains.random_window(rng, shape, dim), rng.randint(
                0 if rng.random() < 0.05 else 1, 3)
        if name == "diagonal":
            return (name, rng.randint(-4, 4), chains.random_dim(rng, rank),
                    chains.random_dim(rng, rank))
        if name == "unflatten":
            dim = chains.random_dim(rng, rank, wrong=0.02)
            size = shape[dim] if -rank <= dim < rank else 1
            return name, dim, chains.random_new_shape(rng, (size,)) or (1,)
        if name in ("view", "reshape"):
            return name, chains.random_new_shape(rng, shape)
        if name == "squeeze":
            return name, None if rng.random() < 0.3 else chains.random_dim(rng, rank)
        if name == "unsqueeze":
            return name, rng.randint(-rank - 2, rank + 1)
        if name == "expand":
            return name, chains.random_broadcast(rng, shape, keep=True)
        if name == "flip":
            count = rng.randint(0, min(rank, 3))
            return name, tuple(rng.sample(range(-rank, 0), count)) if rank else ()
        if name == "flatten":
            return name, chains.random_dim(rng, rank), chains.random_dim(rng, rank)
        if name == "view_dtype":
            return name, rng.choice(SAME_SIZE[view.itemsize])
        if name == "as_strided" and view.size:  # else the offset means nothing
            return (name, *self.random_strided(rng, view))
        return ("T",) if name == "as_strided" else (name,)

    def random_strided(self, rng, view):
        """Anything: both check the bounds of the storage."""
        rank = rng.randint(0, 3)
        sizes = tuple(rng.choice((0, 1, 2, 2, 3, 4)) for _ in range(rank))
        strides = tuple(rng.randint(0, 6) for _ in range(rank))
        if rank and rng.random() < 0.05:
            strides = (-rng.randint(1, 3), *strides[1:])
        offset = rng.choice((None, 0, 1, rng.randint(0, 20)))
        return sizes, strides, offset

    def apply_to_tarn(self, t, step):
        name, args = step[0], step[1:]
        if name == "index":
            return t[args[0]]
        if name == "flip":
            return t.flip(*args[0]) if args[0] else t[...]
        if name == "view_dtype":
            return t.view(args[0])
        if name in ("T", "mT"):
            return getattr(t, name)
        if name in ("split", "chunk", "tensor_split", "unbind"):
            return chains.pick(getattr(t, name)(*args[:-1]), args[-1])
        return getattr(t, name)(*args)

    def apply_to_peer(self, x, step):
        name, args = step[0], step[1:]
        if name == "index":
            return x[args[0]]
        if name == "flip":
            return x.flip(args[0]) if args[0] else x[...]
        if name == "view_dtype":
            return x.view(getattr(torch, args[0]))
        if name == "T":
            return x.permute(tuple(reversed(range(x.ndim))))  # .T of other ranks is deprecated
        if name == "mT":
            return x.mT
        if name in ("split", "chunk", "tensor_split", "unbind"):
            return chains.pick(getattr(x, name)(*args[:-1]), args[-1])
        if name == "squeeze" and args[0] is None:
            return x.squeeze()
        if name == "as_strided":
            return x.as_strided(args[0], args[1], args[2])
        return getattr(x, name)(*args)
