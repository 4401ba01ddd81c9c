# numa.pyi: the types of tarn.numa, as type checkers and editors read them.
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

_Attribute = Literal[
    "bandwidth",
    "latency",
    "capacity",
    "locality",
    "read_bandwidth",
    "write_bandwidth",
    "read_latency",
    "write_latency",
]

class Node(NamedTuple):
    number: int
    capacity_bytes: int
    cpus: tuple[int, ...]
    bandwidth_mib_per_s: int | None
    latency_ns: int | None
    memory_kind: str
    tier: int
    is_memory_only: bool

class Best(NamedTuple):
    node: int
    value: int | None
    is_measured: bool

class Pages(NamedTuple):
    on_node: dict[int, int]
    untouched: int
    page_bytes: int

class Placement(NamedTuple):
    kind: str
    nodes: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()
    strict: bool = False
    device: int | str | None = None
    attribute: _Attribute | None = None
    least_free_bytes: int = 0
    stripe_bytes: int = 0

def on_node(node: int, *, strict: bool = False) -> Placement: ...
def near_device(device: int | str, *, strict: bool = False) -> Placement: ...
def near_thread(*, strict: bool = False) -> Placement: ...
def interleave(
    nodes: Iterable[int] = (), *, strict: bool = False, stripe_bytes: int = 0
) -> Placement: ...
def weighted(
    weights: Mapping[int, int] | None = None, *, strict: bool = False, stripe_bytes: int = 0
) -> Placement: ...
def ordered(nodes: Iterable[int] = (), *, strict: bool = False) -> Placement: ...
def best(
    attribute: _Attribute,
    *,
    near: int | None = None,
    least_free_bytes: int = 0,
    strict: bool = False,
) -> Placement: ...
def nodes() -> list[Node]: ...
def distance(from_node: int, to_node: int) -> int: ...
def best_node(
    attribute: _Attribute, *, near: int | None = None, least_free_bytes: int = 0
) -> Best: ...
def verify(array: Any) -> Pages: ...
