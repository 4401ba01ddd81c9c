/* capture.h: what the stream seam asks of captures. */
#ifndef TARN_CAPTURE_PRIVATE_H
#define TARN_CAPTURE_PRIVATE_H

#include "alloc/tarn_capture.h"

/* Before `stream` waits for a fence recorded at `mark`: refuses waits that reach into a capture or
 * out of it, and draws the stream in where the fence is a captured one. *joined: the capture that
 * it has just been drawn into, to be left again where the wait fails; else NULL. */
tarn_status tarn__capture_follow(tarn_stream *stream, uint32_t slot, tarn_capture **joined);
void tarn__capture_undo_join(tarn_capture *capture, tarn_stream *stream);

#endif
