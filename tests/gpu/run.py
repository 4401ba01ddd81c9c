# run.py: tests and measures the build of tarn in this folder on a machine with a GPU.
#
# usage: run.sh [--only STAGE[=WORD][,...]] [--budget SECONDS] [--allow-sim] [--list]
#
# Needs nothing but a shell, Python 3, a C library and the GPU's driver; PyTorch, CuPy, a debugger
# and compute-sanitizer take part where they are. Stages run in the order of what they are worth,
# each with a time limit of its own, and none keeps a later one from running. --only: these stages,
# and of a stage's tests or subjects those alone whose names contain WORD. --budget: what is left of
# so many seconds bounds each stage, and what comes too late is skipped and says so. Without a GPU
# it fails, unless --allow-sim says that the simulated driver will do: that tries the folder out,
# and measures nothing.
#
# Results go to $OUT (./out by default), and are there after every stage: report.md is what one
# reads and keeps; results.json, fidelity.txt, copy_costs.txt, and run.log with all that was said.
import argparse
import concurrent.futures
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.abspath(os.environ.get("OUT") or "out")
BUDGET_S = 540
GRACE_S = 5  # between asking a program to end and ending it
TAIL_LINES = 40
WHY_MAX = 600
# A group of its own, and where Python can do that, not a session: who ends ours ends all of it.
GROUP = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
TEST_LIMIT_S = 75
PREPARE_LIMIT_S = 45
TEST_JOBS = 4  # on one GPU
STACK_LIMIT_S, STACKS = 20, 4  # where programs hung or crashed: so many are looked at
CRASHES = [-signal.SIGILL, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGSEGV]
# In place of exit statuses: what the stage, or the program, was given is used up.
NO_TIME, TOO_LONG = "no time was left", "took too long"
# Those that reach a driver; on a machine with a GPU none of them may be skipped.
DEVICE_TESTS = re.compile(
    r"cuda|conformance|kernel|grid|fidelity|transfers|kv_cache|pinned|virtual|share|device_|museum"
    r"|umf_ops|torch"
)
PASSED = re.compile(r"^\[ RUN +\] (\w+)\n\[ +OK \] \1\n", re.MULTILINE)
KERNEL_TESTS = re.compile(r"_grid$|kernels$")
SANITIZERS = ("compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer")
DEBUGGERS = ("gdb", "cuda-gdb", "/usr/local/cuda/bin/cuda-gdb")


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


class Run:
    """What one start of this program knows: where it runs, until when, and what came of it."""

    def __init__(self, on, only, budget_s):
        self.on = on
        self.only = only  # stage: the word that its tests or subjects contain
        self.is_simulated = False
        self.end = time.monotonic() + budget_s
        self.stage_end = self.end
        self.word = ""
        self.stacks_left = STACKS
        self.lock = threading.Lock()  # of the log and the results, for tests side by side
        self.results = {"on": on, "simulated": False, "stages": [], "tests": []}
        self.blocks = []  # of the report
        self.log = open(os.path.join(OUT, "run.log"), "a", encoding="utf-8", errors="replace")
        with open(os.path.join(HERE, "suite.json"), encoding="utf-8") as file:
            self.suite = json.load(file)

    def left_s(self):
        return max(0.0, self.stage_end - time.monotonic())

    def command(self, words, limit_s, environment=None, title=None):
        """Status and output of a program that is ended when its time or the stage's is up."""
        is_short, limit_s = self.left_s() < limit_s, min(limit_s, self.left_s())
        if limit_s < 1:
            return NO_TIME, "no time was left"
        start = time.monotonic()
        environment = dict(os.environ, PYTHONUNBUFFERED="1", **(environment or {}))
        stacks = ""
        with tempfile.TemporaryFile() as said:
            process = start_group(words, said, environment)
            try:
                status = process.wait(timeout=limit_s)
            except subprocess.TimeoutExpired:
                status = NO_TIME if is_short else TOO_LONG
                stacks = self.stacks(["-p", str(youngest(process.pid))])
                end_group(process)
            if status in CRASHES:
                stacks = self.stacks(["-ex", "run", "--args", *words], environment)
            said.seek(0)
            output = said.read().decode(errors="replace") + stacks
        if status in (NO_TIME, TOO_LONG):
            output += f"\nended after {limit_s:.0f} s\n"
        took_s = time.monotonic() - start
        with self.lock:
            title = title or " ".join(words)
            self.log.write(f"== {title}: exit status {status}, {took_s:.1f} s\n{output}\n")
            self.log.flush()
        return status, output

    def stacks(self, words, environment=None):
        """Where the threads of a program are: the driver's call that never returned, for one."""
        tool = next(filter(None, map(shutil.which, DEBUGGERS)), None)
        if tool is None or self.stacks_left == 0:
            return ""
        self.stacks_left -= 1
        commands = ["-ex", "thread apply all backtrace 24"]
        with tempfile.TemporaryFile() as said:
            command = [tool, "-batch", "-nx", "-ex", "set pagination off"]
            attached = "-p" in words
            command += [*words, *commands] if attached else [*words[:2], *commands, *words[2:]]
            process = start_group(command, said, environment)
            try:
                process.wait(timeout=STACK_LIMIT_S)
            except subprocess.TimeoutExpired:
                end_group(process)
            said.seek(0)
            return "\nwhere it was:\n" + tail(said.read().decode(errors="replace"))

    def say(self, text):
        print(text, flush=True)
        with self.lock:
            self.log.write(text + "\n")
            self.log.flush()

    def save(self):
        write_whole("results.json", json.dumps(self.results, indent=1))
        write_whole("report.md", report(self))


def write_whole(name, text):
    path = os.path.join(OUT, name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def read_or_none(name):
    """What a program that may have been ended has left, and whether it is JSON that is whole."""
    try:
        with open(os.path.join(OUT, name), encoding="utf-8") as file:
            return json.load(file) if name.endswith(".json") else file.read()
    except (OSError, ValueError):
        return None


def start_group(words, said, environment=None):
    process = subprocess.Popen(
        words, cwd=HERE, env=environment, stdin=subprocess.DEVNULL, stdout=said,
        stderr=subprocess.STDOUT, **GROUP,
    )
    try:  # where memory runs out it goes, and not who tells of it
        with open(f"/proc/{process.pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
    except OSError:
        pass
    return process


def youngest(pid):
    """The last program in the chain of those that this one has started."""
    while True:
        try:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                children = file.read().split()
        except OSError:
            return pid
        if not children:
            return pid
        pid = int(children[-1])


def end_group(process):
    """Ends the program and what it has started; leaves one alone that not even that ends."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.wait(timeout=GRACE_S)
            return
        except subprocess.TimeoutExpired:
            continue


def hold_gpu():
    """A GPU that no program has open may be started anew for each, which takes seconds."""
    for path in glob.glob("/dev/nvidia[0-9]*"):
        try:
            os.open(path, os.O_RDWR | os.O_CLOEXEC)  # until this program ends
        except OSError:
            pass


def report(run):
    """Figures, verdicts and what is not as it should be, as one page to keep."""
    mark = "**simulated: no figure here is a GPU's**" if run.is_simulated else ""
    lines = ["# A run on a machine with a GPU", mark, "", read_or_none("figures.md") or ""]
    lines += ["| stage | verdict | s | |", "|---|---|---|---|"]
    for stage in run.results["stages"]:
        why = stage["why"].replace("|", "/").replace("\n", " ")[:WHY_MAX]
        lines.append(f"| {stage['name']} | {stage['verdict']} | {stage['s']} | {why} |")
    lines += ["", *(f"- {test['name']}: {test['verdict']}" for test in run.results["tests"]
                    if test["verdict"] not in ("passed", "skipped"))]
    for title, text in run.blocks:
        lines += ["", f"## {title}", "", "```", text.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def tail(output):
    """The end of it, without tests that passed: those that failed may be long before it."""
    lines = PASSED.sub("", output).splitlines()
    return "".join(f"    {line}\n" for line in lines[-TAIL_LINES:])


# --- tests ---

def is_on_simulator(test):
    return any("sim" in word for word in [*test["command"], *test["environment"].values()])


def is_device_test(test):
    return not is_on_simulator(test) and DEVICE_TESTS.search(test["name"]) is not None


def judge(run, test, status):
    if status == 77 and is_device_test(test) and not run.is_simulated:
        return "failed: skipped, though there is a GPU"
    if status == 77:
        return "skipped"
    if status == NO_TIME:
        return "skipped: no time was left"
    return "passed" if status == 0 else f"failed: exit status {status}"


def run_test(run, test):
    status, output = run.command(
        test["command"], min(TEST_LIMIT_S, test["limit_s"]), test["environment"],
        title=test["name"],
    )
    verdict = judge(run, test, status)
    if verdict.startswith("failed"):
        names = dict.fromkeys(re.findall(r"^\[  FAILED  \] (\w+)$", output, re.MULTILINE))
        verdict = ": ".join(filter(None, [verdict, ", ".join(names)]))
        run.say(f"FAILED {test['name']} ({verdict})\n{tail(output)}")
    elif verdict == "skipped":
        lines = output.strip().splitlines() or [""]
        run.say(f"skipped {test['name']}: {lines[-1]}")
    return verdict


def run_tests(run, tests, jobs):
    if not tests:
        raise Skipped("this build has no such test")
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        verdicts = list(pool.map(lambda test: run_test(run, test), tests))
    for i, test in enumerate(tests):
        if verdicts[i].startswith("failed") and TOO_LONG not in verdicts[i] and jobs > 1:
            alone = run_test(run, test)  # what fails beside others only is no defect of its own
            if alone == "passed":
                verdicts[i] = f"passed alone, and {verdicts[i]} beside others"
        run.results["tests"].append({"name": test["name"], "verdict": verdicts[i]})
    counts = [sum(v.startswith(word) for v in verdicts) for word in ("passed", "failed", "skipped")]
    text = "{} passed, {} failed, {} skipped".format(*counts)
    late = sum(NO_TIME in verdict for verdict in verdicts)
    if late:
        text += f" ({late} of them for want of time)"
    if counts[1] != 0:
        raise Failed(text)
    return text


def stage_fidelity(run):
    """The transcript goes to a file of its own: it says what to make the simulator like."""
    tests = [test for test in run.suite["tests"] if test["name"] == "test_fidelity"]
    if not tests:
        raise Skipped("this build has no such test")
    status, output = run.command(tests[0]["command"], 60, tests[0]["environment"])
    write_whole("fidelity.txt", output)
    run.results["tests"].append({"name": "test_fidelity", "verdict": judge(run, tests[0], status)})
    lines = output.splitlines() or [""]
    differences = differing(lines)
    if differences:
        run.say("\n".join(differences))
        run.blocks.append(("What the driver answers otherwise", "\n".join(differences)))
    if status != 0:
        raise Failed(lines[-1])
    return lines[-1]


def differing(lines):
    """The cases' names, and in each the answers that may not be."""
    found, case = [], ""
    for line in lines:
        if not line.startswith(" "):
            case = line
        if "<--" in line:
            found += [*([case] if case not in found else []), line]
    return found


def tests_that(run, is_wanted):
    return [t for t in run.suite["tests"] if is_wanted(t) and run.word in t["name"]]


def stage_device(run):
    tests = tests_that(run, is_device_test)
    jobs = min(TEST_JOBS, os.cpu_count() or 1)
    return run_tests(run, [test for test in tests if test["name"] != "test_fidelity"], jobs)


def stage_host(run):
    tests = tests_that(run, lambda t: not is_device_test(t) and not is_on_simulator(t))
    return run_tests(run, tests, jobs=max(1, (os.cpu_count() or 1) // 2))


def stage_simulator(run):
    tests = tests_that(run, is_on_simulator)
    return run_tests(run, tests, jobs=max(1, (os.cpu_count() or 1) // 2))


# --- measurements ---

def take(name):
    """The JSON that a program has left in a file, which goes; or None."""
    written = read_or_none(name)
    try:
        os.unlink(os.path.join(OUT, name))
    except OSError:
        pass
    return written


def tarn(run, name, *arguments, limit_s=300):
    """One run of the command, shown; its JSON goes into the results, as far as it came."""
    path = os.path.join(OUT, f"{name}.json")
    run.say(f"==> tarn {' '.join(arguments)}")
    status, output = run.command(["./tarn", *arguments, "--json", path], limit_s)
    run.say(output.rstrip())
    run.results.setdefault("measured", {})[name] = take(f"{name}.json")
    if status == NO_TIME:
        raise Skipped(f"tarn {' '.join(arguments)}: {NO_TIME}")
    if status != 0:
        last = (output.strip().splitlines() or [""])[-1]
        raise Failed(f"tarn {' '.join(arguments)}: exit status {status}: {last}")
    return output


def stage_info(run):
    if shutil.which("nvidia-smi"):
        run.say(run.command(["nvidia-smi"], 30)[1].rstrip())
    output = tarn(run, "info", "info", limit_s=60)
    lacking = re.findall(r"^  (CUDA driver|.*memory.*?) +no: (.*)", output, re.MULTILINE)
    if lacking:
        raise Failed("; ".join(": ".join(each) for each in lacking))


def stage_costs(run):
    """What goes into tarn_copy_costs.h."""
    write_whole("copy_costs.txt", tarn(run, "costs", "bench", "copy", "--measure-table", "--on",
                                       run.on, limit_s=30))


def stage_replay(run):
    traces = sorted(os.listdir(os.path.join(HERE, "traces")))
    paths = [os.path.join("traces", name) for name in traces]
    tarn(run, "replay_verified", "replay", *paths, "--on", f"{run.on}:virtual", "--verify")


def stage_bench(run):
    failures, late = [], []
    for subject in ("transfer", "alloc", "copy", "view"):
        if run.word not in subject:
            continue
        try:
            tarn(run, f"bench_{subject}", "bench", subject, "--on", run.on)
        except Failed as failure:
            failures.append(str(failure))
        except Skipped as skipped:
            late.append(str(skipped))
    if failures:
        raise Failed("; ".join(failures))
    if late:
        raise Skipped("; ".join(late))


def stage_figures(run):
    seconds = max(0.0, run.left_s() - GRACE_S)  # it ends its programs, and writes what it has
    words = [sys.executable, "-B", "figures.py", "--on", run.on, "--seconds", f"{seconds:.0f}"]
    words += ["--out", OUT, "--only", run.word]
    status, output = run.command(words, limit_s=run.left_s())
    run.say(output.rstrip())
    run.results["figures"] = take("figures.json")
    if status != 0:
        failures = (run.results["figures"] or {}).get("failures", [])
        raise Failed("; ".join(failures) or f"figures.py: exit status {status}")


def compare_allocators(run, client, script, *arguments):
    """The real client on its own allocator and on tarn's; its last line says what came of it."""
    if run.is_simulated:
        raise Skipped(f"{client} runs on no simulated driver")
    path = os.path.join(OUT, f"{script}.json")
    words = [sys.executable, "-B", f"{script}.py", *arguments, "--out", path]
    status, output = run.command(words, limit_s=run.left_s())
    run.say(output.rstrip())
    run.results[script] = take(f"{script}.json")
    last = (output.strip().splitlines() or [""])[-1]
    if status != 77:
        run.blocks.append((client, tail(output)))
    if status == 77:
        raise Skipped(last)
    if status == NO_TIME:
        raise Skipped(f"{script}.py: {NO_TIME}")
    if status != 0:
        raise Failed(f"{script}.py: exit status {status}: {last}")
    return last


def stage_torch(run):
    library = os.path.join(HERE, "lib", "libtarn.so.0")
    return compare_allocators(run, "PyTorch", "torch_model", "--library", library)


def stage_cupy(run):
    package = os.path.join(HERE, "python")
    return compare_allocators(run, "CuPy", "cupy_model", "--package", package)


def kernel_tests(run):
    tests = tests_that(run, lambda t: KERNEL_TESTS.search(t["name"]) and not is_on_simulator(t))
    if run.is_simulated:
        raise Skipped("the simulated driver runs no code of a GPU")
    if not tests:
        raise Skipped("this build has no test of the kernels")
    return tests


def stage_ptx(run):
    """The kernels as the driver compiles them, where the library has no code for its GPU."""
    forced = {"CUDA_FORCE_PTX_JIT": "1", "CUDA_CACHE_DISABLE": "1"}
    tests = [dict(test, name=f"{test['name']}, from PTX",
                  environment={**test["environment"], **forced}) for test in kernel_tests(run)]
    return run_tests(run, tests, TEST_JOBS)


def stage_sanitizer(run):
    tool = next(filter(None, map(shutil.which, SANITIZERS)), None)
    if tool is None:
        raise Skipped("no compute-sanitizer here")
    tests = kernel_tests(run)
    failures, late = [], []

    def sanitize(pair):
        words = [tool, "--tool", pair[0], "--error-exitcode", "9", *pair[1]["command"]]
        return run.command(words, pair[1]["limit_s"], pair[1]["environment"])

    pairs = [(check, test) for test in tests for check in ("memcheck", "racecheck")]
    with concurrent.futures.ThreadPoolExecutor(TEST_JOBS) as pool:
        answers = list(pool.map(sanitize, pairs))
    for (tried, test), (status, output) in zip(pairs, answers):
        run.say(f"{tried} {test['name']}: exit status {status}")
        if "Device not supported" in output:
            raise Skipped("compute-sanitizer cannot see this device")
        if status == NO_TIME:
            late.append(f"{tried} {test['name']}")
        elif status != 0:
            failures.append(f"{tried} {test['name']}")
            run.say(tail(output))
    if failures:
        raise Failed(", ".join(failures))
    if late:
        raise Skipped(f"{', '.join(late)}: {NO_TIME}")
    return f"{len(tests)} programs, no complaint"


# In the order of what they are worth; seconds that one may take at most.
STAGES = {
    "info": (stage_info, 60),
    "fidelity": (stage_fidelity, 60),
    "device": (stage_device, 90),
    "figures": (stage_figures, 170),
    "torch": (stage_torch, 110),
    "cupy": (stage_cupy, 45),
    "costs": (stage_costs, 30),
    "replay": (stage_replay, 45),
    "ptx": (stage_ptx, 45),
    "sanitizer": (stage_sanitizer, 90),
    "bench": (stage_bench, 240),
    "host": (stage_host, 60),
    "simulator": (stage_simulator, 90),
}


def run_stage(run, name):
    function, limit_s = STAGES[name]
    run.word = run.only[name]
    start = time.monotonic()
    run.stage_end = min(run.end, start + limit_s)
    run.say(f"===== {name}, {run.left_s():.0f} s at most")
    try:
        if run.left_s() < 1:
            raise Skipped("no time was left")
        verdict, words = "passed", function(run) or ""
    except Skipped as skipped:
        verdict, words = "skipped", str(skipped)
    except Failed as failed:
        verdict, words = "failed", str(failed)
    except Exception as error:  # a stage must not take later ones with it
        verdict, words = "failed", f"{type(error).__name__}: {error}"
    took_s = round(time.monotonic() - start, 1)
    run.results["stages"].append({"name": name, "verdict": verdict, "why": words, "s": took_s})
    run.save()


def find_driver(run, may_be_simulated):
    """Whether a GPU is here, or the simulator is to stand in; else says why not, and ends."""
    status, output = run.command(["./tarn", "info"], 60)
    # The simulated driver, where it is found as the machine's own, is no GPU.
    if re.search(r"^  cuda:0 +(?! |simulated)", output, re.MULTILINE):
        return
    if glob.glob("/dev/nvidia[0-9]*"):  # what comes tells what it is that does not work
        run.say(f"there is a GPU here that tarn does not see: exit status {status}\n{output}")
        return
    if not may_be_simulated:
        raise SystemExit(f"{output}run.py: no GPU here; --allow-sim tries the folder out on the "
                         "simulator")
    search_first("sim")  # what follows finds it as it would find the machine's own
    run.is_simulated = run.results["simulated"] = True


def prepare_torch(run):
    """Beside the first stages: what PyTorch reads from the disk when it starts, and builds."""
    if not {"figures", "torch"} & set(run.only):
        return None
    words = [sys.executable, "-B", "torch_peers.py", "prepare"]
    return start_group(words, subprocess.DEVNULL)


def end_prepared(run, process):
    """What it is there for comes next; measured beside it would be wrong."""
    try:
        process.wait(timeout=min(PREPARE_LIMIT_S, max(0.0, run.end - time.monotonic())))
    except subprocess.TimeoutExpired:
        run.say("PyTorch was not prepared in time")
        end_group(process)


def link_lacking(folder):
    """The libraries of ours that the machine has not itself: with its own PyTorch goes its own."""
    for name in os.listdir(os.path.join(HERE, "lib")):
        try:
            ctypes.CDLL(name)
        except OSError:
            os.symlink(os.path.join(HERE, "lib", name), os.path.join(folder, name))


def search_first(folder):
    paths = [os.path.join(HERE, folder), os.environ.get("LD_LIBRARY_PATH")]
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, paths))


def parse_arguments():
    parser = argparse.ArgumentParser(prog="run.sh")
    parser.add_argument("--only", default=",".join(STAGES))
    parser.add_argument("--budget", type=float, default=BUDGET_S)
    parser.add_argument("--allow-sim", action="store_true")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    words = (word.partition("=") for word in arguments.only.split(","))
    arguments.only = {name: rest for name, _, rest in words}
    unknown = [name for name in arguments.only if name not in STAGES]
    if unknown:
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    return arguments


def main():
    arguments = parse_arguments()
    if arguments.list:
        print("\n".join(STAGES))
        return 0
    os.makedirs(OUT, exist_ok=True)
    lacking = tempfile.TemporaryDirectory()
    link_lacking(lacking.name)
    search_first(lacking.name)
    hold_gpu()
    run = Run("cuda:0", arguments.only, arguments.budget)
    prepared = prepare_torch(run)
    try:
        find_driver(run, arguments.allow_sim)
        take("figures.md")  # of an earlier run, and not what this one's report is about
        if not os.path.isdir(os.path.join(HERE, "tests")):
            with tarfile.open(os.path.join(HERE, "tests.tar.xz")) as archive:
                archive.extractall(HERE)
        for name in STAGES:
            if name not in arguments.only:
                continue
            if name in ("figures", "torch") and prepared is not None:
                end_prepared(run, prepared)
                prepared = None
            run_stage(run, name)
    finally:
        if prepared is not None:
            end_group(prepared)
        if run.is_simulated:  # tried out before it is carried: it stays as small as it was
            shutil.rmtree(os.path.join(HERE, "tests"), ignore_errors=True)
    run.say(f"=====\n{report(run)}\nresults: {OUT}")
    return 1 if any(stage["verdict"] == "failed" for stage in run.results["stages"]) else 0


sys.exit(main())
