/*
 * CRC-64/NVME (reflected polynomial 0x9a6c9329ac4bc9b5, NVM Express specification), the checksum that S3 clients send by default. Sixteen tables: bytes of a step do
 * not wait for each other.
 */
#include "crc64.h"

#include <pthread.h>

#include "arguments.h"

#define POLYNOMIAL 0x9a6c9329ac4bc9b5u
#define SLICES 16

static pthread_once_t tables_once = PTHREAD_ONCE_INIT;
static uint64_t table[SLICES][256];

static void make_tables(void) {
  for (uint64_t v = 0; v < 256; v++) {
    uint64_t crc = v;
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
    table[0][v] = crc;
  }
  for (int v = 0; v < 256; v++) {
    for (int i = 1; i < SLICES; i++) table[i][v] = (table[i - 1][v] >> 8) ^ table[0][table[i - 1][v] & 255];
  }
}

static uint64_t crc64(uint64_t seed, const uint8_t *data, size_t length) {
  uint64_t crc = ~seed;
  for (; length >= SLICES; data += SLICES, length -= SLICES) {
    uint64_t next = 0;
    for (int i = 0; i < 8; i++) next ^= table[SLICES - 1 - i][data[i] ^ ((crc >> (8 * i)) & 255)];
    for (int i = 8; i < SLICES; i++) next ^= table[SLICES - 1 - i][data[i]];
    crc = next;
  }
  for (; length > 0; data++, length--) crc = (crc >> 8) ^ table[0][(crc ^ *data) & 255];
  return ~crc;
}

/* crc64(register, bytes): the register is eight bytes, big-endian, and takes the new value. */
static napi_value call_crc64(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  uint8_t *value, *data;
  size_t value_length, length;
  if (!get_arguments(env, info, 2, arguments, NULL) || !get_bytes(env, arguments[0], "value", &value, &value_length) ||
      !get_bytes(env, arguments[1], "bytes", &data, &length)) {
    return NULL;
  }
  if (value_length != 8) return throw_invalid(env, "the value must have 8 bytes, not %zu", value_length);
  uint64_t crc = 0;
  for (int i = 0; i < 8; i++) crc = crc << 8 | value[i];
  crc = crc64(crc, data, length);
  for (int i = 0; i < 8; i++) value[i] = (uint8_t)(crc >> (56 - 8 * i));
  return NULL;
}

napi_status crc64_register(napi_env env, napi_value exports) {
  pthread_once(&tables_once, make_tables);
  const napi_property_descriptor properties[] = {
      {"crc64Nvme", NULL, call_crc64, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  return napi_define_properties(env, exports, sizeof properties / sizeof *properties, properties);
}
