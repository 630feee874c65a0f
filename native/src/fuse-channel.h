#ifndef CAIRN_FUSE_CHANNEL_H
#define CAIRN_FUSE_CHANNEL_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "busy-poll.h"

struct channel {
  napi_env env;
  int fd;
  bool serving;  /* false after stop() or the end: no JavaScript is called again */
  bool ended;    /* the kernel has gone: the descriptor may be closed and its number reused, so it is not touched again */
  bool closing;  /* uv_close was called */
  int handles;   /* that libuv has not let go of */
  bool wrapped;  /* the JavaScript object lives */
  uv_poll_t poll;
  struct busy_poll busy;
  napi_ref buffer;
  napi_ref on_request;
  napi_ref on_end;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  uint8_t *reply; /* page-aligned, for send_file; grows */
  size_t reply_bytes;
};

napi_status fuse_channel_register(napi_env env, napi_value exports);

/* The channel that a FuseChannel wraps; NULL, with an exception pending, if there is none. */
struct channel *channel_of(napi_env env, napi_value self);

/* Methods of FuseChannel, in fuse-reply.c and fuse-backing.c. */
napi_value channel_send(napi_env env, napi_callback_info info);
napi_value channel_send_bytes(napi_env env, napi_callback_info info);
napi_value channel_send_file(napi_env env, napi_callback_info info);
napi_value channel_open_backing(napi_env env, napi_callback_info info);
napi_value channel_close_backing(napi_env env, napi_callback_info info);

#endif
