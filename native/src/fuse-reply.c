/*
 * Replies to the kernel, each with one writev: the kernel takes a reply whole or not at all. Of the protocol this knows only the header
 * that a reply begins with.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "arguments.h"
#include "fuse-channel.h"

#define MAX_REPLY_BYTES (16 << 20)
#define PAGE_BYTES 4096

/* struct fuse_out_header of linux/fuse.h. */
struct out_header {
  uint32_t length;
  int32_t error;
  uint64_t unique;
};

/* Writes one whole message. Returns 0 or the positive errno. */
static int send_message(struct channel *channel, const struct iovec *iov, int count) {
  if (channel->ended) return ENODEV;
  ssize_t written;
  do {
    written = writev(channel->fd, iov, count);
  } while (written < 0 && errno == EINTR);
  return written < 0 ? errno : 0;
}

napi_value channel_send(napi_env env, napi_callback_info info) {
  napi_value arguments[1], self;
  struct channel *channel;
  struct parts parts;
  if (!get_arguments(env, info, 1, arguments, &self) || (channel = channel_of(env, self)) == NULL ||
      !get_parts(env, arguments[0], &parts)) {
    return NULL;
  }
  napi_value result = NULL;
  if (parts.count > IOV_MAX || parts.bytes < sizeof(struct out_header) || parts.bytes > UINT32_MAX) {
    throw_invalid(env, "parts must be %d at most, and have %zu bytes or more", IOV_MAX, sizeof(struct out_header));
  } else {
    result = to_number(env, send_message(channel, parts.iov, (int)parts.count));
  }
  parts_free(&parts);
  return result;
}

napi_value channel_send_bytes(napi_env env, napi_callback_info info) {
  napi_value arguments[2], self;
  struct channel *channel;
  uint8_t *data;
  size_t capacity;
  int64_t length;
  if (!get_arguments(env, info, 2, arguments, &self) || (channel = channel_of(env, self)) == NULL ||
      !get_bytes(env, arguments[0], "buffer", &data, &capacity)) {
    return NULL;
  }
  if (capacity < sizeof(struct out_header)) return throw_invalid(env, "buffer must have %zu bytes or more", sizeof(struct out_header));
  if (!get_integer(env, arguments[1], "length", sizeof(struct out_header), (int64_t)capacity, &length)) return NULL;
  struct iovec iov = {.iov_base = data, .iov_len = (size_t)length};
  return to_number(env, send_message(channel, &iov, 1));
}

/* Makes room for a reply. Page-aligned, so that the kernel's copies are of whole pages. */
static bool grow_reply(struct channel *channel, size_t bytes) {
  if (bytes <= channel->reply_bytes) return true;
  bytes = (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
  void *grown;
  if (posix_memalign(&grown, PAGE_BYTES, bytes) != 0) return false;
  free(channel->reply);
  channel->reply = grown;
  channel->reply_bytes = bytes;
  return true;
}

/* Returns the bytes read or the negative errno. */
static int64_t send_file(struct channel *channel, uint64_t unique, int file, off_t position, size_t length) {
  if (!grow_reply(channel, length)) return -ENOMEM;
  size_t done = 0;
  while (done < length) {
    ssize_t got = pread(file, channel->reply + done, length - done, position + (off_t)done);
    if (got < 0 && errno == EINTR) continue;
    /* Also after some bytes were read: a short answer would claim the end of the file. */
    if (got < 0) return -errno;
    /* Whoever asks knows that the bytes are there: a file that ends before them has lost them. */
    if (got == 0) return -ENODATA;
    done += (size_t)got;
  }
  struct out_header header = {.length = (uint32_t)(sizeof header + done), .error = 0, .unique = unique};
  struct iovec iov[2] = {{.iov_base = &header, .iov_len = sizeof header}, {.iov_base = channel->reply, .iov_len = done}};
  int error = send_message(channel, iov, done == 0 ? 1 : 2);
  /* Nobody waits any more: the request was interrupted, or the file system unmounted. */
  if (error == 0 || error == ENOENT || error == ENODEV) return (int64_t)done;
  return -error;
}

napi_value channel_send_file(napi_env env, napi_callback_info info) {
  napi_value arguments[4], self;
  struct channel *channel;
  uint64_t unique;
  bool lossless = false;
  int file;
  int64_t position, length;
  if (!get_arguments(env, info, 4, arguments, &self) || (channel = channel_of(env, self)) == NULL) return NULL;
  if (napi_get_value_bigint_uint64(env, arguments[0], &unique, &lossless) != napi_ok || !lossless) {
    return throw_invalid(env, "unique must be a bigint from 0 to 2^64 - 1");
  }
  if (!get_fd(env, arguments[1], &file) || !get_integer(env, arguments[3], "length", 0, MAX_REPLY_BYTES, &length) ||
      !get_integer(env, arguments[2], "position", 0, MAX_SAFE_INTEGER - length, &position)) {
    return NULL;
  }
  return to_number(env, send_file(channel, unique, file, position, (size_t)length));
}
