#ifndef CAIRN_MEMORY_H
#define CAIRN_MEMORY_H

#include <node_api.h>

napi_status memory_register(napi_env env, napi_value exports);

#endif
