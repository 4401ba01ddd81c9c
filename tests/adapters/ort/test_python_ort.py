# test_python_ort.py: the onnxruntime package computes on tarn's memory.
import gc
import subprocess
import sys
import threading
import types
import unittest

import numpy
import onnxruntime
import ort_models
import tarn

MODEL = ort_models.layers().SerializeToString()
BATCH = 48
EVERY_TYPE = ("float32 float64 float16 bfloat16 bool int8 uint8 int16 uint16 int32 uint32 int64 "
              "uint64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz").split()


def expected(x):
    w = ort_models.weights()
    return numpy.maximum(x @ w, 0) @ w + x


def session_on_environment(model=MODEL):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def live(pool):
    stats = pool.stats()
    return stats["alloc_count"] - stats["free_count"]


def filled(batch=BATCH, pool=None):
    x = tarn.empty((batch, ort_models.WIDTH), "float32", pool=pool)
    numpy.asarray(x)[...] = numpy.arange(x.size).reshape(x.shape) % 9 - 4
    return x


class Binding(unittest.TestCase):
    def setUp(self):
        self.session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
        self.pool = tarn.Pool("cpu")

    def test_output_is_written_straight_into_the_tensor(self):
        x, y = filled(pool=self.pool), tarn.full((BATCH, ort_models.WIDTH), -1.0, "float32",
                                                 pool=self.pool)
        before = self.pool.stats()["alloc_count"]
        binding = self.session.io_binding()
        tarn.ort.bind_input(binding, "x", x)
        tarn.ort.bind_output(binding, "y", y)
        for _ in range(3):
            y.fill_(-1.0)
            self.session.run_with_iobinding(binding)
            self.assertTrue((numpy.asarray(y) == expected(numpy.asarray(x))).all())
        self.assertEqual(binding.get_outputs()[0].data_ptr(), y.data_ptr())
        self.assertEqual(self.pool.stats()["alloc_count"], before)

    def test_binding_keeps_what_is_bound(self):
        binding = self.session.io_binding()
        tarn.ort.bind_input(binding, "x", filled(pool=self.pool))
        tarn.ort.bind_output(
            binding, "y", tarn.empty((BATCH, ort_models.WIDTH), "float32", pool=self.pool))
        gc.collect()
        self.assertEqual(live(self.pool), 2)
        self.session.run_with_iobinding(binding)
        del binding
        gc.collect()
        self.assertEqual(live(self.pool), 0)

    def test_read_only_tensor_is_an_input_alone(self):
        x = tarn.frombuffer(bytes(BATCH * ort_models.WIDTH * 4), "float32").view(
            BATCH, ort_models.WIDTH)
        self.assertTrue(x.read_only)
        y = tarn.full((BATCH, ort_models.WIDTH), -1.0, "float32")
        binding = self.session.io_binding()
        tarn.ort.bind_input(binding, "x", x)
        tarn.ort.bind_output(binding, "y", y)
        self.session.run_with_iobinding(binding)
        self.assertFalse(numpy.asarray(y).any())
        with self.assertRaises(tarn.ReadOnlyError):
            tarn.ort.bind_output(binding, "y", x)

    def test_what_a_value_cannot_be_is_refused_with_the_reason(self):
        binding = self.session.io_binding()
        for call in (tarn.ort.value, lambda t: tarn.ort.bind_input(binding, "x", t)):
            with self.assertRaisesRegex(tarn.ArgumentError, "not row-major"):
                call(filled().T)
            with self.assertRaisesRegex(tarn.ElementTypeError, "no element type complex64"):
                call(tarn.empty((2, 3), "complex64"))

    def test_memory_that_the_runtime_has_no_name_for_is_not_bound(self):
        x = filled()
        rocms = types.SimpleNamespace(dtype=x.dtype, is_contiguous=x.is_contiguous, device="10:0",
                                      read_only=False, shape=x.shape, data_ptr=x.data_ptr)
        with self.assertRaisesRegex(tarn.UnsupportedError, "no name for memory of device 10:0"):
            tarn.ort.bind_input(self.session.io_binding(), "x", rocms)


class Values(unittest.TestCase):
    def test_every_element_type_goes_out_and_comes_back(self):
        pool = tarn.Pool("cpu")
        for dtype in EVERY_TYPE:
            t = tarn.empty((2, 3), dtype, pool=pool)
            value = tarn.ort.value(t)
            back = tarn.ort.tensor(value)
            self.assertEqual(value.data_ptr(), t.data_ptr())
            self.assertEqual(back.data_ptr(), t.data_ptr())
            self.assertEqual(back.dtype.name, dtype)
            self.assertEqual(back.shape, (2, 3))
            del t, value
            gc.collect()
            self.assertEqual(live(pool), 1)
            del back
            self.assertEqual(live(pool), 0)

    def test_value_goes_through_a_session(self):
        session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
        x = filled()
        y = tarn.ort.tensor(session.run_with_ort_values(["y"], {"x": tarn.ort.value(x)})[0])
        self.assertTrue((numpy.asarray(y) == expected(numpy.asarray(x))).all())


class Environment(unittest.TestCase):
    def setUp(self):
        self.pool = tarn.Pool("cpu", limit_bytes=16 << 20)
        tarn.ort.register(self.pool)
        self.addCleanup(self.end)
        self.session = session_on_environment()

    def end(self):
        self.session = None
        tarn.ort.unregister(self.pool)
        gc.collect()
        self.assertEqual(live(self.pool), 0)

    def test_session_allocates_in_the_registered_pool(self):
        self.assertGreater(live(self.pool), 0)  # weights
        before = self.pool.stats()["alloc_count"]
        x = filled()
        y = self.session.run(["y"], {"x": numpy.asarray(x)})[0]
        self.assertTrue((y == expected(numpy.asarray(x))).all())
        self.assertGreater(self.pool.stats()["alloc_count"], before)

    def test_output_of_the_runtime_lies_in_the_pool_and_outlives_the_session(self):
        x = filled()
        before = live(self.pool)
        y = tarn.ort.tensor(self.session.run_with_ort_values(["y"], {"x": tarn.ort.value(x)})[0])
        self.assertEqual(live(self.pool), before + 1)
        self.session = None
        gc.collect()
        self.assertTrue((numpy.asarray(y) == expected(numpy.asarray(x))).all())

    def test_out_of_memory_is_an_exception_of_the_runtime_and_passes(self):
        x = filled(batch=65536)
        with self.assertRaisesRegex(Exception, "bad_alloc") as caught:
            self.session.run(["y"], {"x": numpy.asarray(x)})
        self.assertIn("onnxruntime", type(caught.exception).__module__)
        self.assertGreater(self.pool.stats()["out_of_memory_count"], 0)
        x = filled()
        y = self.session.run(["y"], {"x": numpy.asarray(x)})[0]
        self.assertTrue((y == expected(numpy.asarray(x))).all())

    def test_values_may_end_on_other_threads(self):
        x = tarn.ort.value(filled())
        outputs = [self.session.run_with_ort_values(["y"], {"x": x}) for _ in range(8)]
        before = live(self.pool)
        threads = [threading.Thread(target=output.clear) for output in outputs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
        self.assertEqual(live(self.pool), before - 8)

    def test_session_goes_on_in_its_pool_after_another_was_registered(self):
        tarn.ort.unregister(self.pool)
        other = tarn.Pool("cpu")
        tarn.ort.register(other)
        x = numpy.asarray(filled())
        session_on_environment().run(["y"], {"x": x})
        self.assertGreater(other.stats()["alloc_count"], 0)
        before = self.pool.stats()["alloc_count"], other.stats()["alloc_count"]
        self.session.run(["y"], {"x": x})
        self.assertGreater(self.pool.stats()["alloc_count"], before[0])
        self.assertEqual(other.stats()["alloc_count"], before[1])
        tarn.ort.unregister(other)
        gc.collect()
        self.assertEqual(live(other), 0)
        tarn.ort.register(self.pool)  # a second time

    def test_pool_is_registered_once_and_unregistered_once(self):
        with self.assertRaisesRegex(tarn.ArgumentError, "registered already"):
            tarn.ort.register(self.pool)
        tarn.ort.unregister(self.pool)
        other = tarn.Pool("cpu")
        tarn.ort.register(other)
        with self.assertRaisesRegex(tarn.ArgumentError, "not registered"):
            tarn.ort.unregister(self.pool)
        session = session_on_environment()
        self.assertGreater(live(other), 0)
        del session
        tarn.ort.unregister(other)
        tarn.ort.register(self.pool)


class Pinned(unittest.TestCase):
    """Of the machine's driver, or of the simulated one."""

    def test_session_computes_in_pinned_memory(self):
        try:
            pool = tarn.Pool(pinned=True)
        except tarn.TarnError as refusal:
            self.skipTest(str(refusal))
        x, y = filled(pool=pool), tarn.full((BATCH, ort_models.WIDTH), -1.0, "float32", pool=pool)
        self.assertEqual(x.device, "cuda_host")
        tarn.ort.register(pool)  # for the copies of a GPU's sessions
        tarn.ort.unregister(pool)
        tarn.ort.register(pool, as_cpu=True)
        session = session_on_environment()
        before = pool.stats()["alloc_count"]
        binding = session.io_binding()
        tarn.ort.bind_input(binding, "x", x)
        tarn.ort.bind_output(binding, "y", y)
        session.run_with_iobinding(binding)
        self.assertTrue((numpy.asarray(y) == expected(numpy.asarray(x))).all())
        self.assertGreater(pool.stats()["alloc_count"], before)
        value = tarn.ort.value(x)
        self.assertEqual((value.device_name(), value.data_ptr()), ("cpu", x.data_ptr()))
        tarn.ort.unregister(pool)
        del session, binding, value, x, y
        gc.collect()
        self.assertEqual(live(pool), 0)


class Process(unittest.TestCase):
    def test_interpreter_may_exit_with_all_of_it_alive(self):
        program = ("import test_python_ort as t, tarn\n"
                   "pool = tarn.Pool('cpu')\n"
                   "tarn.ort.register(pool)\n"
                   "session = t.session_on_environment()\n"
                   "x = tarn.ort.value(t.filled())\n"
                   "y = tarn.ort.tensor(session.run_with_ort_values(['y'], {'x': x})[0])\n"
                   "t.keep = [session, x, y]\n")
        ran = subprocess.run([sys.executable, "-B", "-c", program], check=False,
                             capture_output=True, text=True)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
