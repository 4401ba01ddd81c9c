# test_command.py: the built command `tarn`, as people call it: help, errors, exit statuses, JSON.
#
# usage: test_command.py COMMAND TRACES_FOLDER
import gzip
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

COMMAND = ""
TRACES = ""
COSTS = pathlib.Path(__file__).parents[2] / "tensor" / "tarn_copy_costs.h"

SMALL = "op,id,bytes\na,1,4096\na,2,1000000\na,3,1\nf,1,4096\na,4,0\na,5,700\nf,3,1\nf,2,1000000\n"
SMALL_PEAK_LIVE = 4096 + 1000000 + 1


def run(*arguments, **keywords):
    return subprocess.run([COMMAND, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=300, **keywords)


def many_streams():
    """A trace whose blocks go to and fro between four streams, 1 B to 300 KB each."""
    lines = ["op,id,bytes,stream"]
    live = []
    for i in range(3000):
        size = 1 + i * 7919 % 300_000
        lines.append(f"a,{i},{size},{i % 4}")
        live.append((i, size))
        if len(live) > 20:
            old, old_size = live.pop(i * 31 % 20)
            lines.append(f"f,{old},{old_size},{(i + i // 7) % 4}")
    return "\n".join(lines) + "\n"


def many_threads():
    """Blocks that three threads hand to each other, on the host's order and three streams. Every
    use by another stream is told, and a block is freed on the stream it was allocated on."""
    lines = ["op,id,bytes,stream,thread"]
    live = []
    for i in range(2000):
        size = 1 + i * 7919 % 200_000
        lines.append(f"a,{i},{size},{i % 4},{i * 7 % 3}")
        live.append((i, size, i % 4))
        if i % 5 == 0 and i % 4:
            lines.append(f"u,{i},{size},{1 + (i + 1) % 3},{i % 3}")
        if len(live) > 16:
            old, old_size, stream = live.pop(i * 31 % 16)
            lines.append(f"f,{old},{old_size},{stream},{(i + i // 5) % 3}")
    return "\n".join(lines) + "\n"


def events(text):
    """The a, u and f lines of a trace, with ids and streams by their first appearance."""
    ids, streams, found = {}, {0: 0}, []
    rows = [line.split(",") for line in text.split()]
    assert rows[0] == ["op", "id", "bytes", "stream", "thread"], rows[0]
    for op, name, size, stream, thread in rows[1:]:
        if op == "a":
            ids[name] = len(found)
        if op in "auf":
            number = streams.setdefault(int(stream), len(streams))
            found.append((op, ids[name], int(size), number, int(thread)))
    return found


def peak_live(text):
    """The most bytes that a trace asks for at once, counted anew."""
    header, *lines = text.split()
    columns = header.split(",")
    live = peak = 0
    for line in lines:
        event = dict(zip(columns, line.split(",")))
        live += int(event["bytes"]) if event["op"] == "a" else -int(event["bytes"])
        peak = max(peak, live)
    return peak


class CommandTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tarn_command_")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def expect_fine(self, done):
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)

    def expect_error(self, done, code, *words):
        """One line on standard error with all the words; nothing on standard output."""
        self.assertEqual(done.returncode, code, done)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("tarn"), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def replay(self, path, *arguments):
        """Replays one trace; its figures by short name, and the machine."""
        report = self.folder / "report.json"
        done = run("replay", path, "--json", report, *arguments)
        self.expect_fine(done)
        written = json.loads(report.read_text(encoding="utf-8"))
        figures = {}
        for result in written["results"]:
            self.assertLessEqual({"name", "unit", "median", "min", "p95", "samples", "baseline",
                                  "ratio"}, set(result))
            replay, stem, figure = result["name"].split(".")
            self.assertEqual((replay, stem), ("replay", path.name.split(".")[0]))
            figures[figure] = result
        return figures, written["machine"], done.stdout

    # --- help and arguments ---

    def test_help_explains_each_subcommand(self):
        for arguments in (["--help"], ["help"], ["-h"]):
            done = run(*arguments)
            self.expect_fine(done)
            for name in ("info", "replay", "bench"):
                self.assertIn(name, done.stdout)
        for name in ("info", "replay", "bench"):
            done = run(name, "--help")
            self.expect_fine(done)
            self.assertIn(f"usage: tarn {name}", done.stdout)
            self.assertEqual(run("help", name).stdout, done.stdout)

    def test_version_is_told(self):
        done = run("--version")
        self.expect_fine(done)
        self.assertRegex(done.stdout, r"^tarn \d+\.\d+\.\d+\n$")

    def test_wrong_arguments_exit_with_2_and_one_line(self):
        trace = self.write("small.csv", SMALL)
        for arguments, word in (
                ([], "say what to do"),
                (["nonsense"], "nonsense"),
                (["--nonsense"], "--nonsense"),
                (["help", "nonsense"], "nonsense"),
                (["info", "--on", "host"], "--on"),
                (["info", "x"], "'x'"),
                (["replay"], "name at least one trace"),
                (["replay", trace, "--filter", "x"], "--filter"),
                (["replay", trace, "--on"], "--on needs a value"),
                (["replay", trace, "--on", "moon"], "moon"),
                (["replay", trace, "--on", "node:"], "node:"),
                (["replay", trace, "--on", "cuda:-1"], "cuda:-1"),
                (["replay", trace, "--streams", "0"], "--streams"),
                (["replay", trace, "--streams", "2x"], "2x"),
                (["replay", trace, "--streams", "1025"], "1025"),
                (["replay", trace, "--verify=yes"], "--verify takes no value"),
                (["replay", trace, "--json="], "--json"),
                (["bench"], "alloc, view, copy, transfer or order"),
                (["bench", "speed"], "speed"),
                (["bench", "view", "--verify"], "--verify")):
            with self.subTest(arguments=arguments):
                self.expect_error(run(*arguments), 2, word)

    # --- info ---

    def test_info_tells_the_machine_and_why_not(self):
        report = self.folder / "info.json"
        done = run("info", "--json", report)
        self.expect_fine(done)
        written = json.loads(report.read_text(encoding="utf-8"))
        machine = written["machine"]
        self.assertEqual(written["results"], [])
        self.assertEqual(machine["cpu_count"], os.cpu_count())
        self.assertGreater(machine["memory_bytes"], 1 << 20)
        self.assertGreaterEqual(len(machine["nodes"]), 1)
        self.assertIn(0, [node["tier"] for node in machine["nodes"]])
        for node in machine["nodes"]:
            self.assertRegex(done.stdout, rf"node {node['node']} .* tier {node['tier']}, ")
        self.assertGreaterEqual(len(machine["capabilities"]), 8)
        for capability in machine["capabilities"]:
            self.assertIn(capability["name"], done.stdout)
            if capability["available"]:
                self.assertIsNone(capability["reason"])
            else:
                self.assertGreater(len(capability["reason"]), 10, capability)
                self.assertIn(capability["reason"], done.stdout)

    # --- replay ---

    def check_small(self, *arguments):
        path = self.write("small.csv", SMALL)
        figures, machine, text = self.replay(path, "--verify", *arguments)
        self.assertEqual(figures["mismatches"]["median"], 0)
        self.assertIn("0 mismatches", text)
        self.assertEqual(figures["events"]["median"], SMALL.count("\n") - 1)
        self.assertEqual(figures["peak_live_bytes"]["median"], SMALL_PEAK_LIVE)
        reserved = figures["peak_reserved_bytes"]["median"]
        self.assertGreaterEqual(reserved, SMALL_PEAK_LIVE)
        self.assertAlmostEqual(figures["reserved_over_live"]["median"],
                               reserved / SMALL_PEAK_LIVE, places=6)
        self.assertGreaterEqual(figures["provider_calls"]["median"], 1)
        self.assertGreaterEqual(figures["moved_bytes"]["median"], 4096 + 1000000 + 1 + 700)
        time = figures["ns_per_event"]
        self.assertGreaterEqual(time["samples"], 7)
        self.assertTrue(0 < time["min"] <= time["median"] <= time["p95"])
        return figures, machine

    def test_small_trace_is_verified_on_host(self):
        figures, machine = self.check_small()
        self.assertEqual((machine["on"], machine["simulated"]), ("host", False))
        baseline = figures["ns_per_event"]["baseline"]
        if os.environ.get("TARN_TEST_SANITIZE"):  # its malloc is no baseline
            self.assertIsNone(baseline)
        else:
            self.assertEqual(baseline["name"], "malloc")
        self.check_small("--streams", "3")

    def test_small_trace_is_verified_on_a_node(self):
        report = self.folder / "info.json"
        self.expect_fine(run("info", "--json", report))
        node = json.loads(report.read_text(encoding="utf-8"))["machine"]["nodes"][0]["node"]
        self.check_small("--on", f"node:{node}")

    def test_small_trace_is_verified_on_the_simulated_driver(self):
        path = self.write("small.csv", SMALL)
        done = run("replay", path, "--on", "sim")
        if done.returncode != 0:
            self.expect_error(done, 1, "tarn replay: ")
            self.skipTest(done.stderr)
        for place in ("sim", "sim:virtual", "sim:driver", "sim:pinned"):
            _, machine = self.check_small("--on", place)
            self.assertEqual((machine["on"], machine["simulated"]), (place, True))

    def test_streams_that_share_memory_keep_their_bytes(self):
        text = many_streams()
        path = self.write("streams.csv", text)
        places = ["host"]
        if run("replay", self.write("small.csv", SMALL), "--on", "sim").returncode == 0:
            places.append("sim")
        for place in places:
            for streams in ([], ["--streams", "2"]):
                with self.subTest(place=place, streams=streams):
                    figures, _, _ = self.replay(path, "--verify", "--on", place, *streams)
                    self.assertEqual(figures["mismatches"]["median"], 0)
                    self.assertEqual(figures["peak_live_bytes"]["median"], peak_live(text))

    def test_what_is_recorded_can_be_replayed_on_its_threads_and_streams(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            given = folder / "given.csv"
            given.write_text(many_threads())
            first, second = folder / "first.csv", folder / "second.csv"
            for source, target in ((given, first), (first, second)):
                done = run("replay", source, "--verify", "--record", target)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn("4 streams, 3 threads in turn", done.stdout)
                self.assertIn("  0 mismatches", done.stdout)
            expected = events(given.read_text())
            self.assertEqual(events(first.read_text()), expected)
            self.assertEqual(events(second.read_text()), expected)
            self.assertIn("\ns,", first.read_text())  # segments are told as well

    def test_a_trace_that_begins_in_the_middle_is_replayed_from_there(self):
        path = self.write("ring.csv", "op,id,bytes,stream,thread\nm,2,96,0,0\nu,1,64,1,0\n"
                          "f,1,64,0,0\na,1,4096,1,0\nf,2,32,0,0\nf,1,4096,1,0\n")
        figures, _, text = self.replay(path, "--verify")
        self.assertIn("  skipped 2 frees and 1 use of 2 blocks that were there before the trace\n",
                      text)
        self.assertEqual(figures["events"]["median"], 2)
        self.assertEqual(figures["peak_live_bytes"]["median"], 4096)
        self.assertEqual(figures["blocks_from_before"]["median"], 2)
        self.assertEqual(figures["skipped_frees"]["median"], 2)
        self.assertEqual(figures["skipped_uses"]["median"], 1)
        figures, _, text = self.replay(self.write("small.csv", SMALL))
        self.assertNotIn("skipped", text)
        self.assertNotIn("skipped_frees", figures)

    def test_a_record_that_cannot_be_written_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "small.csv"
            path.write_text(SMALL)
            done = run("replay", path, "--record", pathlib.Path(folder) / "no" / "such.csv")
            self.assertEqual(done.returncode, 1)
            self.assertIn("such.csv", done.stderr)
            done = run("replay", path, path, "--record", pathlib.Path(folder) / "two.csv")
            self.assertEqual(done.returncode, 2)
            self.assertIn("--record takes one trace file", done.stderr)

    def test_recorded_traces_have_the_peak_that_is_in_them(self):
        for path in sorted(pathlib.Path(TRACES).glob("*.csv.gz")):
            with gzip.open(path, "rt") as file:
                expected = peak_live(file.read())
            figures, _, _ = self.replay(path)
            self.assertEqual(figures["peak_live_bytes"]["median"], expected)
            self.assertLess(figures["reserved_over_live"]["median"], 1.5)
            self.assertNotIn("mismatches", figures)

    def test_a_gpus_range_fragments_less_than_expandable_segments(self):
        # Sizes are the pool's own arithmetic, whatever the driver: bench/traces/README.md.
        expandable = {"resnet50_infer": 1.157, "mixed_serving": 1.095}
        path = self.write("small.csv", SMALL)
        if run("replay", path, "--on", "sim:virtual").returncode != 0:
            self.skipTest("no simulated driver")
        if os.environ.get("TARN_TEST_SANITIZE"):
            del expandable["mixed_serving"]  # the pool's arithmetic is the same, only slower
        for name, ratio in expandable.items():
            figures, _, text = self.replay(pathlib.Path(TRACES) / f"{name}.csv.gz", "--on",
                                           "sim:virtual")
            self.assertLess(figures["reserved_over_live"]["median"], ratio)
            self.assertGreater(figures["remapped_bytes"]["median"], 0)
            self.assertIn("of idle memory moved to where it was needed", text)

    def test_several_traces_make_one_report(self):
        first = self.write("first.csv", SMALL)
        second = self.write("sec\"ond\xe4.csv", SMALL)
        report = self.folder / "report.json"
        self.expect_fine(run("replay", first, second, "--json", report))
        names = [r["name"] for r in json.loads(report.read_text(encoding="utf-8"))["results"]]
        self.assertIn("replay.first.peak_live_bytes", names)
        self.assertIn("replay.sec\"ond\xe4.peak_live_bytes", names)

    def test_malformed_traces_name_file_and_line(self):
        packed = gzip.compress(many_streams().encode())
        cases = {
            "negative.csv": (b"op,id,bytes\na,0,8\na,1,-8\n", ":3: bytes is negative"),
            "twice.csv": (b"op,id,bytes\na,0,8\na,0,8\n", ":3: id 0 is allocated again"),
            "unknown.csv": (b"op,id,bytes\na,0,8\nf,1,8\n", ":3: id 1 is freed and was never"),
            "double.csv": (b"op,id,bytes\na,0,8\nf,0,8\nf,0,8\n", ":4: id 0 is freed again"),
            "huge.csv": (b"op,id,bytes\na,0,1000000000000000000\n",
                         ":2: bytes is 1000000000000000000, more than"),
            "headless.csv": (b"a,0,8\nf,0,8\n", ":1: no header"),
            "wide.csv": (b"op,id,bytes\na,0,8,8\n", ":2: 4 fields where the header names 3"),
            "words.csv": (b"op,id,bytes\na,zero,8\n", ":2: id is not a whole number"),
            "empty.csv": (b"", ":1: the file is empty"),
            "long.csv": (b"op,id,bytes\na,0," + b"1" * 100_000, ":2: the line is longer than"),
            "plain.csv.gz": (SMALL.encode(), ":1: not gzip data"),
            "cut.csv.gz": (packed[:len(packed) // 2], ": the gzip data ends too early"),
            "damaged.csv.gz": (packed[:-6] + b"\0\1\2\3\4\5", ": the gzip data is damaged"),
        }
        good = self.write("good.csv", SMALL)
        for name, (content, message) in cases.items():
            with self.subTest(name=name):
                path = self.folder / name
                path.write_bytes(content)
                self.expect_error(run("replay", path), 1, f"{path}:", message)
                # Told before anything is replayed, wherever it stands in the row.
                self.expect_error(run("replay", good, path, "--verify"), 1, message)

    def test_memory_that_is_not_there_is_told_with_the_line(self):
        path = self.write("large.csv", "op,id,bytes\na,0,4096\na,1,140737488355328\n")
        self.expect_error(run("replay", path), 1, f"{path}:3: allocation of id 1")

    def test_missing_file_and_place_exit_with_1(self):
        self.expect_error(run("replay", self.folder / "none.csv"), 1, "none.csv", "No such file")
        path = self.write("small.csv", SMALL)
        self.expect_error(run("replay", path, "--on", "node:999"), 1, "999")
        self.expect_error(run("replay", path, "--on", "cuda:999"), 1, "tarn replay: ")
        self.expect_error(run("replay", path, "--json", self.folder / "no" / "where"), 1, "cannot")

    # --- bench ---

    def test_list_names_cases_without_measuring(self):
        done = run("bench", "alloc", "view", "copy", "transfer", "order", "--list")
        self.expect_fine(done)
        names = done.stdout.split()
        self.assertEqual(len(names), len(set(names)))
        for name in ("alloc.pair.64B", "alloc.churn", "view.select", "copy.transpose_8192.f32",
                     "order.calls_per_op.8streams.32MiB.0.15"):
            self.assertIn(name, names)
        listed = run("bench", "transfer", "--on", "sim", "--list").stdout.split()
        self.assertIn("transfer.h2d.pinned.1MiB", listed)

    def test_explain_says_how_each_case_is_copied(self):
        done = run("bench", "copy", "--explain", "--filter", "transpose_8192.f32")
        self.expect_fine(done)
        first, second = done.stdout.split("copy.2threads.")
        self.assertIn("copy.transpose_8192.f32: transpose, 268435456 bytes in runs of 4", first)
        self.assertRegex(first, r"outer +8192 +32768 +4\n *inner +8192 +4 +32768\n")
        self.assertIn("by one thread", first)
        self.assertIn("parts by 2 threads", second)
        self.expect_error(run("bench", "view", "--explain"), 2, "--explain is for copy")

    def test_explain_says_which_way_a_device_would_go_and_why(self):
        done = run("bench", "copy", "--explain", "--filter", "copy.rows")
        self.expect_fine(done)
        self.assertRegex(done.stdout, r"ROW_CALL +\d+ ns +.*\n +\(guess: ")  # none is measured
        self.assertRegex(done.stdout, r"on a device +\w+ +\| rows [\d.]+ us, calls: 1 \| kernel .*")
        self.assertRegex(done.stdout, r"pageable to device +ring .*: the ring, whatever the sums")

    def test_what_was_measured_is_written_before_the_end(self):
        report = self.folder / "bench.json"
        words = ["bench", "alloc", "--filter", "pair"]
        rows = []
        with subprocess.Popen([COMMAND, *words, "--json", report],
                              stdout=subprocess.DEVNULL) as bench:
            while not rows and bench.poll() is None:
                try:
                    rows = json.loads(report.read_text(encoding="utf-8"))["results"]
                except (OSError, ValueError):  # none yet, or half of it
                    pass
            self.assertIsNone(bench.poll())
            bench.kill()
        self.assertGreater(rows[0]["median"], 0)
        case_count = len(run(*words, "--list").stdout.split())
        self.assertLess(len(rows), case_count / 2)  # and not only at the end

    def test_a_filter_of_several_words_lets_through_what_contains_one(self):
        done = run("bench", "copy", "--list", "--filter", "copy.rows,columns_step2")
        self.expect_fine(done)
        self.assertEqual(done.stdout.split()[:2], ["copy.rows", "copy.columns_step2"])
        self.assertTrue(all("rows" in name or "step2" in name for name in done.stdout.split()))

    def test_the_table_of_costs_is_measured_on_a_device(self):
        done = run("bench", "copy", "--measure-table", "--on", "sim")
        if "no simulated driver" in done.stderr or "without CUDA" in done.stderr:
            self.skipTest("no simulated driver in this build")
        self.expect_fine(done)
        comment, macro = done.stdout.split("\n", 1)
        self.assertIn("simulated", comment)
        # As the header has it, but for numbers and where they are from.
        row = r'X\((\w+), ([1-9]\d*), ("[^"]*"), ("[^"]*"),\s*(?:\\\n)?\s*"([^"]*)"\)'
        with open(COSTS, encoding="utf-8") as file:
            built_in = re.findall(row, file.read())
        printed = re.findall(row, macro)
        self.assertEqual([(row[0], *row[2:4]) for row in printed],
                         [(row[0], *row[2:4]) for row in built_in])
        self.assertEqual(macro.count("\n"), 1 + 2 * len(printed))
        kept = {row[0] for row in printed if not row[4].startswith("simulated: simulated GPU 0, ")}
        self.assertEqual(kept, {"WAIT"})
        self.expect_error(run("bench", "copy", "--measure-table"), 1, "wants a device")
        self.expect_error(run("bench", "view", "--measure-table"), 2, "is for copy")

    def test_a_list_names_what_would_run_there(self):
        names = {where: run("bench", "alloc", "--on", where, "--list").stdout.split()
                 for where in ("host", "sim")}
        for name in ("cuda.alloc.pair.1KiB", "virtual.move.64MiB", "pin.rate.whole"):
            self.assertIn(name, names["sim"])
            self.assertNotIn(name, names["host"])
        self.assertIn("touch.bandwidth", names["host"])
        self.assertNotIn("touch.bandwidth", names["sim"])

    def test_scattered_copies_are_measured_against_a_loop(self):
        done = run("bench", "copy", "--on", "sim", "--filter", "scattered.d2h", "--list")
        self.expect_fine(done)
        self.assertEqual(done.stdout.split(), ["copy.scattered.d2h"])
        if run("bench", "copy", "--on", "sim", "--filter", "small_64").returncode != 0:
            self.skipTest("no simulated driver in this build")
        written, _ = self.check_bench("copy", "--on", "sim", "--filter", "scattered.d2h")
        self.assertEqual(written["results"][0]["baseline"]["name"], "driver loop")
        self.assertTrue(written["machine"]["simulated"])

    def check_bench(self, *arguments):
        report = self.folder / "bench.json"
        done = run("bench", *arguments, "--json", report)
        self.expect_fine(done)
        written = json.loads(report.read_text(encoding="utf-8"))
        self.assertGreaterEqual(len(written["results"]), 1)
        for result in written["results"]:
            self.assertGreaterEqual(result["samples"], 7)
            self.assertTrue(0 < result["min"] <= result["median"] <= result["p95"], result)
            if result["baseline"] is not None:
                self.assertAlmostEqual(result["ratio"],
                                       result["median"] / result["baseline"]["median"], places=3)
        return written, done.stdout

    def test_each_bench_measures_beside_its_baseline(self):
        for arguments, baseline in (
                (["alloc", "--filter", "alloc.pair.64B"], "malloc"),
                (["alloc", "--filter", "alloc.churn"], "malloc"),
                (["alloc", "--filter", "storage.create_release"], "malloc"),
                (["alloc", "--filter", "2threads.pair.64B"], "one thread"),
                (["alloc", "--filter", "2threads.churn"], "one thread"),
                (["alloc", "--filter", "scan.16k"], "16 free blocks"),
                (["view", "--filter", "view."], "copy of the value"),
                (["view", "--filter", "linear."], "address alone"),
                (["view", "--filter", "element.item"], "address alone"),
                (["view", "--filter", "element.accessor"], "raw pointer"),
                (["copy", "--filter", "small"], "memcpy"),
                (["copy", "--filter", "256"], "memcpy"),
                (["transfer", "--on", "host", "--quick", "--filter", "64KiB"], "memcpy")):
            with self.subTest(arguments=arguments):
                written, text = self.check_bench(*arguments)
                for result in written["results"]:
                    self.assertEqual(result["baseline"]["name"], baseline)
                    self.assertIn(result["name"], text)

    def test_simulated_figures_say_so(self):
        if run("replay", self.write("small.csv", SMALL), "--on", "sim").returncode != 0:
            self.skipTest("no simulated driver in this build")
        for name in ("alloc", "copy", "transfer"):
            written, text = self.check_bench(name, "--on", "sim", "--filter",
                                             {"copy": "small"}.get(name, "64KiB"),
                                             *(["--quick"] if name == "transfer" else []))
            self.assertTrue(written["machine"]["simulated"])
            self.assertIn("simulated", text.split("\n")[0])

    def test_pairs_of_a_gpus_memory_stand_beside_the_drivers(self):
        if run("replay", self.write("small.csv", SMALL), "--on", "sim").returncode != 0:
            self.skipTest("no simulated driver in this build")
        for place in ("sim", "sim:virtual"):
            written, _ = self.check_bench("alloc", "--on", place,
                                          "--filter", "cuda.alloc.pair.1KiB")
            self.assertEqual(written["results"][0]["baseline"]["name"], "cuMemAllocAsync")

    def test_order_counts_driver_calls_beside_an_event_per_free(self):
        report = self.folder / "order.json"
        done = run("bench", "order", "--filter", "8streams.32MiB.0.15", "--json", report)
        if "no simulated driver" in done.stderr or "without CUDA" in done.stderr:
            self.skipTest("no simulated driver in this build")
        self.expect_fine(done)
        results = {r["name"]: r for r in json.loads(report.read_text("utf-8"))["results"]}
        calls = results["order.calls_per_op.8streams.32MiB.0.15"]
        self.assertEqual(calls["unit"], "calls")
        self.assertEqual(calls["baseline"]["name"], "event per free")
        # Counts of one seed each, the same on every machine: half an event per call for the one.
        self.assertGreaterEqual(calls["baseline"]["median"], 0.5)
        self.assertLess(calls["median"], 0.015)
        self.assertIn("order.refused_share.8streams.32MiB.0.15", results)
        self.expect_error(run("bench", "order", "--on", "host"), 1, "--on sim")

    def test_pinned_memory_wastes_no_more_than_its_budget(self):
        report = self.folder / "pin.json"
        self.expect_fine(run("bench", "alloc", "--filter", "pin.waste", "--json", report))
        results = {r["name"]: r for r in json.loads(report.read_text("utf-8"))["results"]}
        # Counted, whatever the machine; powers of two are what it is measured against.
        for name, most, least_of_powers in (("65GiB", 1.02, 1.9), ("over_1MiB", 1.02, 1.2),
                                            ("below_1MiB", 1.125, 1.2)):
            result = results[f"pin.waste.{name}"]
            self.assertTrue(1 <= result["median"] <= most, result)
            self.assertEqual(result["baseline"]["name"], "powers of two")
            self.assertTrue(least_of_powers <= result["baseline"]["median"] <= 2, result)

    def test_filter_that_fits_nothing_is_an_error(self):
        self.expect_error(run("bench", "view", "--filter", "zebra"), 1, "zebra")

    # --- pipes ---

    def test_reader_that_goes_away_ends_the_command_silently(self):
        process = subprocess.Popen([COMMAND, "bench", "copy", "--list"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.assertIn(process.wait(timeout=60), (0, -signal.SIGPIPE))

    def test_full_device_is_an_error(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "w") as full:
            done = subprocess.run([COMMAND, "--help"], stdout=full, stderr=subprocess.PIPE,
                                  text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write", done.stderr)
        done = run("info", "--json", "/dev/full")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write /dev/full", done.stderr)


if __name__ == "__main__":
    COMMAND, TRACES = sys.argv[1:3]
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
