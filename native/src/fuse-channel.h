#ifndef CAIRN_FUSE_CHANNEL_H
#define CAIRN_FUSE_CHANNEL_H

#include <node_api.h>

napi_status fuse_channel_register(napi_env env, napi_value exports);

#endif
