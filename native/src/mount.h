#ifndef CAIRN_MOUNT_H
#define CAIRN_MOUNT_H

#include <node_api.h>

napi_status mount_register(napi_env env, napi_value exports);

#endif
