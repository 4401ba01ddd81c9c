# test_cupy_model.py: cupy_model.py without a GPU: its model on NumPy, and its verdicts.
import copy
import json
import os
import subprocess
import sys
import unittest

import cupy_model

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SCRIPT = os.path.join(HERE, "cupy_model.py")


def told():
    return {"answers": {"train": ["0x1p+0", "0x1p-1"], "streams": ["0x1p+4"]}, "complaints": []}


class Model(unittest.TestCase):
    def test_it_learns(self):
        for python in (os.environ.get("TARN_PYTHON"), f"{ROOT}/build/venv/bin/python",
                       sys.executable, "/usr/bin/python3"):
            if not python or not os.path.exists(python):
                continue
            done = subprocess.run([python, "-B", SCRIPT, "--dry"], capture_output=True, text=True,
                                  check=False)
            if "No module named 'numpy'" not in done.stderr:
                break
        else:
            if os.environ.get("CI") != "true":
                self.skipTest("no NumPy here")
        self.assertEqual(done.returncode, 0, done.stderr)
        losses = [float.fromhex(loss) for loss in json.loads(done.stdout)["train"]]
        self.assertEqual(len(losses), cupy_model.DRY[0])
        self.assertLess(losses[-1], 0.9 * losses[0])

    def test_one_bit_is_a_difference(self):
        self.assertEqual(cupy_model.compare(told(), told()), [])
        for name, changed, words in (
                ("train", ["0x1p+0", "0x1.0000000000001p-1"], "step 1"),
                ("streams", [], "0 numbers"),
                ("train", ["0x1p+0"], "1 numbers, not 2")):
            own = copy.deepcopy(told())
            own["answers"][name] = changed
            found = cupy_model.compare(told(), own)
            self.assertEqual(len(found), 1, found)
            self.assertIn(words, found[0])
        nothing = {**told(), "answers": {"train": ["nan"]}}
        self.assertEqual(cupy_model.compare(nothing, nothing), ["train: not all are numbers"])
        own = {**told(), "complaints": ["a block was left"]}
        self.assertEqual(cupy_model.compare(told(), own), ["a block was left"])

    def test_without_cupy_or_a_gpu_it_says_so(self):
        done = subprocess.run([sys.executable, "-B", SCRIPT], capture_output=True, text=True,
                              check=False)
        if done.returncode == 0:
            self.skipTest("CuPy and a GPU are here")
        self.assertEqual(done.returncode, cupy_model.SKIPPED, done.stdout + done.stderr)
        self.assertRegex(done.stdout, "no CuPy here|sees no GPU|no tarn")


if __name__ == "__main__":
    unittest.main()
