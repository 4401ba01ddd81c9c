# test_python_blobs.py: others' memory by file, address and image in, by descriptor and writev out.
import array
import ctypes
import fcntl
import mmap
import os
import signal
import socket
import tempfile
import unittest
import weakref
from multiprocessing import shared_memory

import tarn


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def mappings(name):
    with open("/proc/self/maps", encoding="ascii") as file:
        return sum(name in line for line in file)


def memory_file(data, flags=0):
    file = os.memfd_create("tarn_blobs", os.MFD_CLOEXEC | flags)
    os.write(file, data)
    return file


class Files(unittest.TestCase):
    def setUp(self):
        self.before = descriptors()
        self.file = memory_file(bytes(range(256)) * 40)

    def tearDown(self):
        os.close(self.file)
        self.assertEqual((descriptors(), mappings("tarn_blobs")), (self.before, 0))

    def test_a_file_is_mapped_from_any_offset(self):
        with tempfile.NamedTemporaryFile(prefix="tarn_blobs") as named:
            named.write(bytes(range(256)) * 40)
            named.flush()
            t = tarn.from_file(named.name, "uint16", (3, 4), offset=4100)
            self.assertEqual((t.shape, t.read_only, t.was_copied), ((3, 4), True, False))
            self.assertEqual(t[0].tolist(), [0x0504, 0x0706, 0x0908, 0x0B0A])
            w = tarn.from_file(named.name, "uint8", offset=10000, mode="r+")
            self.assertEqual(w.shape, (240,))
            w[0] = 77
            with open(named.name, "rb") as again:
                again.seek(10000)
                self.assertEqual(again.read(1), b"M")
            c = tarn.from_file(named.name, offset=10000, mode="c")
            c[0] = 78
            self.assertEqual((w[0].item(), c[0].item()), (77, 78))
            del t, w, c
            with self.assertRaises(FileNotFoundError) as raised:
                tarn.from_file(named.name + ".none")
            self.assertEqual(raised.exception.filename, named.name + ".none")

    def test_a_descriptor_may_be_closed_at_once(self):
        copy = os.dup(self.file)
        t = tarn.from_fd(copy, "int32", (8,), offset=256, mode="r+")
        os.close(copy)
        t[0] = -1
        self.assertEqual(os.pread(self.file, 4, 256), b"\xff" * 4)
        with open(self.file, "rb", closefd=False) as with_fileno:
            self.assertEqual(tarn.from_fd(with_fileno)[256].item(), 255)
        view = t[1:]
        del t
        self.assertEqual(mappings("tarn_blobs"), 1)
        del view

    def test_what_is_not_there_is_refused(self):
        for arguments, error in (
            ({"shape": (10241,)}, ValueError), ({"offset": 10241}, ValueError),
            ({"offset": -1}, ValueError), ({"shape": (-1,)}, ValueError),
            ({"dtype": "int32", "offset": 2}, ValueError),  # no whole elements
            ({"dtype": "int32", "offset": 2, "shape": (1,)}, ValueError),  # not aligned
            ({"mode": "w"}, ValueError), ({"mode": 1}, ValueError),
            ({"shape": (1 << 62, 8)}, ValueError), ({"sealed": True}, NotImplementedError),
        ):
            with self.subTest(arguments), self.assertRaises(error):
                tarn.from_fd(self.file, **arguments)
        for file in (-1, 99):
            with self.assertRaises(ValueError):
                tarn.from_fd(file)
        ends = os.pipe()
        with self.assertRaisesRegex(ValueError, "no regular file"):
            tarn.from_fd(ends[0])
        os.close(ends[0])
        os.close(ends[1])
        with self.assertRaises(ValueError):
            tarn.from_file("/tmp")
        self.assertEqual(tarn.from_fd(self.file, shape=(0, 3)).shape, (0, 3))

    def test_a_sealed_file_can_be_trusted(self):
        file = memory_file(b"abcd", os.MFD_ALLOW_SEALING)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE)
        self.assertEqual(bytes(tarn.from_fd(file, sealed=True)), b"abcd")
        with self.assertRaisesRegex(ValueError, "sealed against writing"):
            tarn.from_fd(file, mode="r+")
        os.close(file)

    def test_a_tensor_of_a_file_says_where_it_lies(self):
        t = tarn.from_fd(self.file, "uint16", (10, 10), offset=400)[2:4, ::-2]
        file, offset, size = t.descriptor()
        self.assertEqual((offset, size), (400 + 2 * 21, 2 * (10 + 8) + 2))
        lowest = t[0, -1].item()
        self.assertEqual(int.from_bytes(os.pread(file, 2, offset), "little"), lowest)
        with mmap.mmap(file, 0, prot=mmap.PROT_READ) as mapped:
            self.assertEqual(mapped[offset], lowest & 255)
        os.close(file)
        pool = tarn.share.pool()
        shared = tarn.zeros((4, 4), "uint8", pool=pool)
        shared[1, 1] = 9
        file, offset, size = shared[1].descriptor()
        self.assertEqual(os.pread(file, size, offset), b"\x00\x09\x00\x00")
        again = tarn.from_fd(file, "uint8", (4,), offset=offset, mode="r+")
        os.close(file)
        again[0] = 5
        self.assertEqual(shared[1].tolist(), [5, 9, 0, 0])
        for none in (tarn.zeros(3), tarn.from_fd(self.file, mode="c"), tarn.frombuffer(b"abcd")):
            with self.assertRaises(NotImplementedError):
                none.descriptor()
        del t, shared, again, none, pool


class Names(unittest.TestCase):
    def test_shared_memory_of_a_name_is_found(self):
        memory = shared_memory.SharedMemory(create=True, size=4096)
        t = tarn.from_shm(memory.name, "float32", (2, 3), mode="r+")
        t[1, 2] = 1.5
        self.assertEqual(array.array("f", bytes(memory.buf[20:24]))[0], 1.5)
        memory.close()
        memory.unlink()
        self.assertEqual(t[1, 2].item(), 1.5)
        with self.assertRaises(FileNotFoundError):
            tarn.from_shm("/tarn_none")
        del t
        self.assertEqual(mappings(memory.name.strip("/")), 0)


class Addresses(unittest.TestCase):
    def test_memory_is_shared_and_its_owner_kept(self):
        owner = (ctypes.c_float * 12)(*range(12))
        gone = weakref.finalize(owner, lambda: None)
        t = tarn.from_address(ctypes.addressof(owner), (3, 2), strides=(16, 4), owner=owner)
        self.assertEqual(t.tolist(), [[0, 1], [4, 5], [8, 9]])
        t[2, 1] = 50
        self.assertEqual(owner[9], 50)
        view = t[1:]
        del t, owner
        self.assertTrue(gone.alive)
        self.assertEqual(view.data_ptr() % 4, 0)
        del view
        self.assertFalse(gone.alive)

    def test_negative_strides_and_read_only_memory_are_fine(self):
        owner = (ctypes.c_int32 * 4)(1, 2, 3, 4)
        address = ctypes.addressof(owner)
        t = tarn.from_address(address + 12, (4,), "int32", strides=(-4,), read_only=True,
                              owner=owner)
        self.assertEqual((t.tolist(), t.read_only), ([4, 3, 2, 1], True))
        self.assertEqual(tarn.from_address(0, (0, 3)).size, 0)

    def test_addresses_that_are_not_mapped_are_refused(self):
        with open("/proc/self/maps", encoding="ascii") as maps:
            address = next(int(line.split("-")[0], 16) for line in maps if " r--" in line)
        for wrong, shape in ((0, (1,)), (4096, (1,)), (1 << 47, (1,)), ((1 << 64) - 4, (2,)),
                             (address, (1 << 40,))):
            with self.subTest(wrong), self.assertRaises((ValueError, LookupError, OverflowError)):
                tarn.from_address(wrong, shape, "uint8", read_only=True)
        with self.assertRaisesRegex(ValueError, "not for writing"):
            tarn.from_address(address, (1,), "uint8")
        self.assertEqual(tarn.from_address(address, (1,), "uint8", read_only=True).size, 1)
        for arguments in ({"strides": (4,)}, {"strides": (3, 1)}):
            with self.assertRaises(ValueError):
                tarn.from_address(address, (2, 2), "int32", read_only=True, **arguments)
        with self.assertRaises((TypeError, OverflowError, ValueError)):
            tarn.from_address(-1, (1,))


class Images(unittest.TestCase):
    def test_padded_rows_are_shared(self):
        data = bytearray(range(96))
        t = tarn.from_image(data, (3, 7, 3), row_bytes=32)
        self.assertEqual((t.shape, t.strides), ((3, 7, 3), (32, 3, 1)))
        t[1, 2, 0] = 255
        self.assertEqual(data[38], 255)
        with self.assertRaises(BufferError):
            data.append(1)  # the exporter stays locked
        gray = tarn.from_image(bytes(data), (3, 8), "uint16", row_bytes=32, offset=4)
        self.assertEqual((gray[2, 0].item(), gray.read_only), (0x4544, True))
        pixels = tarn.from_image(data, (3, 8, 3), pixel_bytes=4)
        self.assertEqual(pixels[1, 1].tolist(), [36, 37, 255])
        del t, pixels
        data.append(1)

    def test_an_image_upside_down_begins_at_its_end(self):
        data = bytes(range(64))
        t = tarn.from_image(data, (4, 10), row_bytes=-16)
        self.assertEqual((t[0, 0].item(), t[3, 1].item(), t.strides), (48, 1, (-16, 1)))
        self.assertEqual(tarn.from_image(data, (2, 10), row_bytes=-16, offset=16)[1, 0].item(), 0)

    def test_what_is_no_image_of_the_buffer_is_refused(self):
        data = bytearray(64)
        for shape, arguments in (
            ((4, 17), {"row_bytes": 16}), ((5, 16), {"row_bytes": 16}), ((4,), {}),
            ((4, 4, 4, 4), {}), ((4, 16), {"offset": 1}), ((4, 16), {"offset": -1}),
            ((4, 16), {"row_bytes": -16, "offset": 32}), ((2, 2, 0), {}),
            ((2, 2), {"row_bytes": -(1 << 63)}), ((1 << 62, 1 << 62), {}), ((65, 1), {}),
        ):
            with self.subTest(shape=shape, **arguments), self.assertRaises(ValueError):
                tarn.from_image(data, shape, **arguments)
        with self.assertRaises((ValueError, NotImplementedError)):
            tarn.from_image(data, (2, 3), "uint16", row_bytes=7)
        with self.assertRaises(ValueError):
            tarn.from_image(b"", (1, 1))
        self.assertEqual(tarn.from_image(b"", (0, 5)).shape, (0, 5))
        data.append(1)  # the refusals left no lock behind


class Entries(unittest.TestCase):
    def setUp(self):
        self.t = tarn.zeros((6, 8), "int16")
        self.t.copy_(tarn.asarray([[10 * i + j for j in range(8)] for i in range(6)], "int16"))

    def test_writev_takes_a_strided_tensor_without_a_copy(self):
        part = self.t[1:5, 2:6]
        entries = part.iovecs()
        self.assertEqual([e.nbytes for e in entries], [8] * 4)
        self.assertEqual(entries[0].data_ptr(), part.data_ptr())
        self.assertTrue(all(not e.was_copied for e in entries))
        file = memory_file(b"")
        self.assertEqual(os.writev(file, entries), 32)
        self.assertEqual(os.pread(file, 99, 0), bytes(part.clone()))
        self.assertEqual([e.nbytes for e in part.iovecs(start=11, count=2)], [5, 8])
        self.assertEqual([e.nbytes for e in self.t.iovecs()], [96])
        self.assertEqual(part.iovecs(start=32), [])
        with self.assertRaises(ValueError):
            part.iovecs(start=33)
        os.close(file)

    def test_readv_fills_a_strided_tensor(self):
        file = memory_file(bytes(range(100, 132)))
        target = self.t[::2, ::-1][:2]
        entries = target[:, ::-1].iovecs(write=True)
        self.assertEqual(os.preadv(file, entries, 0), 32)
        self.assertEqual(target[1, 7].item(), 116 + 117 * 256)
        self.assertEqual(self.t[1].tolist(), list(range(10, 18)))
        with self.assertRaises(ValueError):
            tarn.frombuffer(b"abcd").iovecs(write=True)
        with self.assertRaises(ValueError):
            self.t[0].expand(3, 8).iovecs(write=True)
        self.assertEqual(len(self.t[0].expand(3, 8).iovecs()), 3)
        os.close(file)

    def test_more_entries_than_one_call_takes_are_written_and_read(self):
        column = tarn.zeros((5000, 2), "uint8")[:, 1]
        column.copy_(tarn.asarray([i % 251 for i in range(5000)], "uint8"))
        self.assertEqual(len(column.iovecs()), 1024)
        self.assertEqual(len(column.iovecs(count=9999)), 5000)
        with tempfile.TemporaryFile() as file:
            self.assertEqual(column.write_to(file, offset=7), 5000)
            back = tarn.zeros((5000, 3), "uint8")[:, 2]
            self.assertEqual(back.read_from(file, offset=7), 5000)
            self.assertEqual(back.tolist(), column.tolist())
            with self.assertRaisesRegex(ValueError, "ends behind 4993 of 5000"):
                back.read_from(file, offset=14)
        with self.assertRaises(OSError):
            column.write_to(99)
        with self.assertRaises(ValueError):
            column.write_to(1, offset=-1)

    def test_a_socket_that_blocks_is_gone_on_with(self):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        big = tarn.zeros((3000, 500), "uint8")[:, 100:300]
        big[1234, 5] = 42
        got, start = bytearray(), 0
        while True:
            try:
                start = big.write_to(ours, start=start)
                break
            except BlockingIOError as blocked:
                self.assertGreater(blocked.characters_written, start)
                start = blocked.characters_written
            while len(got) < start:
                got += theirs.recv(1 << 16)
        while len(got) < start:
            got += theirs.recv(1 << 16)
        self.assertEqual((start, len(got), got[1234 * 200 + 5]), (600000, 600000, 42))
        ours.close()
        theirs.close()

    def test_a_signal_reaches_python_in_the_middle(self):
        class Alarm(Exception):
            pass

        def ring(number, frame):
            if not rung:  # the next ones may come before the timer is stopped
                rung.append(number)
                raise Alarm

        rung, ends = [], os.pipe()
        before = signal.signal(signal.SIGALRM, ring)
        try:
            with self.assertRaises(Alarm):
                signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
                tarn.zeros(4).read_from(ends[0])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            os.close(ends[0])
            os.close(ends[1])

    def test_entries_outlive_the_tensor(self):
        pool = tarn.Pool()
        t = tarn.zeros((4, 4), "uint8", pool=pool)
        entries = t[:, 1].iovecs()
        del t
        entries[2][0] = 3
        self.assertEqual([bytes(e)[0] for e in entries], [0, 0, 3, 0])


if __name__ == "__main__":
    unittest.main()
