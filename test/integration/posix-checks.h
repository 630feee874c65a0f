/*
 * What the posix checks share. A check is a function that runs in an empty directory and ends the process with words on stderr if something
 * is not as it must be; each file of checks has a table of them, and posix-checks.c runs one by its name.
 */
#ifndef POSIX_CHECKS_H
#define POSIX_CHECKS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define EXPECT(condition)                                                                               \
  do {                                                                                                  \
    if (!(condition)) {                                                                                 \
      fprintf(stderr, "line %d: %s (errno %s)\n", __LINE__, #condition, strerrorname_np(errno));        \
      exit(1);                                                                                          \
    }                                                                                                   \
  } while (0)

#define FAILS(call, error)                                                                              \
  do {                                                                                                  \
    errno = 0;                                                                                          \
    EXPECT((call) == -1);                                                                               \
    EXPECT(errno == (error));                                                                           \
  } while (0)

static inline void put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  EXPECT(fd >= 0);
  EXPECT(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
  EXPECT(close(fd) == 0);
}

static inline int holds(const char *path, const char *text) {
  char found[4096] = {0};
  int fd = open(path, O_RDONLY);
  if (fd < 0) return 0;
  ssize_t length = read(fd, found, sizeof found - 1);
  close(fd);
  return length == (ssize_t)strlen(text) && memcmp(found, text, (size_t)length) == 0;
}

static inline int exists(const char *path) { return access(path, F_OK) == 0; }

static inline struct stat look(const char *path) {
  struct stat st;
  EXPECT(lstat(path, &st) == 0);
  return st;
}

static inline int renameat2_(const char *from, const char *to, unsigned flags) {
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

/* A child that must end with 0; the parent goes on with `go` and `wait_for`. */
static inline void in_child(void (*body)(void)) {
  pid_t pid = fork();
  EXPECT(pid >= 0);
  if (pid == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  EXPECT(waitpid(pid, &status, 0) == pid);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* True on a mount of Cairn, which must offer everything that is checked; what another file system lacks ends the check there. */
static inline int on_cairn(void) {
  struct statfs fs;
  EXPECT(statfs(".", &fs) == 0);
  return fs.f_type == 0x65735546;
}

#define OFFERED(condition)                                                                             \
  do {                                                                                                  \
    errno = 0;                                                                                          \
    if (!(condition)) {                                                                                 \
      if (!on_cairn() && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS || errno == EISDIR)) return; \
      EXPECT(condition);                                                                                \
    }                                                                                                   \
  } while (0)

struct check {
  const char *name;
  void (*run)(void);
};

/* Each ends with an entry without a name. */
extern const struct check RANGE_CHECKS[], NAME_CHECKS[], ACCESS_CHECKS[], SHARING_CHECKS[];

#endif
