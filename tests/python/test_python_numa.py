# test_python_numa.py: the machine's memory nodes, pools on them, and where their memory lies.
import sys
import unittest

import tarn

PAGES = 256


class Nodes(unittest.TestCase):
    def setUp(self):
        self.nodes = tarn.numa.nodes()

    def test_there_is_one_and_they_come_in_order(self):
        numbers = [node.number for node in self.nodes]
        self.assertGreaterEqual(len(numbers), 1)
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_a_node_says_what_it_is(self):
        for node in self.nodes:
            self.assertGreater(node.capacity_bytes, 0)
            self.assertEqual(node.cpus, tuple(sorted(set(node.cpus))))
            self.assertGreaterEqual(node.tier, 0)
            self.assertIn(node.memory_kind, ("unknown", "dram", "hbm", "cxl", "nvm", "gpu"))
            for told in (node.bandwidth_mib_per_s, node.latency_ns):
                self.assertTrue(told is None or told > 0)
        self.assertTrue(any(node.cpus for node in self.nodes))

    def test_a_distance_is_told_or_an_error(self):
        number = self.nodes[0].number
        try:
            self.assertEqual(tarn.numa.distance(number, number), 10)
        except tarn.TarnError as error:
            self.assertEqual(error.status, "TARN_UNAVAILABLE")
        for wrong in (-1, 2**40):
            with self.assertRaises(tarn.ArgumentError):
                tarn.numa.distance(number, wrong)

    def test_the_best_node_is_one_of_them(self):
        numbers = [node.number for node in self.nodes]
        for attribute in ("bandwidth", "latency", "capacity", "locality", "read_bandwidth",
                          "write_bandwidth", "read_latency", "write_latency"):
            best = tarn.numa.best_node(attribute, near=numbers[0])
            self.assertIn(best.node, numbers)
        largest = max(node.capacity_bytes for node in self.nodes)
        self.assertEqual(tarn.numa.best_node("capacity").value, largest)

    def test_no_node_has_more_room_than_there_is(self):
        with self.assertRaises(MemoryError):
            tarn.numa.best_node("capacity", least_free_bytes=2**62)

    def test_a_wrong_attribute_is_named(self):
        with self.assertRaisesRegex(tarn.ArgumentError, "'colour'"):
            tarn.numa.best_node("colour")
        with self.assertRaises(tarn.ArgumentError):
            tarn.numa.best_node(3)


class Pools(unittest.TestCase):
    def setUp(self):
        self.node = tarn.numa.nodes()[0].number

    def test_a_pool_on_a_node_has_its_pages_there(self):
        pool = tarn.Pool(node=self.node, limit_bytes=1 << 28)
        self.assertEqual((pool.node, pool.device), (self.node, "cpu"))
        page_bytes = tarn.numa.verify(b"x").page_bytes
        tensor = tarn.zeros(PAGES * page_bytes, "uint8", pool=pool)
        pages = tarn.numa.verify(tensor)
        self.assertEqual(list(pages.on_node), [self.node])
        self.assertEqual(pages.untouched, 0)
        self.assertIn(pages.on_node[self.node], (PAGES, PAGES + 1))

    def test_its_limit_holds_and_its_memory_goes_back(self):
        pool = tarn.Pool(node=self.node, limit_bytes=1 << 24, name="near")
        self.assertEqual(pool.name, "near")
        with self.assertRaises(MemoryError):
            tarn.empty(1 << 26, "uint8", pool=pool)
        tensor = tarn.zeros(1 << 20, "uint8", pool=pool)
        self.assertGreaterEqual(pool.stats()["reserved_bytes"], 1 << 20)
        del tensor
        pool.trim()
        self.assertEqual(pool.stats()["reserved_bytes"], 0)

    def test_a_node_that_is_not_there_is_refused(self):
        with self.assertRaises(tarn.TarnError):
            tarn.Pool(node=10**6)
        for wrong in (-1, 2**40):
            with self.assertRaises(tarn.ArgumentError):
                tarn.Pool(node=wrong)
        with self.assertRaises(TypeError):
            tarn.Pool(node="first")
        with self.assertRaises(tarn.ArgumentError):
            tarn.Pool("cuda", node=self.node)

    def test_a_pool_without_a_node_says_so(self):
        self.assertIsNone(tarn.Pool().node)
        self.assertIsNone(tarn.Pool(node=None).node)

    def test_decay_keeps_what_may_be_needed_soon(self):
        for pool in (tarn.Pool(), tarn.Pool(node=self.node)):
            tarn.zeros(1 << 20, "uint8", pool=pool)
            self.assertEqual((pool.decay(), pool.decay()), (0, 0))
            self.assertGreaterEqual(pool.stats()["reserved_bytes"], 1 << 20)


class Placements(unittest.TestCase):
    def setUp(self):
        self.node = tarn.numa.nodes()[0].number

    def pages_of(self, **where):
        page_bytes = tarn.numa.verify(b"x").page_bytes
        tensor = tarn.zeros(PAGES * page_bytes, "uint8", pool=tarn.Pool(**where))
        return tarn.numa.verify(tensor)

    def test_strict_pages_lie_where_each_kind_says(self):
        numa = tarn.numa
        for placement in (numa.on_node(self.node, strict=True),
                          numa.interleave([self.node], strict=True),
                          numa.weighted({self.node: 2}, strict=True),
                          numa.ordered([self.node], strict=True),
                          numa.best("capacity", near=self.node, strict=True)):
            pages = self.pages_of(placement=placement)
            self.assertEqual(pages.untouched, 0)
            if placement.kind != "attribute":
                self.assertEqual(list(pages.on_node), [self.node], placement)

    def test_preferences_and_all_nodes_need_no_names(self):
        numa = tarn.numa
        numbers = {node.number for node in numa.nodes()}
        for placement in (numa.on_node(self.node), numa.near_thread(), numa.interleave(),
                          numa.weighted(), numa.ordered(), numa.best("bandwidth")):
            self.assertLessEqual(set(self.pages_of(placement=placement).on_node), numbers)

    def test_several_nodes_share_what_is_interleaved(self):
        numbers = [node.number for node in tarn.numa.nodes() if node.memory_kind != "gpu"][:2]
        if len(numbers) < 2:
            self.skipTest("one node")
        stripes = tarn.numa.interleave(numbers, strict=True, stripe_bytes=1 << 16)
        self.assertEqual(set(self.pages_of(placement=stripes).on_node), set(numbers))
        self.assertIsNone(tarn.Pool(placement=stripes).node)

    def test_what_strict_refuses_a_preference_does_without(self):
        where = {"near": self.node, "least_free_bytes": 2**60}
        with self.assertRaises(tarn.OutOfMemoryError):
            tarn.Pool(placement=tarn.numa.best("capacity", strict=True, **where))
        self.assertIsNotNone(tarn.Pool(placement=tarn.numa.best("capacity", **where)).node)

    def test_a_placement_is_a_value(self):
        placement = tarn.numa.interleave([0, 1], strict=True)
        self.assertEqual(placement, tarn.numa.interleave((0, 1), strict=True))
        self.assertNotEqual(placement, tarn.numa.interleave((0, 1)))

    def test_pages_may_be_made_at_once(self):
        for where in ({"node": self.node}, {"placement": tarn.numa.on_node(self.node)}, {}):
            pool = tarn.Pool(populate=True, **where)
            tensor = tarn.empty(PAGES << 12, "uint8", pool=pool)
            self.assertEqual(tarn.numa.verify(tensor).untouched, 0)
            self.assertEqual(pool.node, self.node if where else None)

    def test_huge_pages_are_there_or_the_system_lacks_them(self):
        try:
            pool = tarn.Pool(page_bytes=1 << 21)
            tarn.zeros(1 << 20, "uint8", pool=pool)
        except tarn.TarnError as error:
            self.assertIn(error.status, ("TARN_UNAVAILABLE", "TARN_OUT_OF_MEMORY"))
        with self.assertRaises(tarn.ArgumentError):
            tarn.Pool(page_bytes=12345)

    def test_what_is_no_placement_is_refused(self):
        numa = tarn.numa
        for wrong in (numa.interleave([self.node] * 2), numa.weighted({self.node: -1}),
                      numa.on_node(-1), numa.on_node(2**40), numa.ordered(range(17)),
                      numa.best("colour"), numa.near_device(""), numa.near_device("x" * 32),
                      numa.near_device("0\0"), numa.Placement("nowhere"),
                      numa.interleave([self.node], stripe_bytes=-1),
                      numa.interleave([self.node], stripe_bytes=12345),
                      numa.interleave([self.node])._replace(weights=(2,))):
            with self.assertRaises(tarn.ArgumentError):
                tarn.Pool(placement=wrong)
        for wrong in (3, (), ("node",), "node", numa.on_node("first"),
                      numa.on_node(self.node)._replace(nodes=[self.node])):
            with self.assertRaises(TypeError):
                tarn.Pool(placement=wrong)
        with self.assertRaises(tarn.TarnError):
            tarn.Pool(placement=numa.on_node(10**6))
        with self.assertRaises(tarn.TarnError):
            tarn.Pool(placement=numa.near_device("fffe:00:00.0"))

    def test_one_thing_says_where_and_only_of_the_host(self):
        for where in ({"node": self.node, "placement": tarn.numa.near_thread()},
                      {"node": self.node, "near": 0},
                      {"device": "cuda", "placement": tarn.numa.near_thread()},
                      {"device": "cuda", "pinned": True}, {"device": "cuda", "populate": True}):
            with self.assertRaises(tarn.ArgumentError):
                tarn.Pool(**where)

    def test_without_a_driver_pinned_memory_is_a_device_error(self):
        try:
            tarn.Pool("cuda_host")
        except tarn.DeviceError as error:
            for where in ({"pinned": True}, {"near": 0}, {"pinned": True, "near": 0},
                          {"pinned": True, "node": self.node},
                          {"placement": tarn.numa.near_device(0)}):
                with self.assertRaises(tarn.DeviceError) as raised:
                    tarn.Pool(**where)
                self.assertEqual((raised.exception.status, error.status),
                                 ("TARN_UNAVAILABLE", "TARN_UNAVAILABLE"))
            with self.assertRaises(tarn.DeviceError):
                tarn.Staging()


class Maintained(unittest.TestCase):
    def test_idle_memory_goes_back_by_itself(self):
        node = tarn.numa.nodes()[0].number
        with tarn.Maintenance(period_s=1e-3) as maintenance:
            for pool in (tarn.Pool(decay_s=1e-3), tarn.Pool(node=node, decay_s=1e-3)):
                maintenance.add(pool)
                kept = tarn.zeros(1 << 12, "uint8", pool=pool)
                tarn.zeros(1 << 24, "uint8", pool=pool)
                while pool.stats()["reserved_bytes"] >= 1 << 24:  # ends, or the test's limit does
                    pass
                self.assertEqual(kept.tolist(), [0] * (1 << 12))

    def test_a_pool_is_there_once_and_may_end_before(self):
        pool = tarn.Pool()
        with tarn.Maintenance(1e-3, name="m") as maintenance:
            maintenance.add(tarn.Pool())
            maintenance.add(pool)
            with self.assertRaises(tarn.BusyError):
                maintenance.add(pool)
            maintenance.remove(pool)
            with self.assertRaises(tarn.TarnError):
                maintenance.remove(pool)
            with self.assertRaises(TypeError):
                maintenance.add(3)
        maintenance.close()
        for method in (maintenance.add, maintenance.remove):
            with self.assertRaisesRegex(tarn.ArgumentError, "closed"):
                method(pool)

    def test_times_are_more_than_nothing(self):
        for wrong in (0, -1, float("nan"), float("inf"), 1e10):
            with self.assertRaises(tarn.ArgumentError):
                tarn.Maintenance(period_s=wrong)
            with self.assertRaises(tarn.ArgumentError):
                tarn.Pool(decay_s=wrong)
        with self.assertRaises(TypeError):
            tarn.Pool(decay_s="soon")


class FirstOf(unittest.TestCase):
    def test_the_first_pool_that_has_the_memory_gives_it_and_the_rest_say_why(self):
        small = tarn.Pool(name="small", limit_bytes=1 << 21)
        memory = tarn.first_of([
            ("none", lambda: tarn.Pool(node=10**6)),
            ("told", RuntimeError("switched off")), ("small", small), ("large", tarn.Pool())])
        self.assertEqual(memory.names, ("none", "told", "small", "large"))
        tensor, name, refusals = memory.zeros((4, 4))
        self.assertEqual((name, tensor.tolist()), ("small", [[0.0] * 4] * 4))
        self.assertEqual([each.name for each in refusals], ["none", "told"])
        self.assertEqual(refusals[0].status, "TARN_UNAVAILABLE")
        self.assertIn("1000000", refusals[0].message)
        self.assertEqual(refusals[1][1:], ("TARN_UNAVAILABLE", "switched off"))
        self.assertEqual(small.stats()["alloc_count"], 1)
        granted = memory.empty(1 << 22, "uint8")
        self.assertEqual((granted.name, granted.tensor.nbytes), ("large", 1 << 22))
        self.assertEqual((granted.refusals[2].name, granted.refusals[2].status),
                         ("small", "TARN_OUT_OF_MEMORY"))

    def test_where_all_refuse_the_error_tells_of_each(self):
        memory = tarn.first_of([("off", tarn.DeviceError("no GPU")),
                                ("small", tarn.Pool(limit_bytes=1 << 21))])
        with self.assertRaisesRegex(tarn.OutOfMemoryError, "off: no GPU; small: "):
            memory.empty(1 << 22, "uint8")
        with self.assertRaisesRegex(tarn.DeviceError, "off: no GPU"):
            tarn.first_of([("off", tarn.DeviceError("no GPU"))]).empty(1)

    def test_what_was_granted_outlives_the_list(self):
        pool = tarn.Pool()
        tensor = tarn.first_of([("pool", pool)]).zeros(3, "int32").tensor
        del pool
        tensor[1] = 5
        self.assertEqual(tensor.tolist(), [0, 5, 0])
        self.assertEqual(tarn.first_of([("pool", tarn.Pool())]).empty((0, 2)).tensor.shape, (0, 2))

    def test_a_list_of_something_else_is_refused(self):
        pool = tarn.Pool()
        for wrong in ([], [("pool", pool)] * 9, [("", pool)], [("x" * 32, pool)]):
            with self.assertRaises(tarn.ArgumentError):
                tarn.first_of(wrong)
        for wrong in ([("pool", 3)], [("pool", None)], [(3, pool)], [("pool", lambda: 3)]):
            with self.assertRaises(TypeError):
                tarn.first_of(wrong)
        with self.assertRaises(ZeroDivisionError):
            tarn.first_of([("mistake", lambda: tarn.Pool(limit_bytes=1 // 0))])
        with self.assertRaises(ValueError):
            tarn.first_of([("pool", pool)]).empty((2**40, 2**40))
        with self.assertRaises(TypeError):
            tarn.first_of([("pool", pool)]).empty(1, "colour")


class Verify(unittest.TestCase):
    def test_any_buffer_will_do(self):
        data = bytearray(b"x" * (1 << 20))
        pages = tarn.numa.verify(memoryview(data))
        self.assertGreaterEqual(sum(pages.on_node.values()) * pages.page_bytes, 1 << 20)

    def test_untouched_pages_are_counted_apart(self):
        tensor = tarn.empty(1 << 26, "uint8", pool=tarn.Pool())
        pages = tarn.numa.verify(tensor)
        self.assertGreater(pages.untouched, 0)
        self.assertEqual((sum(pages.on_node.values()) + pages.untouched) * pages.page_bytes,
                         1 << 26)

    def test_what_lies_in_no_single_run_is_refused(self):
        with self.assertRaises(BufferError):
            tarn.numa.verify(tarn.zeros((4, 4)).T)
        with self.assertRaises(TypeError):
            tarn.numa.verify(3)


if __name__ == "__main__":
    sys.exit(unittest.main())
