# run_ort_tests.py: finds the real ONNX Runtime and starts a test with it; else skips.
#
# usage: run_ort_tests.py real PROGRAM | python FOLDER_OF_THE_PACKAGE
# Asks the same interpreters as run_python_tests.py, for one that has onnxruntime and onnx. Where
# none has, the exit status is 77, or 1 where the environment says CI=true.
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.join(ROOT, "tests", "python"))
from run_python_tests import SKIPPED, interpreters  # noqa: E402

# Asks for the library, without loading either copy of the runtime.
QUESTION = """
import glob, importlib.util, os, sys
assert sys.version_info >= (3, 11) and importlib.util.find_spec("onnx")
folder = os.path.dirname(importlib.util.find_spec("onnxruntime").origin)
print(glob.glob(os.path.join(folder, "capi", "libonnxruntime.so.*"))[0])
"""


def library_of(interpreter):
    asked = subprocess.run([interpreter, "-c", QUESTION], capture_output=True, text=True,
                           check=False)
    return asked.stdout.strip() if asked.returncode == 0 else None


def main():
    kind, what = sys.argv[1], os.path.abspath(sys.argv[2])
    found = next(((path, library) for path in interpreters() if (library := library_of(path))),
                 None)
    if found is None:
        print("no Python 3.11 or later here has onnxruntime and onnx")
        return 1 if os.environ.get("CI") == "true" else SKIPPED
    interpreter, library = found
    with tempfile.TemporaryDirectory() as folder:
        if kind == "real":
            model = os.path.join(folder, "layers.onnx")
            subprocess.run([interpreter, "-B", os.path.join(HERE, "ort_models.py"), model],
                           check=True)
            return subprocess.run([what, library, model], check=False).returncode
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((what, HERE))}
        test = os.path.join(HERE, "test_python_ort.py")
        return subprocess.run([interpreter, "-B", test, *sys.argv[3:]], env=environment,
                              check=False).returncode


sys.exit(main())
