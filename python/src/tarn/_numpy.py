# _numpy.py: pools as the memory of NumPy's arrays, for a block, a function or from now on.
import contextvars
import functools

from tarn import _tarn

__all__ = ["numpy_allocator"]

# The allocators that are set in this context, each with the handler that NumPy had before.
_set = contextvars.ContextVar("tarn.numpy_allocator", default=())


class numpy_allocator:
    """numpy_allocator(pool): lets NumPy have the bytes of new arrays from a pool.

        with tarn.numpy_allocator(pool):
            a = np.zeros((1000, 1000))       # from the pool, as is what a + a makes

    Arrays outlive the block and the Pool object: each goes back to the pool that it is from, on
    whatever thread. None stands for NumPy's own allocator. The same object may be used again,
    inside itself, and by several threads; set() and reset() do without a block, and as a decorator
    it is a block around each call.

    As NumPy has it, what is set counts in the context of the caller: threads start with NumPy's
    own, tasks of asyncio with what their maker had. Blocks that end out of turn, as those of
    generators may, take away their own part alone.

    The pool has memory of the CPU, page-locked or not: ArgumentError else. Where it has none left,
    NumPy raises MemoryError, as ever. A pinned pool may wait for streams then, with the GIL held.
    np.zeros writes every byte, for a pool's memory may have been used before: of large arrays that
    are touched here and there only NumPy's own has the kernel's zeros for nothing.
    What is made is an array like any other: tarn.from_numpy() shares it, and copies nothing.
    """

    __slots__ = ("_handler", "_pool")

    def __init__(self, pool):
        self._pool = pool
        self._handler = None if pool is None else _tarn._numpy_handler(pool)

    @property
    def pool(self):
        """The pool; None: NumPy's own allocator."""
        return self._pool

    def set(self):
        """From now on, in this context, until reset(). Returns the object."""
        before = _tarn._numpy_set_handler(self._handler)
        _set.set((*_set.get(), (self, before)))
        return self

    def reset(self):
        """Takes the last set() back."""
        if not self._take_back():
            raise _tarn.ArgumentError("this numpy_allocator is not set here")

    def _take_back(self):
        entries = list(_set.get())
        place = len(entries) - 1
        while place >= 0 and entries[place][0] is not self:
            place -= 1
        if place < 0:
            return False
        before = entries.pop(place)[1]
        if place < len(entries):  # one that was set later goes back to that, and stays
            entries[place] = (entries[place][0], before)
        else:
            _tarn._numpy_set_handler(before)
        _set.set(tuple(entries))
        return True

    def __enter__(self):
        return self.set()

    def __exit__(self, *exception):
        self._take_back()  # a generator may end in a context where nothing was set
        return False

    def __call__(self, function):
        import inspect  # slow to import

        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("a generator's callers would get the pool between its steps: "
                            "use a with block inside it")
        if inspect.iscoroutinefunction(function):

            async def inside(*args, **keywords):
                with self:
                    return await function(*args, **keywords)
        else:

            def inside(*args, **keywords):
                with self:
                    return function(*args, **keywords)

        return functools.wraps(function)(inside)

    def __repr__(self):
        return f"tarn.numpy_allocator({self._pool!r})"
