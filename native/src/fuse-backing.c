/*
 * FUSE passthrough (Linux 6.9 and later): gives the kernel files to read by itself in the place of requests. What a file's number is good for
 * is said in the reply to OPEN. The kernel takes a reference of its own, so the descriptor may be closed while the number stands.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "arguments.h"
#include "fuse-channel.h"

/* struct fuse_backing_map and the requests of linux/fuse.h, which is older than this on some machines that build it. */
struct backing_map {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

napi_value channel_open_backing(napi_env env, napi_callback_info info) {
  napi_value arguments[1], self;
  struct channel *channel;
  int file;
  if (!get_arguments(env, info, 1, arguments, &self) || (channel = channel_of(env, self)) == NULL ||
      !get_fd(env, arguments[0], &file)) {
    return NULL;
  }
  if (channel->ended) return to_number(env, -ENODEV);
  struct backing_map map = {.fd = file};
  int id;
  do {
    id = ioctl(channel->fd, BACKING_OPEN, &map);
  } while (id < 0 && errno == EINTR);
  /* 0 is no number that the kernel gives. */
  return to_number(env, id < 0 ? -errno : id == 0 ? -EIO : id);
}

napi_value channel_close_backing(napi_env env, napi_callback_info info) {
  napi_value arguments[1], self;
  struct channel *channel;
  int64_t number;
  if (!get_arguments(env, info, 1, arguments, &self) || (channel = channel_of(env, self)) == NULL ||
      !get_integer(env, arguments[0], "id", 1, INT32_MAX, &number)) {
    return NULL;
  }
  if (channel->ended) return to_number(env, ENODEV);
  uint32_t id = (uint32_t)number;
  int error;
  do {
    error = ioctl(channel->fd, BACKING_CLOSE, &id) < 0 ? errno : 0;
  } while (error == EINTR);
  return to_number(env, error);
}
