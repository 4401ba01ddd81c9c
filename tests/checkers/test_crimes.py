# test_crimes.py: memory checkers catch every crime inside a pool's memory, and nothing else.
#
# usage: test_crimes.py PROGRAM (address | valgrind) POOL   (tests/checkers/crimes.c)
import os
import shutil
import subprocess
import sys
import unittest

PROGRAM = ""
CHECKER = ""
POOL = ""
SKIPPED = 77

# What a report says, and in which part of the program. Trimmed memory is the system's, where it
# went back: then the processor tells.
ADDRESS = {
    "read_freed": ("use-after-poison", "READ of size 1", "read_at"),
    "write_behind_the_end": ("use-after-poison", "WRITE of size 1", "write_behind_the_end"),
    "write_behind_a_shorter_block":
        ("use-after-poison", "WRITE of size 1", "write_behind_a_shorter_block"),
    "read_what_was_never_lent": (("use-after-poison", "SEGV"), "read_at"),
    "read_trimmed": (("use-after-poison", "SEGV"), "read_at"),
    "read_freed_by_a_stream": ("use-after-poison", "READ of size 1", "read_at"),
    "lose_in_freed_memory":
        ("LeakSanitizer: detected memory leaks", "123 byte(s) leaked", "hide_in_pool"),
}
VALGRIND = {
    "read_freed": ("Invalid read of size 1", "read_at"),
    "write_behind_the_end": ("Invalid write of size 1", "write_behind_the_end"),
    "write_behind_a_shorter_block": ("Invalid write of size 1", "write_behind_a_shorter_block"),
    "read_what_was_never_lent": ("Invalid read of size 1", "read_at"),
    "read_trimmed": (("Invalid read of size 1", "terminating with default action"), "read_at"),
    "read_freed_by_a_stream": ("Invalid read of size 1", "read_at"),
    "decide_by_what_was_never_written":
        ("depends on uninitialised value", "decide_by_what_was_never_written"),
    "lose_in_freed_memory": ("123 bytes in 1 blocks are definitely lost", "hide_in_pool"),
}
SILENT = ("none", "free_twice", "keep_in_lent_memory")


def run(crime):
    command = [PROGRAM, POOL, crime]
    if CHECKER == "valgrind":
        command = ["valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite",
                   "--errors-for-leak-kinds=definite", "--error-exitcode=9", *command]
    options = "detect_leaks=1:detect_stack_use_after_return=1:abort_on_error=0:exitcode=9"
    # hwloc looks at processors in a way that valgrind does not know, and would say so.
    return subprocess.run(
        command, env={**os.environ, "ASAN_OPTIONS": options, "HWLOC_COMPONENTS": "-x86"},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=250)


class Crimes(unittest.TestCase):
    def check(self, crime, told):
        done = run(crime)
        if done.returncode == SKIPPED:
            self.skipTest(done.stdout.strip())
        if told is None:
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            return
        self.assertNotEqual(done.returncode, 0, done.stdout)
        for words in told:
            any_of = (words,) if isinstance(words, str) else words
            self.assertTrue(any(each in done.stdout for each in any_of), (any_of, done.stdout))


def add_tests():
    expected = {"address": ADDRESS, "valgrind": VALGRIND}[CHECKER]
    for crime in (*SILENT, *expected):
        def test(self, crime=crime):
            self.check(crime, expected.get(crime))
        setattr(Crimes, f"test_{crime}", test)


if __name__ == "__main__":
    PROGRAM, CHECKER, POOL = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3]
    if CHECKER == "valgrind" and shutil.which("valgrind") is None:
        print("valgrind is not installed")
        sys.exit(SKIPPED)
    add_tests()
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
