# capsules.py: DLPack capsules made by hand, by ctypes: what a producer may do, and must not.
import ctypes
import struct

VERSIONED, LEGACY = b"dltensor_versioned", b"dltensor"

python = ctypes.pythonapi
python.PyCapsule_New.restype = ctypes.py_object
python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
python.PyCapsule_GetName.restype = ctypes.c_char_p
python.PyCapsule_GetName.argtypes = [ctypes.py_object]
python.PyCapsule_GetPointer.restype = ctypes.c_void_p
python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


class DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32),
                ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8),
                ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    _fields_ = [("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", DELETER)]


class ManagedVersioned(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32),
                ("context", ctypes.c_void_p), ("deleter", DELETER), ("flags", ctypes.c_uint64),
                ("tensor", DLTensor)]


class Producer:
    """Floats 0, 1, 2, ... in memory of its own, and a count of how often it was deleted."""

    def __init__(self, shape=(2, 3), strides=(3, 1), versioned=True, **changes):
        self.deleted_count = 0
        self.memory = (ctypes.c_float * 16)(*range(16))
        self.shape = (ctypes.c_int64 * max(1, len(shape)))(*shape)
        self.strides = strides and (ctypes.c_int64 * len(strides))(*strides)
        self.deleter = DELETER(self.delete)
        self.name = VERSIONED if versioned else LEGACY
        self.managed = ManagedVersioned(major=1, minor=1) if versioned else Managed()
        self.managed.deleter = self.deleter
        tensor = self.managed.tensor
        tensor.data = ctypes.addressof(self.memory)
        tensor.device_type, tensor.ndim = 1, len(shape)
        tensor.code, tensor.bits, tensor.lanes = 2, 32, 1
        tensor.shape = self.shape
        if strides is not None:
            tensor.strides = self.strides
        for name, value in changes.items():
            target = tensor if hasattr(tensor, name) else self.managed
            setattr(target, name, value)

    def delete(self, address):
        assert address == ctypes.addressof(self.managed)
        self.deleted_count += 1

    def capsule(self):
        return python.PyCapsule_New(ctypes.addressof(self.managed), self.name, None)

    def __dlpack__(self, **keywords):
        return self.capsule()

    def __dlpack_device__(self):
        return self.managed.tensor.device_type, self.managed.tensor.device_id


def name_of(capsule):
    return python.PyCapsule_GetName(capsule)


def read(capsule):
    """The struct of a capsule that was not consumed; it keeps the capsule."""
    kind = ManagedVersioned if name_of(capsule) == VERSIONED else Managed
    managed = kind.from_address(python.PyCapsule_GetPointer(capsule, name_of(capsule)))
    managed.capsule = capsule
    return managed


def address_of_table(capsule):
    return python.PyCapsule_GetPointer(capsule, b"dlpack_exchange_api")


def version_of_table(capsule):
    return struct.unpack("II", ctypes.string_at(address_of_table(capsule), 8))
