/*
 * The transport of the fuse protocol: requests from /dev/fuse to a JavaScript function on the event loop, replies with one writev. What
 * the bytes mean is the business of src/fuse. This file has the requests and a channel's life; fuse-reply.c has the replies, fuse-backing.c passthrough.
 *
 * A channel is memory with two holders, the poll handle and the JavaScript object, and is freed when both have gone. While it polls it
 * keeps the functions and the buffer alive, so a dropped FuseChannel goes on serving until it is stopped or the file system is unmounted.
 * JavaScript that runs inside onRequest may stop the channel, detach the buffer or end the thread: everything is looked at again
 * after each call. A thread's end closes the handle through an asynchronous cleanup hook, which makes node wait for libuv to let go of it.
 */
#include "fuse-channel.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "arguments.h"

/* Requests served before other handles of the loop have their turn. epoll is level-triggered: what is left comes at once. */
#define REQUESTS_PER_WAKEUP 64
/* The kernel refuses to read into less (FUSE_MIN_READ_BUFFER). */
#define MIN_REQUEST_BUFFER 8192

static void free_if_unheld(struct channel *channel) {
  if (channel->handles > 0 || channel->wrapped) return;
  free(channel->reply);
  free(channel);
}

/* Lets go of everything of JavaScript's. */
static void release(struct channel *channel) {
  napi_ref *references[] = {&channel->buffer, &channel->on_request, &channel->on_end};
  for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
    if (*references[i] != NULL) napi_delete_reference(channel->env, *references[i]);
    *references[i] = NULL;
  }
  if (channel->context != NULL) napi_async_destroy(channel->env, channel->context);
  channel->context = NULL;
}

static void on_closed(uv_handle_t *handle) {
  struct channel *channel = handle->data;
  channel->handles -= 1;
  if (channel->handles > 0) return;
  napi_handle_scope scope;
  bool scoped = napi_open_handle_scope(channel->env, &scope) == napi_ok;
  release(channel);
  if (scoped) napi_close_handle_scope(channel->env, scope);
  if (channel->hook != NULL) napi_remove_async_cleanup_hook(channel->hook);
  free_if_unheld(channel);
}

static void stop_serving(struct channel *channel) {
  channel->serving = false;
  if (channel->closing) return;
  channel->closing = true;
  uv_poll_stop(&channel->poll);
  uv_close((uv_handle_t *)&channel->poll, on_closed);
  busy_poll_close(&channel->busy, on_closed);
}

/* The thread ends. The environment goes before the handle is closed, so what is JavaScript's is released now. */
static void on_cleanup(napi_async_cleanup_hook_handle hook, void *data) {
  (void)hook;
  struct channel *channel = data;
  release(channel);
  stop_serving(channel);
}

static void finalize(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  struct channel *channel = data;
  channel->wrapped = false;
  free_if_unheld(channel);
}

/* Calls a function of JavaScript's with one argument; what it throws becomes an uncaughtException. False if JavaScript cannot run. */
static bool call(struct channel *channel, napi_ref function, napi_value argument) {
  napi_env env = channel->env;
  napi_value receiver, callee, exception;
  if (napi_get_reference_value(env, function, &callee) != napi_ok || napi_get_global(env, &receiver) != napi_ok) return false;
  /* napi_make_callback, not napi_call_function: it runs the microtasks and nextTicks that the call left behind. */
  napi_status status = napi_make_callback(env, channel->context, receiver, callee, 1, &argument, NULL);
  if (status == napi_ok) return true;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) != napi_ok || !pending) return false;
  if (napi_get_and_clear_last_exception(env, &exception) != napi_ok) return false;
  return napi_fatal_exception(env, exception) == napi_ok;
}

/* Tells JavaScript once that nothing more comes. `error` 0: unmounted. */
static void end(struct channel *channel, int error, const char *syscall) {
  napi_value argument;
  channel->ended = true;
  channel->serving = false;
  uv_poll_stop(&channel->poll);
  bool ready = napi_get_null(channel->env, &argument) == napi_ok;
  if (error != 0) {
    argument = create_system_error(channel->env, error, syscall, "/dev/fuse", NULL);
    ready = argument != NULL;
  }
  if (ready) call(channel, channel->on_end, argument);
  stop_serving(channel);
}

/* The buffer as it is now; false if it was detached. */
static bool request_buffer(struct channel *channel, uint8_t **data, size_t *length) {
  napi_value value;
  napi_typedarray_type type;
  void *pointer;
  if (napi_get_reference_value(channel->env, channel->buffer, &value) != napi_ok ||
      napi_get_typedarray_info(channel->env, value, &type, length, &pointer, NULL, NULL) != napi_ok) {
    return false;
  }
  *data = pointer;
  return pointer != NULL && *length >= MIN_REQUEST_BUFFER;
}

/* One request. False if there is none, or the channel serves no more. */
static bool serve_one(struct channel *channel) {
  uint8_t *data;
  size_t length;
  if (!request_buffer(channel, &data, &length)) {
    end(channel, EFAULT, "read");
    return false;
  }
  ssize_t got = read(channel->fd, data, length);
  if (got < 0) {
    switch (errno) {
      case EINTR:
      case ENOENT: return true; /* the request was interrupted before it was read */
      case EAGAIN: return false;
      case ENODEV: end(channel, 0, NULL); return false;
      default: end(channel, errno, "read"); return false;
    }
  }
  /* Not /dev/fuse: its reads are never empty. */
  if (got == 0) {
    end(channel, EIO, "read");
    return false;
  }
  napi_value argument;
  if (napi_create_uint32(channel->env, (uint32_t)got, &argument) != napi_ok) return false;
  return call(channel, channel->on_request, argument) && channel->serving;
}

/* libuv reports EPOLLERR, which is what an unmounted /dev/fuse has, as an error; the read tells what it is. */
static void on_readable(uv_poll_t *poll, int status, int events) {
  (void)events;
  struct channel *channel = poll->data;
  bool more = channel->serving;
  for (int i = 0; more && i < REQUESTS_PER_WAKEUP; i++) {
    napi_handle_scope scope;
    if (napi_open_handle_scope(channel->env, &scope) != napi_ok) return;
    more = serve_one(channel);
    napi_close_handle_scope(channel->env, scope);
  }
  busy_poll_request(&channel->busy);
  /* After an error libuv polls no more. */
  if (status < 0 && channel->serving && !channel->closing) {
    napi_handle_scope scope;
    int error = uv_poll_start(&channel->poll, UV_READABLE, on_readable);
    if (error == 0 || napi_open_handle_scope(channel->env, &scope) != napi_ok) return;
    end(channel, -error, "epoll_ctl");
    napi_close_handle_scope(channel->env, scope);
  }
}

struct channel *channel_of(napi_env env, napi_value self) {
  void *data = NULL;
  if (napi_unwrap(env, self, &data) != napi_ok || data == NULL) {
    throw_invalid(env, "not a FuseChannel that fuseStart made");
    return NULL;
  }
  return data;
}

static napi_value call_stop(napi_env env, napi_callback_info info) {
  napi_value self;
  struct channel *channel;
  if (!get_arguments(env, info, 0, NULL, &self) || (channel = channel_of(env, self)) == NULL) return NULL;
  stop_serving(channel);
  return NULL;
}

static napi_value construct(napi_env env, napi_callback_info info) {
  napi_value self;
  if (!get_arguments(env, info, 0, NULL, &self)) return NULL;
  return self;
}

/* An object whose methods accept only objects of this class as `this`; until it is wrapped they throw. */
static bool create_object(napi_env env, napi_value *object) {
  const napi_property_descriptor methods[] = {
      {"send", NULL, channel_send, NULL, NULL, NULL, napi_default, NULL},
      {"sendBytes", NULL, channel_send_bytes, NULL, NULL, NULL, napi_default, NULL},
      {"sendFile", NULL, channel_send_file, NULL, NULL, NULL, napi_default, NULL},
      {"openBacking", NULL, channel_open_backing, NULL, NULL, NULL, napi_default, NULL},
      {"closeBacking", NULL, channel_close_backing, NULL, NULL, NULL, napi_default, NULL},
      {"stop", NULL, call_stop, NULL, NULL, NULL, napi_default, NULL},
  };
  napi_value constructor;
  return napi_define_class(env, "FuseChannel", NAPI_AUTO_LENGTH, construct, NULL, sizeof methods / sizeof *methods, methods,
                           &constructor) == napi_ok &&
         napi_new_instance(env, constructor, 0, NULL, object) == napi_ok;
}

/* From here on the poll handle exists and must be closed, whatever fails. */
static bool hold(struct channel *channel, napi_value object, napi_value buffer, napi_value on_request, napi_value on_end) {
  napi_env env = channel->env;
  napi_value name;
  if (napi_wrap(env, object, channel, finalize, NULL, NULL) != napi_ok) return false;
  channel->wrapped = true;
  return napi_create_reference(env, buffer, 1, &channel->buffer) == napi_ok &&
         napi_create_reference(env, on_request, 1, &channel->on_request) == napi_ok &&
         napi_create_reference(env, on_end, 1, &channel->on_end) == napi_ok &&
         napi_create_string_utf8(env, "cairn.fuse", NAPI_AUTO_LENGTH, &name) == napi_ok &&
         napi_async_init(env, NULL, name, &channel->context) == napi_ok &&
         napi_add_async_cleanup_hook(env, on_cleanup, channel, &channel->hook) == napi_ok;
}

static napi_value call_fuse_start(napi_env env, napi_callback_info info) {
  napi_value arguments[4], object, on_request, on_end;
  int fd;
  uint8_t *data;
  size_t length;
  uv_loop_t *loop;
  if (!get_arguments(env, info, 4, arguments, NULL) || !get_fd(env, arguments[0], &fd) ||
      !get_bytes(env, arguments[1], "buffer", &data, &length) ||
      !get_function(env, arguments[2], "onRequest", &on_request) || !get_function(env, arguments[3], "onEnd", &on_end)) {
    return NULL;
  }
  if (length < MIN_REQUEST_BUFFER) return throw_invalid(env, "buffer must have %d bytes or more", MIN_REQUEST_BUFFER);
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || !create_object(env, &object)) return throw_api_failure(env);
  struct channel *channel = calloc(1, sizeof *channel);
  if (channel == NULL) return throw_system_error(env, ENOMEM, "malloc", NULL);
  channel->env = env;
  channel->fd = fd;
  int error = uv_poll_init(loop, &channel->poll, fd);
  if (error != 0) {
    free(channel);
    return throw_system_error(env, -error, "epoll_ctl", NULL);
  }
  channel->poll.data = channel;
  busy_poll_start(loop, &channel->busy, channel);
  channel->handles = 1 + BUSY_POLL_HANDLES;
  if (!hold(channel, object, arguments[1], on_request, on_end)) {
    stop_serving(channel);
    return throw_api_failure(env);
  }
  channel->serving = true;
  error = uv_poll_start(&channel->poll, UV_READABLE, on_readable);
  if (error != 0) {
    stop_serving(channel);
    return throw_system_error(env, -error, "epoll_ctl", NULL);
  }
  return object;
}

napi_status fuse_channel_register(napi_env env, napi_value exports) {
  const napi_property_descriptor properties[] = {
      {"fuseStart", NULL, call_fuse_start, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  return napi_define_properties(env, exports, sizeof properties / sizeof *properties, properties);
}
