/* program_driver.h: the few driver calls that a program makes itself, behind tarn's back. */
#ifndef TARN_PROGRAM_DRIVER_H
#define TARN_PROGRAM_DRIVER_H

#include "cuda/tarn_cuda.h"

/* Found by name in the simulated driver that the process is linked with. */
typedef struct driver_calls {
  int device;
  void *context; /* the primary one, retained; NULL: not open */
  int (*context_retain)(void **context, int device);
  int (*context_release)(int device);
  int (*context_set)(void *context);
  int (*context_synchronize)(void);
  int (*event_create)(void **event, unsigned flags);
  int (*event_destroy)(void *event);
  int (*event_record)(void *event, void *stream);
  int (*stream_wait_event)(void *stream, void *event, unsigned flags);
} driver_calls;

/* The context becomes current in the calling thread. */
tarn_status driver_calls_open(tarn_cuda *cuda, driver_calls *driver);
void driver_calls_close(driver_calls *driver);

/* Orders `later` behind all that is enqueued on `earlier`, by an event that tarn never sees. */
tarn_status driver_order(const driver_calls *driver, tarn_stream *earlier, tarn_stream *later);
/* How tarn tells of a CUresult, of those that tests fail calls with. */
tarn_status driver_status_of(int error);

/* Waits for the whole device. */
tarn_status driver_synchronize(const driver_calls *driver);

#endif
