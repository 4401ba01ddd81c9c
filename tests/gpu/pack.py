# pack.py: fills a folder with what a machine with a GPU needs to test and measure this build.
#
# usage: pack.py BUILD_FOLDER OUT_FOLDER [TEST...]
#
#     OUT/run.sh      the one thing to start there, and the Python scripts that it starts
#     OUT/tarn        the command
#     OUT/tests.tar.xz  the test programs; run.sh unpacks them. Each has all of the library in it,
#                       so that together they take a tenth of what they take apart. Their symbols
#                       stay, for where one crashes or hangs
#     OUT/suite.json  the tests, as ctest would run them
#     OUT/lib/        libtarn.so and the shared libraries that such a machine may lack
#     OUT/sim/        the simulated driver, where no search path finds it by accident
#     OUT/traces/     the recorded traces, gzipped
#     OUT/python/     the Python package, where the build has one
#
# Every program is looked at: it may need nothing that is neither here nor on every Linux. With TEST
# only tests of these names are packed.
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD, OUT = (os.path.abspath(path) for path in sys.argv[1:3])
ASKED = sys.argv[3:]
# What every Linux with a new enough glibc has, and what belongs to the GPU's own machine; so does
# C++'s library: PyTorch over there needs one that is as new as itself.
PROVIDED = re.compile(
    r"(ld-linux.*|linux-vdso|lib(c|m|dl|rt|pthread|resolv|util|cuda|gcc_s|stdc\+\+))\.so"
)
# The simulated driver and what stands in front of it; programs find them beside themselves.
SIMULATED = ("sim/libcuda.so.1", "tests/libold_driver.so", "tests/libsecond_driver.so")
SIZE_BYTES_MAX = 48 << 20  # the tree is carried beside it
SCRIPTS = ("run.sh", "run.py", "cupy_model.py", "figures.py", "torch_model.py", "torch_peers.py",
           "torch_pairs.cpp")


def copy(source, target, strip=False):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy2(source, target)
    if strip:
        subprocess.run(["strip", "--strip-debug", target], check=True)


def is_inside(path, folder):
    return os.path.isabs(path) and os.path.commonpath([path, folder]) == folder


def carried(argument):
    """The argument as it reads over there; a file or a folder that it names comes along."""
    if not (is_inside(argument, BUILD) or is_inside(argument, ROOT)):
        return argument
    if os.path.isdir(argument) and not is_inside(argument, BUILD):
        target = os.path.join("files", os.path.relpath(argument, ROOT))
        shutil.copytree(argument, os.path.join(OUT, target), dirs_exist_ok=True)
        return os.path.join(".", target)
    if not os.path.isfile(argument):
        raise SystemExit(f"pack.py: a test gets {argument}, which cannot be carried")
    if argument.endswith(".csv.gz"):
        target = os.path.join("traces", os.path.basename(argument))
    elif is_inside(argument, BUILD):
        target = os.path.relpath(argument, BUILD)
    else:
        target = os.path.join("files", os.path.relpath(argument, ROOT))
    copy(argument, os.path.join(OUT, target), strip=os.access(argument, os.X_OK))
    return os.path.join(".", target)


def compiled_tests():
    """Name, command, environment and time limit of each test that is a program of this build."""
    listing = subprocess.run(
        ["ctest", "--test-dir", BUILD, "--show-only=json-v1"],
        capture_output=True, text=True, check=True,
    ).stdout
    for test in json.loads(listing)["tests"]:
        command = test.get("command") or [""]
        properties = {entry["name"]: entry["value"] for entry in test.get("properties", [])}
        # A test that is judged by what it prints is judged here, not over there.
        is_judged_by_status = not any(name.endswith("_REGULAR_EXPRESSION") for name in properties)
        if is_inside(command[0], os.path.join(BUILD, "tests")) and is_judged_by_status:
            yield (
                test["name"],
                command,
                properties.get("ENVIRONMENT", []),
                int(properties.get("TIMEOUT", 300)),
            )


def needed_libraries(program, folder=None):
    """Name and path of each shared library that the program is linked to."""
    environment = dict(os.environ)
    if folder is not None:
        environment["LD_LIBRARY_PATH"] = folder
    output = subprocess.run(
        ["ldd", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    if "not found" in output:
        raise SystemExit(f"pack.py: {program} lacks a library:\n{output}")
    return dict(re.findall(r"^\s*(\S+) => (/.*) \(0x", output, re.MULTILINE))


def check_whole():
    """What is packed finds all that it is linked to here, or on any machine."""
    libraries = ":".join(os.path.join(OUT, folder) for folder in ("lib", "sim"))
    for folder, _, names in os.walk(OUT):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                if file.read(4) != b"\x7fELF":
                    continue
            for needed, found in needed_libraries(path, libraries).items():
                if not PROVIDED.match(needed) and not is_inside(os.path.realpath(found), OUT):
                    raise SystemExit(f"pack.py: {path} takes {needed} from {found}")


def pack_test(name, command, environment, limit_s):
    """The test's entry in suite.json; its files come along."""
    variables = {key: carried(value) for key, value in (e.split("=", 1) for e in environment)}
    if is_inside(needed_libraries(command[0]).get("libcuda.so.1", ""), BUILD):
        variables["LD_LIBRARY_PATH"] = "sim:lib"  # linked to the simulated driver
    return {
        "name": name,
        "limit_s": limit_s,
        "environment": variables,
        "command": [carried(word) for word in command],
    }


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    tests, libraries = [], needed_libraries(os.path.join(BUILD, "tarn"))
    for name, command, environment, limit_s in compiled_tests():
        if ASKED and name not in ASKED:
            continue
        libraries.update(needed_libraries(command[0]))
        tests.append(pack_test(name, command, environment, limit_s))
    if not tests:
        raise SystemExit("pack.py: this build has no such test programs")

    copy(os.path.join(BUILD, "tarn"), os.path.join(OUT, "tarn"), strip=True)
    for name, path in libraries.items():
        if not PROVIDED.match(name):
            copy(os.path.realpath(path), os.path.join(OUT, "lib", name), strip=True)
    for place in SIMULATED:
        if os.path.exists(os.path.join(BUILD, place)):
            copy(os.path.join(BUILD, place), os.path.join(OUT, place), strip=True)
    traces = os.path.join(ROOT, "bench", "traces")
    for name in os.listdir(traces):
        if name.endswith(".csv.gz"):
            copy(os.path.join(traces, name), os.path.join(OUT, "traces", name))
    package = os.path.join(BUILD, "python", "tarn")
    if os.path.isdir(package):
        for name in filter(lambda name: name.endswith((".py", ".so")), os.listdir(package)):
            target = os.path.join(OUT, "python", "tarn", name)
            copy(os.path.join(package, name), target, strip=name.endswith(".so"))
    for name in SCRIPTS:
        copy(os.path.join(ROOT, "tests", "gpu", name), os.path.join(OUT, name))
    with open(os.path.join(OUT, "suite.json"), "w", encoding="utf-8") as file:
        json.dump({"tests": tests}, file, indent=1)
    check_whole()

    programs = os.path.join(OUT, "tests")
    with tarfile.open(programs + ".tar.xz", "w:xz", preset=3) as archive:
        archive.add(programs, "tests")
    shutil.rmtree(programs)

    files = [os.path.join(where, name) for where, _, names in os.walk(OUT) for name in names]
    size_bytes = sum(map(os.path.getsize, files))
    print(f"{OUT}: {len(tests)} tests, {size_bytes / (1 << 20):.1f} MiB")
    if size_bytes > SIZE_BYTES_MAX:
        raise SystemExit(f"pack.py: more than {SIZE_BYTES_MAX >> 20} MiB is too much to carry")


main()
