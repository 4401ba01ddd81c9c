# test_transfer.py: `tarn bench transfer`: cases, JSON, the page, and the figures it refuses.
#
# usage: test_transfer.py COMMAND FAKE_NVML [LYING_DRIVER]
import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

COMMAND = ""
FAKE_NVML = ""
LYING_DRIVER = ""
SIM_DEVICE = "ffff:00:00.0"
REFUSED = 3

VOID = {"meta", "br", "link", "img", "input", "hr"}
SVG_SHAPES = {"line", "circle", "rect", "path", "polygon", "polyline"}


def run(*arguments, **environment):
    return subprocess.run([COMMAND, "bench", "transfer", *map(str, arguments)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                          env={**os.environ, **environment})


class Page(html.parser.HTMLParser):
    """A page whose tags are all closed in order; knows its texts, tags and attributes."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.problems, self.tags, self.texts, self.attributes = [], [], [], [], []
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attributes]
        names = [name for name, _ in attributes]
        if len(names) != len(set(names)):
            self.problems.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in SVG_SHAPES:
            self.problems.append(f"<{tag}/> is no shape")
        self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        self.texts.append(data)


class TransferTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        done = run("--on", "sim", "--quick", "--filter", "latency")
        cls.has_sim = done.returncode == 0
        if not cls.has_sim:
            assert "simulated driver" in done.stderr or "CUDA" in done.stderr, done

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tarn_transfer_")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.json, self.html = self.folder / "a.json", self.folder / "a.html"

    def need_sim(self):
        if not self.has_sim:
            self.skipTest("no simulated driver in this build")

    def written(self):
        return json.loads(self.json.read_text(encoding="utf-8"))

    def measure(self, *arguments, **environment):
        done = run("--quick", "--json", self.json, "--html", self.html, *arguments, **environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return self.written(), done.stdout

    def check_result(self, result):
        self.assertLessEqual({"name", "unit", "median", "min", "p95", "samples", "baseline",
                              "ratio", "clock", "interval", "cv", "of_peak", "stop", "size_bytes",
                              "placed", "note"}, set(result))
        if result["of_peak"] is not None:
            self.assertTrue(0 < result["of_peak"] <= 1, result)
        low, high = result["interval"]
        self.assertTrue(0 < result["min"] <= low <= result["median"] <= high, result)
        self.assertGreaterEqual(result["samples"], 11)
        self.assertGreaterEqual(result["cv"], 0)
        self.assertIn(result["stop"], ("precise", "samples", "time"))
        self.assertIn(result["clock"], ("device", "device without latch", "host"))
        for baseline in [result["baseline"] or {}, *result.get("more_baselines", [])]:
            if baseline:
                low, high = baseline["interval"]
                self.assertTrue(0 < low <= baseline["median"] <= high, result)

    def page(self):
        text = self.html.read_text(encoding="utf-8")
        page = Page(text)
        self.assertEqual(page.problems, [])
        self.assertTrue(text.startswith("<!DOCTYPE html>\n"))
        return page, text

    # --- cases ---

    def test_list_has_every_family_and_the_filter_picks(self):
        done = run("--on", "sim", "--list")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        names = done.stdout.split()
        self.assertEqual(len(names), len(set(names)))
        for kind in ("pinned", "pageable", "ring", "write_combined", "registered", "hugepages"):
            for way in ("h2d", "d2h"):
                for size in ("4B", "64KiB", "1GiB"):
                    self.assertIn(f"transfer.{way}.{kind}.{size}", names)
        for name in ("d2d.1GiB", "h2d.against_d2h.16MiB", "d2h.against_h2d.16MiB",
                     "h2d.beside_d2d.16MiB", "h2d.small.128x4KiB", "d2h.small.10000x4-32KiB",
                     "h2d.rows.1KiB", "alloc_copy_free.1MiB", "pin.4KiB.1threads",
                     "pin.2MiB.1threads", "latency.stream_value", "h2h.pageable.1MiB",
                     "h2h.memcpy.1threads"):
            self.assertIn(f"transfer.{name}", names)
        picked = run("--on", "sim", "--list", "--filter", "small").stdout.split()
        self.assertEqual(picked, [name for name in names if "small" in name])

    def test_options_of_transfer_are_its_own(self):
        for option in (["--quick"], ["--allow-downgraded"], ["--nvml", "x"], ["--pci-folder", "x"]):
            done = subprocess.run([COMMAND, "bench", "view", *option], capture_output=True,
                                  text=True, timeout=60)
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(option[0], done.stderr)

    def test_a_path_that_cannot_be_written_is_told_before_the_work(self):
        for option in ("--json", "--html"):
            done = run("--on", "host", "--quick", "--filter", "h2h.pageable.4KiB", option,
                       self.folder / "none" / "a")
            self.assertEqual((done.returncode, done.stdout), (1, ""), done)
            self.assertIn("cannot write", done.stderr)

    def test_bare_host_measures_its_own_memory(self):
        written, text = self.measure("--on", "host", "--filter", "h2h")
        names = {result["name"]: result for result in written["results"]}
        self.assertEqual(names["transfer.h2h.pageable.64KiB"]["baseline"]["name"], "memcpy")
        self.assertEqual(names["transfer.h2h.memcpy.1threads"]["baseline"]["name"],
                         "streaming stores")
        for result in written["results"]:
            self.check_result(result)
            self.assertEqual(result["clock"], "host")
            self.assertNotIn("simulated", result)
        self.assertNotIn("simulated", text)
        page, _ = self.page()
        self.assertIn("svg", page.tags)
        self.assertNotIn("simulated", " ".join(page.texts).lower())

    def test_simulated_figures_say_so_each_of_them(self):
        self.need_sim()
        written, text = self.measure("--on", "sim", "--filter", "h2d.pinned")
        self.assertTrue(written["machine"]["simulated"])
        lines = [line for line in text.split("\n") if line.startswith("transfer.")]
        self.assertEqual(len(lines), len(written["results"]))
        for line in lines:
            self.assertTrue(line.endswith("simulated"), line)
        clocks = {}
        for result in written["results"]:
            self.check_result(result)
            self.assertIs(result["simulated"], True)
            self.assertEqual(result["baseline"]["name"], "driver")
            clocks.setdefault(result["name"].replace(".host_clock", ""), []).append(result["clock"])
        for name, found in clocks.items():
            self.assertEqual(found, ["device", "host"], name)
        self.assertIn("cuStreamWaitValue32", written["facts"]["latch"])
        self.assertRegex(written["facts"]["link"], "not told")
        page, source = self.page()
        self.assertIn("SIMULATED", page.texts)
        self.assertEqual(source.count('<span class="tag">simulated</span>'), len(lines))
        self.assertEqual(source.count('class="watermark"'), source.count("<figure>"))

    def test_every_family_gives_figures_and_right_bytes(self):
        self.need_sim()
        for family in (".ring.64KiB", ".write_combined.64KiB", ".hugepages.64KiB", "h2d.against",
                       "d2h.beside_d2d.64KiB", "small.128x4KiB", "rows.1KiB", "alloc_copy_free",
                       "pin.2MiB", "latency", "h2h.memcpy"):
            with self.subTest(family=family):
                written, _ = self.measure("--on", "sim", "--filter", family)
                self.assertGreaterEqual(len(written["results"]), 1)
                for result in written["results"]:
                    self.check_result(result)
        small, _ = self.measure("--on", "sim", "--filter", "h2d.small.128x4KiB")
        first = small["results"][0]
        self.assertEqual(first["baseline"]["name"], "loop")
        self.assertEqual([more["name"] for more in first["more_baselines"]], ["batch"])

    # --- the page ---

    def test_page_needs_nothing_from_outside_and_escapes_text(self):
        self.need_sim()
        nasty = "/no<b>such&\"'\x01\u00e9.so"
        written, _ = self.measure("--on", "sim", "--filter", "pinned.4KiB", "--nvml", nasty)
        page, text = self.page()
        self.assertNotIn("script", page.tags)
        self.assertNotIn("b", page.tags)
        for tag, name, value in page.attributes:
            self.assertFalse(name in ("src", "href", "srcset", "data", "action") or
                             name.startswith("on"), (tag, name, value))
        self.assertIsNone(re.search(r"https?:|@import|url\(", text))
        self.assertIn("/no&lt;b&gt;such&amp;&quot;&#39; \u00e9.so", text)
        self.assertIn("no /no<b>such&", written["facts"]["NVML"])
        for word in ("viewport", "prefers-color-scheme:dark", "polyline", "polygon",
                     "size of one copy"):
            self.assertIn(word, text)

    def test_points_lie_inside_of_their_plot(self):
        self.need_sim()
        self.measure("--on", "sim", "--filter", "h2d.p")
        page, _ = self.page()
        points = [value for tag, name, value in page.attributes
                  if tag in ("polyline", "polygon") and name == "points" and value]
        self.assertGreaterEqual(len(points), 4)
        for value in points:
            for pair in value.split():
                x, y = map(float, pair.split(","))
                self.assertTrue(0 <= x <= 720 and 0 <= y <= 430, pair)

    # --- refusals ---

    def pci_folder(self, speed, width="16"):
        device = self.folder / "pci" / SIM_DEVICE
        device.mkdir(parents=True, exist_ok=True)
        for name, text in (("current_link_speed", speed), ("max_link_speed", "32.0 GT/s PCIe"),
                           ("current_link_width", width), ("max_link_width", "16")):
            (device / name).write_text(text + "\n", encoding="utf-8")
        return self.folder / "pci"

    def expect_refusal(self, *arguments, **environment):
        done = run("--on", "sim", "--quick", "--filter", "pinned.4KiB", "--json", self.json,
                   "--html", self.html, *arguments, **environment)
        self.assertEqual(done.returncode, REFUSED, done)
        self.assertNotIn("GB/s", done.stdout)
        self.assertEqual(done.stderr.count("\n"), 1)
        self.assertIn("--allow-downgraded", done.stderr)
        written = self.written()
        self.assertEqual(written["results"], [])
        self.assertIn("under load", written["refused"])
        page, _ = self.page()
        self.assertIn("No figures", page.texts)
        self.assertNotIn("figure", page.tags)
        return done

    def test_no_figure_is_given_of_a_downgraded_link(self):
        self.need_sim()
        self.expect_refusal("--pci-folder", self.pci_folder("8.0 GT/s PCIe"))
        self.expect_refusal("--pci-folder", self.pci_folder("32.0 GT/s PCIe", "8"))
        done = self.expect_refusal("--nvml", FAKE_NVML, FAKE_NVML_GENERATION="1",
                                   FAKE_NVML_GENERATION_MAX="5")
        self.assertIn("1.0", done.stderr)

    def test_downgraded_figures_are_marked_where_they_are_wanted(self):
        self.need_sim()
        written, text = self.measure("--on", "sim", "--filter", "pinned.4KiB", "--pci-folder",
                                     self.pci_folder("8.0 GT/s PCIe"), "--allow-downgraded")
        lines = [line for line in text.split("\n") if line.startswith("transfer.")]
        self.assertGreaterEqual(len(lines), 4)
        for line in lines:
            self.assertIn("downgraded link", line)
        for result in written["results"]:
            self.assertIn("downgraded link", result["note"])

    def test_link_at_its_own_speed_is_reported_and_measured(self):
        self.need_sim()
        written, _ = self.measure("--on", "sim", "--filter", "pinned.4KiB", "--nvml", FAKE_NVML,
                                  FAKE_NVML_GENERATION="5", FAKE_NVML_GENERATION_MAX="5",
                                  FAKE_NVML_WIDTH="16", FAKE_NVML_WIDTH_MAX="16",
                                  FAKE_NVML_THROTTLE="0x4")
        facts = written["facts"]
        self.assertIn("PCIe 5.0 x16 (of 5.0 x16)", facts["link"])
        self.assertEqual(facts["throttled by"], "power cap")
        self.assertEqual((facts["ECC"], facts["persistence"]), ("on", "off"))
        self.assertEqual(facts["driver"], "580.00.fake")
        self.assertIn("1980", facts["clocks under load"])
        for result in written["results"]:
            self.assertIsNone(result["note"])

    def test_no_figure_is_given_of_wrong_bytes(self):
        self.need_sim()
        if not LYING_DRIVER:
            self.skipTest("no driver that lies in this build")
        environment = {"LD_LIBRARY_PATH": os.path.dirname(LYING_DRIVER)}
        # The same driver copies all other sizes rightly.
        fine = run("--on", "cuda:0", "--quick", "--filter", "h2d.pinned.4KiB", **environment)
        self.assertEqual(fine.returncode, 0, fine)
        self.assertIn("simulated", fine.stdout)
        done = run("--on", "cuda:0", "--quick", "--filter", "h2d.pinned", "--json", self.json,
                   **environment)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("transfer.h2d.pinned.64KiB: wrong result", done.stderr)
        self.assertIn("byte 65535", done.stderr)
        self.assertNotIn("GB/s", done.stdout)
        self.assertEqual(self.written()["results"], [])


if __name__ == "__main__":
    COMMAND, FAKE_NVML = sys.argv[1:3]
    rest = sys.argv[3:]
    if rest and rest[0].endswith(".so.1"):
        LYING_DRIVER = rest.pop(0)
    unittest.main(argv=[sys.argv[0], *rest])
