# test_python_cuda.py: tensors on a GPU, which the simulated driver stands in for.
import ctypes
import os
import sys
import unittest

os.environ.setdefault("CUSIM_DEVICES", "2")  # read as the simulated driver is loaded

import tarn  # noqa: E402

import capsules  # noqa: E402


class Gpu(unittest.TestCase):
    def setUp(self):
        self.t = tarn.zeros((2, 3), device="cuda")
        self.t.copy_(tarn.asarray([[1, 2, 3], [4, 5, 6]], "float32"))

    def test_elements_come_and_go(self):
        t = self.t
        self.assertEqual(t.device, "cuda:0")
        self.assertEqual(t.tolist(), [[1, 2, 3], [4, 5, 6]])
        t[0, 1:] = 9
        self.assertEqual((t[0, 2].item(), t.T.clone().device), (9, "cuda:0"))
        self.assertEqual(t.T.clone().tolist(), [[1, 4], [9, 5], [9, 6]])
        host = t.to("cpu")
        self.assertEqual((host.device, host.was_copied), ("cpu", True))
        self.assertEqual(host.to("cuda:0").tolist(), t.tolist())

    def test_numpy_and_buffers_cannot_go_there_and_say_so(self):
        with self.assertRaisesRegex(TypeError, r"cuda:0.*to\('cpu'\)"):
            self.t.numpy()
        with self.assertRaisesRegex(TypeError, "cuda:0"):
            self.t.__array__()
        with self.assertRaisesRegex(BufferError, "GPU"):
            memoryview(self.t)
        self.assertFalse(hasattr(self.t, "__array_interface__"))

    def test_the_cuda_array_interface_goes_both_ways(self):
        interface = self.t[:, ::2].__cuda_array_interface__
        self.assertEqual(interface, {
            "shape": (2, 2), "typestr": "<f4", "data": (self.t.data_ptr(), False),
            "strides": (12, 8), "version": 3, "stream": 1})
        self.assertIsNone(self.t.__cuda_array_interface__["strides"])
        self.assertFalse(hasattr(tarn.zeros(1), "__cuda_array_interface__"))

        class Other:
            __cuda_array_interface__ = interface

        taken = tarn.asarray(Other())
        self.assertEqual((taken.device, taken.tolist()), ("cuda:0", [[1, 3], [4, 6]]))

    def test_an_interface_leaves_the_device_to_the_driver(self):
        class Other:
            def __init__(self, tensor, **changes):
                self.keep = tensor
                self.__cuda_array_interface__ = {
                    "shape": tensor.shape, "typestr": "<f4", "version": 3, "strides": None,
                    "data": (tensor.data_ptr(), False), **changes}

        second = tarn.zeros(4, device="cuda:1")
        taken = tarn.asarray(Other(second))
        self.assertEqual((taken.device, taken.data_ptr()), ("cuda:1", second.data_ptr()))
        pinned = tarn.zeros(4, device="cuda_host")
        self.assertEqual(tarn.asarray(Other(pinned, stream=1)).device, "cuda_host")
        pageable = tarn.zeros(4)
        with self.assertRaisesRegex(ValueError, "driver does not know"):
            tarn.asarray(Other(pageable))
        with self.assertRaisesRegex(tarn.TarnError, "leave the|no memory"):
            tarn.asarray(Other(second, shape=(1 << 28,)))
        self.assertEqual(tarn.asarray(Other(second, shape=(0,), data=(0, False))).size, 0)

    def test_an_address_is_what_the_driver_says(self):
        second = tarn.zeros((2, 3), device="cuda:1")
        second[1, 2] = 6
        address = second.data_ptr()
        taken = tarn.from_address(address, (2, 3), device="cuda:1", owner=second)
        self.assertEqual((taken.device, taken[1, 2].item()), ("cuda:1", 6))
        for device, words in (("cuda", "driver says: memory of CUDA device 1"),
                              ("cuda_host", "driver says: memory of CUDA device 1"),
                              ("cuda:7", "no CUDA device 7")):
            with self.assertRaisesRegex(ValueError, words):
                tarn.from_address(address, (2, 3), device=device)
        host = tarn.zeros(3)
        with self.assertRaisesRegex(ValueError, "pageable memory"):
            tarn.from_address(host.data_ptr(), (3,), device="cuda")
        pinned = tarn.zeros(3, device="cuda_host")
        self.assertEqual(tarn.from_address(pinned.data_ptr(), (3,), device="cuda_host").device,
                         "cuda_host")

    def test_a_gpus_memory_has_no_entries_and_no_file(self):
        for refused in (self.t.iovecs, lambda: self.t.write_to(1), self.t.descriptor):
            with self.assertRaises(NotImplementedError):
                refused()

    def test_an_interface_names_the_stream_that_still_writes(self):
        class Other:
            def __init__(self, stream):
                self.__cuda_array_interface__ = {**interface, "stream": stream}

        driver, stream = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
        interface = self.t.view("uint32").__cuda_array_interface__
        context = ctypes.c_void_p()
        self.assertEqual(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0), 0)
        self.assertEqual(driver.cuCtxSetCurrent(context), 0)
        self.assertEqual(driver.cuStreamCreate(ctypes.byref(stream), 1), 0)  # non-blocking
        data = ctypes.c_uint64(self.t.data_ptr())
        for value in range(20):
            self.assertEqual(driver.cuMemsetD32Async(data, value, ctypes.c_size_t(6), stream), 0)
            self.assertEqual(tarn.asarray(Other(stream.value)).tolist(), [[value] * 3] * 2)
        for number in (None, 1, 2):
            self.assertEqual(tarn.asarray(Other(number)).shape, (2, 3))
        for number, error in ((0, ValueError), (-1, ValueError), ("a", TypeError)):
            with self.assertRaises(error):
                tarn.asarray(Other(number))
        self.assertEqual(driver.cuStreamDestroy_v2(stream), 0)
        self.assertEqual(driver.cuDevicePrimaryCtxRelease_v2(0), 0)

    def test_linear_access_is_one_copy_each_way(self):
        with self.t.T.linear("rw") as span:
            self.assertFalse(span.zero_copy)
            self.assertEqual(span.data.tolist(), [1, 4, 2, 5, 3, 6])
            span.data[1] = 8
        self.assertEqual(self.t.tolist(), [[1, 2, 3], [8, 5, 6]])

    def test_dlpack_streams(self):
        self.assertEqual(self.t.__dlpack_device__(), (2, 0))
        for stream in (None, -1, 1, 2):
            capsule = self.t.__dlpack__(stream=stream, max_version=(1, 3))
            self.assertEqual(tarn.from_dlpack(capsule).tolist(), self.t.tolist())
        for stream, error in ((0, ValueError), (-2, ValueError), ("a", TypeError)):
            with self.assertRaises(error):
                self.t.__dlpack__(stream=stream)
        self.assertEqual(self.t.storage_use_count(), 1)

    def test_dlpack_to_the_cpu_is_a_copy(self):
        capsule = self.t.__dlpack__(max_version=(1, 3), dl_device=(1, 0))
        self.assertEqual(capsules.read(capsule).flags, 2)
        for host in (tarn.from_dlpack(capsule), tarn.from_dlpack(self.t, device="cpu")):
            self.assertEqual((host.device, host.was_copied), ("cpu", True))
            self.assertEqual(host.tolist(), self.t.tolist())
        with self.assertRaises(tarn.CopyNeededError):
            tarn.from_dlpack(self.t, device="cpu", copy=False)
        with self.assertRaises(BufferError):
            self.t.__dlpack__(dl_device=(1, 0), copy=False)

    def test_pinned_memory_is_the_hosts_and_says_what_it_is(self):
        t = tarn.full(4, 3, device="cuda_host")
        self.assertEqual((t.device, t.__dlpack_device__()), ("cuda_host", (3, 0)))
        self.assertEqual(memoryview(t).tolist(), [3.0] * 4)
        self.assertEqual(capsules.read(t.__dlpack__()).tensor.device_type, 3)
        host = t.__dlpack__(dl_device=(1, 0), copy=False, max_version=(1, 0))
        self.assertEqual(capsules.read(host).tensor.data, t.data_ptr())

    def test_pinned_pools_lie_where_they_are_told(self):
        node = tarn.numa.nodes()[0].number
        for where in ({"node": node}, {"placement": tarn.numa.on_node(node, strict=True)},
                      {"node": node, "device": "cuda_host"}):
            pool = tarn.Pool(pinned="device" not in where, name="near", **where)
            self.assertEqual((pool.name, pool.device, pool.node), ("near", "cuda_host", node))
            t = tarn.zeros(1 << 18, pool=pool)
            self.assertEqual((t.device, t.__dlpack_device__()), ("cuda_host", (3, 0)))
            self.assertEqual(list(tarn.numa.verify(t).on_node), [node])
            t.copy_(self.t[0, 1])
            self.assertEqual((t[0].item(), t[-1].item()), (2, 2))
        pool = tarn.Pool(pinned=True, limit_bytes=1 << 22)
        self.assertEqual((pool.device, pool.node), ("cuda_host", None))
        with self.assertRaises(MemoryError):
            tarn.empty(1 << 23, "uint8", pool=pool)

    def test_near_a_gpu_is_a_node_of_the_machine(self):
        numbers = [node.number for node in tarn.numa.nodes()]
        try:
            pool = tarn.Pool(pinned=True, near=0)
        except tarn.TarnError as error:  # several nodes, and nobody says which is near
            self.assertGreater(len(numbers), 1)
            self.assertIn(error.status, ("TARN_NOT_FOUND", "TARN_UNAVAILABLE"))
        else:
            self.assertEqual(pool.device, "cuda_host")
            self.assertIn(pool.node, numbers)
            same = tarn.Pool(pinned=True, placement=tarn.numa.near_device(0))
            self.assertEqual((same.device, same.node), ("cuda_host", pool.node))
            self.assertEqual(tarn.Pool(near=0).device, "cpu")
        for wrong in (-1, 63, 2**40):
            with self.assertRaises(tarn.TarnError):
                tarn.Pool(pinned=True, near=wrong)
        with self.assertRaises(TypeError):
            tarn.Pool(pinned=True, near="first")

    def test_the_first_that_has_memory_may_be_the_gpu_or_pinned(self):
        memory = tarn.first_of([("gpu", tarn.Pool("cuda", limit_bytes=1 << 22)),
                                ("pinned", lambda: tarn.Pool(pinned=True))])
        on_gpu, on_host = memory.zeros(1 << 10), memory.zeros(1 << 22)
        self.assertEqual((on_gpu.name, on_gpu.tensor.device, on_gpu.refusals),
                         ("gpu", "cuda:0", ()))
        self.assertEqual((on_host.name, on_host.tensor.device), ("pinned", "cuda_host"))
        self.assertEqual(on_host.refusals[0][:2], ("gpu", "TARN_OUT_OF_MEMORY"))
        on_gpu.tensor.copy_(tarn.full(1 << 10, 3))
        on_host.tensor[: 1 << 10].copy_(on_gpu.tensor)
        self.assertEqual(on_host.tensor[(1 << 10) - 1 : (1 << 10) + 1].tolist(), [3, 0])

    def test_the_cpu_gets_memory_that_the_gpu_is_done_with(self):
        memory = tarn.first_of([("gpu", tarn.Pool("cuda", limit_bytes=1 << 21)),
                                ("pinned", tarn.Pool(pinned=True, limit_bytes=1 << 22))])
        driver, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
        self.assertEqual(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0), 0)
        self.assertEqual(driver.cuCtxSetCurrent(context), 0)
        on_gpu = tarn.empty(1 << 20, "int32", device="cuda")
        on_host = memory.zeros(on_gpu.shape, "int32").tensor
        wait, busy_us = ctypes.CDLL(None).usleep, ctypes.c_void_p(5000)
        for value in range(1, 9):  # the GPU is busy for a while before it reads
            on_host.fill_(value)
            self.assertEqual(driver.cuLaunchHostFunc(None, wait, busy_us), 0)
            on_gpu.copy_(on_host)
            del on_host
            on_host = memory.zeros(on_gpu.shape, "int32").tensor
            self.assertEqual((on_host.device, on_gpu[:: 1 << 18].tolist()),
                             ("cuda_host", [value] * 4))
        self.assertEqual(driver.cuDevicePrimaryCtxRelease_v2(0), 0)

    def test_pageable_copies_go_through_a_ring_where_there_is_one(self):
        node = tarn.numa.nodes()[0].number
        for where in ({}, {"node": node}):
            ring = tarn.Staging(slot_bytes=1 << 16, slot_count=3, name="ring", **where)
            self.assertEqual((ring.name, repr(ring)), ("ring", "<tarn.Staging 'ring'>"))
            tarn.set_staging("cuda", ring)
            self.addCleanup(tarn.set_staging, "cuda", None)
            source = tarn.full(1 << 18, 7, "int32")
            on_gpu = source.to("cuda")
            source.fill_(8)  # read by then
            self.assertEqual((on_gpu[0].item(), on_gpu[-1].item()), (7, 7))
            self.assertGreaterEqual(ring.stats()["passed_bytes"], source.nbytes)
            before = ring.stats()["passed_bytes"]
            host = on_gpu.to("cpu")
            self.assertEqual(host.to("cpu")[:: 1 << 10].tolist(), [7] * (1 << 8))
            after = ring.stats()
            self.assertGreaterEqual(after["passed_bytes"] - before, host.nbytes)
            self.assertEqual((after["slot_bytes"], after["held_count"]), (1 << 16, 0))
            tarn.set_staging("cuda", None)
            on_gpu.copy_(source)
            self.assertEqual((on_gpu[-1].item(), ring.stats()["passed_bytes"]),
                             (8, after["passed_bytes"]))

    def test_a_ring_lives_as_long_as_the_device_has_it(self):
        tarn.set_staging("cuda:0", tarn.Staging(slot_bytes=1 << 16, slot_count=2))
        try:
            big = tarn.full(1 << 16, 3, "int32").to("cuda")
            self.assertEqual(big.to("cpu")[-1].item(), 3)
        finally:
            tarn.set_staging("cuda:0", None)

    def test_what_is_no_ring_is_refused(self):
        for wrong in ({"slot_bytes": -1}, {"slot_count": 10**6}, {"node": 0, "near": 0}):
            with self.assertRaises(tarn.ArgumentError):
                tarn.Staging(**wrong)
        ring = tarn.Staging(slot_bytes=1 << 16, slot_count=1)
        with self.assertRaises(tarn.UnsupportedError):
            tarn.set_staging("cpu", ring)
        with self.assertRaises(tarn.TarnError):
            tarn.set_staging("cuda:63", ring)
        with self.assertRaises(TypeError):
            tarn.set_staging("cuda", 3)

    def test_pools(self):
        pool = tarn.Pool("cuda:0", name="gpu")
        t = tarn.empty(1000, pool=pool)
        self.assertEqual((t.device, pool.device, pool.stats()["alloc_count"]),
                         ("cuda:0", "cuda:0", 1))
        with self.assertRaises(ValueError):
            tarn.empty(1, pool=pool, device="cpu")


if __name__ == "__main__":
    try:
        tarn.default_pool("cuda")
    except tarn.TarnError as error:
        print(error)
        sys.exit(77)
    unittest.main()
