# cupy_model.py: the real CuPy on a GPU, on its own pool and on tarn's: the same bits.
#
# usage: cupy_model.py [--package FOLDER] [--out FILE] [--dry]
#
# --package: where the Python package tarn lies. --dry: NumPy in CuPy's place, without allocators:
# the model alone. Exit status 77 where there is no CuPy, no GPU or no package, and the last line
# says so; 1 where numbers differ, memory was left, or out of memory was not CuPy's own error.
import argparse
import gc
import json
import math
import statistics
import subprocess
import sys
import threading
import time

SKIPPED = 77
STEPS, WIDTH, BATCH = 40, 1024, 512
DRY = (12, 64, 32)
WARM_STEPS = 5
LIMIT_BYTES = 4 << 30


def train(xp, synchronize, steps=STEPS, width=WIDTH, batch=BATCH):
    """Losses of a network with one hidden layer, and the seconds of each step."""
    random = xp.random.RandomState(7)
    scale, rate = width**-0.5, 3 / width
    weights = [random.standard_normal((width, width)).astype("float32") * scale for _ in range(2)]
    losses, seconds = [], []
    for step in range(steps):
        start = time.perf_counter()
        rows = batch - step % 8  # memory of other sizes, step by step
        inputs = random.standard_normal((rows, width)).astype("float32")
        wanted = xp.sin(inputs)
        hidden = xp.maximum(inputs @ weights[0], 0)
        error = hidden @ weights[1] - wanted
        losses.append((error * error).mean())
        gradient = error * (2.0 / rows)
        back = (gradient @ weights[1].T) * (hidden > 0)
        weights[1] = weights[1] - rate * (hidden.T @ gradient)
        weights[0] = weights[0] - rate * (inputs.T @ back)
        synchronize()
        seconds.append(time.perf_counter() - start)
    return [float(loss).hex() for loss in losses], seconds[WARM_STEPS:]


def answer_on_streams(cupy):
    """Sums of what several streams computed from each other's arrays, ordered by events."""
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(4)]
    source = cupy.arange(1 << 20, dtype="float32")
    cupy.cuda.Device().synchronize()
    sums = []
    for turn in range(60):
        first, second = streams[turn % 4], streams[(turn + 1) % 4]
        with first:
            scaled = source * (turn + 1)
            done = first.record()
        second.wait_event(done)
        with second:
            sums.append((scaled + 1).sum())
            ready = second.record()
        first.wait_event(ready)
        del scaled  # goes back to the first stream, which has waited
    cupy.cuda.Device().synchronize()
    return [float(total).hex() for total in sums]


def live(pool):
    gc.collect()
    stats = pool.stats()
    return stats["alloc_count"] - stats["free_count"]


def check_allocator(cupy, tarn, allocator, pool):
    """What only tarn's allocator promises; a list of complaints."""
    complaints = []
    before = live(pool)  # what CuPy keeps for itself
    try:
        cupy.empty(LIMIT_BYTES, "uint8")
        complaints.append("no limit was felt")
    except cupy.cuda.memory.OutOfMemoryError:
        pass
    arrays = [cupy.ones(100000 + i) for i in range(50)]
    thread = threading.Thread(target=arrays.clear)
    thread.start()
    thread.join()
    array = cupy.ones(1000)
    with cupy.cuda.Stream(non_blocking=True):
        allocator.note_use(array)
    del array
    other = tarn.Pool("cuda")
    with cupy.cuda.using_allocator(tarn.cupy_allocator(other)):
        kept = cupy.ones(1000)
    del other
    if float(kept.sum()) != 1000:
        complaints.append("an array did not outlive its pool")
    del kept
    answer_on_streams(cupy)
    if live(pool) != before:
        complaints.append(f"{live(pool) - before} blocks were left")
    return complaints


def run_on(kind):
    """In a process of its own: all that is to be the same, and figures."""
    import cupy

    complaints = []
    if kind == "tarn":
        import tarn

        pool = tarn.Pool("cuda", name="cupy", limit_bytes=LIMIT_BYTES)
        allocator = tarn.cupy_allocator(pool)
        cupy.cuda.set_allocator(allocator)
    losses, seconds = train(cupy, cupy.cuda.get_current_stream().synchronize)
    answers = {"train": losses, "streams": answer_on_streams(cupy)}
    gc.collect()
    if kind == "tarn":
        complaints = check_allocator(cupy, tarn, allocator, pool)
        reserved_bytes = pool.stats()["reserved_bytes_peak"]
    else:
        reserved_bytes = cupy.get_default_memory_pool().total_bytes()
    return {
        "answers": answers, "complaints": complaints, "reserved_bytes": reserved_bytes,
        "step_ms": 1e3 * statistics.median(seconds), "cupy": cupy.__version__}


def compare(native, own):
    """A list of complaints; empty where every number is the same."""
    found = list(own["complaints"])
    for name, wanted in native["answers"].items():
        got = own["answers"].get(name, [])
        steps = [i for i, pair in enumerate(zip(wanted, got)) if pair[0] != pair[1]]
        if len(wanted) != len(got) or not wanted:
            found.append(f"{name}: {len(got)} numbers, not {len(wanted)}")
        elif not all(math.isfinite(float.fromhex(number)) for number in wanted):
            found.append(f"{name}: not all are numbers")
        elif steps:
            found.append(f"{name}: step {steps[0]} differs, and {len(steps) - 1} more")
    return found


def why_not():
    """Why there is nothing to be done here, or None."""
    try:
        import cupy
    except ImportError:
        return "no CuPy here"
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy sees no GPU: {error}"
    try:
        import tarn  # noqa: F401
    except ImportError as error:
        return f"no tarn for this Python: {error}"
    return None


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--package")
    parser.add_argument("--out")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--run", choices=("native", "tarn"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.package:
        sys.path.insert(0, arguments.package)
    if arguments.dry:
        import numpy

        print(json.dumps({"train": train(numpy, lambda: None, *DRY)[0]}))
        return 0
    if arguments.run:
        print(json.dumps(run_on(arguments.run)))
        return 0
    reason = why_not()
    if reason:
        print(reason)
        return SKIPPED
    told = {}
    for kind in ("native", "tarn"):
        words = [sys.executable, "-B", *sys.argv, "--run", kind]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:  # one that fails at its exit, too
            print(f"{kind}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
            return 1
        told[kind] = json.loads(done.stdout.splitlines()[-1])
        print(f"{kind}: {told[kind]['step_ms']:.3f} ms a step, "
              f"{told[kind]['reserved_bytes'] / (1 << 20):.0f} MiB reserved at most")
    complaints = compare(told["native"], told["tarn"])
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump({**told, "complaints": complaints}, file, indent=1)
    print("; ".join(complaints) or f"CuPy {told['tarn']['cupy']}: every number is the same")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
