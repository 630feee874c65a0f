/*
 * Reading the arguments of a call and throwing errors: shared by every file of the addon.
 *
 * Every get_* returns false with a JavaScript exception pending (code EINVAL) if the value is not what is asked for; the caller then
 * returns NULL at once. Errors have the shape of node's own system errors: `code` ("EIO"), `errno` (negative, as node has it), `syscall`.
 *
 * Pointers into a Uint8Array hold only until JavaScript runs again: it could detach the buffer. So get_bytes comes last, after
 * anything that could run a getter.
 */
#ifndef CAIRN_ARGUMENTS_H
#define CAIRN_ARGUMENTS_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The largest integer that a JavaScript number holds exactly: 2^53 - 1. */
#define MAX_SAFE_INTEGER ((int64_t)9007199254740991)

/* A sparse array of four billion nothings must not become an allocation. */
#define MAX_PARTS (1 << 20)

/* How many parts need no allocation. */
#define INLINE_PARTS 64

/* An array of Uint8Array as iovecs. */
struct parts {
  struct iovec *iov;
  size_t count;
  size_t bytes;
  struct iovec inline_iov[INLINE_PARTS];
};

bool get_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *arguments, napi_value *self);
bool get_integer(napi_env env, napi_value value, const char *name, int64_t min, int64_t max, int64_t *out);
bool get_fd(napi_env env, napi_value value, int *out);
bool get_boolean(napi_env env, napi_value value, const char *name, bool *out);
bool get_bytes(napi_env env, napi_value value, const char *name, uint8_t **data, size_t *length);
/* The elements of a Uint32Array. */
bool get_sums(napi_env env, napi_value value, const char *name, uint32_t **sums, size_t *count);
/* A string without NUL that fits `size` bytes with its terminator. */
bool get_string(napi_env env, napi_value value, const char *name, char *out, size_t size);
bool get_function(napi_env env, napi_value value, const char *name, napi_value *out);

/* Fills `parts`; on success release with parts_free. Empty parts are left out. */
bool get_parts(napi_env env, napi_value array, struct parts *parts);
void parts_free(struct parts *parts);

/* An Error object for a positive errno; `path` and `detail` may be NULL. NULL if it could not be made. */
napi_value create_system_error(napi_env env, int error, const char *syscall, const char *path, const char *detail);
/* These return NULL, so that `return throw_…` ends a callback. */
napi_value throw_system_error(napi_env env, int error, const char *syscall, const char *path);
napi_value throw_invalid(napi_env env, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A number of JavaScript's; NULL, with an exception pending, if it could not be made. */
napi_value to_number(napi_env env, int64_t number);
/* For a Node-API call that failed: throws unless an exception is already pending. */
napi_value throw_api_failure(napi_env env);

#endif
