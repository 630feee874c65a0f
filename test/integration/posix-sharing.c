/* Checks of several handles, processes and ways at once: locks that wait, signals, mappings that outlive descriptors, direct I/O, times of reading. */
#include <poll.h>
#include <signal.h>
#include <time.h>

#include "posix-checks.h"

static void on_alarm(int number) { (void)number; }

static void interrupt_after(int milliseconds) {
  struct sigaction action = {.sa_handler = on_alarm};
  sigaction(SIGALRM, &action, NULL);
  timer_t timer;
  struct itimerspec when = {.it_value = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L},
                            .it_interval = {.tv_nsec = 50000000}};
  EXPECT(timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0 && timer_settime(timer, 0, &when, NULL) == 0);
}

static int lock(int fd, int command, short type, off_t start, off_t length) {
  struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return fcntl(fd, command, &range);
}

/* The lock is held by the parent until it has heard that the child is about to wait. */
static void waiting_for_a_lock(int command, int whole) {
  int hear[2];
  EXPECT(pipe(hear) == 0);
  int fd = open("a", O_RDWR);
  EXPECT((whole ? flock(fd, LOCK_EX) : lock(fd, command, F_WRLCK, 0, 10)) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    int own = open("a", O_RDWR);
    EXPECT(write(hear[1], "w", 1) == 1);
    EXPECT((whole ? flock(own, LOCK_EX) : lock(own, command == F_OFD_SETLK ? F_OFD_SETLKW : F_SETLKW, F_WRLCK, 5, 10)) == 0);
    char text[4] = {0};
    EXPECT(pread(own, text, 3, 0) == 3 && strcmp(text, "yes") == 0);
    _exit(0);
  }
  char word;
  EXPECT(read(hear[0], &word, 1) == 1);
  EXPECT(pwrite(fd, "yes", 3, 0) == 3);
  EXPECT((whole ? flock(fd, LOCK_UN) : lock(fd, command, F_UNLCK, 0, 10)) == 0);
  int status = 0;
  EXPECT(waitpid(pid, &status, 0) == pid && status == 0 && close(fd) == 0);
}

static void blocking_locks(void) {
  put("a", "no!");
  waiting_for_a_lock(F_SETLK, 0);
  put("a", "no!");
  waiting_for_a_lock(F_OFD_SETLK, 0);
  put("a", "no!");
  waiting_for_a_lock(0, 1);
}

static void interrupted_locks(void) {
  put("a", "");
  int fd = open("a", O_RDWR);
  EXPECT(flock(fd, LOCK_EX) == 0 && lock(fd, F_OFD_SETLK, F_WRLCK, 0, 0) == 0);
  interrupt_after(20);
  int other = open("a", O_RDWR);
  FAILS(flock(other, LOCK_EX), EINTR);
  FAILS(lock(other, F_OFD_SETLKW, F_WRLCK, 0, 0), EINTR);
  /* Closing any descriptor gives the process's own locks back, not those of the open file. */
  EXPECT(close(fd) == 0 && flock(other, LOCK_EX | LOCK_NB) == 0 && lock(other, F_OFD_SETLK, F_WRLCK, 0, 0) == 0);
}

static void lock_and_hold(void) {
  int fd = open("a", O_RDWR);
  EXPECT(lock(fd, F_SETLK, F_WRLCK, 0, 0) == 0 && flock(open("a", O_RDWR), LOCK_EX) == 0);
  kill(getpid(), SIGKILL);
}

static void locks_of_the_dead(void) {
  put("a", "");
  pid_t pid = fork();
  if (pid == 0) lock_and_hold();
  int status = 0;
  EXPECT(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
  int fd = open("a", O_RDWR);
  EXPECT(lock(fd, F_SETLK, F_WRLCK, 0, 0) == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
}

static void coherent_handles(void) {
  put("a", "0123456789");
  int one = open("a", O_RDWR), two = open("a", O_RDWR), writing = open("a", O_WRONLY), direct = open("a", O_RDWR | O_DIRECT);
  char text[16] = {0}, *block = aligned_alloc(4096, 4096);
  EXPECT(pread(two, text, 10, 0) == 10 && pwrite(one, "one", 3, 0) == 3 && pread(two, text, 3, 0) == 3 && memcmp(text, "one", 3) == 0);
  EXPECT(pwrite(writing, "two", 3, 3) == 3 && pread(one, text, 6, 0) == 6 && memcmp(text, "onetwo", 6) == 0);
  if (direct >= 0) {
    EXPECT(pread(direct, block, 4096, 0) == 10 && memcmp(block, "onetwo6789", 10) == 0);
    memset(block, 'D', 4096);
    EXPECT(pwrite(direct, block, 4096, 0) == 4096 && pread(two, text, 2, 4094) == 2 && text[1] == 'D' && look("a").st_size == 4096);
  }
  EXPECT(ftruncate(one, 5) == 0 && pread(two, text, 16, 0) == 5 && pwrite(two, "x", 1, 6) == 1 && pread(one, text, 16, 0) == 7 && text[5] == 0);
  volatile char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, two, 0);
  EXPECT(map != MAP_FAILED && pwrite(writing, "mapped", 6, 0) == 6 && map[0] == 'm' && map[5] == 'd');
}

/* What is written to a mapping after its file was closed, and even removed, is kept. */
static void mapping_outlives_descriptor(void) {
  const size_t size = 3 << 20;
  int fd = open("a", O_RDWR | O_CREAT, 0644);
  EXPECT(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
  char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  EXPECT(map != MAP_FAILED && close(fd) == 0);
  memset(map, 'm', size);
  EXPECT(msync(map, 4096, MS_SYNC) == 0);
  map[size - 1] = 'e';
  EXPECT(munmap(map, size) == 0);
  fd = open("a", O_RDWR);
  char *found = malloc(size);
  EXPECT(read(fd, found, size) == (ssize_t)size && found[0] == 'm' && found[size - 2] == 'm' && found[size - 1] == 'e');
  map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  EXPECT(unlink("a") == 0 && close(fd) == 0);
  map[0] = 'x';
  EXPECT(msync(map, 4096, MS_SYNC) == 0 && map[0] == 'x' && map[1] == 'm' && munmap(map, 4096) == 0);
}

static void direct_every_mode(void) {
  char *block = aligned_alloc(4096, 65536), *found = aligned_alloc(4096, 65536);
  memset(block, 'd', 65536);
  const int access[] = {O_WRONLY, O_RDWR};
  for (int i = 0; i < 2; i++) {
    int fd = open("a", access[i] | O_CREAT | O_TRUNC | O_DIRECT, 0644);
    OFFERED(fd >= 0);
    EXPECT(pwrite(fd, block, 65536, 0) == 65536 && pwrite(fd, block, 4096, 1 << 20) == 4096 && fdatasync(fd) == 0);
    EXPECT(ftruncate(fd, 4096) == 0 && pwrite(fd, block, 4096, 8192) == 4096 && close(fd) == 0);
    fd = open("a", O_RDONLY | O_DIRECT);
    EXPECT(pread(fd, found, 65536, 0) == 12288 && found[4095] == 'd' && found[4096] == 0 && found[8192] == 'd');
    EXPECT(pread(fd, found, 4096, 65536) == 0 && close(fd) == 0);
  }
  int fd = open("log", O_WRONLY | O_CREAT | O_APPEND | O_DIRECT | O_DSYNC, 0644);
  for (int i = 0; i < 4; i++) EXPECT(write(fd, block, 4096) == 4096);
  EXPECT(look("log").st_size == 16384);
  /* The flag may come and go while the file is open, also while it is mapped. */
  int mixed = open("log", O_RDWR);
  volatile char *map = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, mixed, 0);
  map[4096] = 'M';
  EXPECT(fcntl(mixed, F_SETFL, O_DIRECT) == 0 && pread(mixed, found, 4096, 4096) == 4096 && found[0] == 'M' && found[1] == 'd');
  memset(block, 'e', 4096);
  EXPECT(pwrite(mixed, block, 4096, 4096) == 4096 && map[4096] == 'e' && fcntl(mixed, F_SETFL, 0) == 0);
  EXPECT(pread(mixed, found, 1, 4100) == 1 && found[0] == 'e');
}

static void poll_is_ready(void) {
  put("a", "a");
  struct pollfd file = {.fd = open("a", O_RDWR), .events = POLLIN | POLLOUT};
  EXPECT(poll(&file, 1, -1) == 1 && file.revents == (POLLIN | POLLOUT));
  fd_set set;
  FD_ZERO(&set);
  FD_SET(file.fd, &set);
  EXPECT(select(file.fd + 1, &set, NULL, NULL, NULL) == 1 && FD_ISSET(file.fd, &set));
}

static void set_times(const char *path, time_t atime, time_t mtime) {
  struct timespec times[2] = {{.tv_sec = atime}, {.tv_sec = mtime}};
  EXPECT(utimensat(AT_FDCWD, path, times, 0) == 0);
}

static time_t read_at(const char *path) {
  EXPECT(holds(path, "text"));
  return look(path).st_atim.tv_sec;
}

/* relatime: reading counts where the file has changed since it was last read, or that was more than a day ago. */
static void times_of_reading(void) {
  const struct timespec later = {.tv_nsec = 20000000};
  time_t now = time(NULL);
  put("changed", "text");
  set_times("changed", now - 1000, now - 500);
  put("read", "text");
  nanosleep(&later, NULL);
  EXPECT(read_at("changed") >= now);
  time_t once = read_at("read");
  struct stat before = look("changed");
  nanosleep(&later, NULL);
  EXPECT(read_at("changed") >= once);
  struct stat after = look("changed");
  EXPECT(before.st_atim.tv_sec == after.st_atim.tv_sec && before.st_atim.tv_nsec == after.st_atim.tv_nsec);
  EXPECT(before.st_ctim.tv_nsec == after.st_ctim.tv_nsec && before.st_mtim.tv_sec == now - 500);
  set_times("changed", now - 200000, now - 300000);
  EXPECT(read_at("changed") >= now);
  /* Not with O_NOATIME. */
  set_times("changed", now - 1000, now - 500);
  char text[8];
  int fd = open("changed", O_RDONLY | O_NOATIME);
  EXPECT(fd >= 0 && read(fd, text, 8) == 4 && close(fd) == 0 && look("changed").st_atim.tv_sec == now - 1000);
  EXPECT(mkdir("d", 0755) == 0);
  set_times("d", now - 1000, now - 500);
  DIR *dir = opendir("d");
  while (readdir(dir) != NULL) continue;
  EXPECT(closedir(dir) == 0 && look("d").st_atim.tv_sec >= now);
}

static void birth_time(void) {
  struct statx before, after;
  put("a", "a");
  EXPECT(statx(AT_FDCWD, "a", 0, STATX_ALL, &before) == 0);
  if (!on_cairn() && !(before.stx_mask & STATX_BTIME)) return;
  EXPECT((before.stx_mask & STATX_BTIME) != 0 && before.stx_btime.tv_sec >= time(NULL) - 60);
  put("a", "later");
  EXPECT(rename("a", "b") == 0 && chmod("b", 0600) == 0 && statx(AT_FDCWD, "b", 0, STATX_ALL, &after) == 0);
  EXPECT(before.stx_btime.tv_sec == after.stx_btime.tv_sec && before.stx_btime.tv_nsec == after.stx_btime.tv_nsec);
  EXPECT(after.stx_mtime.tv_sec > after.stx_btime.tv_sec || after.stx_mtime.tv_nsec >= after.stx_btime.tv_nsec);
}

static void directory_sync(void) {
  EXPECT(mkdir("d", 0755) == 0);
  int dir = open("d", O_RDONLY | O_DIRECTORY);
  put("d/a", "a");
  EXPECT(fsync(dir) == 0 && rename("d/a", "d/b") == 0 && fdatasync(dir) == 0 && syncfs(dir) == 0 && close(dir) == 0);
}

#define LASTING 300

/* Names that come and go between those that last, until the other end of the pipe is closed. */
static void churn(int stop) {
  char path[64];
  fcntl(stop, F_SETFL, O_NONBLOCK);
  for (unsigned i = 0; read(stop, path, 1) != 0; i++) {
    snprintf(path, sizeof path, "d/last%03u-gone", i * 37 % LASTING);
    put(path, "");
    snprintf(path, sizeof path, "d/last%03u-gone", (i * 37 + 50) % LASTING);
    unlink(path);
    if (i % 8 == 0) usleep(2000);
  }
  exit(0);
}

/* One pass in calls of random size; now and then a part is read again, or by another descriptor. Every name that lasts comes once. */
static void pass(int *fd) {
  struct dirent64 *entry;
  _Alignas(struct dirent64) char buffer[8192];
  int seen[LASTING] = {0};
  EXPECT(lseek(*fd, 0, SEEK_SET) == 0);
  for (;;) {
    long got = syscall(SYS_getdents64, *fd, buffer, 400 + rand() % 7000);
    EXPECT(got >= 0);
    if (got == 0) break;
    off_t position = 0;
    long end = rand() % 4 == 0 ? got / 2 : got;
    for (long at = 0; at < got && (at == 0 || at < end); at += entry->d_reclen) {
      entry = (struct dirent64 *)(buffer + at);
      position = entry->d_off;
      if (strncmp(entry->d_name, "last", 4) == 0 && strlen(entry->d_name) == 7) seen[atoi(entry->d_name + 4)]++;
    }
    if (end == got) continue;
    if (rand() % 2 == 0) {
      int other = open("d", O_RDONLY | O_DIRECTORY);
      EXPECT(other >= 0);
      close(*fd);
      *fd = other;
    }
    EXPECT(lseek(*fd, position, SEEK_SET) == position);
  }
  for (int i = 0; i < LASTING; i++) EXPECT(seen[i] == 1);
}

static void listings_of_what_changes(void) {
  char path[64];
  int stop[2];
  /* One of 3,000 passes over a directory of ext4 that is split meanwhile gives a name twice; on tmpfs none was seen. */
  if (!on_cairn()) return;
  EXPECT(mkdir("d", 0755) == 0 && pipe(stop) == 0);
  for (int i = 0; i < LASTING; i++) {
    snprintf(path, sizeof path, "d/last%03d", i);
    put(path, "");
  }
  pid_t churning = fork();
  if (churning == 0) {
    close(stop[1]);
    churn(stop[0]);
  }
  pid_t listers[3];
  for (int k = 0; k < 3; k++) {
    listers[k] = fork();
    if (listers[k] != 0) continue;
    close(stop[1]);
    srand(k + 1);
    int fd = open("d", O_RDONLY | O_DIRECTORY);
    EXPECT(fd >= 0);
    for (int i = 0; i < 30; i++) pass(&fd);
    exit(0);
  }
  int status, failed = 0;
  for (int k = 0; k < 3; k++) {
    EXPECT(waitpid(listers[k], &status, 0) == listers[k]);
    failed |= status;
  }
  close(stop[1]);
  EXPECT(waitpid(churning, &status, 0) == churning);
  EXPECT(failed == 0 && status == 0);
}

const struct check SHARING_CHECKS[] = {
    {"locks that wait", blocking_locks},
    {"locks that are interrupted", interrupted_locks},
    {"locks of a killed process", locks_of_the_dead},
    {"coherent handles", coherent_handles},
    {"a mapping outlives its descriptor", mapping_outlives_descriptor},
    {"O_DIRECT in every mode", direct_every_mode},
    {"poll", poll_is_ready},
    {"times of reading", times_of_reading},
    {"birth time", birth_time},
    {"sync of directories", directory_sync},
    {"listings of what changes", listings_of_what_changes},
    {NULL, NULL},
};
