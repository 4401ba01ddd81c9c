# test_python_numpy_allocator.py: real NumPy with memory of tarn's pools.
import asyncio
import contextlib
import gc
import re
import threading
import tracemalloc
import unittest

import numpy as np
import tarn

from numpy_case import NUMPYS_OWN, Case, handler_name


def address_of(array):
    return array.__array_interface__["data"][0]


def is_mapped(address):
    """Needs no memory of its own to tell, which could come to lie there."""
    try:
        return tarn.from_address(address, (1,), "uint8", read_only=True).size == 1
    except tarn.ArgumentError:
        return False


class Arrays(Case):
    def test_arrays_of_the_block_are_in_the_pool_and_others_are_not(self):
        before = np.empty(1000)
        with tarn.numpy_allocator(self.pool) as allocator:
            self.assertIs(allocator.pool, self.pool)
            made = np.empty((10, 100))
            total = made + made
        after = np.empty(1000)
        self.assert_lent(16000)
        self.assertEqual([handler_name(array) for array in (before, made, total, after)],
                         [NUMPYS_OWN, "tarn:arrays", "tarn:arrays", NUMPYS_OWN])

    def test_an_array_outlives_the_block_and_goes_back_to_its_pool(self):
        with tarn.numpy_allocator(self.pool):
            array = np.arange(1000)
        self.assertEqual(int(array.sum()), 499500)
        self.assert_lent(8000)
        with tarn.numpy_allocator(self.make_pool(name="another")):
            del array
        self.assert_lent(0)

    def test_a_pool_lives_as_long_as_its_last_array(self):
        pool = tarn.Pool(name="dropped")
        with tarn.numpy_allocator(pool) as allocator:
            array = np.full(1 << 20, 7, np.uint8)
        place = address_of(array)
        del pool, allocator
        gc.collect()
        self.assertTrue(is_mapped(place))
        self.assertEqual(set(array.tolist()), {7})
        view = array[::2]
        del array
        self.assertTrue(is_mapped(place))
        del view
        self.assertFalse(is_mapped(place))

    def test_views_and_slices_keep_the_memory_and_take_none(self):
        with tarn.numpy_allocator(self.pool):
            array = np.zeros((100, 100))
            views = [array[1:], array.T, array[::2, ::-1], array.reshape(-1)[5:]]
        self.assert_lent(80000)
        del array
        self.assert_lent(80000)
        views[0][0, 0] = 3
        self.assertEqual(views[1][0, 1], 3)
        del views
        self.assert_lent(0)

    def test_every_array_is_aligned(self):
        for pool in (self.pool, self.make_pool(node=0)):
            with tarn.numpy_allocator(pool):
                arrays = [np.empty(size, np.uint8) for size in (0, 1, 7, 64, 100, 5000, 1 << 20)]
            self.assertEqual([address_of(array) % 64 for array in arrays], [0] * len(arrays))
            del arrays

    def test_zeros_are_zero_where_others_wrote_before(self):
        with tarn.numpy_allocator(self.pool):
            for size in (1, 100, 5000, 1 << 20, 9 << 20):
                dirty = np.full(size, 0xEE, np.uint8)
                place = address_of(dirty)
                del dirty
                clean = np.zeros(size, np.uint8)
                self.assertEqual(address_of(clean), place)  # else it proves nothing
                self.assertFalse(clean.any())
                del clean

    def test_resize_keeps_the_bytes(self):
        for pool in (self.pool, self.make_pool(node=0)):
            with tarn.numpy_allocator(pool):
                array = np.arange(1000, dtype=np.int32)
            array.resize(100000, refcheck=False)
            self.assert_lent(400000, pool)
            self.assertEqual(array[:1000].tolist(), list(range(1000)))
            self.assertFalse(array[1000:].any())
            array.resize(10, refcheck=False)
            self.assert_lent(40, pool)
            self.assertEqual(array.tolist(), list(range(10)))
            self.assertEqual(handler_name(array), "tarn:" + pool.name)
            del array

    def test_what_grows_as_it_is_read_grows_in_the_pool(self):
        with tarn.numpy_allocator(self.pool):
            array = np.fromiter((x * x for x in range(5000)), np.int64)
            text = np.loadtxt([f"{x} {x + 1}" for x in range(3000)], dtype=np.int64)
        self.assertEqual(array.tolist(), [x * x for x in range(5000)])
        self.assertEqual(text[2999].tolist(), [2999, 3000])
        self.assertEqual({handler_name(array), handler_name(text)}, {"tarn:arrays"})

    def test_objects_and_empty_arrays(self):
        with tarn.numpy_allocator(self.pool):
            objects = np.array([{1}, "two", None], dtype=object)
            empty = np.empty((0, 3))
            self.assertEqual(np.concatenate([empty, np.ones((1, 3))]).shape, (1, 3))
            ordered = np.sort(np.arange(999, dtype=">i4")[::-1])
        self.assertEqual(objects.tolist(), [{1}, "two", None])
        self.assertEqual(ordered.tolist(), list(range(999)))
        self.assertGreater(self.pool.stats()["alloc_count"], 3)

    def test_out_of_memory_is_numpys_own_error(self):
        pool = self.make_pool(limit_bytes=4 << 20)
        exact = re.escape("Unable to allocate 8.00 MiB for an array with shape (1024, 1024) and "
                          "data type float64") + "$"
        with tarn.numpy_allocator(pool):
            array = np.arange(1000)
            for make in (np.empty, np.zeros):
                with self.assertRaisesRegex(MemoryError, exact):
                    make((1024, 1024))
            with self.assertRaises(MemoryError):
                array.resize(1 << 20, refcheck=False)
            self.assertEqual(array.tolist(), list(range(1000)))
            self.assertEqual(pool.stats()["out_of_memory_count"], 3)
            with self.assertRaises(MemoryError):
                np.empty(1 << 60, np.uint8)
            self.assertEqual(np.empty(1000).size, 1000)

    def test_tarn_shares_such_arrays_without_a_copy(self):
        with tarn.numpy_allocator(self.pool):
            array = np.arange(12.0).reshape(3, 4)
        counts = self.pool.stats()["alloc_count"]
        tensor = tarn.from_numpy(array[:, ::2])
        self.assertEqual((tensor.data_ptr(), tensor.was_copied), (address_of(array), False))
        array[2, 2] = -1
        self.assertEqual(tensor.tolist(), [[0, 2], [4, 6], [8, -1]])
        del array
        gc.collect()
        self.assertEqual(tensor.tolist(), [[0, 2], [4, 6], [8, -1]])
        self.assert_lent(96)
        self.assertEqual(self.pool.stats()["alloc_count"], counts)

    def test_arrays_sleep_and_wake_with_their_pool(self):
        with tarn.numpy_allocator(self.pool), tarn.tagged("cache"):
            array = np.arange(1 << 20)
        with self.pool.paused(tags="cache") as report:
            self.assertEqual((report["block_count"], self.pool.stats()["paused_bytes"] > 0),
                             (1, True))
        self.assertEqual(int(array.sum()), (1 << 20) * ((1 << 20) - 1) // 2)

    def test_tracemalloc_counts_arrays_as_ever(self):
        tracemalloc.start()
        try:
            with tarn.numpy_allocator(self.pool):
                array = np.zeros(1 << 20, np.uint8)
            traced = tracemalloc.get_traced_memory()[0]
            self.assertGreaterEqual(traced, 1 << 20)
            del array
            self.assertLessEqual(tracemalloc.get_traced_memory()[0], traced - (1 << 20))
        finally:
            tracemalloc.stop()


class Pools(Case):
    def test_pools_of_every_host_memory_will_do(self):
        pools = [self.make_pool(node=0), self.make_pool(placement=tarn.numa.interleave())]
        with contextlib.suppress(tarn.TarnError):
            pools.append(self.make_pool(page_bytes=2 << 20))
        try:
            pools.append(self.make_pool(pinned=True))
        except tarn.TarnError as error:
            print(f"no pinned memory: {error}")
        for pool in pools:
            with tarn.numpy_allocator(pool):
                array = np.arange(100000)
                self.assertEqual(int((array + array).sum()), 99999 * 100000)
            self.assert_lent(800000, pool)
            if pool.node is not None:
                self.assertEqual(set(tarn.numa.verify(array).on_node), {pool.node})
            del array

    def test_a_devices_pool_is_refused(self):
        try:
            pool = tarn.Pool("cuda", name="far")
        except tarn.TarnError as error:
            self.skipTest(f"no device: {error}")
        with self.assertRaisesRegex(
                tarn.ArgumentError,
                "^NumPy's arrays are in memory of the CPU, and pool far has memory of cuda:0$"):
            tarn.numpy_allocator(pool)

    def test_what_is_no_pool_is_refused(self):
        for wrong in (1, "cpu", object()):
            with self.assertRaises(TypeError):
                tarn.numpy_allocator(wrong)
        with self.assertRaises(TypeError):
            tarn.numpy_allocator()

    def test_a_long_name_is_cut(self):
        with tarn.numpy_allocator(self.make_pool(name="n" * 300)):
            array = np.empty(3)
        self.assertEqual(handler_name(array), "tarn:" + "n" * 121)
        del array


class Blocks(Case):
    def setUp(self):
        super().setUp()
        self.other = self.make_pool(name="other")

    def assert_next(self, name):
        self.assertEqual(handler_name(np.empty(3)), name)

    def test_blocks_nest_and_none_is_numpys_own(self):
        outer, inner = tarn.numpy_allocator(self.pool), tarn.numpy_allocator(self.other)
        with outer:
            with inner:
                with outer:
                    self.assert_next("tarn:arrays")
                with tarn.numpy_allocator(None):
                    self.assert_next(NUMPYS_OWN)
                self.assert_next("tarn:other")
            self.assert_next("tarn:arrays")

    def test_an_exception_ends_the_block(self):
        with self.assertRaises(ZeroDivisionError), tarn.numpy_allocator(self.pool):
            array = np.ones(100)
            array[0] = 1 // 0
        self.assert_next(NUMPYS_OWN)
        del array

    def test_set_and_reset_do_without_a_block(self):
        allocator = tarn.numpy_allocator(self.pool).set()
        self.assert_next("tarn:arrays")
        allocator.set()
        allocator.reset()
        self.assert_next("tarn:arrays")
        allocator.reset()
        self.assert_next(NUMPYS_OWN)
        with self.assertRaises(tarn.ArgumentError):
            allocator.reset()
        self.assertEqual(repr(allocator), "tarn.numpy_allocator(<tarn.Pool 'arrays'>)")

    def test_a_decorated_function_allocates_in_the_pool(self):
        @tarn.numpy_allocator(self.pool)
        def make(depth):
            """Says what it does."""
            return [np.empty(depth), *(make(depth - 1) if depth > 1 else [])]

        @tarn.numpy_allocator(self.pool)
        async def make_later():
            await asyncio.sleep(0)
            return np.empty(3)

        self.assertEqual((make.__name__, make.__doc__), ("make", "Says what it does."))
        arrays = [*make(3), asyncio.run(make_later())]
        self.assertEqual({handler_name(array) for array in arrays}, {"tarn:arrays"})
        with self.assertRaisesRegex(TypeError, "inside it"):
            @tarn.numpy_allocator(self.pool)
            def walk():
                yield
        del arrays

    def test_generators_that_end_out_of_turn_take_away_their_own_part(self):
        def walk(pool):
            with tarn.numpy_allocator(pool):
                yield
                yield

        first, second = walk(self.pool), walk(self.other)
        next(first)
        next(second)
        self.assert_next("tarn:other")
        first.close()
        self.assert_next("tarn:other")
        second.close()
        self.assert_next(NUMPYS_OWN)
        for order in ((0, 1), (1, 0)):
            walks = [walk(self.pool), walk(self.other)]
            for each in walks:
                next(each)
            for place in order:
                walks[place].close()
            self.assert_next(NUMPYS_OWN)

    def test_a_generator_that_ends_elsewhere_changes_nothing_there(self):
        def walk():
            with tarn.numpy_allocator(self.pool):
                yield

        def run():
            walks.append(walk())
            next(walks[0])

        walks = []
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        with tarn.numpy_allocator(self.other):
            walks[0].close()
            self.assert_next("tarn:other")

    def test_tasks_have_their_own(self):
        async def work(pool, name):
            with tarn.numpy_allocator(pool):
                for _ in range(10):
                    self.assert_next(name)
                    await asyncio.sleep(0)
                    self.assertEqual(handler_name(), name)
            self.assert_next(NUMPYS_OWN)

        async def inherit():
            with tarn.numpy_allocator(self.pool):
                inner = asyncio.ensure_future(asyncio.to_thread(handler_name))
            return await inner

        async def both():
            await asyncio.gather(work(self.pool, "tarn:arrays"), work(self.other, "tarn:other"))
            self.assertEqual(await inherit(), "tarn:arrays")

        asyncio.run(both())

    def test_threads_have_their_own_and_free_what_others_made(self):
        allocator = tarn.numpy_allocator(self.pool)
        made, names = [], []

        def make():
            names.append(handler_name())
            with allocator:
                made.extend([np.full(100 + size % 7, size) for size in range(500)])

        def drop(start):
            while True:
                try:
                    array = made.pop(start)
                except IndexError:
                    return
                self.assertEqual(array[0], array[-1])

        def run(targets):
            threads = [threading.Thread(target=target, args=args) for target, *args in targets]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        with allocator:
            run([(make,)] * 4)
        self.assertEqual(names, [NUMPYS_OWN] * 4)
        stats = self.pool.stats()
        self.assertEqual(stats["alloc_count"] - stats["free_count"], 2000)
        run([(drop, 0), (drop, -1), (drop, 0)])
        self.assert_lent(0)


if __name__ == "__main__":
    unittest.main()
