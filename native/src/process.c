/* The end of a process that does not wait for its threads. */
#include "process.h"

#include <unistd.h>

#include "arguments.h"

static napi_value call_exit(napi_env env, napi_callback_info info) {
  napi_value argument;
  int64_t code;
  if (!get_arguments(env, info, 1, &argument, NULL) || !get_integer(env, argument, "code", 0, 255, &code)) return NULL;
  _exit((int)code);
}

napi_status process_register(napi_env env, napi_value exports) {
  napi_property_descriptor property = {"exitNow", NULL, call_exit, NULL, NULL, NULL, napi_enumerable, NULL};
  return napi_define_properties(env, exports, 1, &property);
}
