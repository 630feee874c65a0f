#ifndef CAIRN_CRC32C_H
#define CAIRN_CRC32C_H

#include <node_api.h>
#include <stddef.h>
#include <stdint.h>

/* CRC32C of data[0, length), continuing from `seed` (0 at the start), by the quickest way that the processor has. From any thread. */
uint32_t crc32c(uint32_t seed, const uint8_t *data, size_t length);

napi_status crc32c_register(napi_env env, napi_value exports);

#endif
