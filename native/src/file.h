#ifndef CAIRN_FILE_H
#define CAIRN_FILE_H

#include <node_api.h>

napi_status file_register(napi_env env, napi_value exports);

#endif
