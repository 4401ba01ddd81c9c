# __init__.py: tarn for Python: tensors whose memory is shared with NumPy, PyTorch and JAX.
"""tarn: memory for tensors.

    import tarn
    t = tarn.zeros((2, 3), 'float32')   # from a caching pool
    a = t.numpy()                       # the same memory
    a[0, 1] = 7
    t[0].tolist()                       # [0.0, 7.0, 0.0]

A Tensor shares its memory by the buffer protocol, DLPack and the array interfaces, both ways. What
would have to copy says so: Tensor.was_copied is true where the call that returned it copied, and
copy=False makes such a call raise CopyNeededError instead.
"""
from tarn import numa, ort, share, torch  # noqa: F401
from tarn._cupy import CupyAllocator, cupy_allocator  # noqa: F401
from tarn._fallback import Fallback, Granted, Refusal, first_of  # noqa: F401
from tarn._numpy import numpy_allocator  # noqa: F401
from tarn._tarn import *  # noqa: F403
from tarn._tarn import __version__  # noqa: F401
