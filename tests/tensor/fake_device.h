/* fake_device.h: a device whose memory the CPU cannot touch, and a stream that works late.
 *
 * The device's addresses are mapped without access, so that the library faults where it follows one
 * itself; the stream's copies go through a second mapping of the same memory. Every copy checks
 * that its addresses lie on the devices that it names. Not for several threads at once.
 */
#ifndef TESTS_FAKE_DEVICE_H
#define TESTS_FAKE_DEVICE_H

#include "tensor/tarn_tensor.h"

enum { FAKE_DEVICE_BYTES = 160 << 20 };

/* Maps the memory; once per program. */
void fake_device_start(void);

/* A caching pool over all of the device's memory. */
tarn_pool *fake_device_pool_create(void);

/* A stream that runs nothing before it is waited for; but a copy with pageable memory is done, and
 * everything before it, when the call returns, as the seam demands. */
tarn_stream *fake_device_stream_create(void);

/* The same, and it copies planes, batches and grids by calls of their own, of the memory that it
 * can reach: grids convert, too, or fill with one element of the host. */
tarn_stream *fake_able_stream_create(void);

extern int fake_plane_calls, fake_batch_calls, fake_grid_calls; /* of those, likewise */
extern bool fake_refuses_grids;                                 /* with TARN_NOT_SUPPORTED */

/* Where the test itself may read and write what lies at a device's address. */
void *fake_device_window(const void *address);
/* The same of a tensor's storage, the host's too. */
char *bytes_of(const tarn_tensor *tensor);

extern int fake_copy_calls; /* copies that streams accepted since the test zeroed it */
extern int
    fake_copies_to_fail; /* negative: none; 0: the next one fails, 1: the one after it, ... */

#endif
