# numa.py: the host's memory nodes, and on which of them memory lies.
"""The host's memory nodes.

    tarn.numa.nodes()                               # [Node(number=0, capacity_bytes=..., ...)]
    tarn.numa.best_node('bandwidth', near=0)        # Best(node=0, value=None, is_measured=False)
    pool = tarn.Pool(node=0)                        # memory of that node and no other
    tarn.numa.verify(tarn.zeros(1 << 20, pool=pool))  # Pages(on_node={0: 1024}, ...)
    tarn.Pool(placement=tarn.numa.interleave([0, 1], strict=True))

A node is named by its number in /sys/devices/system/node. What the firmware does not tell is None;
a best node is defined all the same, and says that it was not measured.
"""
from typing import NamedTuple

from tarn import _tarn

__all__ = [
    "Best", "Node", "Pages", "Placement", "best", "best_node", "distance", "interleave",
    "near_device", "near_thread", "nodes", "on_node", "ordered", "verify", "weighted"
]


class Node(NamedTuple):
    """One memory node; tiers count from 0, the fastest."""

    number: int
    capacity_bytes: int
    cpus: "tuple[int, ...]"
    bandwidth_mib_per_s: "int | None"
    latency_ns: "int | None"
    memory_kind: str
    tier: int
    is_memory_only: bool


class Best(NamedTuple):
    """The best node, and whether the firmware's figures alone decided."""

    node: int
    value: "int | None"
    is_measured: bool


class Pages(NamedTuple):
    """Pages of a range by node, as the kernel tells; untouched ones have no memory yet."""

    on_node: "dict[int, int]"
    untouched: int
    page_bytes: int


class Placement(NamedTuple):
    """Where a pool's pages shall lie: a value, of the functions below. A strict one holds for every
    page, or an allocation fails; any other is a preference, which the kernel need not keep where a
    node is full."""

    kind: str
    nodes: "tuple[int, ...]" = ()
    weights: "tuple[int, ...]" = ()
    strict: bool = False
    device: "int | str | None" = None
    attribute: "str | None" = None
    least_free_bytes: int = 0
    stripe_bytes: int = 0


def on_node(node, *, strict=False):
    """On that node."""
    return Placement("node", (node,), strict=strict)


def near_device(device, *, strict=False):
    """On the node nearest to a GPU, by its index in CUDA or its PCI bus id ('0000:17:00.0')."""
    return Placement("near_device", device=device, strict=strict)


def near_thread(*, strict=False):
    """On the node nearest to the thread that makes the pool."""
    return Placement("near_thread", strict=strict)


def interleave(nodes=(), *, strict=False, stripe_bytes=0):
    """On the nodes in turn; none named: on all."""
    return Placement("interleave", tuple(nodes), strict=strict, stripe_bytes=stripe_bytes)


def weighted(weights=None, *, strict=False, stripe_bytes=0):
    """On the nodes in turn, each in proportion to its weight, {node: weight}; None: on all, by
    bandwidth as the firmware tells."""
    weights = dict(weights or {})
    return Placement("weighted", tuple(weights), tuple(weights.values()), strict=strict,
                     stripe_bytes=stripe_bytes)


def ordered(nodes=(), *, strict=False):
    """On the first of the nodes that has room; none named: on all, the nearest first."""
    return Placement("ordered", tuple(nodes), strict=strict)


def best(attribute, *, near=None, least_free_bytes=0, strict=False):
    """On best_node(attribute, near=near, least_free_bytes=least_free_bytes)."""
    return Placement("attribute", () if near is None else (near,), strict=strict,
                     attribute=attribute, least_free_bytes=least_free_bytes)


def nodes():
    """All nodes that this process may use, in order of their numbers."""
    return [Node(*each) for each in _tarn._numa_nodes()]


def distance(from_node, to_node):
    """The firmware's relative distance, 10 for a node to itself; an error where it tells none."""
    return _tarn._numa_distance(from_node, to_node)


def best_node(attribute, *, near=None, least_free_bytes=0):
    """The best node by 'bandwidth', 'latency', 'capacity' or 'locality', and by 'read_' or 'write_'
    with the first two, seen from the node `near` or else from the calling thread, of those that
    have room for least_free_bytes now."""
    return Best(*_tarn._numa_best_node(attribute, near=near, least_free_bytes=least_free_bytes))


def verify(array):
    """Asks the kernel where each page lies of a tensor, a NumPy array or any other buffer in one
    run of host memory."""
    return Pages(*_tarn._numa_verify(array))
