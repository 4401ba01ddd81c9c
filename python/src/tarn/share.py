# share.py: tensors that several processes use.
"""Tensors that several processes use: no byte is copied.

    ours, theirs = multiprocessing.Pipe()           # or a socket of the family AF_UNIX
    pool = tarn.share.pool()                        # or pool('cuda')
    tarn.share.send(ours, tarn.zeros((2, 3), pool=pool))
    t = tarn.share.receive(theirs)                  # in the other process

Both sides see each other's writes; who writes when is theirs to agree upon. The sender keeps the
memory until no receiver has it any more, however their processes end, and looks whether that is so
at every send and in collect(). What arrives from a connection is checked, not trusted.
"""
from tarn import _tarn

__all__ = ["collect", "pool", "receive", "send"]


def pool(device="cpu", *, limit_bytes=None, name=None):
    """A pool of memory that can be sent; tensors of any other pool cannot."""
    return _tarn._share_pool(device, limit_bytes=limit_bytes, name=name)


def send(connection, tensor, *, read_only=False, timeout=None):
    """Sends a tensor of such a pool; read_only makes it so for the receiver.

    connection has a fileno(): a Unix socket, a multiprocessing.Connection. Blocks as long as that
    is full, at most timeout seconds: then TimeoutError, and the connection is of no use any more.
    """
    _tarn._share_send(connection, tensor, read_only=read_only, timeout=timeout)


def receive(connection, *, timeout=None):
    """The tensor that was sent, in this process; work that fills it has been waited for."""
    return _tarn._share_receive(connection, timeout=timeout)


def collect():
    """Gives back what no receiver has any more; how many sent tensors are still out there."""
    return _tarn._share_collect()
