# run_unprivileged.py: runs a build's test programs once more as a user who may lock 8 MiB at most.
"""Usage: run_unprivileged.py BUILD_DIR [LABEL...]

What a test finds missing for lack of rights has to be a status, not a failure. As root each program
runs as user and group 65534, or where that user cannot reach the build folder, as root without
capabilities; anybody else stays who it is, with the limit. Programs are started where they can
write. Those that an interpreter runs are left out: it may stand where only root can read.
"""
import concurrent.futures
import json
import os
import resource
import subprocess
import sys
import tempfile

LOCKED_BYTES_MAX = 8 << 20
NOBODY = 65534
SECONDS_MAX = 300
SKIPPED = 77
LABELS = ["alloc", "numa", "conformance"]
NAMES = ["test_cuda", "test_cuda_fork"]  # these have no label


def property_of(test, name, otherwise):
    for each in test.get("properties", []):
        if each["name"] == name:
            return each["value"]
    return otherwise


def find_programs(build, labels):
    listed = subprocess.run(["ctest", "--show-only=json-v1"], cwd=build, check=True,
                            capture_output=True, text=True)
    found = []
    for test in json.loads(listed.stdout)["tests"]:
        command = test.get("command", [])
        is_wanted = set(property_of(test, "LABELS", [])) & set(labels) or test["name"] in NAMES
        if is_wanted and command and command[0].startswith(build + os.sep):
            found.append((test["name"], command, property_of(test, "ENVIRONMENT", [])))
    return found


def limit_locks():
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (LOCKED_BYTES_MAX, LOCKED_BYTES_MAX))


def become_nobody():
    limit_locks()
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def can_nobody_run(program):
    reached = subprocess.run(["/usr/bin/test", "-x", program], preexec_fn=become_nobody)
    return reached.returncode == 0


def choose_way(programs):
    """What a program's command begins with, and what its process does first."""
    if os.getuid() != 0:
        return [], limit_locks
    if all(can_nobody_run(command[0]) for _, command, _ in programs):
        return [], become_nobody
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"], limit_locks


def run(program, way):
    name, command, variables = program
    prefix, prepare = way
    environment = {**os.environ, **dict(pair.split("=", 1) for pair in variables)}
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        try:
            done = subprocess.run(prefix + command, cwd=folder, env={**environment, "HOME": folder},
                                  preexec_fn=prepare, timeout=SECONDS_MAX,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            return name, done.returncode, done.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as late:
            return name, -1, (late.stdout or b"").decode(errors="replace") + "\ntoo late"


def main(arguments):
    build = os.path.realpath(arguments[0])
    programs = find_programs(build, arguments[1:] or LABELS)
    if not programs:
        print("no programs to run in", build)
        return 1
    way = choose_way(programs)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, code, output in pool.map(lambda program: run(program, way), programs):
            if code in (0, SKIPPED):
                continue
            failed += 1
            print(f"--- {name}: {code}\n{output}")
    print(f"{len(programs)} programs without rights, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
