# test_run_vm.py: what a virtual machine's console tells is judged rightly, without booting one.
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run_vm

PROGRAMS = {"first": (1, []), "second": (1, [])}
SOUND = """
vm: begin first
[ RUN      ] a_test
[       OK ] a_test
vm: pages 10 misplaced 0

vm: end first exit 0 0.1
vm: begin second
vm: pages 5 misplaced 0

vm: end second exit 0 0.1
vm: oom_kill 0
vm: done
"""


class Judging(unittest.TestCase):
    def problems(self, *changes):
        console = SOUND
        for old, new in changes:
            self.assertIn(old, console)
            console = console.replace(old, new)
        return run_vm.judge(console, PROGRAMS)[0]

    def test_a_sound_run_has_no_problem(self):
        self.assertEqual(run_vm.judge(SOUND, PROGRAMS), ([], 2, 0, 15, 0))

    def test_every_trouble_is_a_problem(self):
        troubles = {
            "first ended with exit 3": [("first exit 0", "first exit 3")],
            "first ended with signal 7": [("first exit 0", "first signal 7")],
            "second did not end": [("vm: end second exit 0", "")],
            "the machine ended early": [("vm: done", "")],
            "5 pages lie on a wrong node": [("5 misplaced 0", "5 misplaced 5")],
            "no page was looked up": [("pages 10", "pages 0"), ("pages 5", "pages 0")],
            "killed for lack of memory": [("oom_kill 0", "oom_kill 1")],
            "or did not tell": [("vm: oom_kill 0", "")],
            "vm: kernel BUG: here": [("vm: done", "vm: kernel BUG: here\nvm: done")],
            "vm: failed: mount": [("vm: begin first", "vm: failed: mount\nvm: begin first")],
        }
        for words, changes in troubles.items():
            with self.subTest(words):
                self.assertIn(words, "\n".join(self.problems(*changes)))

    def test_a_failed_program_shows_its_words_and_not_what_passed(self):
        shown = self.problems(
            ("first exit 0", "first exit 1"), ("vm: pages 10", "[  ERROR   ] why\nvm: pages 10")
        )
        self.assertEqual(
            shown,
            ["first ended with exit 1", "[  ERROR   ] why", "vm: pages 10 misplaced 0"],
        )

    def test_a_skipped_program_is_counted_as_one(self):
        console = SOUND.replace("second exit 0", "second exit 77")
        self.assertEqual(run_vm.judge(console, PROGRAMS), ([], 1, 1, 15, 0))


class Describing(unittest.TestCase):
    def test_distances_from_a_node_differ_so_that_an_order_shows(self):
        machine = run_vm.MACHINES["4+1"]
        for node in range(machine.count):
            distances = [machine.distance(node, other) for other in range(machine.with_cpus)]
            self.assertEqual(len(set(distances)), 1 if node == 4 else 4)
        self.assertEqual([machine.distance(0, node) for node in range(5)], [10, 21, 31, 51, 80])

    def test_every_processor_is_on_one_node(self):
        for machine in run_vm.MACHINES.values():
            cpus = [cpu for node in range(machine.count) for cpu in machine.cpus_of(node)]
            self.assertEqual(cpus, list(range(machine.cpus)))


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=1))
