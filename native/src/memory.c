/* Copying into memory that threads share: JavaScript does it word by word, as if somebody raced it. And giving memory back. */
#include "memory.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <string.h>

#include "arguments.h"

static napi_value call_copy(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  int64_t at;
  uint8_t *target, *source;
  size_t target_length, source_length;
  if (!get_arguments(env, info, 3, arguments, NULL) || !get_integer(env, arguments[1], "at", 0, MAX_SAFE_INTEGER, &at) ||
      !get_bytes(env, arguments[0], "target", &target, &target_length) ||
      !get_bytes(env, arguments[2], "source", &source, &source_length)) {
    return NULL;
  }
  if ((uint64_t)at > target_length || source_length > target_length - (size_t)at) {
    return throw_invalid(env, "%zu bytes at %lld do not fit a target of %zu", source_length, (long long)at, target_length);
  }
  if (source_length > 0) memmove(target + at, source, source_length);
  return NULL;
}

/* Other C libraries give it back by themselves. */
static napi_value call_trim(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return NULL;
}

napi_status memory_register(napi_env env, napi_value exports) {
  const napi_property_descriptor properties[] = {
      {"copyBytes", NULL, call_copy, NULL, NULL, NULL, napi_enumerable, NULL},
      {"trimMemory", NULL, call_trim, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  return napi_define_properties(env, exports, sizeof properties / sizeof *properties, properties);
}
