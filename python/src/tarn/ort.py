# ort.py: ONNX Runtime on tarn's memory.
"""ONNX Runtime on tarn's memory: inputs, outputs and whole sessions, no byte copied.

    x, y = tarn.zeros((8, 64)), tarn.empty((8, 10))
    binding = session.io_binding()
    tarn.ort.bind_input(binding, 'x', x)
    tarn.ort.bind_output(binding, 'y', y)
    session.run_with_iobinding(binding)             # y's bytes are the result

    tarn.ort.register(pool)                         # sessions made from now on, with
    options.add_session_config_entry('session.use_env_allocators', '1')
                                                    # allocate in the pool

onnxruntime is imported at the first call that needs it.
"""
from tarn import _tarn

__all__ = ["bind_input", "bind_output", "register", "tensor", "unregister", "value"]

# ONNX's numbers (TensorProto.DataType in onnx.proto), which onnxruntime takes for types.
_TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7,
    "bool": 9, "float16": 10, "float64": 11, "uint32": 12, "uint64": 13, "bfloat16": 16,
    "float8_e4m3fn": 17, "float8_e4m3fnuz": 18, "float8_e5m2": 19, "float8_e5m2fnuz": 20,
}
# What the runtime calls memory of each kind of device.
_MEMORY = {"cpu": "cpu", "cuda_host": "cpu", "cuda": "cuda", "cuda_managed": "cuda"}
# By pool and options: they live as long as the process, as sessions may that use them.
_allocators = {}
_registered = {}  # by pool


def _type_of(tensor):
    """ONNX's number, where a value can be of the tensor's form; else says why not."""
    number = _TYPES.get(tensor.dtype.name)
    if number is None:
        raise _tarn.ElementTypeError(f"ONNX Runtime has no element type {tensor.dtype.name}")
    if not tensor.is_contiguous():
        raise _tarn.ArgumentError(
            "the tensor is not row-major, and ONNX Runtime has no strides: use contiguous()")
    return number


def _bind(binding, name, tensor, is_input):
    number = _type_of(tensor)
    if tensor.read_only and not is_input:
        raise _tarn.ReadOnlyError("a read-only tensor can only be an input")
    kind, _, index = tensor.device.partition(":")
    if kind not in _MEMORY:
        raise _tarn.UnsupportedError(
            f"ONNX Runtime has no name for memory of device {tensor.device}")
    bind = binding.bind_input if is_input else binding.bind_output
    bind(name, _MEMORY[kind], int(index or 0), number, tensor.shape, tensor.data_ptr())
    # The runtime gets an address alone; what is bound lives as long as the binding.
    binding.__dict__.setdefault("_tarn_tensors", {})[is_input, name] = tensor


def bind_input(binding, name, tensor):
    """Makes the tensor's own memory the session's input; the binding keeps it alive.

    Row-major tensors alone; read-only ones, too. Pinned memory counts as the CPU's.
    """
    _bind(binding, name, tensor, is_input=True)


def bind_output(binding, name, tensor):
    """Makes the session write that output straight into the tensor, which the binding keeps."""
    _bind(binding, name, tensor, is_input=False)


def value(tensor):
    """An onnxruntime.OrtValue on the tensor's memory, which it keeps alive.

    Pinned memory counts as the CPU's.
    """
    from onnxruntime import OrtValue
    _type_of(tensor)
    if tensor.device == "cuda_host":
        return OrtValue.from_dlpack(tensor.__dlpack__(dl_device=(1, 0), copy=False))
    return OrtValue.from_dlpack(tensor)


def tensor(ortvalue):
    """A tensor on the memory of an onnxruntime.OrtValue, which it keeps alive."""
    return _tarn.from_dlpack(ortvalue, copy=False)


def register(pool, *, stream=None, as_cpu=False):
    """Makes new sessions with 'session.use_env_allocators' = '1' allocate in the pool.

    One pool for each kind of memory at a time: unregister the earlier one first. A GPU's pool needs
    stream, the CUstream's handle that is the CUDA provider's user_compute_stream, too. as_cpu gives
    a pinned pool to sessions that compute on the CPU. The pool lives as long as the process: nobody
    tells when the last session that uses it has gone.
    """
    if pool in _registered:
        raise _tarn.ArgumentError("the pool is registered already")
    key = pool, stream, bool(as_cpu)
    if key not in _allocators:
        import onnxruntime
        onnxruntime.SessionOptions().register_custom_ops_library(_tarn.__file__)
        _allocators[key] = _tarn._ort_allocator(*key)
    _tarn._ort_register(_allocators[key])
    _registered[pool] = _allocators[key]


def unregister(pool):
    """Sessions made from now on allocate elsewhere; earlier ones go on in the pool."""
    if pool not in _registered:
        raise _tarn.ArgumentError("the pool is not registered")
    _tarn._ort_unregister(_registered.pop(pool))
