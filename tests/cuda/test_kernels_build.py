# test_kernels_build.py: the PTX of the tree belongs to its sources, and kernels spill nothing.
#
# usage: test_kernels_build.py ROOT NVCC SOURCE...     NVCC "-" where there is none
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT, NVCC, SOURCES = sys.argv[1], sys.argv[2], sys.argv[3:]
MAKE_PTX = os.path.join(ROOT, "cuda", "make_ptx.py")
# Four blocks of 256 threads have as many each on a processor; ptxas may take 255.
REGISTERS_MAX = 64


def kernel_names():
    with open(os.path.join(ROOT, "cuda", "kernels.ptx"), encoding="utf-8") as file:
        return set(re.findall(r"\.visible \.entry (\w+)\(", file.read()))


class Ptx(unittest.TestCase):
    def test_it_was_made_from_these_sources(self):
        checked = subprocess.run(
            [sys.executable, MAKE_PTX, "--check", ROOT, *SOURCES], capture_output=True, text=True
        )
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_it_has_every_kernel_of_the_list(self):
        listed = subprocess.run(
            ["gcc", "-E", "-P", f"-I{ROOT}", "-x", "c", "-"],
            input='#include "cuda/kernel_list.h"\n#define N(name, ...) tarn_##name\n'
            "TARN__KERNELS(N, N)",
            capture_output=True, text=True, check=True,
        ).stdout
        names = set(re.findall(r"\btarn_[a-z]+\w*\b", listed.rsplit(";", 1)[1]))
        self.assertEqual(kernel_names(), names)

    def test_older_drivers_read_it(self):
        with open(os.path.join(ROOT, "cuda", "kernels.ptx"), encoding="utf-8") as file:
            head = file.read(300)
        self.assertIn(".version 7.0", head)
        self.assertIn(".target sm_75", head)


@unittest.skipIf(NVCC == "-", "no nvcc")
class Code(unittest.TestCase):
    """One process for each GPU, and what ptxas says of each kernel."""

    def compiled(self, arch):
        with tempfile.TemporaryDirectory() as folder:
            said = subprocess.run(
                [NVCC, f"-I{ROOT}", "-cubin", f"-arch=sm_{arch}", "-Werror", "all-warnings",
                 "-Xptxas", "-v", "-o", os.path.join(folder, "k"), os.path.join(ROOT, SOURCES[0])],
                capture_output=True, text=True, check=True,
            ).stderr
        found = re.findall(
            r"entry function '(\w+)'.*?\n.*?\n\s+(\d+) bytes stack frame, "
            r"(\d+) bytes spill stores, (\d+) bytes spill loads\n.*?Used (\d+) registers",
            said,
        )
        self.assertEqual({name for name, *_ in found}, kernel_names(), said)
        return found

    def test_no_kernel_spills_or_needs_local_memory(self):
        for arch in os.environ.get("TARN_TEST_ARCHS", "75 90").split():
            for name, *bytes_of, registers in self.compiled(arch):
                self.assertEqual(bytes_of, ["0", "0", "0"], f"{name} on {arch}")
                self.assertLessEqual(int(registers), REGISTERS_MAX, f"{name} on {arch}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
