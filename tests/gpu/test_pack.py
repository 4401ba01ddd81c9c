# test_pack.py: what is packed for a machine with a GPU runs there: tried out on the simulator.
#
# usage: test_pack.py BUILD
import argparse
import ctypes
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

import figures
import torch_model

BUILD = sys.argv.pop(1)
HERE = os.path.dirname(os.path.abspath(__file__))
PACKED = ("test_fidelity", "test_base", "test_status", "test_copy_cuda", "test_copy_cuda_eager")
FAILS = """echo '[  FAILED  ] a_pool_leaks'
for i in $(seq 50); do echo "[ RUN      ] passes_$i"; echo "[       OK ] passes_$i"; done
exit 1
"""
TRACE = "op,id,bytes\na,0,3000000\na,1,100000\nf,0,\na,2,1000\nf,1,\nf,2,\n"


def start(folder, *words, out, **environment):
    """The folder's run.sh, by nothing but what such a machine has: no path of this build's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [os.path.join(folder, "run.sh"), *words], env={**kept, "OUT": out, **environment},
        capture_output=True, text=True, timeout=280,
    )


class Pack(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory()
        cls.folder = os.path.join(cls.work.name, "gpu")
        pack = os.path.join(HERE, "pack.py")
        subprocess.run([sys.executable, "-B", pack, BUILD, cls.folder, *PACKED], check=True)
        traces = os.path.join(cls.folder, "traces")
        for name in os.listdir(traces):
            os.unlink(os.path.join(traces, name))
        with gzip.open(os.path.join(traces, "tiny.csv.gz"), "wt", encoding="ascii") as file:
            file.write(TRACE)

    @classmethod
    def tearDownClass(cls):
        cls.work.cleanup()

    def setUp(self):
        self.out = os.path.join(self.work.name, self.id())

    def results(self):
        with open(os.path.join(self.out, "results.json"), encoding="utf-8") as file:
            return json.load(file)

    def verdicts(self):
        return {stage["name"]: stage["verdict"] for stage in self.results()["stages"]}

    def test_tests_run_over_the_driver_and_beside_it(self):
        done = start(self.folder, "--allow-sim", "--only", "info,fidelity,device,host,simulator,"
                     "ptx,sanitizer,torch", out=self.out)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.verdicts(), {
            "info": "passed", "fidelity": "passed", "device": "passed", "host": "passed",
            "simulator": "passed", "ptx": "skipped", "sanitizer": "skipped", "torch": "skipped",
        })
        tests = {test["name"]: test["verdict"] for test in self.results()["tests"]}
        self.assertEqual(tests, dict.fromkeys(PACKED, "passed"))

    def test_the_model_for_cupy_comes_along_with_the_package(self):
        done = start(self.folder, "--allow-sim", "--only", "cupy", out=self.out)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.verdicts(), {"cupy": "skipped"})
        self.assertTrue(os.path.exists(os.path.join(self.folder, "cupy_model.py")))
        if os.path.isdir(os.path.join(BUILD, "python", "tarn")):
            program = "import tarn; tarn.cupy_allocator"
            found = {"PYTHONPATH": os.path.join(self.folder, "python"),
                     "LD_LIBRARY_PATH": os.path.join(self.folder, "lib")}
            subprocess.run([sys.executable, "-B", "-c", program], env={**os.environ, **found},
                           check=sys.version_info >= (3, 11))

    def test_the_model_for_pytorch_comes_along_with_what_it_loads(self):
        self.assertIn("torch\n", start(self.folder, "--list", out=self.out).stdout)
        library = ctypes.CDLL(os.path.join(self.folder, "lib", "libtarn.so.0"))
        for name in ("malloc", "free", "snapshot_save", *torch_model.HOOKS.values()):
            getattr(library, "tarn_torch_" + name)
        script = os.path.join(self.folder, "torch_model.py")
        for python in (os.environ.get("TARN_PYTHON"), sys.executable, "/usr/bin/python3"):
            if python and os.path.exists(python):
                done = subprocess.run([python, "-B", script, "--only", "dry"],
                                      capture_output=True, text=True, timeout=120)
                if done.returncode != torch_model.SKIPPED:
                    break
        if done.returncode == torch_model.SKIPPED and os.environ.get("CI") != "true":
            self.skipTest(done.stdout)
        told = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(list(told["answers"]), list(torch_model.SAME[:3]))

    def test_a_stage_that_fails_or_has_no_time_keeps_no_other_from_running(self):
        suite = os.path.join(self.folder, "suite.json")
        with open(suite, encoding="utf-8") as file:
            text = file.read()
        planted = json.loads(text)
        planted["tests"] += [
            {"name": "test_cuda_fails", "limit_s": 9, "environment": {},
             "command": ["sh", "-c", FAILS]},
            {"name": "test_cuda_hangs", "limit_s": 1, "command": ["./tarn", "info"],
             "environment": {"BROKEN_CALL": "cuInit", "BROKEN_ANSWER": "hang"}},
            {"name": "test_cuda_crashes", "limit_s": 9, "command": ["./tarn", "info"],
             "environment": {"BROKEN_CALL": "cuInit", "BROKEN_ANSWER": "crash"}},
        ]
        with open(suite, "w", encoding="utf-8") as file:
            json.dump(planted, file)
        self.break_driver()
        done = start(self.folder, "--allow-sim", "--only", "device=test_cuda,host", out=self.out)
        with open(suite, "w", encoding="utf-8") as file:
            file.write(text)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(self.verdicts(), {"device": "failed", "host": "passed"})
        told = self.report()
        for name in ("fails", "hangs", "crashes"):
            self.assertIn("FAILED test_cuda_" + name, done.stdout)
            self.assertIn(f"- test_cuda_{name}: failed: exit status ", told)
        self.assertIn("- test_cuda_fails: failed: exit status 1: a_pool_leaks\n", told)
        if shutil.which("gdb"):
            stacks = done.stdout.split("where it was:")[1:]
            self.assertEqual(sum("call_that_hangs" in stack for stack in stacks), 1)
            self.assertTrue(all("tarn_cuda_open" in stack for stack in stacks), stacks)
        self.assertIn("[  FAILED  ] a_pool_leaks", done.stdout)
        self.assertNotIn("passes_50", done.stdout)
        with open(os.path.join(self.out, "figures.md"), "w", encoding="ascii") as file:
            file.write("of an earlier run")
        late = start(self.folder, "--allow-sim", "--only", "host", "--budget", "0", out=self.out)
        self.assertNotIn("of an earlier run", self.report())
        self.assertFalse(os.path.exists(os.path.join(self.folder, "tests")))  # carried packed
        self.assertEqual((late.returncode, self.verdicts()), (0, {"host": "skipped"}))

    def break_driver(self):
        """Until the test's end one call of the simulated driver does as the environment says."""
        driver = os.path.join(self.folder, "sim", "libcuda.so.1")
        kept = driver + ".kept"
        os.rename(driver, kept)
        self.addCleanup(os.replace, kept, driver)
        shutil.copy2(os.path.join(BUILD, "tests", "broken", "libcuda.so.1"), driver)

    def report(self):
        with open(os.path.join(self.out, "report.md"), encoding="utf-8") as file:
            return file.read()

    def test_the_drivers_own_words_are_in_the_report_and_later_stages_run(self):
        self.break_driver()
        done = start(self.folder, "--allow-sim", "--only", "info,costs,host", out=self.out,
                     BROKEN_CALL="cuInit", BROKEN_ANSWER="999")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(self.verdicts(), {"info": "failed", "costs": "failed", "host": "passed"})
        for stage in ("info", "costs"):
            self.assertRegex(self.report(), rf"\| {stage} \| failed \| [\d.]+ \| .*cuInit: "
                             r"CUDA_ERROR_UNKNOWN \(999\): unknown error")

    def test_what_fails_beside_others_alone_has_not_failed(self):
        suite = os.path.join(self.folder, "suite.json")
        shutil.copy2(suite, suite + ".kept")
        self.addCleanup(os.replace, suite + ".kept", suite)
        mark = os.path.join(self.work.name, "mark")
        once = f"test -e {mark} || {{ touch {mark}; exit 1; }}"
        planted = {"tests": [{"name": "test_cuda_once", "limit_s": 9, "environment": {},
                              "command": ["sh", "-c", once]}]}
        with open(suite, "w", encoding="utf-8") as file:
            json.dump(planted, file)
        done = start(self.folder, "--allow-sim", "--only", "device", out=self.out)
        self.assertEqual(done.returncode, 1 if os.cpu_count() == 1 else 0, done.stdout)
        self.assertIn("passed alone", self.results()["tests"][0]["verdict"])

    def test_a_benchmark_that_has_no_time_is_skipped_and_has_not_failed(self):
        done = start(self.folder, "--allow-sim", "--only", "bench", "--budget", "2", out=self.out)
        self.assertEqual((done.returncode, self.verdicts()), (0, {"bench": "skipped"}), done.stdout)
        self.assertIn("no time was left", self.results()["stages"][0]["why"])

    def test_figures_that_have_no_time_are_told_and_none_has_failed(self):
        done = start(self.folder, "--allow-sim", "--only", "figures", "--budget", "8",
                     out=self.out)
        self.assertEqual((done.returncode, self.verdicts()), (0, {"figures": "passed"}),
                         done.stdout)
        figures = self.results()["figures"]
        self.assertEqual(figures["failures"], [])
        self.assertIn("no time was left", figures["late"][-1])
        with open(os.path.join(self.out, "figures.md"), encoding="utf-8") as file:
            self.assertIn("- " + figures["late"][-1], file.read())

    def test_figures_without_any_time_are_not_measured_and_say_so(self):
        told = self.measure("pin", "--seconds", "0")
        self.assertEqual((told.count("not measured"), told.count("no time was left")), (2, 2), told)

    def test_nothing_is_run_on_the_simulator_unasked(self):
        done = start(self.folder, "--only", "info", out=self.out)
        if done.returncode == 0:
            self.skipTest("this machine has a GPU")
        self.assertIn("no GPU here", done.stderr)
        # Nor where a search path finds it as the machine's own.
        done = start(self.folder, "--only", "info", out=self.out,
                     LD_LIBRARY_PATH=os.path.join(self.folder, "sim"))
        self.assertIn("no GPU here", done.stderr)
        self.assertEqual(start(self.folder, "--only", "nothing", out=self.out).returncode, 2)

    def measure(self, subject, *arguments, **environment):
        os.makedirs(self.out, exist_ok=True)
        words = [sys.executable, "-B", "figures.py", "--on", "sim", "--only", subject,
                 "--turns", "1", "--out", self.out, *arguments]
        libraries = os.path.join(self.folder, "lib")
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=200,
                              env=dict(os.environ, LD_LIBRARY_PATH=libraries, **environment))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_figures_stand_beside_pytorchs(self):
        fake = os.path.join(HERE, "fake_torch")
        output = self.measure("traces", PYTHONPATH=fake)
        self.assertIn("simulated: no figure here is a GPU's", output)
        row = next(row for row in output.splitlines() if "replay.tiny" in row)
        self.assertIn("expandable 3.0 MiB, default 6.0 MiB", row)
        self.assertIn("| simulated |", row)
        self.assertIn("PyTorch", self.measure("pairs", PYTHONPATH=fake))

    def test_figures_go_without_pytorch(self):
        output = self.measure("traces", PYTHONPATH="", PYTHONNOUSERSITE="1")
        if "no torch" not in output and "sees no GPU" not in output:
            self.skipTest("this Python has a PyTorch with a GPU")
        self.assertIn("expandable -", output)


STAND_IN = """#!/bin/sh
# As much of tarn bench as is asked here: three cases, of which the second crashes.
case "$*" in *--list*) echo a.1 a.2 a.3; exit ;; esac
case "$*" in *--strict*) case "$*" in *--allow-downgraded*) ;; *) exit 3 ;; esac ;; esac
row() { printf '{"name": "%s", "unit": "ns", "median": 1}' "$1"; }
for last; do :; done
tell() { echo "{\\"machine\\": {}, \\"results\\": [$1]}" >"$last"; }
case "$*" in
  *--filter\\ a.1*) tell "$(row a.1)" ;;
  *--filter\\ a.2*) kill -SEGV $$ ;;
  *--filter\\ a.3*) tell "$(row a.3)" ;;
  *--hang*) tell "$(row a.1)"; exec sleep 1000 ;;
  *) tell "$(row a.1)"; kill -SEGV $$ ;;
esac
"""


class Measuring(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        os.mkdir(os.path.join(self.folder.name, "traces"))
        path = os.path.join(self.folder.name, "tarn")
        with open(path, "w", encoding="ascii") as file:
            file.write(STAND_IN)
        os.chmod(path, 0o755)

    def measure(self, *arguments):
        data = figures.Measured()
        with unittest.mock.patch.object(figures, "HERE", self.folder.name):
            runner = figures.Runner(argparse.Namespace(on="sim", seconds=60), data, [])
            runner.run_tarn(["bench", "copy", *arguments])
        return data

    def test_a_case_that_crashes_takes_neither_those_before_nor_those_behind_it_along(self):
        data = self.measure("--filter", "a.")
        self.assertEqual(data.names("a.*"), ["a.1", "a.3"])
        self.assertEqual(len(data.rows["tarn", "a.1"]), 1)
        self.assertEqual(len(data.failures), 2)  # the whole, and the case
        self.assertTrue(data.failures[1].startswith("a.2: exit status -11"), data.failures)

    def test_a_case_that_hangs_is_not_tried_again(self):
        with unittest.mock.patch.object(figures, "COMMAND_LIMIT_S", 1):
            data = self.measure("--filter", "a.", "--hang")
        self.assertEqual(data.names("a.*"), ["a.1", "a.3"])
        self.assertEqual(len(data.failures), 1)
        self.assertIn("ended after 1 s", data.failures[0])

    def test_figures_of_a_link_that_is_downgraded_are_marked_and_not_withheld(self):
        data = self.measure("--filter", "a.1", "--strict")
        self.assertEqual((data.names("a.*"), data.failures), (["a.1"], []))
        self.assertIn("marked", data.late[0])

    def test_a_pytorch_that_fails_at_one_thing_is_asked_the_next(self):
        trace = os.path.join(self.folder.name, "traces", "tiny.csv.gz")
        with gzip.open(trace, "wt", encoding="ascii") as file:
            file.write(TRACE)
        fake = {"PYTHONPATH": os.path.join(HERE, "fake_torch")}
        with unittest.mock.patch.dict(os.environ, fake):
            peer = figures.Peer(configuration=None)
        self.addCleanup(peer.stop)
        data = figures.Measured()
        with unittest.mock.patch.object(figures, "HERE", self.folder.name):
            runner = figures.Runner(argparse.Namespace(on="sim", seconds=60), data, [])
        runner.peers["torch"] = peer
        for words in (["copies"], ["replay", "{traces}"]):
            with unittest.mock.patch.dict(os.environ, fake):
                runner.ask_torch("torch", words)
        self.assertEqual(len(data.failures), 1)
        self.assertIn("copies: AttributeError", data.failures[0])
        self.assertEqual(data.value("replay.tiny.peak_reserved_bytes", "torch"), 6 << 20)


class Peers(unittest.TestCase):
    def install(self, folder):
        """A PyTorch whose allocator can be compiled against; its extensions find no toolkit, as
        where CUDA comes by wheels alone."""
        shutil.copytree(os.path.join(HERE, "fake_torch"), folder, dirs_exist_ok=True)
        home = os.path.join(folder, "torch")
        for name in ("utils", "lib", "include/c10/cuda"):
            os.makedirs(os.path.join(home, name))
        os.rename(os.path.join(folder, "torch.py"), os.path.join(home, "__init__.py"))
        with open(os.path.join(home, "utils", "cpp_extension.py"), "w", encoding="ascii") as file:
            file.write("def include_paths(kind):\n    raise OSError('CUDA_HOME is not set')\n")
        with open(os.path.join(home, "include/c10/cuda/CUDACachingAllocator.h"), "w",
                  encoding="ascii") as file:
            file.write("#include <cstdlib>\n#include <wheels.h>\n"
                       "namespace c10::cuda::CUDACachingAllocator {\n"
                       "inline void *raw_alloc(size_t bytes) { return std::malloc(bytes); }\n"
                       "inline void raw_delete(void *address) { std::free(address); }\n}\n")
        wheel = os.path.join(folder, "nvidia", "cu13", "include")
        os.makedirs(wheel)
        with open(os.path.join(wheel, "wheels.h"), "w", encoding="ascii"):
            pass
        for name in ("c10", "c10_cuda"):
            library = os.path.join(home, "lib", f"lib{name}.so")
            subprocess.run(["g++", "-shared", "-o", library, "-xc++", os.devnull], check=True)

    def test_pairs_are_c_plus_pluss_without_a_toolkit(self):
        if shutil.which("g++") is None:
            self.skipTest("no g++")
        with tempfile.TemporaryDirectory() as folder:
            self.install(folder)
            for name in ("torch_peers.py", "torch_pairs.cpp"):  # what is built lies beside them
                shutil.copy2(os.path.join(HERE, name), folder)
            for subject in ("prepare", "alloc"):
                done = subprocess.run(
                    [sys.executable, "-B", os.path.join(folder, "torch_peers.py"), subject],
                    capture_output=True, text=True, timeout=60,
                    env=dict(os.environ, PYTHONPATH=folder))
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertTrue(os.path.exists(os.path.join(folder, "torch_pairs.so")))
        told = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual({row["how"] for row in told["results"]}, {"C++"})


class Model(unittest.TestCase):
    def answers(self, **changed):
        told = {name: ["0x1.8p+0", "0x1.4p+0"] for name in torch_model.SAME}
        return {"answers": {**told, **changed}}

    def test_one_bit_of_one_loss_is_a_difference(self):
        self.assertEqual(torch_model.compare(self.answers(), self.answers()), [])
        for changed, words in ((["0x1.8p+0", "0x1.4000000000001p+0"], "step 1"),
                               (["0x1.8p+0"], "step 1"), ([], "no answers")):
            with self.subTest(changed=changed):
                found = torch_model.compare(self.answers(), self.answers(conv=changed))
                self.assertEqual(len(found), 1)
                self.assertIn(words, found[0])
                self.assertTrue(found[0].startswith("conv"))

    def test_every_hook_of_the_header_is_set(self):
        header = os.path.join(HERE, "..", "..", "alloc", "adapters", "torch", "tarn_torch.h")
        with open(header, encoding="utf-8") as file:
            called = file.read().split("what the application calls")[0]
        names = set(re.findall(r"TARN_API[^;(]*tarn_torch_(\w+)\(", called))
        by_name = {"malloc", "malloc_or_null", "free", "segment_alloc", "segment_free"}
        self.assertEqual(names - by_name, set(torch_model.HOOKS.values()))


class Rows(unittest.TestCase):
    def listed(self, arguments):
        words = [word.format(on="sim") for word in arguments]
        done = subprocess.run([os.path.join(BUILD, "tarn"), *words, "--list"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stderr}")
        return done.stdout.split()

    def told(self, judge, names):
        data = figures.Measured()
        rivals = [{"name": name, "median": median} for name, median in
                  (("loop", 1), ("cuMemHostAlloc", 2), ("batch", 3))]
        data.add("tarn", [{"name": name, "unit": "ms", "median": 1, "baseline": rivals[0],
                           "more_baselines": rivals[1:]} for name in names])
        return {line["name"]: line["beside"] for line in judge(data)}

    def test_every_figure_finds_rows_of_each_of_its_benches(self):
        for subject, _, commands, _, judge in figures.FIGURES:
            for arguments in commands:
                if arguments[0] != "bench":
                    continue
                with self.subTest(subject=subject, arguments=arguments):
                    names = self.listed(arguments)
                    told = self.told(judge, names)
                    self.assertTrue(told)
                    if subject not in ("pinned", "pageable"):  # of those the large ones
                        self.assertEqual(list(told), names)

    def test_a_rival_is_found_by_its_name_wherever_it_stands(self):
        pins = self.told(figures.judge_pins, ["pin.rate.8GiB"])
        self.assertEqual(list(pins.values()), ["cuMemHostAlloc 2 GB/s"])
        small = self.told(figures.judge_scattered, ["transfer.h2d.small.10000x4-32KiB"])
        self.assertEqual(list(small.values()), ["loop 1 GB/s, batch API 3 GB/s"])


unittest.main()
