# _cupy.py: CuPy's arrays from tarn's pools, in the order of CuPy's streams.
import importlib

from tarn import _tarn

__all__ = ["CupyAllocator", "cupy_allocator"]

_CUDA_PREFIX = "cuda:"
_EXTERNAL = "a stream that somebody else keeps"


class CupyAllocator:
    """What cupy.cuda.set_allocator takes; made by cupy_allocator."""

    __slots__ = ("_cupy", "_lenders", "_pool")

    def __init__(self, pool):
        self._cupy = importlib.import_module("cupy")
        self._pool = pool
        self._lenders = {}  # by device
        if pool is not None and not pool.device.startswith(_CUDA_PREFIX):
            raise _tarn.ArgumentError(f"CuPy's arrays lie on a GPU, not where {pool!r} does")

    def __call__(self, size):
        """A cupy.cuda.MemoryPointer to memory of the current device, on the current stream."""
        cuda = self._cupy.cuda
        device = cuda.device.get_device_id()
        lender, handle = self._stream(device, cuda.get_current_stream())
        try:
            loan = lender.lend(size, handle)
        except MemoryError as error:
            raise self._out_of_memory(device, size) from error
        return cuda.MemoryPointer(cuda.UnownedMemory(loan.ptr, size, loan, device), 0)

    def note_use(self, array, stream=None):
        """What `stream`, or the current one, has to do by now uses the array's memory: where it is
        not the stream that the array was made on, and that one does not wait for it."""
        if stream is None:
            stream = self._cupy.cuda.get_current_stream()
        lender, handle = self._stream(array.data.device_id, stream)
        lender.note_use(array.data.mem.ptr, handle)

    def forget(self, stream):
        """`stream` is about to be destroyed: for what cupy.cuda.ExternalStream wraps. CuPy's own
        streams need not be forgotten."""
        for lender in self._lenders.values():
            lender.forget(stream.ptr)
            lender.streams.pop(stream.ptr, None)

    def _stream(self, device, stream):
        lender = self._lenders.get(device) or self._meet_device(device)
        handle = stream.ptr
        kept = lender.streams.get(handle)
        if kept is not stream:
            is_owned = isinstance(stream, self._cupy.cuda.Stream)
            if is_owned or kept is None:
                # CuPy destroys a stream with its object, without a word to others. Kept here it
                # cannot end; once nobody else has it, it is forgotten first and ends then.
                lender.sweep()
                lender.streams[handle] = stream if is_owned else _EXTERNAL
        return lender, handle

    def _meet_device(self, device):
        pool = self._pool
        if pool is None:
            pool = _tarn.default_pool(f"{_CUDA_PREFIX}{device}")
        elif pool.device != f"{_CUDA_PREFIX}{device}":
            raise _tarn.ArgumentError(f"the current device is {device}, {pool!r} is {pool.device}")
        return self._lenders.setdefault(device, _tarn._Lender(pool))

    def _out_of_memory(self, device, size):
        pool = self._pool or _tarn.default_pool(f"{_CUDA_PREFIX}{device}")
        return self._cupy.cuda.memory.OutOfMemoryError(size, pool.stats()["allocated_bytes"])

    def __repr__(self):
        return f"<tarn.CupyAllocator of {self._pool or 'the default pools'!r}>"


def cupy_allocator(pool=None):
    """An allocator for CuPy: memory of `pool`, a Pool on a GPU; None: the current device's default
    pool.

        cupy.cuda.set_allocator(tarn.cupy_allocator(tarn.Pool('cuda', limit_bytes=8 << 30)))

    Memory is lent on CuPy's current stream and comes back in that one's order, with the array, from
    whatever thread; another stream that used it has to be waited for, or noted by note_use(array).
    An array keeps its pool alive. Out of memory is cupy.cuda.memory.OutOfMemoryError.
    """
    return CupyAllocator(pool)
