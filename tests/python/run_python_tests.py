# run_python_tests.py: starts one peer's tests on an interpreter that has the peer; else skips.
#
# usage: run_python_tests.py PEER FOLDER_OF_THE_PACKAGE [ARG...]
# Interpreters asked, in this order: $TARN_PYTHON, build/venv of the tree, this one, the system's.
# Where none has the peer the exit status is 77, or 1 where the environment says CI=true.
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
NEEDED_MODULES = {
    "package": "sys", "views": "sys", "cuda": "sys", "numpy": "numpy", "torch": "torch",
    "jax": "jax", "numa": "sys", "share": "sys", "cupy": "sys", "numpy_allocator": "numpy",
    "numpy_handler": "numpy", "torch_allocator": "sys", "blobs": "sys",
}
SKIPPED = 77


def interpreters():
    for path in (
        os.environ.get("TARN_PYTHON"),
        os.path.join(ROOT, "build", "venv", "bin", "python"),
        sys.executable,
        "/usr/bin/python3",
    ):
        if path and os.path.exists(path):
            yield path


def has(interpreter, module):
    question = f"import sys; assert sys.version_info >= (3, 11); import {module}"
    command = [interpreter, "-c", question]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main():
    peer, package = sys.argv[1], sys.argv[2]
    module = NEEDED_MODULES[peer]
    chosen = next((path for path in interpreters() if has(path, module)), None)
    if chosen is None:
        print(f"no Python 3.11 or later here has {module}")
        sys.exit(1 if os.environ.get("CI") == "true" else SKIPPED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((package, HERE))}
    test = os.path.join(HERE, f"test_python_{peer}.py")
    command = [chosen, "-B", test, *sys.argv[3:]]
    sys.stdout.flush()
    os.execve(chosen, command, environment)


if __name__ == "__main__":
    main()
