#ifndef CAIRN_MD5_H
#define CAIRN_MD5_H

#include <node_api.h>

napi_status md5_register(napi_env env, napi_value exports);

#endif
