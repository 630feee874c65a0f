#ifndef CAIRN_PROCESS_H
#define CAIRN_PROCESS_H

#include <node_api.h>

napi_status process_register(napi_env env, napi_value exports);

#endif
