#!/usr/bin/env python3
# test_settings.py: what the simulated driver does not understand of its environment, it says.
"""test_settings.py PROGRAM: starts the example program of cuda/sim/example/ under settings."""
import os
import subprocess
import sys
import unittest

PROGRAM = sys.argv.pop(1)

POLICIES = "one of random, lazy, eager, starve, reuse, prompt, priority"
NUMBER = "a whole number from 0 to 18446744073709551615"
REFUSED = [
    ("CUSIM_POLICY", "eagre", POLICIES),
    ("CUSIM_POLICY", "Eager", POLICIES),
    ("CUSIM_POLICY", "eager,lazy", POLICIES),
    ("CUSIM_RACES", "yes", "one of off, count, report, abort"),
    ("CUSIM_THREADS", "as one", "one of as-one, apart"),
    ("CUSIM_SEED", "1x", NUMBER),
    ("CUSIM_SEED", "-1", NUMBER),
    ("CUSIM_SEED", " 1", NUMBER),
    ("CUSIM_SEED", "0x", NUMBER),
    ("CUSIM_SEED", "18446744073709551616", NUMBER),
    ("CUSIM_DEVICES", "0", "a whole number from 1 to 4"),
    ("CUSIM_DEVICES", "5", "a whole number from 1 to 4"),
    ("CUSIM_CAPACITY", "1G", NUMBER),
    ("CUSIM_PINNED_CAPACITY", "lots", NUMBER),
    ("CUSIM_IDLE_MS", "4294967296", "a whole number from 0 to 4294967295"),
    ("CUSIM_IDLE_MS", "0.5", "a whole number from 0 to 4294967295"),
]
UNDERSTOOD = [
    {"CUSIM_SEED": "0xffffffffffffffff"},
    {"CUSIM_SEED": "18446744073709551615", "CUSIM_DEVICES": "4", "CUSIM_CAPACITY": "268435456"},
    {"CUSIM_SEED": "", "CUSIM_POLICY": "", "CUSIM_RACES": "", "CUSIM_THREADS": ""},
    {"CUSIM_SEED": "08", "CUSIM_IDLE_MS": "0", "CUSIM_PINNED_CAPACITY": "0"},
    {"CUSIM_RACES": "abort", "CUSIM_THREADS": "as-one", "CUSIM_POLICY": "priority"},
    {"CUSIM_RACES": "off", "CUSIM_THREADS": "apart", "CUSIM_POLICY": "random"},
]


def start(settings):
    """The exit status and what was told."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CUSIM_")}
    ran = subprocess.run([PROGRAM, "--fixed"], env=plain | settings, capture_output=True, text=True,
                         check=False)
    return ran.returncode, ran.stderr


class Settings(unittest.TestCase):
    def test_a_value_that_is_not_understood_is_told_and_refused(self):
        for name, value, accepted in REFUSED:
            with self.subTest(setting=f"{name}={value}"):
                self.assertEqual(start({name: value}),
                                 (2, f"cusim: {name} is '{value}' and not {accepted}\n"
                                     "cuInit(0) answered with 1\n"))

    def test_each_of_several_is_told(self):
        told = start({"CUSIM_THREADS": "two", "CUSIM_SEED": "one", "CUSIM_POLICY": "lazy"})[1]
        self.assertEqual(told, f"cusim: CUSIM_SEED is 'one' and not {NUMBER}\n"
                         "cusim: CUSIM_THREADS is 'two' and not one of as-one, apart\n"
                         "cuInit(0) answered with 1\n")

    def test_it_is_one_line_whatever_the_value(self):
        told = start({"CUSIM_POLICY": "a\nb\x1b[2J" + 100 * "c"})[1]
        self.assertEqual(told, f"cusim: CUSIM_POLICY is 'a?b?[2J{50 * 'c'}...' and not {POLICIES}\n"
                         "cuInit(0) answered with 1\n")

    def test_what_is_understood_is_silent(self):
        for settings in UNDERSTOOD:
            with self.subTest(settings=settings):
                self.assertEqual(start(settings), (0, ""))


if __name__ == "__main__":
    unittest.main()
