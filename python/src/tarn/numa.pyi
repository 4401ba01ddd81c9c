# numa.pyi: the types of tarn.numa, as type checkers and editors read them.
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

def nodes() -> list[Node]: ...
def distance(from_node: int, to_node: int) -> int: ...
def best_node(
    attribute: _Attribute, *, near: int | None = None, least_free_bytes: int = 0
) -> Best: ...
def verify(array: Any) -> Pages: ...
