/*
 * One datagram to a unix socket, which node has no call for: how a service tells systemd that it is ready (sd_notify(3)). The socket's name
 * is a path, or begins with `@` for one in the abstract namespace.
 */
#include "notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "arguments.h"

static napi_value call_notify_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  uint8_t *text;
  size_t length;
  if (!get_arguments(env, info, 2, arguments, NULL) ||
      !get_string(env, arguments[0], "socket", address.sun_path, sizeof(address.sun_path)) ||
      !get_bytes(env, arguments[1], "text", &text, &length)) {
    return NULL;
  }
  size_t name_length = strlen(address.sun_path);
  if (name_length == 0) return throw_invalid(env, "socket must not be empty");
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_system_error(env, errno, "socket", NULL);
  /* An abstract name ends with its length, without a terminator. */
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name_length);
  /* The event loop does not wait for a manager that does not read. */
  ssize_t sent = sendto(fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address, size);
  int error = sent < 0 ? errno : 0;
  close(fd);
  return error == 0 ? NULL : throw_system_error(env, error, "sendto", NULL);
}

napi_status notify_register(napi_env env, napi_value exports) {
  napi_property_descriptor property = {"notifySocket", NULL, call_notify_socket, NULL, NULL, NULL, napi_enumerable, NULL};
  return napi_define_properties(env, exports, 1, &property);
}
