#ifndef CAIRN_NOTIFY_H
#define CAIRN_NOTIFY_H

#include <node_api.h>

/* Adds notifySocket to `exports`. */
napi_status notify_register(napi_env env, napi_value exports);

#endif
