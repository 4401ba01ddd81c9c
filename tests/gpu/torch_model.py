# torch_model.py: a real PyTorch on tarn's allocator, beside its own: same losses, bit for bit?
#
# usage: torch_model.py --library LIBTARN_SO [--out FILE]    both, and what differs
#        torch_model.py --only native|tarn|dry [--library LIBTARN_SO]
#
# Trains a small transformer and a convolutional net, runs inference with changing lengths, captures
# and replays CUDA graphs, uses memory on a second stream behind record_stream, runs out of memory
# and goes on, and leaves tensors behind at exit. Each allocator has a process of its own; the last
# line of its output is JSON. Exit status 77 where there is no PyTorch with a GPU, 1 where anything
# differs. dry: the models alone, tiny and on the CPU, to try this file out.
import argparse
import ctypes
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
ROUNDS = 3
HOOKS = {
    "set_init_fn": "init", "set_reset_fn": "reset", "set_memory_fraction_fn": "memory_fraction",
    "set_base_alloc_fn": "base_alloc", "set_record_stream_fn": "record_stream",
    "set_begin_allocate_to_pool": "begin_allocate_to_pool",
    "set_end_allocate_to_pool_fn": "end_allocate_to_pool", "set_release_pool": "release_pool",
}
# Of both processes alike; the rest of their answers stands beside each other.
SAME = ("transformer", "conv", "inference", "graph", "shared_graphs", "streams")


# --- the allocators ---

class Native:
    def __init__(self, torch):
        self.torch = torch

    def peaks(self):
        stats = self.torch.cuda.memory_stats()
        return {"allocated_bytes_peak": stats["allocated_bytes.all.peak"],
                "reserved_bytes_peak": stats["reserved_bytes.all.peak"]}

    def check_out_of_memory(self, error):
        return isinstance(error, self.torch.cuda.OutOfMemoryError)

    def counters(self):
        return {}


class Tarn:
    """By ctypes alone: as whoever has no package of tarn's."""

    def __init__(self, torch, library):
        self.library = ctypes.CDLL(library)
        made = torch.cuda.memory.CUDAPluggableAllocator(
            library, "tarn_torch_malloc", "tarn_torch_free")
        self.missing = [name for name in HOOKS if not hasattr(made.allocator(), name)]
        for setter, name in HOOKS.items():
            if setter not in self.missing:
                function = getattr(self.library, "tarn_torch_" + name)
                address = ctypes.cast(function, ctypes.c_void_p).value
                getattr(made.allocator(), setter)(address)
        torch.cuda.memory.change_current_allocator(made)
        self.made = made

    def counters(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "snapshot.json")
            if self.library.tarn_torch_snapshot_save(0, path.encode()) != 0:
                raise SystemExit("no snapshot of tarn's pool")
            with open(path, encoding="utf-8") as file:
                return json.load(file)["counters"]

    def peaks(self):
        counters = self.counters()
        return {name: counters[name] for name in ("allocated_bytes_peak", "reserved_bytes_peak")}

    def check_out_of_memory(self, error):
        return str(error).startswith("CUDA out of memory.") and (
            self.counters()["out_of_memory_count"] > 0)


# --- models ---

def make_transformer(torch, width, layers):
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.mixed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.inner = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x):
            batch, length, _ = x.shape
            q, k, v = (part.view(batch, length, 4, width // 4).transpose(1, 2)
                       for part in self.mixed(self.first(x)).chunk(3, dim=-1))
            mask = torch.ones(length, length, device=x.device).triu(1) * -1e4
            weights = (q @ k.transpose(2, 3) * (width // 4) ** -0.5 + mask).softmax(-1)
            x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))
            return x + self.inner(self.second(x))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.begin = nn.Linear(width, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.end = nn.Linear(width, width)

        def forward(self, x):
            return self.end(self.blocks(self.begin(x)))

    return Model()


def make_conv(torch, width):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(2),
        nn.Linear(64, 10), nn.Flatten(1), nn.Linear(40 * width, 10))


class Session:
    def __init__(self, torch, device, steps, width):
        self.torch, self.device, self.steps, self.width = torch, device, steps, width
        torch.manual_seed(1)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False

    def synchronize(self):
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def random(self, *shape, seed):
        """The same numbers on every device, whatever was drawn before."""
        generator = self.torch.Generator().manual_seed(seed)
        return self.torch.randn(*shape, generator=generator).to(self.device)

    def timed(self, function, count):
        """What each call returned, and the median of milliseconds without the first calls."""
        answers, took_ms = [], []
        for i in range(count):
            self.synchronize()
            start = time.perf_counter()
            answers.append(function(i))
            self.synchronize()
            took_ms.append((time.perf_counter() - start) * 1e3)
        return answers, statistics.median(took_ms[min(3, count - 1):])

    def train(self, model, inputs):
        """The losses of all steps, as hexadecimal: each bit counts."""
        optimizer = self.torch.optim.AdamW(model.parameters(), lr=1e-3)

        def step(i):
            x = inputs(i)
            optimizer.zero_grad(set_to_none=True)
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss.item().hex()

        return self.timed(step, self.steps)

    def transformer(self):
        model = make_transformer(self.torch, self.width, layers=4).to(self.device)
        lengths = (64, 96, 33, 128, 80)
        answer = self.train(model, lambda i: self.random(
            8, lengths[i % len(lengths)], self.width, seed=100 + i))
        self.trained = model.eval()
        return answer

    def conv(self):
        model = make_conv(self.torch, self.width // 4).to(self.device)
        return self.train(model, lambda i: self.random(4 + i % 3 * 4, 3, 32, 32, seed=200 + i))

    def digest(self, tensor):
        values = tensor.detach().double().cpu().flatten().tolist()
        return hashlib.sha256(repr(values).encode()).hexdigest()[:16]

    def inference(self):
        def run(i):
            with self.torch.no_grad():
                x = self.random(1 + i % 4, 16 + i * 7 % 90, self.width, seed=300 + i)
                return self.digest(self.trained(x)[:, -1])
        return self.timed(run, 2 * self.steps)

    # --- on a GPU alone ---

    def capture(self, pool=None):
        """A graph of the model, its input and its output."""
        torch = self.torch
        x = self.random(2, 32, self.width, seed=1)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), torch.no_grad():
            self.trained(x)  # what libraries set up at first must not be captured
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph, pool=pool):
            y = self.trained(x)
        return graph, x, y

    def replay(self, captured, i):
        graph, x, y = captured
        fresh = self.random(2, 32, self.width, seed=400 + i)
        x.copy_(fresh)
        graph.replay()
        noise = [self.torch.full((n << 12,), 7.0, device="cuda") for n in range(1, 9)]
        del noise  # whoever hands a graph's memory to others is found
        replayed = self.digest(y)
        with self.torch.no_grad():
            if self.digest(self.trained(fresh)) != replayed:
                raise SystemExit(f"replay {i} differs from the model without a graph")
        return replayed

    def graph(self):
        captured = self.capture()
        answer = self.timed(lambda i: self.replay(captured, i), self.steps)
        captured[0].reset()
        return answer

    def shared_graphs(self):
        """Two graphs of one pool, the first one gone before the second is replayed again."""
        first = self.capture()
        second = self.capture(pool=first[0].pool())
        answers = []
        for i in range(ROUNDS):
            answers += [self.replay(first, i), self.replay(second, i)]
        first[0].reset()
        del first
        return [*answers, self.replay(second, ROUNDS)], None

    def streams(self):
        """Memory used on a second stream, and given up at once on the first."""
        torch = self.torch
        side = torch.cuda.Stream()

        def use(i):
            x = torch.full((1 << 20,), float(i), device="cuda")
            side.wait_stream(torch.cuda.current_stream())
            x.record_stream(side)
            with torch.cuda.stream(side):
                torch.cuda._sleep(2_000_000)
                total = x.sum()
            del x
            torch.full((1 << 20,), -1.0, device="cuda")  # wants the same memory
            torch.cuda.current_stream().wait_stream(side)
            return total.item()

        answers, took_ms = self.timed(use, self.steps)
        expected = [float(i) * (1 << 20) for i in range(self.steps)]
        if answers != expected:
            raise SystemExit(f"record_stream: {answers}, not {expected}")
        return answers, took_ms

    def refused(self, size_bytes, allocator):
        """What is said where so much is not to be had."""
        try:
            self.torch.empty(size_bytes, dtype=self.torch.uint8, device="cuda")
        except RuntimeError as error:
            if allocator.check_out_of_memory(error):
                return str(error)[:300]
            raise SystemExit(f"out of memory is told as {type(error).__name__}: {error}") from error
        raise SystemExit(f"{size_bytes} bytes were to be had")

    def out_of_memory(self, allocator):
        torch = self.torch
        free_bytes, total_bytes = torch.cuda.mem_get_info()
        said = self.refused(2 * total_bytes, allocator)
        torch.cuda.set_per_process_memory_fraction(0.05)
        self.refused(total_bytes // 10, allocator)
        torch.cuda.set_per_process_memory_fraction(1.0)
        assert torch.ones(1000, device="cuda").sum().item() == 1000
        torch.cuda.empty_cache()
        return {"said": said, "free_bytes": free_bytes,
                "free_bytes_after": torch.cuda.mem_get_info()[0]}


def leave_out(reason):
    print(reason)
    sys.exit(SKIPPED)


def find_torch(needs_gpu):
    try:
        import torch
    except ImportError as error:
        leave_out(f"no torch: {error}")
    if needs_gpu and not torch.cuda.is_available():  # which does not use the allocator yet
        leave_out(f"torch {torch.__version__} sees no GPU")
    return torch


def work(which, library):
    torch = find_torch(which != "dry")
    allocator = Native(torch) if which != "tarn" else Tarn(torch, library)
    session = (Session(torch, "cpu", steps=2, width=16) if which == "dry"
               else Session(torch, "cuda", steps=30, width=256))
    told = {"torch": torch.__version__, "allocator": which, "ms": {}, "answers": {}, "peaks": {},
            "errors": {}}
    for name in SAME[:3] if which == "dry" else SAME:
        print(f"{which}: {name}", file=sys.stderr, flush=True)  # where it ends, if it does
        try:
            answers, took_ms = getattr(session, name)()
        except (Exception, SystemExit) as error:  # the next ones may do, and say more
            told["errors"][name] = f"{type(error).__name__}: {error}"
            continue
        told["answers"][name], told["ms"][name] = answers, took_ms
        if which != "dry":
            told["peaks"][name] = allocator.peaks()
    if which != "dry":
        try:
            told["out_of_memory"] = session.out_of_memory(allocator)
        except (Exception, SystemExit) as error:
            told["errors"]["out_of_memory"] = f"{type(error).__name__}: {error}"
        told["counters"] = allocator.counters()
        told["missing_hooks"] = getattr(allocator, "missing", [])
        work.left_behind = torch.ones(1 << 20, device="cuda")  # freed after Python's end
    print(json.dumps(told))


# --- both ---

def compare(native, tarn):
    """What differs that must not, in words."""
    found = []
    for name in SAME:
        ours, theirs = tarn["answers"].get(name), native["answers"].get(name)
        if not ours or not theirs:
            errors = {told.get("allocator"): told.get("errors", {}).get(name)
                      for told in (native, tarn)}
            found.append(f"{name}: no answers ({errors})")
        elif ours != theirs:
            at = next((i for i, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]),
                      min(len(ours), len(theirs)))
            found.append(f"{name}: differs from step {at} on")
    for told in (native, tarn):
        if "out_of_memory" in told.get("errors", {}):
            found.append(f"{told['allocator']}: {told['errors']['out_of_memory']}")
    return found


def start(which, library):
    words = [sys.executable, "-B", os.path.abspath(__file__), "--only", which]
    done = subprocess.run([*words, "--library", library], capture_output=True, text=True,
                          env=dict(os.environ, CUBLAS_WORKSPACE_CONFIG=":4096:8"))
    lines = done.stdout.strip().splitlines() or [""]
    if done.returncode == SKIPPED:
        leave_out(lines[-1])
    if done.returncode != 0:
        print(f"{which}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    try:
        return json.loads(lines[-1]), done.returncode == 0
    except ValueError:
        return None, False


def print_table(native, tarn):
    print(f"PyTorch {native['torch']}: its own allocator | tarn")
    for name in SAME:
        for unit, scale, row in (("ms", 1, "ms"), ("MiB reserved at most", 1 << 20, "peaks")):
            sides = [side[row].get(name) for side in (native, tarn)]
            if None in sides:
                continue
            if row == "peaks":
                sides = [side["reserved_bytes_peak"] for side in sides]
            print(f"  {name:14} {unit:22} {sides[0] / scale:10.2f} | {sides[1] / scale:10.2f}")


def write(path, told):
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", default="libtarn.so")
    parser.add_argument("--only", choices=("native", "tarn", "dry"))
    parser.add_argument("--out")
    arguments = parser.parse_args()
    if arguments.only:
        work(arguments.only, arguments.library)
        return 0
    told, have_ended = {}, True
    for which in ("native", "tarn"):
        told[which], has_ended = start(which, arguments.library)
        have_ended = have_ended and has_ended
        write(arguments.out, told)
    if None in told.values():
        return 1
    told["differences"] = compare(told["native"], told["tarn"])
    write(arguments.out, told)
    print_table(told["native"], told["tarn"])
    for line in told["differences"]:
        print(f"DIFFERS {line}")
    if not told["differences"]:
        print("all answers are the same, bit for bit")
    return 1 if told["differences"] or not have_ended else 0


if __name__ == "__main__":
    sys.exit(main())
