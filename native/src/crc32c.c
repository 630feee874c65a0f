/*
 * CRC32C (Castagnoli, reflected polynomial 0x82f63b78, RFC 3720 appendix B.4).
 *
 * On x86-64 the SSE4.2 instruction, checked for at run time, takes 8 bytes each 3 cycles but starts one every cycle: three streams
 * through it at once are three times as fast. The streams are joined by multiplying a checksum by x^(8n) modulo the polynomial, which
 * is what appending n zero bytes does (the method of zlib's crc32_combine and Mark Adler's crc32c.c). Elsewhere: eight tables.
 */
#include "crc32c.h"

#include <pthread.h>
#include <string.h>

#include "arguments.h"

#define POLYNOMIAL 0x82f63b78u
/* Bytes of one stream. Three long ones go four times into 64 KiB (the checksummed block of a shard) with only 256 bytes left. */
#define LONG_BYTES 5440
#define SHORT_BYTES 256

static pthread_once_t tables_once = PTHREAD_ONCE_INIT;
static uint32_t byte_table[8][256];

#if defined(__x86_64__)
#include <nmmintrin.h>

static bool has_instruction;
static uint32_t long_table[4][256], short_table[4][256];

/* a * b modulo the polynomial; the highest bit is x^0. */
static uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = b & 1 ? (b >> 1) ^ POLYNOMIAL : b >> 1;
  }
  return product;
}

/* table[i][v]: the checksum v << 8i followed by `bytes` zero bytes. */
static void make_shift_table(uint32_t table[4][256], unsigned bytes) {
  uint32_t power = 1u << 31, square = 1u << 23; /* x^0 and x^8 */
  for (unsigned n = bytes; n != 0; n >>= 1) {
    if (n & 1) power = multiply(power, square);
    square = multiply(square, square);
  }
  for (unsigned i = 0; i < 4; i++) {
    for (uint32_t v = 0; v < 256; v++) table[i][v] = multiply(power, v << (8 * i));
  }
}

static inline uint32_t shift(uint32_t table[4][256], uint32_t crc) {
  return table[0][crc & 255] ^ table[1][(crc >> 8) & 255] ^ table[2][(crc >> 16) & 255] ^ table[3][crc >> 24];
}

static inline uint64_t load(const uint8_t *data) {
  uint64_t word;
  memcpy(&word, data, sizeof word);
  return word;
}

__attribute__((target("sse4.2"))) static inline uint32_t three_streams(uint32_t crc, const uint8_t *data, size_t bytes,
                                                                       uint32_t table[4][256]) {
  uint64_t a = crc, b = 0, c = 0;
  for (const uint8_t *end = data + bytes; data < end; data += 8) {
    a = _mm_crc32_u64(a, load(data));
    b = _mm_crc32_u64(b, load(data + bytes));
    c = _mm_crc32_u64(c, load(data + 2 * bytes));
  }
  return shift(table, shift(table, (uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t instruction_crc32c(uint32_t seed, const uint8_t *data, size_t length) {
  uint32_t crc = ~seed;
  for (; length >= 3 * LONG_BYTES; data += 3 * LONG_BYTES, length -= 3 * LONG_BYTES) {
    crc = three_streams(crc, data, LONG_BYTES, long_table);
  }
  for (; length >= 3 * SHORT_BYTES; data += 3 * SHORT_BYTES, length -= 3 * SHORT_BYTES) {
    crc = three_streams(crc, data, SHORT_BYTES, short_table);
  }
  uint64_t wide = crc;
  for (; length >= 8; data += 8, length -= 8) wide = _mm_crc32_u64(wide, load(data));
  crc = (uint32_t)wide;
  for (; length > 0; data++, length--) crc = _mm_crc32_u8(crc, *data);
  return ~crc;
}
#endif

static void make_tables(void) {
  for (uint32_t v = 0; v < 256; v++) {
    uint32_t crc = v;
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
    byte_table[0][v] = crc;
  }
  for (uint32_t v = 0; v < 256; v++) {
    for (int i = 1; i < 8; i++) byte_table[i][v] = (byte_table[i - 1][v] >> 8) ^ byte_table[0][byte_table[i - 1][v] & 255];
  }
#if defined(__x86_64__)
  __builtin_cpu_init();
  has_instruction = __builtin_cpu_supports("sse4.2");
  make_shift_table(long_table, LONG_BYTES);
  make_shift_table(short_table, SHORT_BYTES);
#endif
}

static uint32_t portable_crc32c(uint32_t seed, const uint8_t *data, size_t length) {
  uint32_t crc = ~seed;
  for (; length >= 8; data += 8, length -= 8) {
    /* Byte by byte, so that the order of bytes in a word does not matter. */
    crc = byte_table[7][data[0] ^ (crc & 255)] ^ byte_table[6][data[1] ^ ((crc >> 8) & 255)] ^
          byte_table[5][data[2] ^ ((crc >> 16) & 255)] ^ byte_table[4][data[3] ^ (crc >> 24)] ^ byte_table[3][data[4]] ^
          byte_table[2][data[5]] ^ byte_table[1][data[6]] ^ byte_table[0][data[7]];
  }
  for (; length > 0; data++, length--) crc = (crc >> 8) ^ byte_table[0][(crc ^ *data) & 255];
  return ~crc;
}

uint32_t crc32c(uint32_t seed, const uint8_t *data, size_t length) {
#if defined(__x86_64__)
  if (has_instruction) return instruction_crc32c(seed, data, length);
#endif
  return portable_crc32c(seed, data, length);
}

/* buffer[from, to) of the arguments 0 to 2. */
static bool get_range(napi_env env, napi_value *arguments, const uint8_t **data, size_t *bytes) {
  uint8_t *start;
  size_t length;
  int64_t from, to;
  if (!get_bytes(env, arguments[0], "buffer", &start, &length) ||
      !get_integer(env, arguments[2], "to", 0, (int64_t)length, &to) || !get_integer(env, arguments[1], "from", 0, to, &from)) {
    return false;
  }
  *data = start + from;
  *bytes = (size_t)(to - from);
  return true;
}

static napi_value one(napi_env env, napi_callback_info info, uint32_t (*algorithm)(uint32_t, const uint8_t *, size_t)) {
  napi_value arguments[4], result;
  const uint8_t *data;
  size_t bytes;
  int64_t seed;
  if (!get_arguments(env, info, 4, arguments, NULL) || !get_range(env, arguments, &data, &bytes) ||
      !get_integer(env, arguments[3], "seed", 0, UINT32_MAX, &seed)) {
    return NULL;
  }
  if (napi_create_uint32(env, algorithm((uint32_t)seed, data, bytes), &result) != napi_ok) return throw_api_failure(env);
  return result;
}

static napi_value call_crc32c(napi_env env, napi_callback_info info) { return one(env, info, crc32c); }

static napi_value call_portable(napi_env env, napi_callback_info info) { return one(env, info, portable_crc32c); }

static napi_value call_blocks(napi_env env, napi_callback_info info) {
  napi_value arguments[5];
  const uint8_t *data;
  size_t bytes, capacity;
  int64_t block;
  uint32_t *sums;
  if (!get_arguments(env, info, 5, arguments, NULL) || !get_range(env, arguments, &data, &bytes) ||
      !get_integer(env, arguments[3], "blockBytes", 1, MAX_SAFE_INTEGER, &block)) {
    return NULL;
  }
  if (!get_sums(env, arguments[4], "out", &sums, &capacity)) return NULL;
  size_t block_bytes = (size_t)block, count = bytes / block_bytes + (bytes % block_bytes != 0);
  if (capacity < count) return throw_invalid(env, "out must have %zu elements, not %zu", count, capacity);
  for (size_t i = 0; i < count; i++, data += block_bytes, bytes -= block_bytes) {
    sums[i] = crc32c(0, data, bytes < block_bytes ? bytes : block_bytes);
    if (bytes < block_bytes) break;
  }
  return NULL;
}

napi_status crc32c_register(napi_env env, napi_value exports) {
  pthread_once(&tables_once, make_tables);
  const napi_property_descriptor properties[] = {
      {"crc32c", NULL, call_crc32c, NULL, NULL, NULL, napi_enumerable, NULL},
      {"crc32cPortable", NULL, call_portable, NULL, NULL, NULL, napi_enumerable, NULL},
      {"crc32cBlocks", NULL, call_blocks, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  return napi_define_properties(env, exports, sizeof properties / sizeof *properties, properties);
}
