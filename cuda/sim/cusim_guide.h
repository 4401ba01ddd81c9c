/* cusim_guide.h: how to run a stream-ordered program of your own on the simulator; words only.
 *
 * 1. Run it. Nothing is compiled anew: the simulator is a libcuda.so.1, in the folder sim/ of a
 *    build and in lib/tarn/sim/ of an installation.
 *
 *      LD_LIBRARY_PATH=build/dev/sim ./your_program         finds it instead of the real driver
 *      tarn_cuda_options.driver_path = ".../libcuda.so.1"   for a program that uses tarn
 *
 *    A program that uses the driver's API works as it is, as far as cusim.h's "Left out" goes; one
 *    over the CUDA runtime does not, because that library loads more than a driver, nor one with
 *    kernels of its own. Let copies, fills and cusim_kernel_write and _check stand for kernels:
 *    what matters here is which stream touches which bytes, and when. For those, include cusim.h
 *    and link the library, or look the functions up with dlsym.
 *
 * 2. Vary it. CUSIM_POLICY says who wins where CUDA leaves the order open, CUSIM_SEED shuffles; the
 *    same seed and calls give the same run. Start with "eager": it is quick, and races are found on
 *    it as on any other. Then let "reuse", "lazy", "starve", "priority" and some seeds of "random"
 *    look for wrong data. A program is deterministic where it calls the driver from one thread and
 *    CUSIM_IDLE_MS=0 (work never runs by itself; cusim_set_idle_ms). cusim.h lists all settings. A
 *    value that is not understood is not passed over: cuInit fails with CUDA_ERROR_INVALID_VALUE,
 *    and stderr says which:
 *
 *      cusim: CUSIM_POLICY is 'eagre' and not one of random, lazy, eager, starve, reuse, prompt,
 *      priority
 *
 * 3. Read what it says. Two oracles watch, and what they find goes to stderr:
 *
 *      cusim: race: cusim_kernel_write (call 18, on stream 4, created as number 3) writes bytes 0
 *      to 4095 of the device block of 4096 bytes at 0x7f4ea3a00100, which cusim_kernel_check (call
 *      13, on stream 2, created as number 1) reads, and nothing orders the two: stream 4 never
 *      waited for anything recorded on stream 2.
 *
 *    The use that was enqueued later comes first. A call's number is what cusim_calls(NULL) answers
 *    right behind it: in a debugger, "break cuMemcpyAsync if sim.call_count == 17". A stream's
 *    number is that of cuStreamGetId, and then which one it was of those created. The block is one
 *    of the driver's, so an allocator's own blocks are found by their place in it. The last words
 *    are the missing edge:
 *
 *      never waited for anything recorded     no event of that stream was waited for, by whatever
 *                                             way round; or it had never been recorded, and then a
 *                                             wait is no wait
 *      ... recorded after that call ...       the event that was waited for was recorded too
 *                                             early. A wait binds what is recorded when it is
 *                                             called, and sees no later record of the same event
 *      the host never waited for              no synchronise, and no query that said yes, before
 *                                             the CPU touched the bytes or freed them
 *      knows of the host only ...             a host function, or another thread, used bytes that
 *                                             the host changed after it had been enqueued
 *
 *    Each pair of places in the program is told once, at most 64 in all; cusim_race_count goes on.
 *    CUSIM_RACES=abort stops there, so that a debugger shows the later call.
 *
 *      cusim: wrong value: cusim_kernel_check (call 58, on stream 5): byte 0 of the 4096 at
 *      0x7f4ea3a02100 is 0x63 and not the 0xa8 of tag 15, written by call 57 on stream 5; what is
 *      there was written by call 63 on stream 3 with tag 17.
 *
 *    A race says that the data may be wrong on some schedule; a wrong value, that on this one it
 *    was. A wrong value without a race is a fault of the program's own: a copy that is missing, or
 *    has a wrong pitch.
 *
 * 4. Tell it what it cannot see. The driver sees its calls and nothing else:
 *
 *      - the CPU's own use of page-locked memory: cusim_host_read and cusim_host_write, from any
 *        thread. A copy that stages pageable memory reads it when it is called; that is known;
 *      - the order of the program's threads. By default they count as one: what a thread has waited
 *        for, all know from then on, and what a host function comes after, once it has started. So
 *        a program that hands "it is done" over by a lock is never blamed, and what two threads do
 *        wrong between themselves is not found. CUSIM_THREADS=apart keeps them apart; tell it by
 *        cusim_host_release and cusim_host_acquire, at each unlock and lock, post and wait, and at
 *        the start and end of threads;
 *      - a value that a stream wrote (cuStreamWriteValue32) and the CPU read: cusim_host_acquire
 *        of its address. A stream that waits for a value comes after the writes enqueued before.
 *
 * 5. What is not seen, whatever you tell it:
 *
 *      - a stream held up inside a host function until the CPU has done something: the order of the
 *        stream's later work behind that is unknown, so an annotated write by the CPU meanwhile is
 *        reported. So is work behind a wait for a value whose write is enqueued after the wait;
 *      - two addresses of the same memory: virtual memory that is mapped twice;
 *      - branches of one graph against each other: a launch counts as one stream's work in a row;
 *      - what happens inside an allocation that a program never passes to the driver.
 *
 *    cusim_drain and cusim_step run work and order nothing: a program on a GPU has no such call.
 *
 * 6. See it fail first. cuda/sim/example/forgetful_pool.c is a stream-ordered allocator of 40 lines
 *    that forgets one wait. It is reported under every policy and seed, also under eager, where no
 *    byte is ever wrong; with --fixed nothing is.
 */
#ifndef CUSIM_GUIDE_H
#define CUSIM_GUIDE_H

#include "cuda/sim/cusim.h"

#endif
