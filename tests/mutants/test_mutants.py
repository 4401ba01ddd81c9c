# test_mutants.py: the planted defects fit the sources, and the runner tells caught from survived.
#
# usage: test_mutants.py BUILD
#
# That every mutant is caught is what `./dev mutants` says; this is quick.
import contextlib
import io
import os
import re
import sys
import tempfile
import unittest

import mutants
import run_mutants

BUILD = sys.argv.pop(1)
MUSEUM = os.path.join(run_mutants.ROOT, "tests", "museum")


def plant(find, replace, **more):
    empty = {"first": [], "piece": None}
    return mutants.Mutant(
        "planted", "for the test", "alloc/stamps.c", find, replace, **{**empty, **more}
    )


def run_table(table, names):
    """Whether all were caught, and what was printed."""
    output = io.StringIO()
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(output):
        is_whole = run_mutants.run(BUILD, table, work, [[name] for name in names])
    return is_whole, output.getvalue()


class Table(unittest.TestCase):
    def test_every_mutant_still_fits_its_file(self):
        for mutant in mutants.TABLE:
            with self.subTest(mutant=mutant.name):
                with open(os.path.join(run_mutants.ROOT, mutant.file), encoding="utf-8") as file:
                    self.assertNotEqual(run_mutants.apply(mutant), file.read())

    def test_names_are_unique_and_programs_are_known(self):
        programs = {line[0] for line in mutants.PROGRAMS}
        names = [mutant.name for mutant in mutants.TABLE]
        self.assertEqual(len(names), len(set(names)))
        for mutant in mutants.TABLE:
            self.assertLessEqual(set(mutant.first), programs, mutant.name)

    def test_every_piece_is_in_the_museum(self):
        pieces = set()
        for name in sorted(os.listdir(MUSEUM)):
            if name.endswith(".c"):
                with open(os.path.join(MUSEUM, name), encoding="utf-8") as file:
                    pieces |= set(re.findall(r"(?m)^(?:TEST|PIECE)\((\w+)\)", file.read()))
        self.assertLessEqual({mutant.piece for mutant in mutants.TABLE if mutant.piece}, pieces)


class Verdicts(unittest.TestCase):
    def test_what_counts_as_caught(self):
        judge = run_mutants.judge
        self.assertFalse(judge("p", 0, "[ RUN      ] a\n[       OK ] a\n").is_caught)
        self.assertFalse(judge("p", 77, "skipped").is_caught)
        self.assertEqual(judge("p", 1, "[ RUN      ] a\n[  FAILED  ] a\n"), (True, "p: a"))
        self.assertEqual(judge("p", -11, "[ RUN      ] a\n"), (True, "p: a (signal 11)"))
        self.assertEqual(judge("p", None, "[ RUN      ] a\n"), (True, "p: a (does not end)"))
        said = "[ RUN      ] a\nalloc/heap.c:7: tarn believed that 1 == 2\n"
        self.assertEqual(judge("p", -6, said), (True, "p: a (broken belief: alloc/heap.c:7)"))


class Ends(unittest.TestCase):
    def run_script(self, script, seconds_max):
        return run_mutants.run_program(["sh", "-c", script], ".", seconds_max)

    def test_a_failed_test_ends_its_program(self):
        said = "[  FAILED  ] a\n"
        self.assertEqual(self.run_script(f"printf '{said}'; sleep 100", 100), (1, said))

    def test_a_program_that_hangs_ends_with_its_children(self):
        self.assertEqual(self.run_script("echo a; (sleep 5; echo b) & sleep 9", 0.5), (None, "a\n"))

    def test_a_program_that_ends_by_itself_has_its_status(self):
        self.assertEqual(self.run_script("echo a; exit 3", 100), (3, "a\n"))


@unittest.skipUnless(os.path.exists(os.path.join(BUILD, "build.ninja")), "no build of ninja's")
class Runner(unittest.TestCase):
    COVERED = "if (!tarn__order_is_covered(stream, tarn__stamps_at(stamps, index))) return false;"

    def test_a_defect_is_caught(self):
        defect = plant(self.COVERED, ";")
        is_whole, said = run_table([defect], ["test_stamps"])
        self.assertTrue(is_whole, said)
        self.assertRegex(said, r"^caught planted by test_stamps: covered_means_every_stamp\n")
        self.assertTrue(said.endswith("caught 1 of 1\n"), said)

    def test_what_changes_nothing_survives(self):
        is_whole, said = run_table(
            [plant(self.COVERED, self.COVERED + " /* the same */")], ["test_stamps", "test_block"]
        )
        self.assertFalse(is_whole)
        self.assertRegex(said, r"^SURVIVED planted, every test passes: for the test\n")
        self.assertTrue(said.endswith("caught 0 of 1\n"), said)

    def test_a_piece_that_passes_is_told(self):
        unrelated = plant("capacity *= 2;", "capacity *= 3;", piece="expand_hole")
        is_whole, said = run_table([unrelated], ["test_museum"])
        self.assertFalse(is_whole)
        self.assertRegex(said, r"^SURVIVED planted, the piece expand_hole passes: for the test\n")

    def test_a_table_that_does_not_fit_is_an_error(self):
        for find in ("nowhere in the file", "tarn__stamps"):
            with self.assertRaises(run_mutants.TableError):
                run_table([plant(find, "")], ["test_stamps"])


if __name__ == "__main__":
    unittest.main()
