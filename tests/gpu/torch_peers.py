# torch_peers.py: what PyTorch needs for the same work, as JSON on the last line of its output.
#
# usage: torch_peers.py alloc|replay|copies|pageable [TRACE...]
#        torch_peers.py serve      what to measure comes line by line, as JSON lists of words
#        torch_peers.py prepare    builds what alloc needs
#
# Runs in a process of its own, so that PYTORCH_CUDA_ALLOC_CONF holds and no pool of another's is in
# the way. An answer is a line of JSON: its rows, or what went wrong. Exit status 77 where there is
# no PyTorch with a GPU, with the reason on the last line.
import ctypes
import glob
import gzip
import json
import os
import statistics
import subprocess
import sys
import time

SAMPLES = 11
SAMPLE_S = 0.002
MIB = 1 << 20
HERE = os.path.dirname(os.path.abspath(__file__))
PAIRS = os.path.join(HERE, "torch_pairs.so")


def find_torch():
    try:
        import torch
    except ImportError as error:
        leave_out(f"no torch: {error}")
    if not torch.cuda.is_available():
        leave_out(f"torch {torch.__version__} sees no GPU")
    return torch


def leave_out(reason):
    print(reason)
    sys.exit(77)


def row(name, unit, samples, **more):
    samples = sorted(samples)
    return {"name": name, "unit": unit, "median": statistics.median(samples), "min": samples[0],
            "samples": len(samples), **more}


# --- pairs ---

def include_folders(torch):
    """PyTorch's headers, and CUDA's: of a toolkit, or of the wheels that PyTorch came with."""
    home = os.path.dirname(torch.__file__)
    toolkits = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    wheels = sorted(glob.glob(os.path.join(os.path.dirname(home), "nvidia", "*")))
    return [os.path.join(folder, "include") for folder in [home, *toolkits, *wheels] if folder]


def build_pairs(torch):
    """Why PyTorch's allocator, called in a loop of C++, cannot be built; or None."""
    libraries = os.path.join(os.path.dirname(torch.__file__), "lib")
    command = ["g++", "-O2", "-std=c++20", "-fPIC", "-shared",
               f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    for folder in include_folders(torch):
        command += ["-isystem", folder]
    command += [os.path.join(HERE, "torch_pairs.cpp"), "-o", PAIRS + ".new", f"-L{libraries}",
                "-lc10_cuda", "-lc10", f"-Wl,-rpath,{libraries}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode != 0:
        return done.stderr.strip()[-400:]
    os.replace(PAIRS + ".new", PAIRS)
    return None


def load_pairs(torch):
    """The loop; or None, and why there is none."""
    why = None if os.path.exists(PAIRS) else build_pairs(torch)
    if why is not None:
        return None, why
    function = ctypes.CDLL(PAIRS).torch_pairs_ns
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_size_t, ctypes.c_uint64]
    return function, None


def pairs_in_python(torch):
    def pairs(size_bytes, count):
        start = time.perf_counter_ns()
        for _ in range(count):
            pointer = torch.cuda.caching_allocator_alloc(size_bytes)
            torch.cuda.caching_allocator_delete(pointer)
        return time.perf_counter_ns() - start
    return pairs


def measure_alloc(torch):
    torch.cuda.init()
    torch.zeros(1, device="cuda")
    pairs, why = load_pairs(torch)
    how = "C++" if pairs is not None else f"Python, its calls included ({why})"
    pairs = pairs or pairs_in_python(torch)
    rows = []
    for name, size_bytes in (("1KiB", 1 << 10), ("1MiB", MIB), ("64MiB", 64 * MIB)):
        pairs(size_bytes, 10)
        count = max(10, int(SAMPLE_S * 1e9 / max(1, pairs(size_bytes, 1000) / 1000)))
        samples = [pairs(size_bytes, count) / count for _ in range(SAMPLES)]
        rows.append(row(f"cuda.alloc.pair.{name}", "ns", samples, how=how))
    return rows


# --- traces ---

def read_trace(path):
    """(op, id, bytes) of each allocation and free."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        columns = file.readline().strip().split(",")
        at = [columns.index(name) for name in ("op", "id", "bytes")]
        for line in file:
            fields = line.rstrip("\r\n").split(",")
            if fields[at[0]] in "af":
                yield fields[at[0]], int(fields[at[1]]), int(fields[at[2]] or 0)


def replay(torch, events):
    live = {}
    start = time.perf_counter_ns()
    for op, block, size_bytes in events:
        if op == "a":
            if size_bytes != 0:
                live[block] = torch.cuda.caching_allocator_alloc(size_bytes)
        elif block in live:
            torch.cuda.caching_allocator_delete(live.pop(block))
    took_ns = time.perf_counter_ns() - start
    for pointer in live.values():
        torch.cuda.caching_allocator_delete(pointer)
    return took_ns


def measure_replay(torch, paths):
    torch.cuda.init()
    rows = []
    for path in paths:
        events = list(read_trace(path))
        name = os.path.basename(path).split(".")[0]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before_bytes = torch.cuda.memory_reserved()
        took_ns = replay(torch, events)
        torch.cuda.synchronize()
        reserved_bytes = torch.cuda.max_memory_reserved() - before_bytes
        rows.append(row(f"replay.{name}.peak_reserved_bytes", "bytes", [reserved_bytes]))
        rows.append(row(f"replay.{name}.ns_per_event", "ns", [took_ns / len(events)],
                        how="Python, its calls included"))
    return rows


# --- copies ---

def time_on_gpu(torch, body, size_bytes):
    """GB/s of each sample, by events around as many rounds as a sample needs."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def run(rounds):
        begin.record()
        for _ in range(rounds):
            body()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    run(3)
    rounds = max(3, int(0.01 / max(run(3) / 3, 1e-7)))
    return [size_bytes * rounds / run(rounds) / 1e9 for _ in range(SAMPLES)]


def measure_copies(torch):
    """GB/s of half of what is read and written, as a plain copy's are of what is copied. The same
    shapes as `tarn bench copy` has on a device."""
    rows = []
    side = 8192
    types = {1: torch.uint8, 2: torch.float16, 4: torch.float32, 8: torch.float64}

    def add(name, destination_type, source):
        destination = torch.empty(source.shape, dtype=destination_type, device="cuda")
        size_bytes = sum(t.numel() * t.element_size() for t in (destination, source)) / 2
        samples = time_on_gpu(torch, lambda: destination.copy_(source), size_bytes)
        if not torch.equal(destination, source.to(destination_type)):
            raise SystemExit(f"{name}: PyTorch's copy is wrong")
        rows.append(row(name, "GB/s", samples))

    for size, kind in types.items():
        source = torch.arange(side * side, device="cuda").remainder(127).to(kind).view(side, side)
        add(f"copy.device.transpose.{size}B", kind, source.t())
    source = torch.rand(16, 32, 32, 64, 64, device="cuda")
    add("copy.device.permute5d.4B", torch.float32, source.permute(0, 2, 1, 4, 3))
    source = torch.rand(side, side, device="cuda")
    add("copy.device.convert.f32_f16", torch.float16, source)
    add("copy.device.convert_turned.f32_f16", torch.float16, source.t())
    add("copy.device.convert.f16_f32", torch.float32, source.to(torch.float16))
    return rows


def measure_pageable(torch):
    rows = []
    for name, size_bytes in (("256MiB", 256 * MIB), ("1GiB", 1024 * MIB)):
        source = torch.ones(size_bytes, dtype=torch.uint8)
        samples = []
        for _ in range(5):
            torch.cuda.synchronize()
            start = time.perf_counter()
            there = source.to("cuda")
            torch.cuda.synchronize()
            samples.append(size_bytes / (time.perf_counter() - start) / 1e9)
            del there
        rows.append(row(f"transfer.h2d.pageable.{name}", "GB/s", samples[1:]))
    return rows


SUBJECTS = {"alloc": measure_alloc, "replay": measure_replay, "copies": measure_copies,
            "pageable": measure_pageable}


def answer(torch, subject, paths):
    rows = SUBJECTS[subject](torch, *([paths] if subject == "replay" else []))
    torch.cuda.empty_cache()
    print(json.dumps({"torch": torch.__version__, "results": rows}), flush=True)


def serve(torch):
    for line in sys.stdin:
        subject, *paths = json.loads(line)
        try:
            answer(torch, subject, paths)
        except Exception as error:  # to whoever asked; who asks again asks another process
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)


def main():
    subject, paths = sys.argv[1], sys.argv[2:]
    if subject == "prepare":
        import torch

        print(build_pairs(torch) or f"built {PAIRS} for PyTorch {torch.__version__}")
        return
    if subject != "serve" and subject not in SUBJECTS:
        raise SystemExit(f"torch_peers.py: unknown subject {subject}")
    torch = find_torch()
    if subject == "serve":
        serve(torch)
    else:
        answer(torch, subject, paths)


main()
