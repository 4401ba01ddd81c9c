# run_vm.py: boots a virtual machine with several memory nodes and runs tests of tarn in it.
#
#   run_vm.py BUILD_FOLDER NODES [PROGRAM...]
#
# NODES is one of MACHINES below, as 4+1: four nodes with processors and one with memory alone. The
# machine is emulated (no KVM), boots the kernel that fetch_kernel.sh fetched, or TARN_VM_KERNEL,
# and has no disk: the programs and the libraries they need are its whole file system. What its
# console shows stays in BUILD_FOLDER/vm_NODES.log; the closing line says how many pages were looked
# up, and how many of them lay on a wrong node.
#
# Exits 0 where all passed, 77 where QEMU or the kernel is missing (1 where CI=true).
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
KERNEL = os.path.join(ROOT, "build", "deps", "vm-kernel", "vmlinuz")
BOOT_SECONDS = 60
SHOWN_LINES = 40  # of a program that failed
# Where nodes with processors lie on a line, so that no two are equally far from a third; and the
# distance of memory without processors.
PLACES = (0, 1, 3, 7)
FAR = 80

# Programs of build/tests: name, limit in seconds, arguments. Those of this folder come first.
PROGRAMS = {
    name: (seconds, arguments)
    for name, seconds, *arguments in (
        ("vm_topology", 30),
        ("vm_placement", 300),
        ("vm_policy", 180),
        ("vm_hugetlb", 60),
        ("vm_overflow", 300),
        ("test_topology", 60),
        ("test_placement_verify", 60),
        ("test_node_provider", 60),
        ("test_node_pool", 120),
        ("test_placement_real", 60),
        ("test_promises", 60),
        ("test_pages", 60),
        ("test_pages_state", 60),
        ("test_huge_pages", 60),
        ("test_node_pool_fork", 60),
        ("test_storage", 60),
        ("test_storage_reserve", 60),
        ("test_provider_conformance", 180, "*node*"),
        ("test_pool_conformance", 180, "*node*"),
    )
}
# Loaded by dlopen, so that no list of needed libraries has them.
EXTRA_FILES = ("sim/libcuda.so.1",)


class Machine:
    """What the emulated firmware tells, which the guest finds in /machine to compare with."""

    def __init__(self, nodes_mib, bare=0, distances=True, attributes=True):
        self.nodes_mib = nodes_mib
        self.count = len(nodes_mib)
        self.with_cpus = self.count - bare
        self.cpus = 4
        self.has_distances = distances
        self.has_attributes = attributes

    def cpus_of(self, node):
        share = self.cpus // self.with_cpus
        return range(node * share, node * share + share) if node < self.with_cpus else range(0)

    def distance(self, a, b):
        if a == b:
            return 10
        return FAR if max(a, b) >= self.with_cpus else 16 + 5 * abs(PLACES[a] - PLACES[b])

    def latency_ns(self, a, b):
        return 10 + self.distance(a, b) if a != b else 15 + b

    def bandwidth_mib(self, a, b):
        return (3000 - 100 * b) if a == b else 1000 - 10 * self.distance(a, b)

    def initiator(self, node):
        return node if node < self.with_cpus else 0

    def arguments(self):
        yield from ("-m", f"{sum(self.nodes_mib)}M")
        yield from ("-smp", f"{self.cpus},sockets={self.with_cpus}")
        yield from ("-machine", "pc,hmat=on" if self.has_attributes else "pc")
        nodes = range(self.count)
        for node in nodes:
            mib = self.nodes_mib[node]
            yield from ("-object", f"memory-backend-ram,id=m{node},size={mib}M")
            cpus = "".join(f",cpus={cpu}" for cpu in self.cpus_of(node))
            near = f",initiator={self.initiator(node)}" if self.has_attributes else ""
            yield from ("-numa", f"node,nodeid={node},memdev=m{node}{cpus}{near}")
        for a in nodes if self.has_distances else ():
            for b in nodes:
                if a != b:
                    yield from ("-numa", f"dist,src={a},dst={b},val={self.distance(a, b)}")
        for a in range(self.with_cpus) if self.has_attributes else ():
            for b in nodes:
                told = f"hmat-lb,initiator={a},target={b},hierarchy=memory,data-type=access"
                latency, bandwidth = self.latency_ns(a, b), self.bandwidth_mib(a, b)
                yield from ("-numa", f"{told}-latency,latency={latency}")
                yield from ("-numa", f"{told}-bandwidth,bandwidth={bandwidth}M")

        if self.with_cpus > 1:
            # A network card behind a bridge that the firmware puts near the second node.
            yield from ("-device", "pxb,id=bridge,bus=pci.0,bus_nr=128,numa_node=1")
            yield from ("-device", "virtio-net-pci,bus=bridge,addr=1,romfile=")

    def description(self):
        for node in range(self.count):
            near = self.initiator(node)
            yield f"node {node} mib {self.nodes_mib[node]} cpus {len(self.cpus_of(node))}"
            if self.has_attributes:
                bandwidth, latency = self.bandwidth_mib(near, node), self.latency_ns(near, node)
                yield f"attributes {node} bandwidth {bandwidth} latency {latency}"
        for a in range(self.count) if self.has_distances else ():
            for b in range(self.count):
                yield f"distance {a} {b} {self.distance(a, b)}"
        if self.with_cpus > 1:
            yield "pci 0000:81:01.0 node 1"


MACHINES = {
    "1": Machine([512], distances=False, attributes=False),
    "2": Machine([384, 256], attributes=False),
    "4": Machine([384, 256, 256, 256]),
    "4+1": Machine([384, 256, 256, 256, 256], bare=1),
}


def needed_libraries(program):
    """The files that the program's loader maps, by the names that it looks for."""
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(/\S+) \(0x", listing))


class Archive:
    """A file system for the kernel to start with: a cpio archive of the kind newc."""

    def __init__(self):
        self.data = bytearray()
        self.seen = set()

    def add(self, path, content, mode):
        path = path.strip("/")
        if path in self.seen:
            return
        self.seen.add(path)
        parent = os.path.dirname(path)
        if parent:
            self.add(parent, b"", 0o040755)
        self.append(path, content, mode)

    def append(self, path, content, mode):
        name = path.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device, special device, name's size, checksum
        fields = (len(self.seen), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        self.data += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self.pad()
        self.data += content
        self.pad()

    def pad(self):
        self.data += bytes(-len(self.data) % 4)

    def add_file(self, path, source, scratch):
        bare = os.path.join(scratch, "bare")
        subprocess.run(["strip", "--strip-debug", "-o", bare, source], check=True)
        with open(bare, "rb") as file:
            self.add(path, file.read(), 0o100755)

    def finish(self):
        self.append("TRAILER!!!", b"", 0)
        return self.data


def pack(build, machine, programs, scratch):
    archive = Archive()
    for folder in ("proc", "sys", "dev", "tmp"):
        archive.add(folder, b"", 0o040755)
    sources = {f"tarn/tests/{name}": os.path.join(build, "tests", name) for name in programs}
    sources["init"] = os.path.join(build, "tests", "guest_init")
    for name in EXTRA_FILES:
        if os.path.exists(os.path.join(build, name)):
            sources[f"tarn/{name}"] = os.path.join(build, name)
    for path, source in sources.items():
        archive.add_file(path, source, scratch)
        for library in needed_libraries(source):
            archive.add_file(library, library, scratch)
    lines = [
        f"{seconds} {name} " + " ".join((f"/tarn/tests/{name}", *arguments))
        for name, (seconds, arguments) in programs.items()
    ]
    archive.add("programs", "".join(line + "\n" for line in lines).encode(), 0o100644)
    archive.add("machine", "".join(l + "\n" for l in machine.description()).encode(), 0o100644)
    path = os.path.join(scratch, "initrd")
    with open(path, "wb") as file:
        file.write(archive.finish())
    return path


def boot(qemu, kernel, machine, initrd, seconds):
    command = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    # Emulated, `rep stosb` goes byte by byte: without ERMS the kernel clears pages by more at once.
    command += ["-serial", "stdio", "-accel", "tcg", "-cpu", "max,-erms,-fsrm"]
    command += machine.arguments()
    command += ["-kernel", kernel, "-initrd", initrd, "-append"]
    command += ["console=ttyS0 quiet loglevel=4 panic=-1 reboot=t"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
        output = done.stdout
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"") + b"\nvm: failed: the machine did not end in time\n"
    return output.decode(errors="replace").replace("\r", "")


def section_of(output, name):
    """What a program printed, without the lines of tests that passed or were skipped."""
    pattern = rf"^vm: begin {name}\n(.*?)^vm: end {name} "
    whole = re.search(pattern, output, re.MULTILINE | re.DOTALL)
    text = whole.group(1) if whole else output.partition(f"vm: begin {name}\n")[2]
    dull = ("[ RUN", "[       OK", "[  SKIPPED", "[=====")
    return [line for line in text.splitlines() if line.strip() and not line.startswith(dull)]


def judge(output, programs):
    """What the console tells: problems, programs that passed and were skipped, pages, misplaced."""
    problems = re.findall(r"vm: failed: .*|vm: kernel .*", output)
    passed = skipped = 0
    for name in programs:
        end = re.search(rf"^vm: end {name} (\w+) (\d+) ", output, re.MULTILINE)
        if end is not None and end.groups() == ("exit", "0"):
            passed += 1
        elif end is not None and end.groups() == ("exit", "77"):
            skipped += 1
        else:
            how = "did not end" if end is None else f"ended with {end.group(1)} {end.group(2)}"
            problems += [f"{name} {how}"] + section_of(output, name)[-SHOWN_LINES:]
    if "\nvm: done" not in output:
        problems.append("the machine ended early")
    kills = re.search(r"vm: oom_kill (\d+)", output)
    if kills is None or kills.group(1) != "0":
        problems.append("the kernel killed for lack of memory, or did not tell")
    pages = misplaced = 0
    for looked_up, wrong in re.findall(r"vm: pages (\d+) misplaced (\d+)", output):
        pages += int(looked_up)
        misplaced += int(wrong)
    if misplaced:
        problems.append(f"{misplaced} pages lie on a wrong node")
    if pages == 0 and len(programs) > 1:
        problems.append("no page was looked up")
    return problems, passed, skipped, pages, misplaced


def lacking(reason):
    print(f"{reason}; ./dev vm fetches what is missing")
    return 1 if os.environ.get("CI") == "true" else 77


def main(build, nodes, *chosen):
    machine = MACHINES[nodes]
    qemu = shutil.which("qemu-system-x86_64")
    kernel = os.environ.get("TARN_VM_KERNEL", KERNEL)
    if os.uname().machine != "x86_64":
        return lacking("the virtual machine runs programs for x86_64")
    if qemu is None:
        return lacking("there is no qemu-system-x86_64 here")
    if not os.path.exists(kernel):
        return lacking(f"there is no kernel {kernel}")
    programs = {name: PROGRAMS[name] for name in chosen or PROGRAMS}
    with tempfile.TemporaryDirectory(prefix="tarn-vm.") as scratch:
        initrd = pack(build, machine, programs, scratch)
        seconds = BOOT_SECONDS + sum(limit for limit, _ in programs.values())
        output = boot(qemu, kernel, machine, initrd, seconds)
    log = os.path.join(build, f"vm_{nodes}.log")
    with open(log, "w", encoding="utf-8") as file:
        file.write(output)
    problems, passed, skipped, pages, misplaced = judge(output, programs)
    print("\n".join(re.findall(r"^vm: end .*", output, re.MULTILINE)))
    print(f"the console: {log}")
    print("\n".join(problems))
    print(
        f"figures: {nodes} nodes: {passed} programs passed, "
        f"{len(programs) - passed - skipped} failed, {skipped} skipped; "
        f"{pages} pages looked up, {misplaced} misplaced"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[2] not in MACHINES:
        sys.exit(f"usage: run_vm.py BUILD_FOLDER {'|'.join(MACHINES)} [PROGRAM...]")
    sys.exit(main(*sys.argv[1:]))
