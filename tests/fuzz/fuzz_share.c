/* fuzz_share.c: any bytes as a parcel: refused, or consistent in every number. */
#include "alloc/share.h"
#include "tests/fuzz/fuzz.h"

static void check_memory(const tarn_parcel *parcel, size_t descriptor_count) {
  const tarn_share_memory *memory = &parcel->memory;
  uint64_t total_bytes = 0;
  fuzz_check(memory->piece_count > 0 && memory->piece_count <= TARN_SHARE_PIECES_MAX);
  fuzz_check(descriptor_count == (memory->has_handle ? 0 : memory->piece_count));
  for (size_t i = 0; i < memory->piece_count; i++) {
    const tarn_share_piece *piece = &memory->pieces[i];
    fuzz_check(piece->size_bytes > 0 && piece->descriptor == -1);
    fuzz_check(piece->offset_bytes <= INT64_MAX && piece->size_bytes <= PTRDIFF_MAX);
    fuzz_check(piece->offset_bytes + piece->size_bytes <= INT64_MAX);
    total_bytes += piece->size_bytes;
    fuzz_check(total_bytes <= PTRDIFF_MAX);
  }
  fuzz_check(total_bytes == tarn_share_total_bytes(memory));
  fuzz_check(memory->size_bytes > 0 && memory->size_bytes <= total_bytes);
  fuzz_check(memory->offset_bytes <= total_bytes - memory->size_bytes);
  fuzz_check(memory->kind[0] != '\0' && memchr(memory->kind, '\0', sizeof memory->kind) != NULL);
  fuzz_check(parcel->note_bytes <= TARN_SHARE_NOTE_BYTES_MAX);
  fuzz_check((parcel->note == NULL) == (parcel->note_bytes == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_input input = {.data = data, .size = size};
  unsigned char header[TARN__WIRE_HEADER_BYTES];
  size_t body_bytes, descriptor_count;
  fuzz_take(&input, header, sizeof header);
  if (tarn__wire_body_bytes(header, &body_bytes) != TARN_OK) {
    fuzz_check(body_bytes == 0);
    return 0;
  }
  fuzz_check(body_bytes <=
             TARN_SHARE_NOTE_BYTES_MAX + (size_t)TARN_SHARE_PIECES_MAX * TARN__WIRE_PIECE_BYTES);
  unsigned char *body = malloc(body_bytes); /* just so long, so that a sanitizer sees more */
  tarn_parcel *parcel = tarn__parcel_create();
  fuzz_check(body != NULL && parcel != NULL);
  fuzz_take(&input, body, body_bytes);
  const tarn_status status = tarn__wire_decode(header, body, parcel, &descriptor_count);
  if (status == TARN_OK) {
    check_memory(parcel, descriptor_count);
  } else {
    fuzz_check(status == TARN_BAD_FORMAT && descriptor_count == 0);
  }
  tarn__parcel_free(parcel);
  free(body);
  return 0;
}
