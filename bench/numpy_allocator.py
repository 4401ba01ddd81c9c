# numpy_allocator.py: what an array costs in a pool, beside NumPy's own allocator.
#
# usage: numpy_allocator.py [--json FILE]      with the package and NumPy on the path
#
# A line is a size; its columns are nanoseconds of one np.empty(size) and the end of that array, by
# allocator: the median and the lowest of the rounds, in which all of them take turns in one
# process; the 95th percentile is in the JSON. The first line is a call of nothing: the loop itself.
# "touched" writes one byte of every page, so that memory which is fetched anew each time counts;
# "zeros" is np.zeros(size), touched: NumPy's own may leave the zeroing to the kernel until then.
import argparse
import json
import statistics
import time

import numpy as np
import tarn

SIZES = [8, 64, 512, 4096, 65536, 1 << 20, 16 << 20]
ROUNDS = 101
ROUND_NS = 500_000
PAGE_BYTES = 4096


def empty_calls(count, size):
    call = (lambda _size, _dtype: None)
    start = time.perf_counter_ns()
    for _ in range(count):
        call(size, np.uint8)
    return time.perf_counter_ns() - start


def pairs(count, size):
    make, kind = np.empty, np.uint8
    start = time.perf_counter_ns()
    for _ in range(count):
        make(size, kind)
    return time.perf_counter_ns() - start


def touched_pairs(count, size):
    make, kind = np.empty, np.uint8
    start = time.perf_counter_ns()
    for _ in range(count):
        make(size, kind)[::PAGE_BYTES] = 1
    return time.perf_counter_ns() - start


def zeros(count, size):
    make, kind = np.zeros, np.uint8
    start = time.perf_counter_ns()
    for _ in range(count):
        make(size, kind)[::PAGE_BYTES] = 1
    return time.perf_counter_ns() - start


def measure(function, allocators, size):
    """Nanoseconds per call by allocator, each a list of the rounds."""
    found = {name: [] for name in allocators}
    with allocators["pool"]:
        function(10, size)
        once_ns = max(function(10, size) / 10, 20)
    count = max(int(ROUND_NS / once_ns), 3)
    for _ in range(ROUNDS + 1):  # the first is to warm up
        for name, allocator in allocators.items():
            with allocator:
                found[name].append(function(count, size) / count)
    return {name: sorted(rounds[1:]) for name, rounds in found.items()}


def row(title, function, allocators, size):
    measured = measure(function, allocators, size)
    told = {name: {"median_ns": statistics.median(rounds), "min_ns": rounds[0],
                   "p95_ns": rounds[int(0.95 * (len(rounds) - 1))]}
            for name, rounds in measured.items()}
    print(f"{title:<8}{size:>10}", *(f"{told[name]['median_ns']:>12.1f}{told[name]['min_ns']:>9.1f}"
                                     for name in told))
    return {"what": title, "size_bytes": size, **told}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json")
    arguments = parser.parse_args()
    pool, node = tarn.Pool(name="bench"), tarn.Pool(node=tarn.numa.nodes()[0].number)
    allocators = {"numpy": tarn.numpy_allocator(None), "pool": tarn.numpy_allocator(pool),
                  "node pool": tarn.numpy_allocator(node)}
    print(f"NumPy {np.__version__}, ns per array", end="\n\n")
    print(f"{'':<8}{'bytes':>10}", *(f"{name:>12}{'min':>9}" for name in allocators))
    rows = [row("call", empty_calls, allocators, 8)]
    for title, function in (("pair", pairs), ("touched", touched_pairs), ("zeros", zeros)):
        rows += [row(title, function, allocators, size) for size in SIZES]
    for each in (pool, node):
        stats = each.stats()
        assert stats["alloc_count"] == stats["free_count"] > 0 and stats["requested_bytes"] == 0
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"format": "tarn.bench.numpy", "numpy": np.__version__, "rows": rows}, file)


main()
