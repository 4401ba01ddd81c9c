"""test_dlopen.py: libtarn.so loads into a running Python, and the process keeps its own malloc.

    test_dlopen.py SHARED_LIBRARY
"""
import ctypes
import sys


class DlInfo(ctypes.Structure):
    _fields_ = [("file", ctypes.c_char_p), ("base", ctypes.c_void_p),
                ("name", ctypes.c_char_p), ("address", ctypes.c_void_p)]


def owner(process, name):
    """The file that the process's `name` comes from, and its address."""
    info = DlInfo()
    address = ctypes.cast(getattr(process, name), ctypes.c_void_p)
    assert process.dladdr(address, ctypes.byref(info)) != 0
    return info.file, address.value


class NodeInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("node", ctypes.c_int32),
                ("capacity_bytes", ctypes.c_size_t), ("cpu_count", ctypes.c_int32),
                ("bandwidth_mib_per_s", ctypes.c_uint64), ("latency_ns", ctypes.c_uint64),
                ("memory_kind", ctypes.c_int), ("tier", ctypes.c_int32),
                ("is_memory_only", ctypes.c_bool)]


def main():
    process = ctypes.CDLL(None)
    calls = ("malloc", "free", "calloc", "realloc", "posix_memalign", "aligned_alloc")
    before = {name: owner(process, name) for name in calls}
    tarn = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
    assert before == {name: owner(process, name) for name in calls}, "malloc is another one now"
    for name in ("je_malloc", "je_mallocx", "mallocx", "je_mallctl", "mallctl"):
        assert not hasattr(process, name), f"{name} is visible to the process"

    topology, pool, address = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    info = NodeInfo(struct_size=ctypes.sizeof(NodeInfo))
    assert tarn.tarn_topology_create(None, ctypes.byref(topology)) == 0
    assert tarn.tarn_topology_node(topology, 0, ctypes.byref(info)) == 0
    assert tarn.tarn_node_pool_create(topology, None, ctypes.byref(pool)) == 0
    assert tarn.tarn_pool_alloc(pool, ctypes.c_size_t(1 << 20), None, ctypes.byref(address)) == 0
    ctypes.memset(address, 7, 1 << 20)
    assert tarn.tarn_pool_free(pool, address, None) == 0
    tarn.tarn_pool_release(pool)
    tarn.tarn_topology_release(topology)


main()
