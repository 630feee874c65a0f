#ifndef CAIRN_CRC64_H
#define CAIRN_CRC64_H

#include <node_api.h>

napi_status crc64_register(napi_env env, napi_value exports);

#endif
