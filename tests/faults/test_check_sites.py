# test_check_sites.py: a place is the same whichever checkout's path the compiler wrote.
import pathlib
import tempfile
import unittest

from check_sites import place_of


class Places(unittest.TestCase):
    def setUp(self):
        self.held = tempfile.TemporaryDirectory()
        self.addCleanup(self.held.cleanup)
        self.root = pathlib.Path(self.held.name).resolve() / "tarn"
        for name in ("alloc/heap.c", "tests/alloc/heap.c", "cuda/driver.c"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).touch()

    def check(self, line, place):
        self.assertEqual(place_of(line, self.root), place)

    def test_a_path_is_told_below_any_root(self):
        for root in (self.root, "/elsewhere/tarn", "/a/b/c", "/elsewhere/tarn/build/dev/../..", ""):
            with self.subTest(root=str(root)):
                below = f"{root}/" if root else ""
                self.check(f"{below}alloc/heap.c:7", ("alloc/heap.c", "7"))
                self.check(f"{below}cuda/driver.c:80 (discriminator 3)", ("cuda/driver.c", "80"))

    def test_the_longest_end_counts(self):
        self.check("/elsewhere/tests/alloc/heap.c:7", ("tests/alloc/heap.c", "7"))
        self.check("/elsewhere/more/alloc/heap.c:7", ("alloc/heap.c", "7"))

    def test_what_is_no_file_of_the_tree_has_no_place(self):
        for line in ("??:0", "??:?", "", "/elsewhere/heap.c:7", "/elsewhere/alloc/none.c:7"):
            with self.subTest(line=line):
                self.check(line, None)


if __name__ == "__main__":
    unittest.main()
