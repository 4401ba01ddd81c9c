/* host_stream.c: the synchronous stream of the CPU: the calling thread, as an object. */
#include "alloc/tarn_host_stream.h"

static tarn_status host_copy(void *context, const tarn_copy_rows *rows) {
  (void)context;
  return tarn_stream_copy_rows(NULL, rows);
}

static tarn_status host_fill(void *context, void *dst, tarn_device dst_device, uint8_t value,
                             size_t size_bytes) {
  (void)context;
  return tarn_stream_fill(NULL, dst, dst_device, value, size_bytes);
}

static tarn_status host_call(void *context, tarn_host_function function, void *argument) {
  (void)context;
  function(argument);
  return TARN_OK;
}

static tarn_status host_synchronize(void *context) {
  (void)context;
  return TARN_OK;
}

tarn_status tarn_host_stream_create(tarn_stream **stream) {
  static const tarn_stream_ops ops = {.struct_size = sizeof ops,
                                      .name = "host",
                                      .copy = host_copy,
                                      .fill = host_fill,
                                      .call = host_call,
                                      .synchronize = host_synchronize};
  const tarn_stream_options options = {.struct_size = sizeof options,
                                       .flags = TARN_STREAM_SYNCHRONOUS};
  return tarn_stream_create(&ops, NULL, &options, stream);
}
