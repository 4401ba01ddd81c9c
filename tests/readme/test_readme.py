# test_readme.py: the README's C examples compile, run and print what the README says.
#
# usage: test_readme.py COMPILER FOLDER_OF_LIBTARN [COMPILER FLAG...]
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
COMPILER, LIBRARY_FOLDER, FLAGS = sys.argv[1], sys.argv[2], sys.argv[3:]
EXAMPLES = 2
EXAMPLE_LINES_MAX = 35
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def read_readme():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return file.read()


def code_blocks(text, language):
    """The blocks of this language, one for each example."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if len(blocks) != EXAMPLES:
        raise AssertionError(f"README.md has {len(blocks)} blocks of {language}, not {EXAMPLES}")
    return blocks


class Readme(unittest.TestCase):
    def test_the_examples_print_what_the_readme_says(self):
        readme = read_readme()
        for example, promised in zip(code_blocks(readme, "c"), code_blocks(readme, "text")):
            with self.subTest(promised=promised):
                self.check_example(example, promised)

    def check_example(self, example, promised):
        lines = [line for line in example.splitlines() if line.strip()]
        self.assertLessEqual(len(lines), EXAMPLE_LINES_MAX)
        with tempfile.TemporaryDirectory() as folder:
            source, program = os.path.join(folder, "example.c"), os.path.join(folder, "example")
            with open(source, "w", encoding="utf-8") as file:
                file.write(example)
            command = [COMPILER, "-std=c11", *WARNINGS, *FLAGS, "-I", ROOT, source, "-o", program]
            command += ["-L", LIBRARY_FOLDER, "-ltarn", f"-Wl,-rpath,{LIBRARY_FOLDER}"]
            built = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(built.returncode, 0, built.stderr)
            ran = subprocess.run([program], capture_output=True, text=True)
            if ran.returncode == 1 and "the kernel does not tell where" in ran.stdout:
                self.skipTest(ran.stdout)  # a container that lets nobody ask where pages lie
            self.assertEqual((ran.returncode, ran.stdout), (0, promised), ran.stderr)

    def test_every_file_that_the_readme_names_is_there(self):
        folders = "alloc|numa|cuda|tensor|tests|bench|python"
        names = re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./*-]*\w", read_readme())
        names = [name for name in names if "*" not in name]
        self.assertGreater(len(names), 5)
        missing = [name for name in names if not os.path.exists(os.path.join(ROOT, name))]
        self.assertEqual(missing, [])


if __name__ == "__main__":
    sys.argv[1:] = []
    unittest.main()
