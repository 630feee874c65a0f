/*
 * Attributes of files that node cannot set: extended ones, and times to the nanosecond. Paths are bytes, since names need not be UTF-8, and a
 * symbolic link at their end is not followed.
 */
#include "attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "arguments.h"

#define NAME_BYTES_MAX 255
#define MAX_NSEC 999999999

/* Copies bytes without a NUL into `out`, with one at their end. */
static bool get_c_string(napi_env env, napi_value value, const char *name, char *out, size_t size) {
  uint8_t *data;
  size_t length;
  if (!get_bytes(env, value, name, &data, &length)) return false;
  if (length == 0 || length >= size) {
    return throw_invalid(env, "%s must have 1 to %zu bytes", name, size - 1), false;
  }
  if (memchr(data, 0, length) != NULL) return throw_invalid(env, "%s must not contain a NUL", name), false;
  memcpy(out, data, length);
  out[length] = 0;
  return true;
}

static napi_value call_set_xattr(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  char path[PATH_MAX];
  char name[NAME_BYTES_MAX + 1];
  uint8_t *value;
  size_t length;
  if (!get_arguments(env, info, 3, arguments, NULL) ||
      !get_c_string(env, arguments[0], "path", path, sizeof path) ||
      !get_c_string(env, arguments[1], "name", name, sizeof name) ||
      !get_bytes(env, arguments[2], "value", &value, &length)) {
    return NULL;
  }
  return lsetxattr(path, name, value, length, 0) == 0 ? NULL : throw_system_error(env, errno, "lsetxattr", NULL);
}

static napi_value call_set_times(napi_env env, napi_callback_info info) {
  napi_value arguments[5];
  char path[PATH_MAX];
  int64_t seconds[2], nanoseconds[2];
  if (!get_arguments(env, info, 5, arguments, NULL)) return NULL;
  for (int i = 0; i < 2; i++) {
    if (!get_integer(env, arguments[1 + 2 * i], "seconds", -MAX_SAFE_INTEGER, MAX_SAFE_INTEGER, &seconds[i]) ||
        !get_integer(env, arguments[2 + 2 * i], "nanoseconds", 0, MAX_NSEC, &nanoseconds[i])) {
      return NULL;
    }
  }
  if (!get_c_string(env, arguments[0], "path", path, sizeof path)) return NULL;
  struct timespec times[2] = {
      {.tv_sec = (time_t)seconds[0], .tv_nsec = (long)nanoseconds[0]},
      {.tv_sec = (time_t)seconds[1], .tv_nsec = (long)nanoseconds[1]},
  };
  int result = utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
  return result == 0 ? NULL : throw_system_error(env, errno, "utimensat", NULL);
}

napi_status attributes_register(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {"setXattr", NULL, call_set_xattr, NULL, NULL, NULL, napi_enumerable, NULL},
      {"setTimes", NULL, call_set_times, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  return napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions);
}
