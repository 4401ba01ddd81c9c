# test_printed.py: what sim_programs prints of failing programs is C that compiles.
#
# usage: test_printed.py SIM_PROGRAMS ROOT C_COMPILER
import subprocess
import sys
import unittest

PROGRAMS, ROOT, COMPILER = sys.argv[1:4]

def run(*arguments):
    return subprocess.run([PROGRAMS, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=250)


class Printed(unittest.TestCase):
    def check(self, text):
        self.assertIn("pasted_end(world, text, text_bytes)", text)
        source = '#include "tests/sim/pasted.h"\n' + text[text.index("/* "):]
        # Not every slot that a program names is read again.
        done = subprocess.run([COMPILER, "-std=gnu11", "-fsyntax-only", "-Wall", "-Werror",
                               "-Wno-unused-function", "-Wno-unused-but-set-variable",
                               "-Wno-unused-variable", "-I" + ROOT, "-x", "c", "-"],
                              input=source, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr + source)

    def test_a_shrunk_program_is_c(self):
        for defect in (1, 2):
            done = run("--seed", 1, "--seconds", 60, "--plant", defect)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("shrunk from", done.stdout)
            self.check(done.stdout)

    def test_whole_programs_are_c(self):
        for seed in (5, 20, 77, 123, 500, 901, 1001):
            done = run("--seed", seed, "--print")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.check(done.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
