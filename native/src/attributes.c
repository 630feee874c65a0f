/*
 * Attributes of files that node cannot set: extended ones, and times to the nanosecond; and the time that the kernel itself gives to files. Paths are bytes, since names need not be UTF-8, and a
 * symbolic link at their end is not followed.
 */
#include "attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>

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

/* The clock that advances with the kernel's ticks: what it takes for the times of files. */
static napi_value call_file_time(napi_env env, napi_callback_info info) {
  napi_value argument, result;
  uint32_t *nanoseconds;
  size_t count;
  struct timespec now;
  if (!get_arguments(env, info, 1, &argument, NULL) || !get_sums(env, argument, "nanoseconds", &nanoseconds, &count)) {
    return NULL;
  }
  if (count < 1) return throw_invalid(env, "nanoseconds must have an element");
  if (clock_gettime(CLOCK_REALTIME_COARSE, &now) != 0) return throw_system_error(env, errno, "clock_gettime", NULL);
  nanoseconds[0] = (uint32_t)now.tv_nsec;
  if (napi_create_int64(env, (int64_t)now.tv_sec, &result) != napi_ok) return throw_api_failure(env);
  return result;
}

napi_status attributes_register(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {"setXattr", NULL, call_set_xattr, NULL, NULL, NULL, napi_enumerable, NULL},
      {"setTimes", NULL, call_set_times, NULL, NULL, NULL, napi_enumerable, NULL},
      {"fileTime", NULL, call_file_time, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  return napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions);
}
