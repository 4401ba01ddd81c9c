# torch.py: tarn as PyTorch's CUDA allocator.
"""tarn as PyTorch's CUDA allocator.

    import tarn, torch
    tarn.torch.use()                      # before PyTorch's first use of a GPU
    x = torch.ones(1000, device='cuda')   # tarn's memory: streams, graphs, record_stream as ever
    tarn.torch.stats()                    # what torch.cuda.memory_stats cannot tell then
    tarn.torch.save_snapshot('now.json')  # and start_trace(), save_trace('last.csv')

Where there is no memory PyTorch raises a RuntimeError that begins with 'CUDA out of memory', which
is no torch.OutOfMemoryError; why there was none: tarn.torch.out_of_memory(). A device is None for
PyTorch's current one, a number, or a torch.device. alloc/adapters/torch/tarn_torch.h says more.
"""
import ctypes
import functools

from tarn import _tarn

__all__ = [
    "allocator", "close", "forget_stream", "out_of_memory", "pool", "save_snapshot", "save_trace",
    "segments", "set_pool", "start_trace", "stats", "stop_trace", "use",
]


def _index(device):
    if isinstance(device, int):
        return device
    index = getattr(device, "index", None)
    if index is None:
        import torch

        index = torch.cuda.current_device()
    return index


def allocator():
    """A torch.cuda.memory.CUDAPluggableAllocator with all hooks, not yet in use."""
    import torch

    path, hooks, _ = _tarn._torch_hooks()
    made = torch.cuda.memory.CUDAPluggableAllocator(path, "tarn_torch_malloc", "tarn_torch_free")
    for setter, address in hooks.items():
        if hasattr(made.allocator(), setter):  # older ones lack some
            getattr(made.allocator(), setter)(address)
    return made


@functools.cache
def segments():
    """The allocator for torch.cuda.MemPool(segments().allocator()): whole segments, under PyTorch's
    own caching, which raises torch.OutOfMemoryError itself."""
    import torch

    path = _tarn._torch_hooks()[0]
    made = torch.cuda.memory.CUDAPluggableAllocator(
        path, "tarn_torch_segment_alloc", "tarn_torch_segment_free")
    # A MemPool keeps its bare address (ATen/cuda/MemPool.cpp), and may be gone later than modules.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
    return made


def use(**options):
    """Makes PyTorch allocate from tarn, before its first use of a GPU; else it refuses. Options,
    for each device: limit_bytes, floor_bytes (kept when the cache is emptied), prepare_bytes (made
    ahead), memory ('virtual' or 'blocks'). Returns the allocator."""
    import torch

    _tarn._torch_set_options(**options)
    made = allocator()
    torch.cuda.memory.change_current_allocator(made)
    return made


def pool(device=None):
    """The device's tarn.Pool, which is made where it was not yet: for tensors of tarn's in the same
    memory, pausing, trimming."""
    return _tarn._torch_pool(_index(device))


def set_pool(pool, device=None):
    """The device's memory comes from this pool from now on; BusyError while blocks are out."""
    _tarn._torch_set_pool(_index(device), pool)


def stats(device=None):
    """Bytes and counts as a dict: tarn.Pool.stats() and tarn_torch_stats."""
    index = _index(device)
    return {**_tarn._torch_pool(index).stats(), **_tarn._torch_counts(index)}


def out_of_memory(device=None):
    """Why the device last had no memory, whichever thread asked, as a dict; None: never so."""
    return _tarn._torch_report(_index(device))


def save_snapshot(path, device=None):
    """Writes every block, as JSON; see alloc/tarn_pool_snapshot.h."""
    _tarn._torch_snapshot_save(_index(device), path)


def start_trace(device=None, *, entries=1 << 20):
    """Records the last so many allocations and frees from now on."""
    if entries < 1:
        raise ValueError("a trace of no entries")
    _tarn._torch_trace(_index(device), entries)


def stop_trace(device=None):
    """Records no more; what was recorded can still be saved."""
    _tarn._torch_trace(_index(device), 0)


def save_trace(path, device=None):
    """Writes what was recorded, for `tarn replay`."""
    _tarn._torch_trace_save(_index(device), path)


def forget_stream(stream, device=None):
    """To be called before a torch.cuda.ExternalStream, or a stream by its handle, is destroyed."""
    _tarn._torch_forget(_index(device), getattr(stream, "cuda_stream", stream))


def close():
    """Gives everything back where nothing is lent out any more; else BusyError."""
    _tarn._torch_close()
