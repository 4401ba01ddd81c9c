# cupy_stand_in.py: what tarn.cupy_allocator uses of CuPy, over the CUDA driver by ctypes.
#
# Where CuPy is not installed this module takes its place. Where it is, but without a GPU, CuPy's
# own memory classes are used, and only what asks the device comes from here: CuPy's CUDA runtime
# does not run on the simulated driver, which lacks the runtime's private tables.
import ctypes
import sys
import threading
import types

driver = ctypes.CDLL("libcuda.so.1")
current = threading.local()  # .stream, .device


def check(result, what):
    if result != 0:
        raise RuntimeError(f"{what} answered {result}")


def enter_context():
    context = ctypes.c_void_p()
    check(driver.cuInit(0), "cuInit")
    check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0), "cuDevicePrimaryCtxRetain")
    check(driver.cuCtxSetCurrent(context), "cuCtxSetCurrent")


class BaseStream:
    def __init__(self, ptr):
        self.ptr = ptr

    def __enter__(self):
        self.before = getattr(current, "stream", None)
        current.stream = self
        return self

    def __exit__(self, *exception):
        current.stream = self.before

    def synchronize(self):
        check(driver.cuStreamSynchronize(ctypes.c_void_p(self.ptr)), "cuStreamSynchronize")


class Stream(BaseStream):
    """Ends with its object, as CuPy's does."""

    ended = 0

    def __init__(self, non_blocking=True):
        made = ctypes.c_void_p()
        check(driver.cuStreamCreate(ctypes.byref(made), int(non_blocking)), "cuStreamCreate")
        super().__init__(made.value)

    def __del__(self):
        Stream.ended += 1
        check(driver.cuStreamDestroy_v2(ctypes.c_void_p(self.ptr)), "cuStreamDestroy")


class ExternalStream(BaseStream):
    pass


null = ExternalStream(0)


def get_current_stream():
    return getattr(current, "stream", None) or null


def get_device_id():
    return getattr(current, "device", 0)


class UnownedMemory:
    def __init__(self, ptr, size, owner, device_id=-1):
        self.ptr, self.size, self.owner, self.device_id = ptr, size, owner, device_id


class MemoryPointer:
    def __init__(self, mem, offset):
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, mem.device_id


class OutOfMemoryError(MemoryError):
    def __init__(self, size, total, limit=0):
        super().__init__(f"Out of memory allocating {size} bytes (so far: {total} bytes)")


class Current:
    allocator = None


def set_allocator(allocator=None):
    Current.allocator = allocator


def alloc(size):
    return Current.allocator(size)


def install():
    """The module cupy: the real one as far as it goes here, or this. Also says which."""
    device = types.SimpleNamespace(get_device_id=get_device_id)
    own = {
        "get_current_stream": get_current_stream, "Stream": Stream, "device": device,
        "ExternalStream": ExternalStream}
    try:
        import cupy
    except ImportError:
        memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
        cuda = types.SimpleNamespace(
            **own, UnownedMemory=UnownedMemory, MemoryPointer=MemoryPointer, memory=memory,
            set_allocator=set_allocator, alloc=alloc)
        sys.modules["cupy"] = types.SimpleNamespace(cuda=cuda)
        return "no CuPy here: a stand-in, and the driver's streams"
    try:
        cupy.cuda.runtime.getDeviceCount()
        return "CuPy on a GPU"
    except cupy.cuda.runtime.CUDARuntimeError:
        for name, value in own.items():
            setattr(cupy.cuda, name, value)
        return f"CuPy {cupy.__version__}'s memory, without a GPU: the driver's streams"
