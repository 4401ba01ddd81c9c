/* umf_status.c: tarn's answers and names in UMF's words. */
#include "alloc/adapters/umf/umf_status.h"

tarn__umf_result tarn__umf_result_of(tarn_status status) {
  switch (status) {
    case TARN_OK:
      return TARN__UMF_SUCCESS;
    case TARN_OUT_OF_MEMORY:
    case TARN_TOO_LARGE:
      return TARN__UMF_OUT_OF_HOST_MEMORY;
    case TARN_INVALID_ARGUMENT:
    case TARN_NOT_FOUND:
      return TARN__UMF_INVALID_ARGUMENT;
    case TARN_NOT_SUPPORTED:
      return TARN__UMF_NOT_SUPPORTED;
    case TARN_UNAVAILABLE:
      return TARN__UMF_DEPENDENCY_UNAVAILABLE;
    case TARN_NOT_READY:
    case TARN_READ_ONLY:
    case TARN_OVERLAP:
    case TARN_BUSY:
    case TARN_BAD_FORMAT:
    case TARN_SYSTEM_ERROR:
    case TARN_DEVICE_ERROR:
      return TARN__UMF_MEMORY_PROVIDER_SPECIFIC;
  }
  return TARN__UMF_MEMORY_PROVIDER_SPECIFIC;
}

static bool may_stand(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
         (letter >= '0' && letter <= '9') || letter == '_' || letter == '-';
}

void tarn__umf_copy_name(char *copy, const char *name) {
  size_t length = 0;
  for (; name[length] != '\0' && length < TARN__UMF_NAME_BYTES - 1; length++) {
    copy[length] = may_stand(name[length]) ? name[length] : '_';
  }
  if (length == 0) copy[length++] = '_';
  copy[length] = '\0';
}

bool tarn__umf_minor(uint32_t version, uint32_t minor_max, uint32_t *minor) {
  *minor = version == 0 ? minor_max : version & 0xffff;
  if (*minor > minor_max) *minor = minor_max;
  return version == 0 || version >> 16 == 1;
}
