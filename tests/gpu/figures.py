# figures.py: the figures that tarn is to reach on a GPU, with PyTorch's in turns, as a table.
#
# usage: figures.py [--on WHERE] [--seconds N] [--turns N] [--only WORD] [--out FOLDER]
#
# Starts ./tarn and torch_peers.py beside this file. A turn measures each subject once, tarn's part
# and PyTorch's one after the other; further turns follow while there is time, and each figure is
# the median of its turns. Writes FOLDER/figures.json and FOLDER/figures.md. Fails where a program
# failed, not where a target was missed or no time was left: the table says so.
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TURNS = 3
COMMAND_LIMIT_S = 120
MIB = 1 << 20


class Measured:
    """All rows of all turns, by who measured them; and what could not be run, and why."""

    def __init__(self):
        self.rows = {}  # (who, name): the rows of the turns
        self.machine = None
        self.missing = {}  # who: why
        self.failures = []
        self.late = []  # what no time was left for

    def add(self, who, rows):
        for row in rows:
            self.rows.setdefault((who, row["name"]), []).append(row)

    def names(self, pattern, who="tarn"):
        """In the order in which they came."""
        return [name for by, name in self.rows if by == who and re.fullmatch(pattern, name)]

    def value(self, name, who="tarn", key="median"):
        rows = self.rows.get((who, name), [])
        values = [row[key] for row in rows if row.get(key) is not None]
        return statistics.median(values) if values else None

    def baseline(self, name, called=None):
        """The median of the baseline of that name, or of the first."""
        values = []
        for row in self.rows.get(("tarn", name), []):
            for rival in filter(None, [row.get("baseline"), *row.get("more_baselines", [])]):
                if called is None or rival["name"] == called:
                    values.append(rival["median"])
                    break
        return statistics.median(values) if values else None


def size_of(name):
    """The bytes that a row's last word names; 0 for none."""
    found = re.search(r"(\d+)(B|KiB|MiB|GiB)$", name)
    scale = {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30}
    return int(found[1]) << scale[found[2]] if found else 0


def text(value, unit):
    if value is None:
        return "-"
    if unit == "bytes":
        return f"{value / MIB:.1f} MiB"
    return f"{value:.3g} {unit}"


def line(name, measured, met, beside=""):
    return {"name": name, "measured": measured, "met": met, "beside": beside}


# --- what each figure asks for; met is None where nothing was measured to judge by ---

def judge_pairs(data):
    for name in data.names(r"cuda\.alloc\.pair\..*"):
        value = data.value(name)
        torch = data.value(name, "torch")
        beside = f"cuMemAllocAsync {text(data.baseline(name), 'ns')}, PyTorch {text(torch, 'ns')}"
        how = data.rows.get(("torch", name), [{}])[0].get("how")
        if how:
            beside += f" ({how})"
        yield line(name, text(value, "ns"), value <= 20, beside)


def judge_traces(data):
    for name in data.names(r"replay\..*\.peak_reserved_bytes"):
        mine = data.value(name)
        expandable = data.value(name, "torch, expandable segments")
        plain = data.value(name, "torch")
        live = data.value(name.replace("peak_reserved", "peak_live"))
        share = f", {mine / live:.3f} of live" if live else ""
        met = None if expandable is None else mine < expandable
        beside = f"expandable {text(expandable, 'bytes')}, default {text(plain, 'bytes')}"
        yield line(name, text(mine, "bytes") + share, met, beside)


def judge_pinned(data):
    for name in data.names(r"transfer\.(h2d|d2h)\.pinned\.\d+(MiB|GiB)"):
        if size_of(name) < 64 * MIB:
            continue
        value, driver = data.value(name), data.baseline(name)
        met = None if not driver else value >= 0.99 * driver
        yield line(name, text(value, "GB/s"), met, f"driver {text(driver, 'GB/s')}")


def judge_pageable(data):
    for name in data.names(r"transfer\.h2d\.(ring|pageable)\.\d+(MiB|GiB)"):
        if size_of(name) < 256 * MIB:
            continue
        value = data.value(name)
        pinned = data.value(re.sub(r"ring|pageable", "pinned", name))
        torch = data.value(name.replace("ring", "pageable"), "torch")
        met = None if not pinned else value >= 0.85 * pinned
        beside = (f"pinned {text(pinned, 'GB/s')}, driver's pageable "
                  f"{text(data.baseline(name), 'GB/s')}, PyTorch {text(torch, 'GB/s')}")
        yield line(name, text(value, "GB/s"), met, beside)


def judge_copies(data):
    for name in data.names(r"copy\.device\..*"):
        value, driver = data.value(name), data.baseline(name)
        torch = data.value(name, "torch")
        met = None if not driver else value >= 0.85 * driver
        if met and torch:
            met = value >= 1.2 * torch
        beside = f"driver's copy {text(driver, 'GB/s')}, PyTorch {text(torch, 'GB/s')}"
        yield line(name, text(value, "GB/s"), met, beside)


def judge_scattered(data):
    for name in data.names(r"transfer\.(h2d|d2h)\.small\.10000x.*|copy\.scattered\..*"):
        value, loop = data.value(name), data.baseline(name, "loop")
        loop = loop or data.baseline(name, "driver loop")  # as bench copy calls it
        batch = data.baseline(name, "batch")
        met = None if not loop else value >= 2 * loop
        beside = f"loop {text(loop, 'GB/s')}, batch API {text(batch, 'GB/s')}"
        yield line(name, text(value, "GB/s"), met, beside)


def judge_pins(data):
    for name in data.names(r"pin\.rate\..*|transfer\.pin\..*"):
        value, driver = data.value(name), data.baseline(name, "cuMemHostAlloc")
        met = None if not driver else value >= 2 * driver
        yield line(name, text(value, "GB/s"), met, f"cuMemHostAlloc {text(driver, 'GB/s')}")


def judge_pauses(data):
    for name in data.names(r"pause\..*"):
        value = data.value(name)
        is_asked = "8GiB" in name and "kept" not in name
        yield line(name, text(value, "ms"), value <= 100 if is_asked else None)


# (subject, target, arguments of tarn, of torch_peers.py and the environment that changes it, judge)
EXPANDABLE = "expandable_segments:True"
FIGURES = [
    ("pairs", "<= 20 ns",
     [["bench", "alloc", "--on", "{on}:virtual", "--filter", "cuda.alloc.pair"]],
     [("torch", ["alloc"], None)], judge_pairs),
    ("traces", "below expandable_segments:True",
     [["replay", "{traces}", "--on", "{on}:virtual"]],
     [("torch", ["replay", "{traces}"], None),
      ("torch, expandable segments", ["replay", "{traces}"], EXPANDABLE)], judge_traces),
    ("copies", ">= 0.85 of the driver's copy, >= 1.2 of PyTorch",
     [["bench", "copy", "--on", "{on}", "--filter", "copy.device"]],
     [("torch", ["copies"], None)], judge_copies),
    ("pinned", ">= 0.99 of the driver",
     [["bench", "transfer", "--on", "{on}", "--filter", "2d.pinned"],
      ["bench", "transfer", "--on", "{on}", "--filter", "2h.pinned"]], [], judge_pinned),
    ("pageable", ">= 0.85 of pinned",
     [["bench", "transfer", "--on", "{on}", "--filter", "h2d.ring"],
      ["bench", "transfer", "--on", "{on}", "--filter", "h2d.pageable"]],
     [("torch", ["pageable"], None)], judge_pageable),
    ("scattered", ">= 2 of a loop",
     [["bench", "transfer", "--on", "{on}", "--filter", "small.10000x"],
      ["bench", "copy", "--on", "{on}", "--filter", "copy.scattered"]], [], judge_scattered),
    ("pause", "<= 100 ms, discard",
     [["bench", "alloc", "--on", "{on}:virtual", "--filter", "pause."]], [], judge_pauses),
    ("pin", ">= 2 of cuMemHostAlloc",
     [["bench", "alloc", "--on", "{on}", "--filter", "pin.rate"],
      ["bench", "transfer", "--on", "{on}", "--filter", "transfer.pin"]], [], judge_pins),
]


# --- running ---

class Runner:
    def __init__(self, arguments, data):
        self.on = arguments.on
        self.end = time.monotonic() + arguments.seconds
        self.data = data
        traces = os.path.join(HERE, "traces")
        self.traces = [os.path.join(traces, name) for name in sorted(os.listdir(traces))]

    def left_s(self):
        return self.end - time.monotonic()

    def words(self, arguments):
        for word in arguments:
            if word == "{traces}":
                yield from self.traces
            else:
                yield word.format(on=self.on)

    def start(self, words, environment=None):
        """Status and output; the status is None where no time is left or it ran out."""
        limit_s = min(COMMAND_LIMIT_S, self.left_s())
        if limit_s < 1:
            return None, "no time was left"
        try:
            done = subprocess.run(words, cwd=HERE, env=dict(os.environ, **(environment or {})),
                                  capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return None, f"ended after {limit_s:.0f} s"
        return done.returncode, (done.stdout + done.stderr).strip()

    def run_tarn(self, arguments):
        arguments = list(self.words(arguments))
        with tempfile.NamedTemporaryFile(suffix=".json") as report:
            status, output = self.start(["./tarn", *arguments, "--json", report.name])
            if status is None:
                self.data.late.append(f"tarn {' '.join(arguments)}: {output}")
                return
            if status != 0:
                reason = output.splitlines()[-1] if output else f"exit status {status}"
                if "no case's name contains" not in reason:  # another build has it
                    self.data.failures.append(f"tarn {' '.join(arguments)}: {reason}")
                return
            written = json.load(report)
        self.data.machine = self.data.machine or written["machine"]
        self.data.add("tarn", written["results"])

    def run_torch(self, who, arguments, configuration):
        if who in self.data.missing:
            return
        environment = {}
        if configuration is not None:  # both names, old and new
            environment = dict.fromkeys(("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"),
                                        configuration)
        peers = os.path.join(HERE, "torch_peers.py")
        words = [sys.executable, "-B", peers, *self.words(arguments)]
        status, output = self.start(words, environment)
        last = output.splitlines()[-1] if output else ""
        if status is None:
            self.data.late.append(f"torch_peers.py {arguments[0]}: {output}")
        elif status == 77:
            self.data.missing[who] = last
        elif status != 0:
            self.data.failures.append(f"torch_peers.py {arguments[0]}: {last or status}")
        else:
            written = json.loads([row for row in output.splitlines() if row.startswith("{")][-1])
            self.data.add(who, written["results"])

    def run_turn(self, figures):
        for _, _, commands, peers, _ in figures:
            for arguments in commands:
                self.run_tarn(arguments)
            for who, arguments, configuration in peers:
                self.run_torch(who, arguments, configuration)


def measure(arguments, figures):
    data = Measured()
    runner = Runner(arguments, data)
    for turn in range(arguments.turns):
        start = time.monotonic()
        runner.run_turn(figures)
        if runner.left_s() < 1.2 * (time.monotonic() - start):
            break
    return data, turn + 1


# --- telling ---

def driver_words():
    """The driver's own version and the device, where nvidia-smi tells them."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,pstate,clocks.sm,clocks.mem",
             "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def table(data, figures, turns):
    machine = data.machine or {}
    lines = ["| result | target | measured | met | beside it |", "|---|---|---|---|---|"]
    words = {True: "yes", False: "no", None: "not judged"}
    if machine.get("simulated"):
        words = dict.fromkeys(words, "simulated")
    for subject, target, _, _, judge in figures:
        rows = list(judge(data))
        for row in rows:
            lines.append(f"| `{row['name']}` | {target} | {row['measured']} | {words[row['met']]} "
                         f"| {row['beside']} |")
        if not rows:
            lines.append(f"| {subject} | {target} | not measured | - | |")
    head = [f"Measured {time.strftime('%Y-%m-%d', time.gmtime())}, {turns} turns"]
    if machine.get("simulated"):
        head.append("**simulated: no figure here is a GPU's**")
    head += [f"{gpu['name']}" for gpu in machine.get("gpus", [])]
    head += [f"driver {machine.get('driver_version')}", driver_words() or "no nvidia-smi"]
    head += [f"{who}: {why}" for who, why in data.missing.items()]
    tail = [f"- failed: {failure}" for failure in data.failures]
    tail += [f"- {late}" for late in data.late]
    return "\n".join([", ".join(head) + ".", "", *lines, "", *tail]) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="figures.py")
    parser.add_argument("--on", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", default=".")
    arguments = parser.parse_args()
    figures = [figure for figure in FIGURES if arguments.only in figure[0]]
    data, turns = measure(arguments, figures)
    written = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": data.machine,
        "driver": driver_words(),
        "turns": turns,
        "missing": data.missing,
        "failures": data.failures,
        "late": data.late,
        "figures": [dict(row, target=target) for _, target, _, _, judge in figures
                    for row in judge(data)],
        "rows": [{"by": who, "turns": rows} for (who, _), rows in data.rows.items()],
    }
    with open(os.path.join(arguments.out, "figures.json"), "w", encoding="utf-8") as file:
        json.dump(written, file, indent=1)
    words = table(data, figures, turns)
    with open(os.path.join(arguments.out, "figures.md"), "w", encoding="utf-8") as file:
        file.write(words)
    print(words)
    return 1 if data.failures else 0


if __name__ == "__main__":
    sys.exit(main())
