# numpy_case.py: a test of arrays in pools: it leaves nothing behind.
import gc
import importlib
import unittest

import numpy as np
import tarn

CORE = "numpy._core" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "numpy.core"
handler_name = importlib.import_module(CORE + ".multiarray").get_handler_name
NUMPYS_OWN = "default_allocator"


class Case(unittest.TestCase):
    """Every test leaves NumPy with its own allocator, and its pools with nothing lent out."""

    def setUp(self):
        self.pool = tarn.Pool(name="arrays")
        self.pools = [self.pool]

    def make_pool(self, *args, **options):
        self.pools.append(tarn.Pool(*args, **options))
        return self.pools[-1]

    def tearDown(self):
        gc.collect()
        self.assertEqual(handler_name(), NUMPYS_OWN)
        for pool in self.pools:
            stats = pool.stats()
            self.assertEqual(stats["alloc_count"], stats["free_count"], pool)
            self.assertEqual((stats["requested_bytes"], stats["allocated_bytes"]), (0, 0), pool)

    def assert_lent(self, size_bytes, pool=None):
        self.assertEqual((pool or self.pool).stats()["requested_bytes"], size_bytes)
