# chains.py: random chains of views and copies, on tarn and on a peer side by side.
#
# A chain starts from one base of random type, shape and bits, held twice: by tarn and by the peer,
# in memory of their own. Each step is a view with random arguments, often wrong ones; both sides
# accept it or both refuse it, and what they return has the same shape, strides and place in its
# base. The end is a copy from the view and a copy into it, and the two bases have the same bits.
#
# Where a side accepts what the other refuses, a Difference of the peer's table must name it.
#
# A chain is made from (seed, number) alone: --seed and --chain run it again.
import argparse
import collections
import random
import time

import tarn

RANK_MAX = 5
TARN_RANK_MAX = 12  # tarn_layout.h: tensors of more dimensions have no part here
ELEMENTS_MAX = 400
STEPS_MAX = 7


class Mismatch(AssertionError):
    pass


class Difference:
    """One listed difference: its name, its reason, and what it explains: a function of the step,
    of what tarn returned, of what the peer had (STRICTER) and of the one exception."""

    def __init__(self, name, side, reason, explains):
        self.name, self.side, self.reason, self.explains = name, side, reason, explains
        self.seen = 0


STRICTER, LAXER = "tarn is stricter", "tarn takes more"


# --- what is drawn ---


def random_shape(rng, rank_max=RANK_MAX):
    """Mostly small sizes; 1 and 0 often enough."""
    while True:
        rank = rng.randint(0, rank_max)
        shape = [rng.choice((1, 2, 2, 3, 3, 4, 5, 7, 1, 0 if rng.random() < 0.2 else 2))
                 for _ in range(rank)]
        if product(shape) <= ELEMENTS_MAX:
            return tuple(shape)


def product(shape):
    result = 1
    for size in shape:
        result *= size
    return result


def random_dim(rng, rank, wrong=0.04):
    if rng.random() < wrong or rank == 0:
        return rng.choice((rank, rank + 1, -rank - 1, 0))
    return rng.randint(-rank, rank - 1)


def random_slice(rng, size, negative_steps=True):
    def bound():
        return None if rng.random() < 0.4 else rng.randint(-size - 2, size + 2)

    step = rng.choice((None, 1, 1, 2, 3, size + 1))
    if negative_steps and rng.random() < 0.35:
        step = rng.choice((-1, -1, -2, -3))
    if rng.random() < 0.01:
        step = 0
    return slice(bound(), bound(), step)


def random_key(rng, shape, negative_steps=True):
    items, ellipsis = [], False
    for size in shape[: rng.randint(0, len(shape))]:
        what = rng.random()
        if what < 0.08:
            items.append(None)
        if what > 0.94 and not ellipsis:
            items.append(Ellipsis)
            ellipsis = True
        if what < 0.3:
            low = -size - 1 if rng.random() < 0.1 else -size
            items.append(rng.randint(low, max(low, size - 1 + (rng.random() < 0.05))))
        else:
            items.append(random_slice(rng, size, negative_steps))
    if rng.random() < 0.02:
        items += [0] * (len(shape) + 1 - len(items))
    if not ellipsis:
        items.insert(len(items) if rng.random() < 0.9 else 0, Ellipsis)
    return tuple(items)


def random_factors(rng, count):
    """A shape of `count` elements."""
    shape = []
    while count > 1 and len(shape) < RANK_MAX:
        factors = [f for f in range(1, count + 1) if count % f == 0]
        shape.append(rng.choice(factors))
        count //= shape[-1]
    if count > 1 or rng.random() < 0.2:
        shape.append(count)
    rng.shuffle(shape)
    return shape


def random_new_shape(rng, shape):
    count = product(shape)
    new = random_factors(rng, count) if count else list(shape)
    if count == 0:
        rng.shuffle(new)
        if rng.random() < 0.3:
            new = [0, rng.randint(0, 4)]
    elif rng.random() < 0.5 and len(shape) > 1:  # merge neighbours: most likely still a view
        at = rng.randrange(len(shape) - 1)
        new = [*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :]]
    if new and rng.random() < 0.25:
        new[rng.randrange(len(new))] = -1
    if rng.random() < 0.04:
        new.append(rng.choice((2, -1, -2)))
    return tuple(new)


def random_pieces(rng, name, rank, size):
    """Arguments of a call that gives a list of views, and which of them goes on."""
    if name == "chunk" or (name == "tensor_split" and rng.random() < 0.5):
        number = rng.randint(0 if rng.random() < 0.1 else 1, 5)
    elif name == "tensor_split":
        number = tuple(rng.randint(-1, size + 1) for _ in range(rng.randint(0, 3)))
    elif rng.random() < 0.6:
        number = rng.randint(0 if rng.random() < 0.1 else 1, size + 2)
    else:
        cut = rng.randint(0, size)
        number = (cut, 0, size - cut) if rng.random() < 0.9 else (cut, size + 1 - cut)
    dim = rng.choice((0, -1, rank - 1)) if rng.random() < 0.9 else random_dim(rng, rank)
    return number, dim, rng.random()


def random_window(rng, shape, dim):
    """A window's size along `dim`: windows of windows soon name more elements than there is
    memory for."""
    size = shape[dim] if -len(shape) <= dim < len(shape) else 1
    window = rng.randint(0, size + (rng.random() < 0.1))
    seen = product(shape) // max(size, 1) * max(size - window + 1, 0) * window
    return window if seen <= 4 * ELEMENTS_MAX else 1


def pick(pieces, where):
    if not pieces:
        raise ValueError("no piece to go on with")
    return pieces[int(where * len(pieces))]


def random_broadcast(rng, shape, keep=False):
    new = [rng.choice((1, 2, 3)) for _ in range(rng.randint(0, 2))]
    for size in shape:
        if size == 1 and rng.random() < 0.7:
            new.append(rng.choice((2, 3, 0, 1)))
        else:
            new.append(-1 if keep and rng.random() < 0.3 else size)
    if new and rng.random() < 0.05:
        new[rng.randrange(len(new))] += 1
    new = new[-RANK_MAX:]
    return tuple(new) if product([abs(n) for n in new]) <= 4 * ELEMENTS_MAX else tuple(shape)


def random_source_shape(rng, shape, extra=0.1):
    """A shape that broadcasts to `shape`, mostly; with more dimensions as often as `extra` says."""
    source = [1 if rng.random() < 0.2 else size for size in shape]
    source = source[rng.randint(0, len(source)) if rng.random() < 0.2 else 0 :]
    if rng.random() < extra and len(source) < TARN_RANK_MAX:
        source.insert(0, rng.choice((1, 1, 1, 2)))
    if source and rng.random() < 0.04:
        source[rng.randrange(len(source))] += 1
    return tuple(source)


# --- running ---


def attempt(function, *args):
    """(result, None) or (None, exception)."""
    try:
        return function(*args), None
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side decides
        return None, error


class Chain:
    def __init__(self, peer, seed, number):
        self.peer, self.seed, self.number = peer, seed, number
        self.rng = random.Random(f"{seed}/{number}")
        self.steps = []

    def fail(self, what):
        lines = [f"chain {self.number} of seed {self.seed}: {what}", *map(str, self.steps)]
        raise Mismatch("\n    ".join(lines))

    def agree(self, step, ours, our_error, theirs, their_error):
        """True where both accepted, False where both refused or a listed difference applies."""
        if our_error is None and their_error is None:
            return True
        if our_error is not None and not isinstance(
            our_error, (tarn.TarnError, TypeError, ValueError, OverflowError)
        ):
            self.fail(f"{step}: tarn raised {our_error!r}")
        if our_error is not None and their_error is not None:
            return False
        side = STRICTER if our_error is not None else LAXER
        for difference in self.peer.differences:
            error = our_error or their_error
            if difference.side == side and difference.explains(step, ours, theirs, error):
                difference.seen += 1
                return False
        if side == STRICTER:
            self.fail(f"{step}: tarn refuses with {our_error!r}, {self.peer.name} accepts")
        self.fail(f"{step}: tarn accepts, {self.peer.name} refuses with {their_error!r}")

    def compare(self, step, ours, theirs):
        peer = self.peer
        if ours.shape != tuple(theirs.shape):
            self.fail(f"{step}: shape {ours.shape}, {peer.name} {tuple(theirs.shape)}")
        if not peer.has_views or ours.size == 0:
            return
        expected = peer.strides(theirs)
        got = ours.strides
        if any(s > 1 and a != b for s, a, b in zip(ours.shape, got, expected)):
            self.fail(f"{step}: strides {got}, {peer.name} {expected}")
        if ours.data_ptr() - self.our_base.data_ptr() != peer.place(theirs) - self.place:
            self.fail(f"{step}: another place in the memory than {peer.name}'s")

    def run(self):
        rng, peer = self.rng, self.peer
        dtype = rng.choice(peer.dtypes)
        shape = random_shape(rng)
        self.steps.append(f"base {dtype} {shape}")
        theirs, keeper = peer.base(rng, dtype, shape)
        ours = peer.tensor(keeper)
        self.our_base, self.their_base = ours, theirs
        self.place = peer.place(theirs)
        for _ in range(rng.randint(1, STEPS_MAX)):
            step = peer.random_step(rng, ours)
            self.steps.append(step)
            new_ours, our_error = attempt(peer.apply_to_tarn, ours, step)
            if our_error is not None and rng.random() > peer.refusals_compared:
                continue
            new_theirs, their_error = attempt(peer.apply_to_peer, theirs, step)
            if not self.agree(step, ours, our_error, theirs, their_error):
                continue
            if peer.has_views:
                new_ours, new_theirs = self.follow(step, new_ours, new_theirs, theirs)
            ours, theirs = new_ours, new_theirs
            self.compare(step, ours, theirs)
        self.finish(ours, theirs)

    def follow(self, step, ours, theirs, before):
        """Where a step copied, the copies are the new bases; both sides have to agree on that."""
        peer = self.peer
        their_copy = peer.is_copy(theirs, before)
        if ours.was_copied and not their_copy and ours.size:
            self.fail(f"{step}: tarn copied, {peer.name} did not")
        if not their_copy:
            return ours, theirs
        if not ours.was_copied:
            if not peer.may_copy(step):
                self.fail(f"{step}: {peer.name} copied, tarn did not")
            ours, theirs = ours.clone(), peer.row_major(theirs)
        self.our_base, self.their_base, self.place = ours, theirs, peer.place(theirs)
        return ours, theirs

    def finish(self, ours, theirs):
        rng, peer, dtype = self.rng, self.peer, str(ours.dtype)
        expected = peer.bits(theirs)
        clone = ours.clone()
        if not clone.is_contiguous() or peer.bits_of_tarn(clone) != expected:
            self.fail("clone() has other bits")
        way = rng.randrange(4)
        if way == 0:
            with ours.linear() as span:
                if bytes(memoryview(span).cast("B")) != expected:
                    self.fail("linear() has other bits")
        elif way == 1 and peer.bits_of_tarn(ours) != expected:
            self.fail("the exported view has other bits")
        elif way == 2 and ours.size < 50 and not peer.same_list(ours.tolist(), theirs):
            self.fail("tolist() differs")
        if not peer.can_write:
            return
        if rng.random() < 0.15 and max(ours.shape, default=0) > 1:
            self.copy_within(ours, theirs)
            return
        source_dtype = dtype if rng.random() < 0.5 else peer.random_source_dtype(rng, dtype)
        shape = random_source_shape(rng, ours.shape, extra=peer.refusals_compared / 10)
        source, keeper = peer.base(rng, source_dtype, shape, values_for=dtype)
        if rng.random() < 0.3 and len(shape) > 1:
            source, our_source = peer.transposed(source, peer.tensor(keeper))
        else:
            our_source = peer.tensor(keeper)
        step = ("copy_", source_dtype, tuple(source.shape), ours.shape)
        self.steps.append(step)
        _, our_error = attempt(ours.copy_, our_source)
        if our_error is not None and rng.random() > peer.refusals_compared:
            return
        _, their_error = attempt(peer.copy_into, theirs, source)
        self.agree(step, ours, our_error, theirs, their_error)
        if our_error is None and their_error is None:
            if not peer.same_after_copy(self.our_base, self.their_base, source_dtype, dtype):
                self.fail(f"{step}: the bases have other bits afterwards")


    def copy_within(self, ours, theirs):
        """From one part of the view to another, which overlap."""
        rng, shape = self.rng, ours.shape
        dim = rng.choice([i for i, size in enumerate(shape) if size > 1])
        shift = rng.randint(0, shape[dim] - 1)
        lower, upper = slice(0, shape[dim] - shift), slice(shift, None)
        pair = rng.choice(((lower, upper), (upper, lower), (lower, lower)))
        keys = [(*[slice(None)] * dim, part) for part in pair]
        step = ("overlap", keys)
        self.steps.append(step)
        _, our_error = attempt(ours[keys[0]].copy_, ours[keys[1]])
        if our_error is not None and rng.random() > self.peer.refusals_compared:
            return
        _, their_error = attempt(self.peer.copy_into, theirs[keys[0]], theirs[keys[1]])
        if self.agree(step, ours, our_error, theirs, their_error):
            if self.peer.bits(self.their_base) != self.peer.bits_of_tarn(self.our_base):
                self.fail(f"{step}: the bases have other bits afterwards")


def arguments(default_count):
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=None, help="default: the time")
    parser.add_argument("--count", type=int, default=default_count, help="how many chains")
    parser.add_argument("--chain", type=int, default=None, help="this one alone")
    options, rest = parser.parse_known_args()
    if options.seed is None:
        options.seed = int(time.time())
    return options, rest


def run_chains(peer, options):
    """Runs them all; prints what was done and how often each listed difference was seen."""
    print(f"seed {options.seed}", flush=True)
    if options.chain is not None:
        Chain(peer, options.seed, options.chain).run()
        return
    start, steps = time.perf_counter(), collections.Counter()
    for number in range(options.count):
        chain = Chain(peer, options.seed, number)
        try:
            chain.run()
        except Mismatch:
            raise
        except Exception as error:
            raise Mismatch(f"chain {number} of seed {options.seed}: {error!r}: "
                           f"{chain.steps}") from error
        for step in chain.steps[1:]:
            steps[step[0]] += 1
    seconds = time.perf_counter() - start
    print(f"{options.count} chains on {peer.name} in {seconds:.1f} s: "
          + ", ".join(f"{name} {count}" for name, count in sorted(steps.items())))
    for difference in peer.differences:
        print(f"  {difference.seen:6d} x {difference.side}: {difference.name}: "
              f"{difference.reason}")
