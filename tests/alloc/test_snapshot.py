# test_snapshot.py: the JSON of a caching pool loads, tiles its segments and adds up.
#
# usage: test_snapshot.py PROGRAM   (tests/alloc/test_caching_snapshot.c)
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = ""
STATES = {"live", "free", "pending", "hole"}


class Snapshot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        subprocess.run([PROGRAM, cls.folder.name], check=True, timeout=300)
        root = pathlib.Path(cls.folder.name)
        cls.pairs = [(json.loads(path.read_text()),
                      json.loads((root / path.name.replace("snapshot", "stats")).read_text()))
                     for path in sorted(root.glob("snapshot_*.json"))]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def blocks(self, snapshot):
        return [block for segment in snapshot["segments"] for block in segment["blocks"]]

    def test_there_is_something_to_look_at(self):
        self.assertEqual(len(self.pairs), 80)
        seen = {block["state"] for one, _ in self.pairs for block in self.blocks(one)}
        self.assertEqual(seen, STATES)
        tags = {block.get("tag") for one, _ in self.pairs for block in self.blocks(one)}
        self.assertEqual(tags, {None, "weights", "activations", "kv cache"})

    def test_blocks_tile_their_segments(self):
        for one, _ in self.pairs:
            self.assertEqual((one["format"], one["version"]), ("tarn.snapshot", 1))
            for segment in one["segments"]:
                at = int(segment["address"], 16)
                end = at + segment["size_bytes"]
                for block in segment["blocks"]:
                    self.assertEqual(int(block["address"], 16), at)
                    at += block["size_bytes"]
                self.assertEqual(at, end)

    def test_blocks_add_up_to_the_counters(self):
        for one, stats in self.pairs:
            sums = dict.fromkeys(STATES, 0)
            for block in self.blocks(one):
                sums[block["state"]] += block["size_bytes"]
            counters = one["counters"]
            live = [block for block in self.blocks(one) if block["state"] == "live"]
            self.assertEqual(counters["requested_bytes"],
                             sum(block["requested_bytes"] for block in live))
            self.assertEqual(counters["allocated_bytes"], sums["live"])
            self.assertEqual(counters["active_bytes"], sums["live"] + sums["pending"])
            self.assertEqual(counters["reserved_bytes"],
                             sums["live"] + sums["pending"] + sums["free"])
            self.assertEqual(counters["alloc_count"] - counters["free_count"], len(live))
            self.assertEqual(stats.pop("live"), len(live))
            for name, value in stats.items():
                self.assertEqual(counters[name], value, name)

    def test_only_pending_and_live_blocks_have_stamps(self):
        for one, _ in self.pairs:
            for block in self.blocks(one):
                stamps = block.get("stamps", [])
                self.assertEqual(len({stream for stream, _ in stamps}), len(stamps))
                if block["state"] == "pending":
                    self.assertTrue(stamps)
                elif block["state"] != "live":
                    self.assertFalse(stamps)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
