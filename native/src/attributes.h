#ifndef CAIRN_ATTRIBUTES_H
#define CAIRN_ATTRIBUTES_H

#include <node_api.h>

napi_status attributes_register(napi_env env, napi_value exports);

#endif
