# test_headers.py: every public header compiles alone, as C11 and as C++17, without a warning, and
# those for C++ by every compiler there is, in its modes.
#
# usage: test_headers.py COMPILER
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import style_rules as rules

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
COMPILER = sys.argv.pop(1)
LANGUAGES = (("c", "c11"), ("c++", "c++17"))
CXX_COMPILERS = {COMPILER, *filter(shutil.which, ("g++", "clang++-14", "clang++"))}
CXX_MODES = ([], ["-fno-exceptions", "-fno-rtti"])
# The headers use unnamed and empty initialisers nowhere, so strict flags cost nothing here.
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Werror"]


def compile_alone(header, language, standard, folder=ROOT, debug=0, compiler=COMPILER, mode=()):
    """What the compiler says about a file that holds nothing but this include; '' for nothing."""
    command = [compiler, "-x", language, f"-std={standard}", *WARNINGS, *mode, "-fsyntax-only"]
    command += ["-I", folder, "-I", ROOT, f"-DTARN_DEBUG={debug}", "-"]
    source = f'#include "{header}"\n'
    result = subprocess.run(command, input=source, capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stderr or "failed without a word"


class Headers(unittest.TestCase):
    def test_every_public_header_compiles_alone(self):
        headers = sorted(filter(rules.is_public_header, rules.load_tree(ROOT)))
        self.assertGreater(len(headers), 10)
        for header in headers:
            for language, standard in LANGUAGES:
                with self.subTest(header=header, standard=standard):
                    self.assertEqual(compile_alone(header, language, standard), "")

    def test_every_public_header_for_cxx_compiles_alone(self):
        headers = sorted(filter(rules.is_public_cxx_header, rules.load_tree(ROOT)))
        self.assertTrue(headers)
        for header in headers:
            for compiler in sorted(CXX_COMPILERS):
                for standard in ("c++17", "c++20"):
                    for mode in CXX_MODES:
                        with self.subTest(compiler=compiler, standard=standard, mode=mode):
                            said = compile_alone(header, "c++", standard, compiler=compiler,
                                                 mode=mode)
                            self.assertEqual(said, "")

    def test_elements_are_lvalues_in_both_languages(self):
        body = """#include "tensor/tarn_accessor.h"
float use(const tarn_tensor *tensor, tarn_accessor a) {
  TARN_AT(tensor, float, 0) = TARN_AT(tensor, const float, 1, 2, 3, 4, 5, 6);
  TARN_ELEMENT(a, int64_t, 1, 2) += 3;
  return TARN_ELEMENT(a, const float, 1, 2, 3);
}
"""
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "use.h"), "w", encoding="utf-8") as file:
                file.write(body)
            for language, standard in LANGUAGES:
                said = compile_alone("use.h", language, standard, folder, debug=1)
                self.assertEqual(said, "")

    def test_a_header_that_needs_another_first_is_caught(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "bad.h"), "w", encoding="utf-8") as file:
                file.write("size_t size_of_nothing(void);\n")
            for language, standard in LANGUAGES:
                self.assertIn("size_t", compile_alone("bad.h", language, standard, folder))

    def test_a_header_that_is_not_cxx_is_caught(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "bad.h"), "w", encoding="utf-8") as file:
                file.write("int use(int class);\n")
            self.assertEqual(compile_alone("bad.h", *LANGUAGES[0], folder), "")
            self.assertNotEqual(compile_alone("bad.h", *LANGUAGES[1], folder), "")


if __name__ == "__main__":
    unittest.main()
