#include "arguments.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* libuv does not name every errno that a file system may answer. */
static const char *error_name(int error, char *buffer, size_t size) {
  switch (error) {
    case EDQUOT: return "EDQUOT";
    case ESTALE: return "ESTALE";
    case EUCLEAN: return "EUCLEAN";
    default: return uv_err_name_r(-error, buffer, size);
  }
}

napi_value create_system_error(napi_env env, int error, const char *syscall, const char *path, const char *detail) {
  char name_buffer[64], message[6144];
  const char *name = error_name(error, name_buffer, sizeof name_buffer);
  snprintf(message, sizeof message, "%s: %s, %s%s%s%s%s%s", name, strerror(error), syscall,
           path ? " '" : "", path ? path : "", path ? "'" : "", detail ? ": " : "", detail ? detail : "");
  napi_value code, text, object, number, call;
  if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &code) != napi_ok ||
      napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &text) != napi_ok ||
      napi_create_error(env, code, text, &object) != napi_ok || napi_create_int32(env, -error, &number) != napi_ok ||
      napi_set_named_property(env, object, "errno", number) != napi_ok ||
      napi_create_string_utf8(env, syscall, NAPI_AUTO_LENGTH, &call) != napi_ok ||
      napi_set_named_property(env, object, "syscall", call) != napi_ok) {
    return NULL;
  }
  return object;
}

napi_value throw_api_failure(napi_env env) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_error(env, "EINVAL", "EINVAL: a call into the JavaScript engine failed");
  return NULL;
}

napi_value throw_system_error(napi_env env, int error, const char *syscall, const char *path) {
  napi_value object = create_system_error(env, error, syscall, path, NULL);
  if (object == NULL || napi_throw(env, object) != napi_ok) return throw_api_failure(env);
  return NULL;
}

napi_value throw_invalid(napi_env env, const char *format, ...) {
  char detail[256];
  va_list list;
  va_start(list, format);
  vsnprintf(detail, sizeof detail, format, list);
  va_end(list);
  napi_value object = create_system_error(env, EINVAL, "cairn", NULL, detail);
  if (object == NULL || napi_throw(env, object) != napi_ok) return throw_api_failure(env);
  return NULL;
}

bool get_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *arguments, napi_value *self) {
  size_t given = count;
  if (napi_get_cb_info(env, info, &given, arguments, self, NULL) != napi_ok) return throw_api_failure(env), false;
  if (given < count) return throw_invalid(env, "%zu arguments are needed, not %zu", count, given), false;
  return true;
}

bool get_integer(napi_env env, napi_value value, const char *name, int64_t min, int64_t max, int64_t *out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) return throw_invalid(env, "%s must be a number", name), false;
  /* The comparisons are false for NaN; the cast is defined because the range was checked before it. */
  if (!(number >= (double)min && number <= (double)max) || (double)(int64_t)number != number) {
    return throw_invalid(env, "%s must be an integer from %lld to %lld", name, (long long)min, (long long)max), false;
  }
  *out = (int64_t)number;
  return true;
}

bool get_fd(napi_env env, napi_value value, int *out) {
  int64_t number;
  if (!get_integer(env, value, "fd", 0, INT32_MAX, &number)) return false;
  *out = (int)number;
  return true;
}

bool get_boolean(napi_env env, napi_value value, const char *name, bool *out) {
  if (napi_get_value_bool(env, value, out) != napi_ok) return throw_invalid(env, "%s must be a boolean", name), false;
  return true;
}

/* False without an exception if `value` is no Uint8Array. A detached one has no bytes. */
static bool bytes_of(napi_env env, napi_value value, uint8_t **data, size_t *length) {
  bool is_typed_array = false;
  napi_typedarray_type type;
  void *pointer = NULL;
  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array ||
      napi_get_typedarray_info(env, value, &type, length, &pointer, NULL, NULL) != napi_ok || type != napi_uint8_array) {
    return false;
  }
  if (pointer == NULL) *length = 0;
  *data = pointer;
  return true;
}

bool get_bytes(napi_env env, napi_value value, const char *name, uint8_t **data, size_t *length) {
  if (!bytes_of(env, value, data, length)) return throw_invalid(env, "%s must be a Uint8Array", name), false;
  return true;
}

bool get_sums(napi_env env, napi_value value, const char *name, uint32_t **sums, size_t *count) {
  bool is_typed_array = false;
  napi_typedarray_type type;
  void *pointer = NULL;
  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array ||
      napi_get_typedarray_info(env, value, &type, count, &pointer, NULL, NULL) != napi_ok || type != napi_uint32_array) {
    return throw_invalid(env, "%s must be a Uint32Array", name), false;
  }
  if (pointer == NULL) *count = 0;
  *sums = pointer;
  return true;
}

bool get_string(napi_env env, napi_value value, const char *name, char *out, size_t size) {
  size_t length;
  napi_valuetype type;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_string ||
      napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) {
    return throw_invalid(env, "%s must be a string", name), false;
  }
  if (length >= size) return throw_invalid(env, "%s must be shorter than %zu bytes", name, size), false;
  if (napi_get_value_string_utf8(env, value, out, size, &length) != napi_ok) return throw_api_failure(env), false;
  if (memchr(out, 0, length) != NULL) return throw_invalid(env, "%s must not contain a NUL", name), false;
  return true;
}

bool get_function(napi_env env, napi_value value, const char *name, napi_value *out) {
  napi_valuetype type;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_function) {
    return throw_invalid(env, "%s must be a function", name), false;
  }
  *out = value;
  return true;
}

bool get_parts(napi_env env, napi_value array, struct parts *parts) {
  bool is_array = false;
  uint32_t length;
  if (napi_is_array(env, array, &is_array) != napi_ok || !is_array || napi_get_array_length(env, array, &length) != napi_ok) {
    return throw_invalid(env, "parts must be an array of Uint8Array"), false;
  }
  if (length > MAX_PARTS) return throw_invalid(env, "parts must not be more than %d", MAX_PARTS), false;
  parts->iov = parts->inline_iov;
  parts->count = 0;
  parts->bytes = 0;
  if (length > INLINE_PARTS) parts->iov = malloc(length * sizeof *parts->iov);
  if (parts->iov == NULL) return throw_system_error(env, ENOMEM, "malloc", NULL), false;
  /* Two passes: reading an element may run a getter, which may detach a buffer whose address was taken before. */
  for (uint32_t i = 0; i < length; i++) {
    napi_value element;
    if (napi_get_element(env, array, i, &element) != napi_ok) {
      parts_free(parts);
      return throw_api_failure(env), false;
    }
    parts->iov[i].iov_base = element;
  }
  for (uint32_t i = 0; i < length; i++) {
    uint8_t *data;
    size_t bytes;
    if (!bytes_of(env, parts->iov[i].iov_base, &data, &bytes)) {
      parts_free(parts);
      return throw_invalid(env, "parts[%u] must be a Uint8Array", i), false;
    }
    if (bytes == 0) continue;
    parts->iov[parts->count].iov_base = data;
    parts->iov[parts->count].iov_len = bytes;
    parts->count++;
    parts->bytes += bytes;
  }
  return true;
}

void parts_free(struct parts *parts) {
  if (parts->iov != parts->inline_iov) free(parts->iov);
  parts->iov = parts->inline_iov;
}

napi_value to_number(napi_env env, int64_t number) {
  napi_value result;
  if (napi_create_int64(env, number, &result) != napi_ok) return throw_api_failure(env);
  return result;
}
