# test_symbols.py: what the library's objects define for others is named tarn_* or tarn__*.
#
# usage: test_symbols.py NM FILE_WITH_ONE_OBJECT_PER_LINE
import os
import re
import subprocess
import sys
import unittest

import style_rules as rules

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
OBJECTS = sys.argv.pop()
NM = sys.argv.pop()


def defined_names(objects):
    output = subprocess.run(
        [NM, "-g", "--defined-only", "-P", *objects], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"^(\S+) [A-Za-z] [0-9a-f]", output, re.MULTILINE)
    # The compilers and sanitizers define names of their own, all of them with two underscores; one
    # such is what a C source refers to that lets exceptions through.
    return {name for name in names if not name.startswith(("__", "DW.ref.__"))}


def misnamed(names, public):
    """Names that neither a public header declares nor a prefix for private ones begins: tarn__ is
    ours, je_ what our jemalloc asks us to define."""
    return sorted(name for name in names - public if not name.startswith(("tarn__", "je_")))


class Symbols(unittest.TestCase):
    def setUp(self):
        tree = rules.load_tree(ROOT)
        headers = filter(rules.is_public_header, tree)
        self.public = {name for path in headers for name in rules.public_functions(tree[path])}
        with open(OBJECTS, encoding="utf-8") as file:
            self.names = defined_names(file.read().splitlines())

    def test_every_name_is_declared_in_a_public_header_or_is_private(self):
        self.assertGreater(len(self.names & self.public), 50)
        self.assertEqual(misnamed(self.names, self.public), [])

    def test_a_bare_name_and_an_undeclared_one_are_caught(self):
        names = {"helper", "tarn_thing_do", "tarn__thing_do"}
        self.assertEqual(misnamed(names, {"tarn_thing_do"}), ["helper"])
        self.assertEqual(misnamed(names, set()), ["helper", "tarn_thing_do"])


if __name__ == "__main__":
    unittest.main()
