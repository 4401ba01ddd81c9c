#!/usr/bin/env python3
# test_forgetful_pool.py: the example's bug is found on every policy and seed, and only while there.
"""test_forgetful_pool.py PROGRAM: runs the example program of cuda/sim/example/."""
import os
import re
import subprocess
import sys
import unittest

PROGRAM = sys.argv.pop(1)
POLICIES = ["random", "lazy", "eager", "starve", "reuse", "prompt", "priority"]
SEEDS = range(1, 6)


def run(policy, seed, *arguments):
    """The exit status, races, wrong values, and what was told of them."""
    settings = {"CUSIM_POLICY": policy, "CUSIM_SEED": str(seed), "CUSIM_RACES": "report"}
    ran = subprocess.run([PROGRAM, *arguments], env=os.environ | settings, capture_output=True,
                         text=True, check=False)
    found = re.fullmatch(r"(\d+) races, (\d+) wrong values\n", ran.stdout)
    assert found, ran.stdout + ran.stderr
    return ran.returncode, int(found[1]), int(found[2]), ran.stderr


class ForgetfulPool(unittest.TestCase):
    def test_the_missing_wait_is_found_on_every_schedule(self):
        counts = set()
        for policy in POLICIES:
            for seed in SEEDS:
                status, races, _, told = run(policy, seed)
                self.assertEqual(status, 1)
                self.assertRegex(told, r"race: cusim_kernel_write \(call \d+, on stream \d+, "
                                 r"created as number \d+\) writes bytes 0 to 4095 of the device "
                                 r"block of 4096 bytes at 0x[0-9a-f]+, which cusim_kernel_\w+ "
                                 r"\(call \d+, on stream \d+, created as number \d+\)")
                self.assertIn("never waited for anything recorded", told)
                counts.add(races)
        self.assertEqual(len(counts), 1)  # the order is one of calls, not of what ran when
        self.assertGreater(counts.pop(), 100)

    def test_the_data_is_right_where_everything_runs_at_once(self):
        self.assertEqual(run("eager", 1)[2], 0)

    def test_the_data_is_wrong_where_the_schedule_is_adverse(self):
        told = ""
        wrong = 0
        for seed in SEEDS:
            _, _, errors, words = run("random", seed)
            wrong += errors
            told += words
        self.assertGreater(wrong, 0)
        self.assertRegex(told, r"wrong value: cusim_kernel_check \(call \d+, on stream \d+\): byte "
                         r"\d+ of the 4096 .* what is there was written by call \d+ on stream")

    def test_the_fixed_one_is_silent(self):
        for policy in POLICIES:
            for seed in SEEDS:
                self.assertEqual(run(policy, seed, "--fixed"), (0, 0, 0, ""))


if __name__ == "__main__":
    unittest.main()
