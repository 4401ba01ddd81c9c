# test_python_share.py: tensors shared between two Python processes.
import os
import signal
import socket
import subprocess
import sys
import unittest

import tarn

PATIENCE = 60

# The other process: receives over its standard input, checks, writes, and says so.
OTHER = """
import socket, sys, tarn
ours = socket.socket(fileno=0)
t = tarn.share.receive(ours, timeout=60)
print(t.device, t.shape, t.tolist(), flush=True)
if sys.stdin.fileno() == 0 and ours.recv(1) == b'w':
    t[1, 0] = 9
    del t
    ours.sendall(b'.')
    ours.recv(1)
"""


def start():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    child = subprocess.Popen([sys.executable, "-B", "-c", OTHER], stdin=theirs,
                             stdout=subprocess.PIPE, text=True)
    theirs.close()
    return child, ours


def end(child, ours):
    ours.close()
    child.stdout.close()
    child.wait(PATIENCE)


class Share(unittest.TestCase):
    def setUp(self):
        self.pool = tarn.share.pool(name="shared")

    def tearDown(self):
        self.assertEqual(tarn.share.collect(), 0)

    def make(self):
        t = tarn.empty((2, 3), "int32", pool=self.pool)
        t.copy_(tarn.asarray([[1, 2, 3], [4, 5, 6]], "int32"))
        return t

    def test_another_process_sees_the_elements_and_changes_them(self):
        t = self.make()
        child, ours = start()
        tarn.share.send(ours, t.T, timeout=PATIENCE)
        self.assertEqual(child.stdout.readline(), f"{t.device} (3, 2) [[1, 4], [2, 5], [3, 6]]\n")
        self.assertEqual(tarn.share.collect(), 1)
        ours.sendall(b"w")
        self.assertEqual(ours.recv(1), b".")
        self.assertEqual(t.tolist(), [[1, 9, 3], [4, 5, 6]])
        self.assertEqual(tarn.share.collect(), 0)
        end(child, ours)

    def test_what_a_killed_process_had_comes_back(self):
        child, ours = start()
        tarn.share.send(ours, self.make())
        child.stdout.readline()
        self.assertEqual(tarn.share.collect(), 1)
        self.assertEqual(self.pool.stats()["allocated_bytes"] > 0, True)
        os.kill(child.pid, signal.SIGKILL)
        end(child, ours)
        self.assertEqual(tarn.share.collect(), 0)
        self.assertEqual(self.pool.stats()["allocated_bytes"], 0)

    def test_what_cannot_be_sent_or_received_says_why(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with self.assertRaises(TimeoutError):
            tarn.share.receive(theirs, timeout=0)
        with self.assertRaises(tarn.UnsupportedError):
            tarn.share.send(ours, tarn.zeros(3))
        with self.assertRaises(TypeError):
            tarn.share.send(ours, [1])
        ours.sendall(b"x" * 300)
        with self.assertRaisesRegex(tarn.TarnError, "not a parcel"):
            tarn.share.receive(theirs)
        ours.close()
        with self.assertRaises(tarn.TarnError):
            tarn.share.send(theirs, self.make())
        theirs.close()


class HostAlone(unittest.TestCase):
    def test_a_read_only_tensor_stays_one(self):
        pool = tarn.share.pool()
        t = tarn.zeros((4,), "int8", pool=pool)
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        tarn.share.send(ours, t[1:3], read_only=True)
        received = tarn.share.receive(theirs)
        with self.assertRaises(tarn.ReadOnlyError):
            received[0] = 1
        t[2] = 5
        self.assertEqual(received.tolist(), [0, 5])
        del received
        self.assertEqual(tarn.share.collect(), 0)
        ours.close()
        theirs.close()


class ShareCuda(Share):
    def setUp(self):
        try:
            self.pool = tarn.share.pool("cuda")
        except tarn.TarnError as error:
            self.skipTest(str(error))


if __name__ == "__main__":
    os.environ.setdefault("CUSIM_IDLE_MS", "5")
    unittest.main()
