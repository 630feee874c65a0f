/*
 * Mounting and unmounting a fuse file system: mount(2) where the process may, else through the setuid program fusermount3, which opens
 * /dev/fuse, mounts, and sends the descriptor back over a socket whose number it finds in _FUSE_COMMFD (libfuse, util/fusermount.c).
 *
 * Both return before the kernel's FUSE_INIT is answered: mounting waits for nobody, so the thread that mounts may be the one that serves.
 */
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"

/* mount(2) copies one page of data. */
#define DATA_BYTES 4096
/* The helper only makes one mount; if it takes longer, something that it looks at hangs. */
#define HELPER_TIMEOUT_MS 20000
/* What the helper says on its standard error, for the message. */
#define COMPLAINT_BYTES 512
/* The socket's number in the helper: the first after the standard ones. */
#define HELPER_FD 3

static napi_value call_fuse_mount(napi_env env, napi_callback_info info) {
  napi_value arguments[5], result;
  char mountpoint[PATH_MAX], source[NAME_MAX + 1], subtype[NAME_MAX + 1], data[DATA_BYTES - 32];
  char type[NAME_MAX + 16], options[DATA_BYTES];
  int64_t flags;
  if (!get_arguments(env, info, 5, arguments, NULL) ||
      !get_string(env, arguments[0], "mountpoint", mountpoint, sizeof mountpoint) ||
      !get_string(env, arguments[1], "source", source, sizeof source) ||
      !get_string(env, arguments[2], "subtype", subtype, sizeof subtype) ||
      !get_integer(env, arguments[3], "flags", 0, UINT32_MAX, &flags) ||
      !get_string(env, arguments[4], "data", data, sizeof data)) {
    return NULL;
  }
  int fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return throw_system_error(env, errno, "open", "/dev/fuse");
  snprintf(type, sizeof type, subtype[0] == 0 ? "fuse" : "fuse.%s", subtype);
  snprintf(options, sizeof options, "fd=%d%s%s", fd, data[0] == 0 ? "" : ",", data);
  if (mount(source, mountpoint, type, (unsigned long)flags, options) != 0) {
    int error = errno;
    close(fd);
    return throw_system_error(env, error, "mount", mountpoint);
  }
  if (napi_create_int32(env, fd, &result) != napi_ok) {
    umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
    close(fd);
    return throw_api_failure(env);
  }
  return result;
}

static int64_t monotonic_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for the descriptor on the socket. Returns it, or -errno: -ENOMSG if the helper closed the socket without sending one. */
static int receive_fd(int socket, int64_t deadline_ms) {
  for (;;) {
    int64_t left = deadline_ms - monotonic_ms();
    struct pollfd poll_fd = {.fd = socket, .events = POLLIN};
    int ready = poll(&poll_fd, 1, left > 0 ? (int)left : 0);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return -errno;
    if (ready == 0) return -ETIMEDOUT;
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    union {
      struct cmsghdr header;
      char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return -errno;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (got == 0 || header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(sizeof(int))) {
      return -ENOMSG;
    }
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
  }
}

/* Reads what the helper wrote, as one line; what does not fit is lost. It has exited, so nothing more comes. */
static void read_complaint(int pipe, char *out, size_t size) {
  size_t length = 0;
  while (length < size - 1) {
    ssize_t got = read(pipe, out + length, size - 1 - length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    length += (size_t)got;
  }
  while (length > 0 && (out[length - 1] == '\n' || out[length - 1] == ' ')) length--;
  out[length] = 0;
  for (size_t i = 0; i < length; i++) {
    if ((unsigned char)out[i] < ' ') out[i] = ' ';
  }
}

/*
 * posix_spawn, because a fork of a process with threads may do next to nothing before it execs. The environment is built here rather
 * than taken from `environ`, which another thread may be changing. Returns 0 or the errno: ENOENT if there is no such program.
 */
static int spawn_helper(const char *program, char *mountpoint, char *options, int socket, int complaints, pid_t *pid) {
  char *const with_options[] = {(char *)program, "-o", options, "--", mountpoint, NULL};
  char *const without[] = {(char *)program, "--", mountpoint, NULL};
  char *const environment[] = {"_FUSE_COMMFD=3", "LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE); /* node ignores it, and what is ignored is inherited */
  int error = posix_spawn_file_actions_init(&actions);
  if (error != 0) return error;
  error = posix_spawnattr_init(&attributes);
  if (error != 0) {
    posix_spawn_file_actions_destroy(&actions);
    return error;
  }
  /* Both descriptors are above HELPER_FD, so that neither dup2 overwrites the other's source. */
  (void)(0 || (error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0)) ||
         (error = posix_spawn_file_actions_adddup2(&actions, 0, 1)) ||
         (error = posix_spawn_file_actions_adddup2(&actions, complaints, 2)) ||
         (error = posix_spawn_file_actions_adddup2(&actions, socket, HELPER_FD)) ||
         (error = posix_spawnattr_setsigmask(&attributes, &none)) ||
         (error = posix_spawnattr_setsigdefault(&attributes, &defaults)) ||
         (error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)) ||
         (error = posix_spawnp(pid, program, &actions, &attributes, options[0] == 0 ? without : with_options, environment)));
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

/* Waits until the helper has ended; kills it at the deadline. */
static void reap(pid_t pid, int64_t deadline_ms) {
  for (bool killed = false;;) {
    pid_t ended = waitpid(pid, NULL, killed ? 0 : WNOHANG);
    if (ended == pid || (ended < 0 && errno != EINTR)) return;
    if (ended < 0) continue;
    if (monotonic_ms() >= deadline_ms) {
      kill(pid, SIGKILL);
      killed = true;
    } else {
      poll(NULL, 0, 1);
    }
  }
}

static void close_all(int *fds, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (fds[i] >= 0) close(fds[i]);
  }
}

/* Moves a descriptor out of the numbers that the helper's own take. */
static int raise_fd(int *fd) {
  if (*fd > HELPER_FD) return 0;
  int raised = fcntl(*fd, F_DUPFD_CLOEXEC, HELPER_FD + 1);
  if (raised < 0) return errno;
  close(*fd);
  *fd = raised;
  return 0;
}

static napi_value call_fuse_mount_helper(napi_env env, napi_callback_info info) {
  napi_value arguments[3], result;
  char program[PATH_MAX], mountpoint[PATH_MAX], options[DATA_BYTES];
  if (!get_arguments(env, info, 3, arguments, NULL) ||
      !get_string(env, arguments[0], "program", program, sizeof program) ||
      !get_string(env, arguments[1], "mountpoint", mountpoint, sizeof mountpoint) ||
      !get_string(env, arguments[2], "options", options, sizeof options)) {
    return NULL;
  }
  /* With auto_unmount the helper stays, watching a socket that is closed here: it would unmount at once. */
  if (strstr(options, "auto_unmount") != NULL) return throw_invalid(env, "options must not have auto_unmount");

  /* Ours and the helper's: socket, socket, pipe's read end, pipe's write end. */
  int fds[4] = {-1, -1, -1, -1}, error = 0, fd = -1;
  pid_t pid;
  char complaint[COMPLAINT_BYTES] = "";
  int64_t deadline_ms = monotonic_ms() + HELPER_TIMEOUT_MS;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    fds[0] = fds[1] = -1;
    error = errno;
  } else if (pipe2(fds + 2, O_CLOEXEC | O_NONBLOCK) != 0) {
    fds[2] = fds[3] = -1;
    error = errno;
  } else if ((error = raise_fd(&fds[1])) == 0 && (error = raise_fd(&fds[3])) == 0) {
    error = spawn_helper(program, mountpoint, options, fds[1], fds[3], &pid);
  }
  if (error != 0) {
    close_all(fds, 4);
    return throw_system_error(env, error, "spawn", program);
  }
  close_all(fds + 1, 1);
  close_all(fds + 3, 1);
  fd = receive_fd(fds[0], deadline_ms);
  if (fd < 0) deadline_ms = fd == -ETIMEDOUT ? 0 : deadline_ms;
  reap(pid, deadline_ms);
  read_complaint(fds[2], complaint, sizeof complaint);
  close(fds[0]);
  close(fds[2]);
  if (fd >= 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
    error = errno;
    close(fd);
    fd = -error;
  }
  if (fd < 0) {
    /* The helper gives no errno: it refused, and says why in words. */
    error = fd == -ENOMSG ? EPERM : -fd;
    napi_value object = create_system_error(env, error, program, mountpoint, complaint[0] == 0 ? NULL : complaint);
    if (object == NULL || napi_throw(env, object) != napi_ok) return throw_api_failure(env);
    return NULL;
  }
  if (napi_create_int32(env, fd, &result) != napi_ok) {
    close(fd);
    return throw_api_failure(env);
  }
  return result;
}

static napi_value call_unmount(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  char mountpoint[PATH_MAX];
  bool lazy;
  if (!get_arguments(env, info, 2, arguments, NULL) ||
      !get_string(env, arguments[0], "mountpoint", mountpoint, sizeof mountpoint) ||
      !get_boolean(env, arguments[1], "lazy", &lazy)) {
    return NULL;
  }
  if (umount2(mountpoint, (lazy ? MNT_DETACH : 0) | UMOUNT_NOFOLLOW) != 0) {
    return throw_system_error(env, errno, "umount", mountpoint);
  }
  return NULL;
}

napi_status mount_register(napi_env env, napi_value exports) {
  const napi_property_descriptor properties[] = {
      {"fuseMount", NULL, call_fuse_mount, NULL, NULL, NULL, napi_enumerable, NULL},
      {"fuseMountHelper", NULL, call_fuse_mount_helper, NULL, NULL, NULL, napi_enumerable, NULL},
      {"unmount", NULL, call_unmount, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  return napi_define_properties(env, exports, sizeof properties / sizeof *properties, properties);
}
