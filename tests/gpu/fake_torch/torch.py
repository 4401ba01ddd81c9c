# torch.py: as much of PyTorch as torch_peers.py asks for, without a GPU, for its test.
import os

SEGMENT_BYTES = 2 << 20
IS_EXPANDABLE = "expandable_segments:True" in os.environ.get("PYTORCH_ALLOC_CONF", "")
__version__ = "0-fake"


def compiled_with_cxx11_abi():
    return True


def zeros(count, device):
    assert (count, device) == (1, "cuda")


class cuda:
    """An allocator that keeps nothing, and rounds up where segments cannot grow."""

    live, next, reserved, peak = {}, 1 << 30, 0, 0

    def is_available():
        return True

    def init():
        pass

    synchronize = empty_cache = init

    def reset_peak_memory_stats():
        cuda.peak = cuda.reserved

    def memory_reserved():
        return cuda.reserved

    def max_memory_reserved():
        return cuda.peak

    def caching_allocator_alloc(size_bytes):
        unit = 1 if IS_EXPANDABLE else SEGMENT_BYTES
        rounded = -(-size_bytes // unit) * unit
        address, cuda.next = cuda.next, cuda.next + rounded
        cuda.live[address] = rounded
        cuda.reserved += rounded
        cuda.peak = max(cuda.peak, cuda.reserved)
        return address

    def caching_allocator_delete(address):
        cuda.reserved -= cuda.live.pop(address)
