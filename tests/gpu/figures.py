# figures.py: the figures that tarn is to reach on a GPU, with PyTorch's in turns, as a table.
#
# usage: figures.py [--on WHERE] [--seconds N] [--turns N] [--only WORD] [--out FOLDER]
#
# Starts ./tarn and torch_peers.py beside this file. A turn measures each subject once, tarn's part
# and PyTorch's one after the other; further turns follow while there is time, and each figure is
# the median of its turns. Writes FOLDER/figures.json and FOLDER/figures.md after each subject. A
# case that fails or hangs is told, and those behind it are measured one by one. Fails where a
# program failed, not where a target was missed or no time was left: the table says so.
import argparse
import json
import os
import re
import selectors
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TURNS = 3
COMMAND_LIMIT_S = 50
ALONE_LIMIT_S = 20
REFUSED = 3  # tarn bench: the link is slower than it could be; then figures are marked
MIB = 1 << 20


class Measured:
    """All rows of all turns, by who measured them; and what could not be run, and why."""

    def __init__(self):
        self.rows = {}  # (who, name): the rows of the turns
        self.machine = None
        self.driver = driver_words()
        self.facts = {}
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


def judge_adapters(data):
    for name in data.names(r"adapter\..*"):
        value, bare = data.value(name), data.baseline(name)
        met = None if not bare else value - bare <= 5
        yield line(name, text(value, "ns"), met, f"bare pool {text(bare, 'ns')}")


def judge_pins(data):
    for name in data.names(r"pin\.rate\..*"):
        value, driver = data.value(name), data.baseline(name, "cuMemHostAlloc")
        met = None if not driver else value >= 2 * driver
        yield line(name, text(value, "GB/s"), met, f"cuMemHostAlloc {text(driver, 'GB/s')}")


def judge_pauses(data):
    for name in data.names(r"pause\..*"):
        value = data.value(name)
        is_asked = "8GiB" in name and "kept" not in name
        yield line(name, text(value, "ms"), value <= 100 if is_asked else None)


def sizes(*rows):
    """A filter for the sizes that are judged: what is small takes as long, and is not asked for."""
    return ",".join(f"{row}.{size}" for row in rows for size in ("64MiB", "256MiB", "1GiB"))


# (subject, target, arguments of tarn, of torch_peers.py and who answers those, judge): what says
# most first.
EXPANDABLE = "expandable_segments:True"
FIGURES = [
    ("pairs", "<= 20 ns",
     [["bench", "alloc", "--on", "{on}:virtual", "--filter", "cuda.alloc.pair"]],
     [("torch", ["alloc"])], judge_pairs),
    ("traces", "below expandable_segments:True",
     [["replay", "{traces}", "--on", "{on}:virtual"]],
     [("torch", ["replay", "{traces}"]),
      ("torch, expandable segments", ["replay", "{traces}"])], judge_traces),
    ("copies", ">= 0.85 of the driver's copy, >= 1.2 of PyTorch",
     [["bench", "copy", "--on", "{on}", "--filter", "copy.device"]],
     [("torch", ["copies"])], judge_copies),
    ("pinned", ">= 0.99 of the driver",
     [["bench", "transfer", "--on", "{on}", "--filter", sizes("h2d.pinned", "d2h.pinned")]], [],
     judge_pinned),
    ("pageable", ">= 0.85 of pinned",
     [["bench", "transfer", "--on", "{on}", "--filter", sizes("h2d.ring", "h2d.pageable")]],
     [("torch", ["pageable"])], judge_pageable),
    ("scattered", ">= 2 of a loop",
     [["bench", "transfer", "--on", "{on}", "--filter", "small.10000x"],
      ["bench", "copy", "--on", "{on}", "--filter", "copy.scattered"]], [], judge_scattered),
    ("pause", "<= 100 ms, discard",
     [["bench", "alloc", "--on", "{on}:virtual", "--filter", "pause."]], [], judge_pauses),
    ("adapters", "<= 5 ns over the bare pool",
     [["bench", "alloc", "--on", "{on}:virtual", "--filter", "adapter."]], [], judge_adapters),
    ("pin", ">= 2 of cuMemHostAlloc",
     [["bench", "alloc", "--on", "{on}", "--filter", "pin.rate"]], [], judge_pins),
]


# --- running ---

class Peer:
    """A PyTorch that stays: it takes seconds to start, and starts while tarn is measured."""

    def __init__(self, configuration):
        # Both names, old and new.
        self.environment = dict.fromkeys(("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"),
                                         configuration) if configuration else {}
        self.process = None
        self.start()

    def start(self):
        words = [sys.executable, "-B", os.path.join(HERE, "torch_peers.py"), "serve"]
        self.process = subprocess.Popen(
            words, env=dict(os.environ, **self.environment), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self.said = b""

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        try:
            self.process.stdin.close()
        except OSError:  # what was asked and not read
            pass

    def ask(self, words, limit_s):
        """The status it ended with, None while it runs on, and the last line that it said."""
        if self.process.poll() not in (None, 77):
            self.start()  # what has failed, or hung, before
        try:
            self.process.stdin.write(json.dumps(words).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended, and says why
        end = time.monotonic() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while time.monotonic() < end:
                if not selector.select(max(0, end - time.monotonic())):
                    break
                piece = os.read(self.process.stdout.fileno(), 1 << 16)
                self.said += piece
                lines = self.said.decode(errors="replace").strip().splitlines() or [""]
                if not piece:
                    return self.process.wait(), lines[-1]
                if self.said.endswith(b"\n") and lines[-1].startswith("{"):
                    self.said = b""
                    return None, lines[-1]
        self.stop()
        return None, f"ended after {limit_s:.0f} s"


class Runner:
    def __init__(self, arguments, data, figures):
        self.on = arguments.on
        self.end = time.monotonic() + arguments.seconds
        self.data = data
        traces = os.path.join(HERE, "traces")
        self.traces = [os.path.join(traces, name) for name in sorted(os.listdir(traces))]
        wanted = {who for _, _, _, peers, _ in figures for who, _ in peers}
        self.peers = {who: Peer(EXPANDABLE if "expandable" in who else None) for who in wanted}

    def left_s(self):
        return self.end - time.monotonic()

    def words(self, arguments):
        for word in arguments:
            if word == "{traces}":
                yield from self.traces
            else:
                yield word.format(on=self.on)

    def start_tarn(self, arguments, limit_s):
        """Status, last line and the rows that it has measured. No status: it had no time."""
        limit_s = min(limit_s, self.left_s())
        if limit_s < 1:
            return None, "no time was left", []
        with tempfile.NamedTemporaryFile(suffix=".json") as report:
            try:
                done = subprocess.run(["./tarn", *arguments, "--json", report.name], cwd=HERE,
                                      capture_output=True, text=True, timeout=limit_s)
                status, output = done.returncode, (done.stdout + done.stderr).strip()
            except subprocess.TimeoutExpired:
                status, output = None, f"ended after {limit_s:.0f} s"
            try:
                written = json.load(report)
            except ValueError:
                written = {"results": []}
        self.data.machine = self.data.machine or written.get("machine")
        self.data.facts.update(written.get("facts", {}))
        self.data.add("tarn", written["results"])
        last = output.splitlines()[-1] if output else ""
        names = [row["name"] for row in written["results"]]
        return status, f"exit status {status}: {last}" if status else last, names

    def listed(self, arguments):
        done = subprocess.run(["./tarn", *arguments, "--list"], cwd=HERE, capture_output=True,
                              text=True, timeout=ALONE_LIMIT_S)
        return done.stdout.split()

    def run_tarn(self, arguments):
        arguments = list(self.words(arguments))
        status, reason, names = self.start_tarn(arguments, COMMAND_LIMIT_S)
        if status == REFUSED:
            self.data.late.append(f"marked, not refused: {reason}")
            arguments.append("--allow-downgraded")
            status, reason, names = self.start_tarn(arguments, COMMAND_LIMIT_S)
        if status == 0 or "no case's name contains" in reason:  # another build has it
            return
        complaints = self.data.late if self.left_s() < 1 else self.data.failures
        complaints.append(f"tarn {' '.join(arguments)}: {reason}")
        if "--filter" in arguments and self.left_s() >= 1:
            self.rescue(arguments, names, has_hung=status is None)

    def rescue(self, arguments, known, has_hung):
        """The cases that have not been measured, one by one; but not the one that took too long."""
        at = arguments.index("--filter") + 1
        missing = [name for name in self.listed(arguments)
                   if not any(row.startswith(name) for row in known)]
        for name in missing[1:] if has_hung else missing:
            if self.left_s() < 1:
                return
            alone = [*arguments[:at], name, *arguments[at + 1:]]
            status, reason, _ = self.start_tarn(alone, ALONE_LIMIT_S)
            if status != 0:
                self.data.failures.append(f"{name}: {reason}")

    def ask_torch(self, who, arguments):
        if who in self.data.missing:
            return
        limit_s = min(COMMAND_LIMIT_S, self.left_s())
        if limit_s < 1:
            self.data.late.append(f"{who}, {arguments[0]}: no time was left")
            return
        status, last = self.peers[who].ask(list(self.words(arguments)), limit_s)
        if status == 77:
            self.data.missing[who] = last
            return
        written = json.loads(last) if status is None and last.startswith("{") else {}
        if "results" in written:
            self.data.add(who, written["results"])
            return
        complaints = self.data.late if self.left_s() < 1 else self.data.failures
        complaints.append(f"{who}, {arguments[0]}: {written.get('error') or last}")
        if "error" in written:  # its context may be broken
            self.peers[who].stop()

    def run(self, figure):
        _, _, commands, peers, _ = figure
        for arguments in commands:
            self.run_tarn(arguments)
        for who, arguments in peers:
            self.ask_torch(who, arguments)


def measure(arguments, figures):
    """Each subject once, and again as often as there is time."""
    data = Measured()
    runner = Runner(arguments, data, figures)
    took_s = {}
    for turn in range(arguments.turns):
        for figure in figures:
            if turn > 0 and runner.left_s() < 1.2 * took_s[figure[0]]:
                continue
            start = time.monotonic()
            runner.run(figure)
            took_s[figure[0]] = time.monotonic() - start
            write(arguments, data, figures, turn + 1, took_s)
    for peer in runner.peers.values():
        peer.stop()
    return data


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


# Of what `tarn bench transfer` tells of the machine, what figures are read with.
FACTS = ("driver", "link", "clocks under load", "throttled by", "ECC", "persistence")


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
    head += [f"driver {machine.get('driver_version')}", data.driver or "no nvidia-smi"]
    head += [f"{name}: {data.facts[name]}" for name in FACTS if name in data.facts]
    head += [f"{who}: {why}" for who, why in data.missing.items()]
    tail = [f"- failed: {failure}" for failure in data.failures]
    tail += [f"- {late}" for late in data.late]
    return "\n".join([", ".join(head) + ".", "", *lines, "", *tail]) + "\n"


def write(arguments, data, figures, turns, took_s):
    written = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": data.machine,
        "facts": data.facts,
        "driver": data.driver,
        "turns": turns,
        "took_s": took_s,
        "missing": data.missing,
        "failures": data.failures,
        "late": data.late,
        "figures": [dict(row, target=target) for _, target, _, _, judge in figures
                    for row in judge(data)],
        "rows": [{"by": who, "turns": rows} for (who, _), rows in data.rows.items()],
    }
    with open(os.path.join(arguments.out, "figures.json"), "w", encoding="utf-8") as file:
        json.dump(written, file, indent=1)
    with open(os.path.join(arguments.out, "figures.md"), "w", encoding="utf-8") as file:
        file.write(table(data, figures, turns))


def main():
    parser = argparse.ArgumentParser(prog="figures.py")
    parser.add_argument("--on", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", default=".")
    arguments = parser.parse_args()
    figures = [figure for figure in FIGURES if arguments.only in figure[0]]
    data = measure(arguments, figures)
    with open(os.path.join(arguments.out, "figures.md"), encoding="utf-8") as file:
        print(file.read())
    return 1 if data.failures else 0


if __name__ == "__main__":
    sys.exit(main())
