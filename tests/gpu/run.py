# run.py: tests and measures the build of tarn in this folder on a machine with a GPU.
#
# usage: run.sh [--only STAGE[,STAGE...]] [--budget SECONDS] [--allow-sim] [--list]
#
# Needs nothing but a shell, Python 3, a C library and the GPU's driver; PyTorch and
# compute-sanitizer take part where they are. Stages run in the order of what they are worth, each
# with a time limit of its own, and none keeps a later one from running. --budget: what is left of
# so many seconds bounds each stage, and what comes too late is skipped and says so. Without a GPU
# it fails, unless --allow-sim says that the simulated driver will do: that tries the folder out,
# and measures nothing.
#
# Results go to $OUT (./out by default), and are there after every stage: results.json, figures.md,
# fidelity.txt, and run.log with all that was printed.
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.abspath(os.environ.get("OUT") or "out")
BUDGET_S = 540
GRACE_S = 5  # between asking a program to end and ending it
TAIL_LINES = 40
# In place of exit statuses: what the stage, or the program, was given is used up.
NO_TIME, TOO_LONG = "no time was left", "took too long"
# Those that reach a driver; on a machine with a GPU none of them may be skipped.
DEVICE_TESTS = re.compile(
    r"cuda|conformance|kernel|grid|fidelity|transfers|kv_cache|pinned|virtual|share|device_|museum"
    r"|umf_ops|torch"
)
KERNEL_TESTS = re.compile(r"_grid$|kernels$")
SANITIZERS = ("compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer")


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


class Run:
    """What one start of this program knows: where it runs, until when, and what came of it."""

    def __init__(self, on, is_simulated, budget_s):
        self.on = on
        self.is_simulated = is_simulated
        self.end = time.monotonic() + budget_s
        self.stage_end = self.end
        self.results = {"on": on, "simulated": is_simulated, "stages": [], "tests": []}
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
        process = subprocess.Popen(
            words, cwd=HERE, env=dict(os.environ, **(environment or {})),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True,
        )
        try:
            output = process.communicate(timeout=limit_s)[0]
            status = process.returncode
        except subprocess.TimeoutExpired:
            status = NO_TIME if is_short else TOO_LONG
            output = end_group(process) + f"\nended after {limit_s:.0f} s\n"
        took_s = time.monotonic() - start
        title = title or " ".join(words)
        self.log.write(f"== {title}: exit status {status}, {took_s:.1f} s\n{output}\n")
        self.log.flush()
        return status, output

    def say(self, text):
        print(text, flush=True)
        self.log.write(text + "\n")

    def save(self):
        path = os.path.join(OUT, "results.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.results, file, indent=1)
        os.replace(path + ".new", path)


def end_group(process):
    """Ends the program and what it has started; answers what it had printed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            return process.communicate(timeout=GRACE_S)[0] or ""
        except subprocess.TimeoutExpired:
            continue
    return ""


def tail(output):
    return "".join(f"    {line}\n" for line in output.splitlines()[-TAIL_LINES:])


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
        test["command"], test["limit_s"], test["environment"], title=test["name"]
    )
    verdict = judge(run, test, status)
    run.results["tests"].append({"name": test["name"], "verdict": verdict})
    if verdict.startswith("failed"):
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
    with open(os.path.join(OUT, "fidelity.txt"), "w", encoding="utf-8") as file:
        file.write(output)
    run.results["tests"].append({"name": "test_fidelity", "verdict": judge(run, tests[0], status)})
    lines = output.splitlines() or [""]
    for line in lines:
        if "<--" in line or line.startswith("FAILED"):
            run.say(line)
    if status != 0:
        raise Failed(lines[-1])
    return lines[-1]


def stage_device(run):
    tests = [test for test in run.suite["tests"] if is_device_test(test)]
    return run_tests(run, [test for test in tests if test["name"] != "test_fidelity"], jobs=1)


def stage_host(run):
    tests = [t for t in run.suite["tests"] if not is_device_test(t) and not is_on_simulator(t)]
    return run_tests(run, tests, jobs=max(1, (os.cpu_count() or 1) // 2))


def stage_simulator(run):
    tests = [test for test in run.suite["tests"] if is_on_simulator(test)]
    return run_tests(run, tests, jobs=max(1, (os.cpu_count() or 1) // 2))


# --- measurements ---

def tarn(run, name, *arguments, limit_s=300):
    """One run of the command, shown; its JSON goes into the results."""
    path = os.path.join(OUT, f".{name}.json")
    run.say(f"==> tarn {' '.join(arguments)}")
    status, output = run.command(["./tarn", *arguments, "--json", path], limit_s)
    run.say(output.rstrip())
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        os.unlink(path)
        run.results.setdefault("measured", {})[name] = json.loads(text)
    except (OSError, ValueError):
        pass
    if status == NO_TIME:
        raise Skipped(f"tarn {' '.join(arguments)}: {NO_TIME}")
    if status != 0:
        raise Failed(f"tarn {' '.join(arguments)}: exit status {status}")


def stage_info(run):
    tarn(run, "info", "info", limit_s=60)
    if shutil.which("nvidia-smi"):
        run.say(run.command(["nvidia-smi"], 30)[1].rstrip())


def stage_replay(run):
    traces = sorted(os.listdir(os.path.join(HERE, "traces")))
    paths = [os.path.join("traces", name) for name in traces]
    tarn(run, "replay_verified", "replay", *paths, "--on", virtual(run), "--verify")


def virtual(run):
    return f"{run.on}:virtual"


def stage_bench(run):
    failures, late = [], []
    for subject in ("transfer", "alloc", "copy", "view"):
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
    status, output = run.command([*words, "--out", OUT], limit_s=run.left_s())
    run.say(output.rstrip())
    try:
        with open(os.path.join(OUT, "figures.json"), encoding="utf-8") as file:
            run.results["figures"] = json.load(file)
        os.unlink(os.path.join(OUT, "figures.json"))
    except (OSError, ValueError):
        pass
    if status != 0:
        raise Failed(f"figures.py: exit status {status}")


def compare_allocators(run, client, script, *arguments):
    """The real client on its own allocator and on tarn's; its last line says what came of it."""
    if run.is_simulated:
        raise Skipped(f"{client} runs on no simulated driver")
    path = os.path.join(OUT, f".{script}.json")
    words = [sys.executable, "-B", f"{script}.py", *arguments, "--out", path]
    status, output = run.command(words, limit_s=run.left_s())
    run.say(output.rstrip())
    try:
        with open(path, encoding="utf-8") as file:
            run.results[script] = json.load(file)
        os.unlink(path)
    except (OSError, ValueError):
        pass
    last = (output.strip().splitlines() or [""])[-1]
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


def stage_sanitizer(run):
    tool = next(filter(None, map(shutil.which, SANITIZERS)), None)
    if tool is None:
        raise Skipped("no compute-sanitizer here")
    if run.is_simulated:
        raise Skipped("the simulated driver runs no code of a GPU")
    tests = [t for t in run.suite["tests"]
             if KERNEL_TESTS.search(t["name"]) and not is_on_simulator(t)]
    if not tests:
        raise Skipped("this build has no test of the kernels")
    failures, late = [], []
    for test in tests:
        for check in ("memcheck", "racecheck"):
            words = [tool, "--tool", check, "--error-exitcode", "9", *test["command"]]
            status, output = run.command(words, test["limit_s"], test["environment"])
            run.say(f"{check} {test['name']}: exit status {status}")
            if "Device not supported" in output:
                raise Skipped("compute-sanitizer cannot see this device")
            if status == NO_TIME:
                late.append(f"{check} {test['name']}")
            elif status != 0:
                failures.append(f"{check} {test['name']}")
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
    "device": (stage_device, 150),
    "torch": (stage_torch, 120),
    "figures": (stage_figures, 240),
    "cupy": (stage_cupy, 60),
    "replay": (stage_replay, 60),
    "sanitizer": (stage_sanitizer, 90),
    "bench": (stage_bench, 150),
    "host": (stage_host, 60),
    "simulator": (stage_simulator, 90),
}


def run_stage(run, name):
    function, limit_s = STAGES[name]
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


def has_gpu():
    info = subprocess.run(["./tarn", "info"], cwd=HERE, capture_output=True, text=True)
    if info.returncode != 0:
        raise SystemExit(f"run.py: tarn info failed:\n{info.stdout}{info.stderr}")
    # The simulated driver, where it is found as the machine's own, is no GPU.
    return re.search(r"^  cuda:0 +(?! |simulated)", info.stdout, re.MULTILINE) is not None


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
    arguments.only = arguments.only.split(",")
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
    search_first("lib")
    if not os.path.isdir(os.path.join(HERE, "tests")):
        with tarfile.open(os.path.join(HERE, "tests.tar.xz")) as archive:
            archive.extractall(HERE)
    is_simulated = not has_gpu()
    if is_simulated and not arguments.allow_sim:
        raise SystemExit("run.py: no GPU here; --allow-sim tries the folder out on the simulator")
    if is_simulated:  # what follows finds it as it would find the machine's own
        search_first("sim")
    run = Run("cuda:0", is_simulated, arguments.budget)
    for name in STAGES:
        if name in arguments.only:
            run_stage(run, name)
    simulated = " (simulated: no figure here is a GPU's)" if run.is_simulated else ""
    run.say(f"===== summary{simulated}")
    for stage in run.results["stages"]:
        run.say(f"{stage['verdict']:8} {stage['name']:10} {stage['s']:6.1f} s  {stage['why']}")
    run.say(f"results: {OUT}")
    return 1 if any(stage["verdict"] == "failed" for stage in run.results["stages"]) else 0


sys.exit(main())
