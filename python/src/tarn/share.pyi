# share.pyi: the types of tarn.share, as type checkers and editors read them.
from typing import Protocol

from . import Pool, Tensor

class _Connection(Protocol):
    def fileno(self) -> int: ...

def pool(
    device: str | tuple[int, int] = "cpu",
    *,
    limit_bytes: int | None = None,
    name: str | None = None,
) -> Pool: ...
def send(
    connection: _Connection | int,
    tensor: Tensor,
    *,
    read_only: bool = False,
    timeout: float | None = None,
) -> None: ...
def receive(connection: _Connection | int, *, timeout: float | None = None) -> Tensor: ...
def collect() -> int: ...
