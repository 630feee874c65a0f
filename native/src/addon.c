/*
 * The addon's entry: adds the functions of every file to `exports`; native/addon.ts says what each does. There is no state but constant
 * tables, so every thread that loads it has its own.
 */
#include <node_api.h>

#include "arguments.h"
#include "attributes.h"
#include "crc32c.h"
#include "crc64.h"
#include "file.h"
#include "fuse-channel.h"
#include "md5.h"
#include "memory.h"
#include "mount.h"
#include "notify.h"
#include "process.h"

NAPI_MODULE_INIT() {
  if (crc32c_register(env, exports) != napi_ok || file_register(env, exports) != napi_ok ||
      attributes_register(env, exports) != napi_ok || mount_register(env, exports) != napi_ok ||
      fuse_channel_register(env, exports) != napi_ok || md5_register(env, exports) != napi_ok ||
      crc64_register(env, exports) != napi_ok || memory_register(env, exports) != napi_ok ||
      notify_register(env, exports) != napi_ok || process_register(env, exports) != napi_ok) {
    return throw_api_failure(env);
  }
  return exports;
}
