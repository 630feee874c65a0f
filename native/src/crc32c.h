#ifndef CAIRN_CRC32C_H
#define CAIRN_CRC32C_H

#include <node_api.h>

napi_status crc32c_register(napi_env env, napi_value exports);

#endif
