# _fallback.py: tensors from the first of several pools that has the memory, and never silently.
from typing import NamedTuple

from tarn import _tarn

__all__ = ["Fallback", "Granted", "Refusal", "first_of"]


class Refusal(NamedTuple):
    """A choice that gave nothing, and why."""

    name: str
    status: str
    message: str


class Granted(NamedTuple):
    """A tensor, the choice that gave its memory, and why each one before that did not."""

    tensor: "_tarn.Tensor"
    name: str
    refusals: "tuple[Refusal, ...]"


def _choice(name, source):
    if callable(source):
        try:
            source = source()
        except _tarn.TarnError as error:
            source = error
    if isinstance(source, Exception):
        return name, None, getattr(source, "status", None), str(source)
    return name, source, None, None


class Fallback:
    """Pools in the order of preference; made by first_of."""

    __slots__ = ("_capsule", "names")

    def __init__(self, choices):
        choices = tuple(_choice(name, source) for name, source in choices)
        self._capsule = _tarn._fallback_create(choices)
        self.names = tuple(choice[0] for choice in choices)

    def empty(self, shape, dtype="float32"):
        """A tensor whose elements are not set, as Granted. Where no choice gives the memory, the
        last one's error, with what each one said."""
        tensor, place, refusals = _tarn._fallback_empty(self._capsule, shape, dtype)
        told = tuple(Refusal(name, *refusal) for name, refusal in zip(self.names, refusals))
        return Granted(tensor, self.names[place], told)

    def zeros(self, shape, dtype="float32"):
        """The same with zeros."""
        granted = self.empty(shape, dtype)
        granted.tensor.fill_(0)
        return granted

    def __repr__(self):
        return f"<tarn.Fallback {self.names}>"


def first_of(choices):
    """A Fallback of (name, source) pairs. A source is a Pool; an exception, the reason why there is
    none; or a function that returns a Pool or raises a TarnError.

        memory = tarn.first_of([
            ('gpu', lambda: tarn.Pool('cuda')),
            ('pinned', lambda: tarn.Pool(pinned=True, near=0)),
            ('pageable', tarn.Pool()),
        ])
        tensor, name, refusals = memory.empty((1024, 1024))
    """
    return Fallback(choices)
