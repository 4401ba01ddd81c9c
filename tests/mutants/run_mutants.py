# run_mutants.py: plants one defect at a time and runs the tests until one of them sees it.
#
# usage: run_mutants.py BUILD [NAME...]
#
# BUILD is a finished build folder of the `dev` preset; nothing in it is changed. Per mutant the one
# changed file is compiled out of tree, the test programs are linked anew with it, one by one, and
# run until the first that fails: by a failed test, a broken belief of the library (TARN_DEBUG), a
# crash, or by taking ten times as long as without the mutant. A mutant that every program passes
# has survived, and a test is missing. NAME runs only the mutants that have it in their name.
# Most of the time goes to compilers, so they optimise little and write nothing for a debugger.
import collections
import concurrent.futures
import glob
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import mutants

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
JOBS = int(os.environ.get("TARN_JOBS", 0)) or os.cpu_count()
SECONDS_MIN = 20  # however short a program is without a mutant: others run beside it
SLOWDOWN_MAX = 10
# The simulated driver's seed is fixed, so that a mutant is caught on every run or on none.
ENVIRONMENT = {"CUSIM_SEED": "1", "CUSIM_DEVICES": "2", "CMOCKA_MESSAGE_OUTPUT": "stdout"}


# Neither do addresses differ from run to run, where the machine allows that.
SAME_ADDRESSES = ["setarch", os.uname().machine, "-R"]
if shutil.which("setarch") is None or subprocess.run([*SAME_ADDRESSES, "true"]).returncode != 0:
    SAME_ADDRESSES = []


class TableError(Exception):
    """The table does not fit the sources any more, or the build is not finished."""


def apply(mutant, root=ROOT):
    """The mutant's file with the defect in it."""
    with open(os.path.join(root, mutant.file), encoding="utf-8") as file:
        text = file.read()
    finds, replaces = mutant.find, mutant.replace
    if isinstance(finds, str):
        finds, replaces = (finds,), (replaces,)
    for find, replace in zip(finds, replaces):
        count = text.count(find)
        if count != 1:
            raise TableError(
                f"{mutant.name}: what it replaces is {count} times in {mutant.file}, not once; "
                f"tests/mutants/mutants.py has to follow the code:\n{find}"
            )
        text = text.replace(find, replace)
    return text


# --- what happened to a program ---

Verdict = collections.namedtuple("Verdict", "is_caught by")


def judge(program, code, output):
    """How one run ended. `code` is subprocess's; None where it ran out of time."""
    started = re.findall(r"\[ RUN      \] (\S+)", output)
    where = f"{program}: {started[-1]}" if started else program
    belief = re.search(r"(\S+?:\d+): tarn believed that (.*)", output)
    if belief:
        path = os.path.relpath(belief.group(1), ROOT) if belief.group(1)[0] == "/" else belief[1]
        path = re.sub(r"^.*?mutants/[^/]+/", "", path)
        return Verdict(True, f"{where} (broken belief: {path})")
    if code is None:
        return Verdict(True, f"{where} (does not end)")
    if code < 0:
        return Verdict(True, f"{where} (signal {-code})")
    if code in (0, 77):
        return Verdict(False, "")
    failed = re.findall(r"\[  FAILED  \] (\S+)", output)
    names = [name for name in failed if not name.isdigit()]
    return Verdict(True, f"{program}: {names[0]}" if names else f"{where} (exit status {code})")


def run_program(command, folder, seconds_max):
    """Answers the exit status, None where it ran out of time, and the output. A failed test ends
    the program: what it left behind may keep those after it waiting for ever."""
    environment = {**os.environ, **ENVIRONMENT}
    process = subprocess.Popen(
        [*SAME_ADDRESSES, *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    is_late = threading.Event()

    def end():  # with its children: one that hangs has its output open
        os.killpg(process.pid, signal.SIGKILL)

    def end_late():
        is_late.set()
        end()

    timer = threading.Timer(seconds_max, end_late)
    timer.start()
    output, code = b"", None
    with process:
        for line in process.stdout:
            output += line
            if line.startswith(b"[  FAILED  ]"):
                end()
                code = 1
                break
        timer.cancel()
    if code is None and not is_late.is_set():
        code = process.returncode
    return code, output.decode("utf-8", "replace")


# --- building ---


class Build:
    """How the finished build compiled each object and linked each program."""

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self.links = {}
        self.compiles = {}
        for line in self.ninja("-t", "commands", "all").splitlines():
            self.add_command(line)
        self.readers = collections.defaultdict(set)  # header -> objects
        for block in self.ninja("-t", "deps").split("\n\n"):
            head, *paths = block.splitlines() or [""]
            for path in paths:
                self.readers[os.path.realpath(os.path.join(self.folder, path.strip()))].add(
                    head.split(":")[0]
                )

    def ninja(self, *arguments):
        return subprocess.run(
            ["ninja", "-C", self.folder, *arguments], check=True, capture_output=True, text=True
        ).stdout

    def add_command(self, line):
        words = shlex.split(line.removeprefix(": && ").removesuffix(" && :"))
        if "-o" not in words:
            return
        output = words[words.index("-o") + 1]
        if "-c" in words:
            self.compiles[output] = words
        elif output.startswith("tests/"):
            self.links[output.removeprefix("tests/")] = words

    def objects_of(self, source):
        """The library's objects that a changed file changes."""
        path = os.path.realpath(os.path.join(ROOT, source))
        if source.endswith((".h", ".hpp")):
            return sorted(name for name in self.readers[path] if name in self.compiles)
        return [
            name
            for name, words in self.compiles.items()
            if os.path.realpath(os.path.join(self.folder, words[words.index("-c") + 1])) == path
        ]


class Planted:
    """One mutant's objects, each compiled when the first program asks for it: few programs have
    all that read a header."""

    def __init__(self, build, mutant, folder):
        self.build = build
        self.mutant = mutant
        self.folder = folder
        self.source = os.path.join(folder, mutant.file)
        self.changed = set(build.objects_of(mutant.file))
        self.made = {}  # the build's object -> ours
        os.makedirs(os.path.dirname(self.source), exist_ok=True)
        with open(self.source, "w", encoding="utf-8") as file:
            file.write(apply(mutant))

    def object(self, name):
        """What stands for `name`, a word of a link, in this mutant's programs."""
        if name not in self.changed:
            return name
        if name not in self.made:
            own = os.path.join(self.folder, f"{len(self.made)}.o")
            self.compile(name, own)
            self.made[name] = own
        return self.made[name]

    def compile(self, name, own):
        words = list(self.build.compiles[name])
        words[words.index("-o") + 1] = own
        if not self.mutant.file.endswith((".h", ".hpp")):
            words[words.index("-c") + 1] = self.source
        # A defect may leave something unused: no warning stops it.
        # The changed header is found before the real one.
        first = next(at for at, word in enumerate(words) if word.startswith("-"))
        words[first:first] = ["-w", "-I", self.folder]
        words += ["-O1", "-g0"]
        made = subprocess.run(words, cwd=self.build.folder, capture_output=True, text=True)
        if made.returncode != 0:
            raise TableError(f"{self.mutant.name} does not compile:\n{made.stderr}")


def make_folder(build, folder):
    """An empty folder laid out as the build: programs find the libraries beside them."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "tests"))
    for pattern in ("sim", "tests/*.so*"):
        for path in glob.glob(os.path.join(build.folder, pattern)):
            os.symlink(path, os.path.join(folder, os.path.relpath(path, build.folder)))


def link_program(build, program, planted, folder):
    words = [planted.object(word) for word in build.links[program]]
    path = os.path.join(folder, "tests", program)
    words[words.index("-o") + 1] = path
    words.append("-Wl,--strip-debug")
    made = subprocess.run(words, cwd=build.folder, capture_output=True, text=True)
    if made.returncode != 0:
        raise TableError(f"{program} does not link; is the build finished?\n{made.stderr[:2000]}")
    return path


# --- all together ---


def try_piece(build, mutant, programs, planted, folder):
    """The museum's piece with this defect has to see it by itself."""
    for program in filter(programs.get, mutants.MUSEUM):
        path = link_program(build, program, planted, folder)
        code, output = run_program([path, mutant.piece], folder, programs[program].seconds_max)
        os.remove(path)
        if f"[ RUN      ] {mutant.piece}\n" in output:
            return judge(program, code, output)
    raise TableError(f"{mutant.name}: the museum has no piece {mutant.piece}")


def try_programs(build, mutant, programs, planted, folder):
    for program in sorted(programs, key=lambda name: name not in mutant.first):
        path = link_program(build, program, planted, folder)
        code, output = run_program(
            [path, *programs[program].arguments], folder, programs[program].seconds_max
        )
        verdict = judge(program, code, output)
        os.remove(path)
        if verdict.is_caught:
            return verdict
    return Verdict(False, "")


def try_mutant(build, mutant, programs, folder):
    """Plants the mutant and runs `programs` (name -> Program) until one sees it."""
    make_folder(build, folder)
    planted = Planted(build, mutant, folder)
    attempt = try_piece if mutant.piece else try_programs
    verdict = attempt(build, mutant, programs, planted, folder)
    shutil.rmtree(folder, ignore_errors=True)
    return verdict


Program = collections.namedtuple("Program", "arguments seconds_max")


def measure(build, lines, folder):
    """Runs the build's programs, without a mutant: none may fail. Answers a dict from their names
    to how each is run."""
    make_folder(build, folder)

    def measure_one(line):
        name, *arguments = line
        path = os.path.join(build.folder, "tests", name)
        start = time.monotonic()
        code, output = run_program([path, *arguments], folder, 600)
        verdict = judge(name, code, output)
        if verdict.is_caught:
            raise TableError(f"without a mutant fails {verdict.by}:\n{output[-4000:]}")
        seconds_max = max(SECONDS_MIN, SLOWDOWN_MAX * (time.monotonic() - start))
        return name, Program(arguments, seconds_max)

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        programs = dict(pool.map(measure_one, lines))
    shutil.rmtree(folder)
    return programs


def choose(table, names):
    return [mutant for mutant in table if not names or any(name in mutant.name for name in names)]


def run(build_folder, table, work, lines=tuple(mutants.PROGRAMS)):
    """Prints a line per mutant and how many were caught; answers whether all were."""
    for mutant in table:
        apply(mutant)  # before anything is built
    build = Build(build_folder)
    absent = [mutant for mutant in table if not build.objects_of(mutant.file)]
    for mutant in absent:
        print(f"left out {mutant.name}: this build has no {mutant.file}", flush=True)
    table = [mutant for mutant in table if mutant not in absent]
    lines = [line for line in lines if line[0] in build.links]
    programs = measure(build, lines, os.path.join(work, "without_a_mutant"))
    survived = []
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        futures = [
            pool.submit(try_mutant, build, mutant, programs, os.path.join(work, mutant.name))
            for mutant in table
        ]
        for mutant, future in zip(table, futures):
            verdict = future.result()
            if verdict.is_caught:
                print(f"caught {mutant.name} by {verdict.by}", flush=True)
            else:
                whom = f"the piece {mutant.piece}" if mutant.piece else "every test"
                survived.append(f"SURVIVED {mutant.name}, {whom} passes: {mutant.broken}")
                print(survived[-1], flush=True)
    if survived:
        print(*survived, sep="\n")  # where it is seen of a long output that is cut
    print(f"caught {len(table) - len(survived)} of {len(table)}", flush=True)
    return not survived


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: run_mutants.py BUILD [NAME...]")
    table = choose(mutants.TABLE, sys.argv[2:])
    if not table:
        sys.exit(f"no mutant has {' or '.join(sys.argv[2:])} in its name")
    try:
        is_whole = run(sys.argv[1], table, os.path.join(ROOT, "build", "mutants"))
    except TableError as error:
        sys.exit(f"run_mutants.py: {error}")
    sys.exit(0 if is_whole else 1)


if __name__ == "__main__":
    main()
