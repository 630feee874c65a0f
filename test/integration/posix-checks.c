/*
 * What ordinary programs expect of a file system, one check each, run in an empty directory. `posix-checks --list` prints the names;
 * `posix-checks NAME DIRECTORY` ends with 0, or says on stderr what was expected in which line. posix.test.ts runs every check on the
 * system's own file system first: a check that fails there says nothing about Cairn.
 */
#include "posix-checks.h"

static void rename_replaces(void) {
  put("a", "a");
  put("b", "b");
  ino_t ino = look("a").st_ino;
  EXPECT(rename("a", "b") == 0);
  EXPECT(!exists("a") && holds("b", "a") && look("b").st_ino == ino);
  EXPECT(mkdir("d", 0755) == 0 && mkdir("full", 0755) == 0);
  put("full/x", "x");
  FAILS(rename("b", "d"), EISDIR);
  FAILS(rename("d", "b"), ENOTDIR);
  FAILS(rename("d", "full"), ENOTEMPTY);
  FAILS(rename("full", "full/below"), EINVAL);
  FAILS(rename("nothing", "b"), ENOENT);
  EXPECT(rename("full", "d") == 0 && holds("d/x", "x") && !exists("full"));
  EXPECT(rename("b", "b") == 0 && holds("b", "a"));
}

static void rename_noreplace(void) {
  put("a", "a");
  put("b", "b");
  FAILS(renameat2_("a", "b", RENAME_NOREPLACE), EEXIST);
  EXPECT(holds("a", "a") && holds("b", "b"));
  EXPECT(renameat2_("a", "c", RENAME_NOREPLACE) == 0);
  EXPECT(!exists("a") && holds("c", "a"));
}

static void rename_exchange(void) {
  put("a", "a");
  EXPECT(mkdir("d", 0755) == 0);
  put("d/x", "x");
  EXPECT(renameat2_("a", "d", RENAME_EXCHANGE) == 0);
  EXPECT(holds("d", "a") && holds("a/x", "x") && S_ISDIR(look("a").st_mode));
  FAILS(renameat2_("a", "nothing", RENAME_EXCHANGE), ENOENT);
  put("other", "other");
  EXPECT(renameat2_("d", "other", RENAME_EXCHANGE) == 0 && holds("d", "other") && holds("other", "a"));
}

static void rename_open_file(void) {
  put("a", "one");
  put("b", "two");
  int a = open("a", O_RDWR), b = open("b", O_RDWR);
  EXPECT(a >= 0 && b >= 0 && rename("a", "b") == 0);
  char text[4] = {0};
  EXPECT(pread(b, text, 3, 0) == 3 && strcmp(text, "two") == 0);
  EXPECT(pwrite(b, "TWO", 3, 0) == 3 && pread(b, text, 3, 0) == 3 && strcmp(text, "TWO") == 0);
  EXPECT(pwrite(a, "ONE", 3, 0) == 3 && holds("b", "ONE"));
  EXPECT(close(a) == 0 && close(b) == 0);
}

static void unlink_while_open(void) {
  int fd = open("a", O_RDWR | O_CREAT, 0644);
  EXPECT(fd >= 0 && write(fd, "before", 6) == 6 && unlink("a") == 0 && !exists("a"));
  struct stat st;
  EXPECT(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 6);
  char text[16] = {0};
  EXPECT(pwrite(fd, "after", 5, 6) == 5 && pread(fd, text, 11, 0) == 11 && strcmp(text, "beforeafter") == 0);
  EXPECT(fsync(fd) == 0 && ftruncate(fd, 3) == 0 && fstat(fd, &st) == 0 && st.st_size == 3);
  put("a", "another");
  EXPECT(pread(fd, text, 16, 0) == 3 && holds("a", "another") && close(fd) == 0 && holds("a", "another"));
}

static void hard_links(void) {
  put("a", "text");
  EXPECT(mkdir("d", 0755) == 0 && link("a", "d/b") == 0);
  EXPECT(look("a").st_nlink == 2 && look("a").st_ino == look("d/b").st_ino);
  FAILS(link("a", "d/b"), EEXIST);
  FAILS(link("d", "e"), EPERM);
  put("d/b", "changed");
  EXPECT(holds("a", "changed") && rename("a", "d/b") == 0 && exists("a"));
  EXPECT(unlink("a") == 0 && look("d/b").st_nlink == 1 && holds("d/b", "changed"));
}

static void symlinks(void) {
  char target[PATH_MAX];
  EXPECT(symlink("a", "link") == 0 && readlink("link", target, sizeof target) == 1 && target[0] == 'a');
  EXPECT(!exists("link") && look("link").st_size == 1 && S_ISLNK(look("link").st_mode));
  put("link", "through");
  EXPECT(holds("a", "through"));
  EXPECT(symlink("loop", "loop") == 0);
  FAILS(open("loop", O_RDONLY), ELOOP);
  FAILS(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
  char longest[4096];
  memset(longest, 'x', sizeof longest);
  longest[4000] = '\0';
  EXPECT(symlink(longest, "long") == 0 && readlink("long", target, sizeof target) == 4000);
}

static void append_writes(void) {
  put("log", "");
  int a = open("log", O_WRONLY | O_APPEND), b = open("log", O_WRONLY | O_APPEND);
  EXPECT(a >= 0 && b >= 0);
  for (int i = 0; i < 50; i++) EXPECT(write(i % 2 ? a : b, i % 2 ? "a" : "b", 1) == 1);
  EXPECT(look("log").st_size == 50);
  EXPECT(lseek(a, 0, SEEK_SET) == 0 && write(a, "end", 3) == 3 && look("log").st_size == 53);
  EXPECT(close(a) == 0 && close(b) == 0);
}

/* Lines of two processes, none lost, none torn. */
static void append_line(void) {
  int fd = open("log", O_WRONLY | O_APPEND);
  EXPECT(fd >= 0);
  char line[101];
  memset(line, 'a' + getpid() % 26, 100);
  line[99] = '\n';
  for (int i = 0; i < 300; i++) EXPECT(write(fd, line, 100) == 100);
  EXPECT(close(fd) == 0);
}

static void append_from_two_processes(void) {
  put("log", "");
  pid_t pid = fork();
  EXPECT(pid >= 0);
  append_line();
  if (pid == 0) _exit(0);
  int status = 0;
  EXPECT(waitpid(pid, &status, 0) == pid && status == 0 && look("log").st_size == 60000);
  int fd = open("log", O_RDONLY);
  char line[100];
  for (int i = 0; i < 600; i++) {
    EXPECT(read(fd, line, 100) == 100 && line[99] == '\n');
    for (int j = 1; j < 99; j++) EXPECT(line[j] == line[0]);
  }
}

static void truncates(void) {
  put("a", "0123456789");
  EXPECT(truncate("a", 4) == 0 && holds("a", "0123"));
  EXPECT(truncate("a", 8) == 0 && look("a").st_size == 8);
  char text[9] = {1};
  int fd = open("a", O_RDWR);
  EXPECT(read(fd, text, 9) == 8 && memcmp(text, "0123\0\0\0\0", 8) == 0);
  EXPECT(ftruncate(fd, 0) == 0 && pread(fd, text, 9, 0) == 0);
  EXPECT(ftruncate(fd, (off_t)1 << 40) == 0 && look("a").st_size == (off_t)1 << 40);
  EXPECT(pwrite(fd, "end", 3, ((off_t)1 << 40) - 3) == 3 && pread(fd, text, 9, ((off_t)1 << 40) - 4) == 4);
  EXPECT(memcmp(text, "\0end", 4) == 0);
  FAILS(ftruncate(fd, -1), EINVAL);
  EXPECT(close(fd) == 0);
  FAILS(truncate("nothing", 0), ENOENT);
}

static void truncate_at_open(void) {
  put("a", "text");
  int old = open("a", O_RDONLY);
  int fd = open("a", O_WRONLY | O_TRUNC);
  char text[5];
  EXPECT(fd >= 0 && read(old, text, 4) == 0 && write(fd, "x", 1) == 1 && close(fd) == 0 && holds("a", "x"));
  FAILS(open("a", O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST);
}

static void fallocate_and_punch(void) {
  int fd = open("a", O_RDWR | O_CREAT, 0644);
  char *page = malloc(300000), *found = malloc(300000);
  memset(page, 'x', 300000);
  EXPECT(fd >= 0 && write(fd, page, 300000) == 300000);
  EXPECT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 50001, 100000) == 0);
  memset(page + 50001, 0, 100000);
  EXPECT(pread(fd, found, 300000, 0) == 300000 && memcmp(page, found, 300000) == 0);
  EXPECT(fallocate(fd, 0, 300000, 50000) == 0 && look("a").st_size == 350000);
  EXPECT(fallocate(fd, FALLOC_FL_KEEP_SIZE, 350000, 50000) == 0 && look("a").st_size == 350000);
  EXPECT(pread(fd, found, 60000, 300000) == 50000);
  for (int i = 0; i < 50000; i++) EXPECT(found[i] == 0);
  EXPECT(posix_fallocate(fd, 0, 1000) == 0 && pread(fd, found, 300000, 0) == 300000 && memcmp(page, found, 300000) == 0);
  FAILS(fallocate(fd, 0, 0, 0), EINVAL);
  EXPECT(close(fd) == 0);
}

static void seek_data_and_hole(void) {
  int fd = open("a", O_RDWR | O_CREAT, 0644);
  char block[65536];
  memset(block, 'x', sizeof block);
  EXPECT(fd >= 0 && ftruncate(fd, 4 << 20) == 0 && pwrite(fd, block, sizeof block, 1 << 20) == sizeof block);
  EXPECT(fsync(fd) == 0);
  EXPECT(lseek(fd, 0, SEEK_DATA) == 1 << 20);
  EXPECT(lseek(fd, 1 << 20, SEEK_HOLE) == (1 << 20) + (off_t)sizeof block);
  EXPECT(lseek(fd, 0, SEEK_HOLE) == 0);
  FAILS(lseek(fd, 2 << 20, SEEK_DATA), ENXIO);
  FAILS(lseek(fd, 4 << 20, SEEK_HOLE), ENXIO);
  EXPECT(lseek(fd, 0, SEEK_END) == 4 << 20 && close(fd) == 0);
}

static void mmap_child(void) {
  int fd = open("shared", O_RDWR);
  volatile char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  EXPECT(map != MAP_FAILED && map[0] == 'p' && map[5000] == 'P');
  map[1] = 'c';
  map[5001] = 'C';
}

static void mmap_shared(void) {
  int fd = open("shared", O_RDWR | O_CREAT, 0644);
  EXPECT(fd >= 0 && ftruncate(fd, 8192) == 0);
  volatile char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  EXPECT(map != MAP_FAILED);
  map[0] = 'p';
  map[5000] = 'P';
  in_child(mmap_child);
  EXPECT(map[1] == 'c' && map[5001] == 'C');
  char text[2];
  /* Reads and writes see the mapping, and it sees them. */
  EXPECT(pread(fd, text, 2, 5000) == 2 && text[0] == 'P' && text[1] == 'C');
  EXPECT(pwrite(fd, "w", 1, 100) == 1 && map[100] == 'w');
  EXPECT(msync((void *)map, 8192, MS_SYNC) == 0 && close(fd) == 0);
  map[2] = 'l';
  EXPECT(munmap((void *)map, 8192) == 0);
  fd = open("shared", O_RDONLY);
  EXPECT(read(fd, text, 2) == 2 && memcmp(text, "pc", 2) == 0 && read(fd, text, 1) == 1 && text[0] == 'l');
}

static void mmap_private(void) {
  put("a", "text");
  int fd = open("a", O_RDONLY);
  char *map = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  EXPECT(map != MAP_FAILED && memcmp(map, "text", 4) == 0);
  map[0] = 'T';
  EXPECT(holds("a", "text"));
}

static void flock_child(void) {
  int fd = open("a", O_RDWR);
  FAILS(flock(fd, LOCK_EX | LOCK_NB), EWOULDBLOCK);
  FAILS(flock(fd, LOCK_SH | LOCK_NB), EWOULDBLOCK);
}

static void flock_shared_child(void) {
  int fd = open("a", O_RDWR);
  EXPECT(flock(fd, LOCK_SH | LOCK_NB) == 0);
  FAILS(flock(fd, LOCK_EX | LOCK_NB), EWOULDBLOCK);
}

static void flock_free_child(void) {
  int fd = open("a", O_RDWR);
  EXPECT(flock(fd, LOCK_EX | LOCK_NB) == 0);
}

static void flock_locks(void) {
  put("a", "");
  int fd = open("a", O_RDWR);
  EXPECT(fd >= 0 && flock(fd, LOCK_EX) == 0);
  in_child(flock_child);
  EXPECT(flock(fd, LOCK_SH) == 0);
  in_child(flock_shared_child);
  EXPECT(close(fd) == 0);
  in_child(flock_free_child);
}

static struct flock range(short type, off_t start, off_t length) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return lock;
}

static void fcntl_child(void) {
  int fd = open("a", O_RDWR);
  struct flock taken = range(F_WRLCK, 15, 1), free_ = range(F_WRLCK, 30, 10), shared = range(F_RDLCK, 50, 1);
  errno = 0;
  EXPECT(fcntl(fd, F_SETLK, &taken) == -1 && (errno == EAGAIN || errno == EACCES));
  EXPECT(fcntl(fd, F_SETLK, &free_) == 0 && fcntl(fd, F_SETLK, &shared) == 0);
  struct flock query = range(F_WRLCK, 0, 0);
  EXPECT(fcntl(fd, F_GETLK, &query) == 0 && query.l_type == F_WRLCK && query.l_start == 10 && query.l_len == 10);
  EXPECT(query.l_pid == getppid());
}

static void fcntl_locks(void) {
  put("a", "");
  int fd = open("a", O_RDWR);
  struct flock exclusive = range(F_WRLCK, 10, 10), shared = range(F_RDLCK, 50, 10), release = range(F_UNLCK, 0, 0);
  EXPECT(fcntl(fd, F_SETLK, &exclusive) == 0 && fcntl(fd, F_SETLK, &shared) == 0);
  in_child(fcntl_child);
  EXPECT(fcntl(fd, F_SETLK, &release) == 0);
  struct flock query = range(F_WRLCK, 0, 0);
  EXPECT(fcntl(fd, F_GETLK, &query) == 0 && query.l_type == F_UNLCK);
  struct flock own = range(F_WRLCK, 0, 5);
  EXPECT(fcntl(fd, F_OFD_SETLK, &own) == 0);
  int other = open("a", O_RDWR);
  FAILS(fcntl(other, F_OFD_SETLK, &own), EAGAIN);
}

static void xattrs(void) {
  char value[70000], list[4096];
  put("a", "");
  EXPECT(setxattr("a", "user.one", "1", 1, 0) == 0 && setxattr("a", "user.empty", "", 0, XATTR_CREATE) == 0);
  FAILS(setxattr("a", "user.one", "2", 1, XATTR_CREATE), EEXIST);
  FAILS(setxattr("a", "user.two", "2", 1, XATTR_REPLACE), ENODATA);
  EXPECT(getxattr("a", "user.one", value, sizeof value) == 1 && value[0] == '1');
  EXPECT(getxattr("a", "user.empty", value, sizeof value) == 0 && getxattr("a", "user.one", NULL, 0) == 1);
  FAILS(getxattr("a", "user.two", value, sizeof value), ENODATA);
  EXPECT(setxattr("a", "user.one", "longer", 6, XATTR_REPLACE) == 0);
  FAILS(getxattr("a", "user.one", value, 3), ERANGE);
  EXPECT(listxattr("a", list, sizeof list) == 9 + 11);
  memset(value, 'v', sizeof value);
  EXPECT(setxattr("a", "user.large", value, 3000, 0) == 0 && getxattr("a", "user.large", value, sizeof value) == 3000);
  EXPECT(removexattr("a", "user.large") == 0 && removexattr("a", "user.empty") == 0);
  FAILS(removexattr("a", "user.empty"), ENODATA);
  EXPECT(listxattr("a", list, sizeof list) == 9 && strcmp(list, "user.one") == 0);
  EXPECT(mkdir("d", 0755) == 0 && setxattr("d", "user.dir", "d", 1, 0) == 0 && getxattr("d", "user.dir", value, 10) == 1);
}

static void times(void) {
  put("a", "");
  struct timespec set[2] = {{.tv_sec = -86400 * 365, .tv_nsec = 1}, {.tv_sec = 4102444800, .tv_nsec = 999999999}};
  EXPECT(utimensat(AT_FDCWD, "a", set, 0) == 0);
  struct stat st = look("a");
  EXPECT(st.st_atim.tv_sec == set[0].tv_sec && st.st_atim.tv_nsec == 1);
  EXPECT(st.st_mtim.tv_sec == set[1].tv_sec && st.st_mtim.tv_nsec == 999999999);
  struct timespec some[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
  EXPECT(utimensat(AT_FDCWD, "a", some, 0) == 0);
  st = look("a");
  EXPECT(st.st_atim.tv_sec == set[0].tv_sec && st.st_mtim.tv_sec < set[1].tv_sec && st.st_mtim.tv_sec > 1600000000);
  EXPECT(symlink("a", "link") == 0 && utimensat(AT_FDCWD, "link", set, AT_SYMLINK_NOFOLLOW) == 0);
  EXPECT(look("link").st_mtim.tv_nsec == 999999999 && look("a").st_mtim.tv_sec < set[1].tv_sec);
  /* What changes what. */
  EXPECT(mkdir("d", 0755) == 0);
  struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
  EXPECT(utimensat(AT_FDCWD, "d", old, 0) == 0 && utimensat(AT_FDCWD, "a", old, 0) == 0);
  put("d/x", "x");
  EXPECT(look("d").st_mtim.tv_sec > 1000);
  EXPECT(chmod("a", 0600) == 0 && look("a").st_mtim.tv_sec == 1000 && look("a").st_ctim.tv_sec > 1000);
  put("a", "written");
  EXPECT(look("a").st_mtim.tv_sec > 1000);
}

static void modes_and_owners(void) {
  umask(027);
  EXPECT(close(open("a", O_CREAT | O_WRONLY, 0666)) == 0 && (look("a").st_mode & 07777) == 0640);
  EXPECT(mkdir("d", 0777) == 0 && (look("d").st_mode & 07777) == 0750);
  EXPECT(chmod("a", 04755) == 0 && (look("a").st_mode & 07777) == 04755);
  EXPECT(chmod("d", 01777) == 0 && (look("d").st_mode & 07777) == 01777);
  if (geteuid() != 0) return;
  EXPECT(chown("a", 1234, 5678) == 0 && look("a").st_uid == 1234 && look("a").st_gid == 5678);
  EXPECT((look("a").st_mode & 07777) == 0755);
  EXPECT(chown("a", -1, 99) == 0 && look("a").st_uid == 1234 && look("a").st_gid == 99);
  EXPECT(chmod("d", 02755) == 0 && chown("d", 0, 77) == 0 && chmod("d", 02755) == 0);
  EXPECT(mkdir("d/e", 0755) == 0 && look("d/e").st_gid == 77 && (look("d/e").st_mode & S_ISGID) != 0);
}

static void kinds(void) {
  EXPECT(mkfifo("fifo", 0644) == 0 && S_ISFIFO(look("fifo").st_mode));
  if (geteuid() == 0) {
    EXPECT(mknod("device", S_IFCHR | 0600, (1 << 8) | 3) == 0);
    EXPECT(S_ISCHR(look("device").st_mode) && look("device").st_rdev == ((1 << 8) | 3));
  }
  EXPECT(mknod("file", S_IFREG | 0600, 0) == 0 && S_ISREG(look("file").st_mode));
}

static void make_entries(int count) {
  char name[64];
  for (int i = 0; i < count; i++) {
    snprintf(name, sizeof name, "entry-%05d", i);
    int fd = open(name, O_CREAT | O_WRONLY, 0644);
    EXPECT(fd >= 0 && close(fd) == 0);
  }
}

/* Entries removed and made while a listing goes on: every one that stays is listed once. */
static void readdir_while_removing(void) {
  enum { COUNT = 2000 };
  make_entries(COUNT);
  static unsigned char seen[COUNT];
  int removed = 0;
  DIR *dir = opendir(".");
  EXPECT(dir != NULL);
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    int number;
    if (sscanf(entry->d_name, "entry-%d", &number) != 1) continue;
    EXPECT(number >= COUNT || !seen[number]);
    if (number < COUNT) seen[number] = 1;
    /* What has been listed goes, as rm -r does it; every third stays. */
    if (number % 3 != 0) {
      EXPECT(unlink(entry->d_name) == 0);
      removed++;
    }
    char name[64];
    if (number % 100 == 0) {
      snprintf(name, sizeof name, "entry-9%05d", number);
      EXPECT(close(open(name, O_CREAT | O_WRONLY, 0644)) == 0);
    }
  }
  for (int i = 0; i < COUNT; i++) EXPECT(seen[i]);
  EXPECT(removed >= COUNT * 2 / 3);
  rewinddir(dir);
  int left = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) left += entry->d_name[0] == 'e';
  EXPECT(left >= COUNT / 3);
  EXPECT(closedir(dir) == 0);
}

static void seekdir_goes_back(void) {
  make_entries(600);
  DIR *dir = opendir(".");
  long positions[700];
  char names[700][64];
  int count = 0;
  for (;;) {
    positions[count] = telldir(dir);
    struct dirent *entry = readdir(dir);
    if (entry == NULL) break;
    strncpy(names[count++], entry->d_name, 63);
  }
  EXPECT(count == 602);
  for (int i = 600; i >= 0; i -= 37) {
    seekdir(dir, positions[i]);
    EXPECT(strcmp(readdir(dir)->d_name, names[i]) == 0);
  }
}

static void directories(void) {
  EXPECT(mkdir("d", 0755) == 0 && look("d").st_nlink >= 1);
  FAILS(mkdir("d", 0755), EEXIST);
  put("d/x", "x");
  FAILS(rmdir("d"), ENOTEMPTY);
  FAILS(unlink("d"), EISDIR);
  FAILS(rmdir("d/x"), ENOTDIR);
  FAILS(open("d/x/y", O_RDONLY), ENOTDIR);
  FAILS(open("d", O_WRONLY), EISDIR);
  FAILS(rmdir("nothing"), ENOENT);
  int fd = open("d", O_RDONLY | O_DIRECTORY);
  EXPECT(fd >= 0 && fsync(fd) == 0 && fdatasync(fd) == 0);
  EXPECT(unlinkat(fd, "x", 0) == 0 && rmdir("d") == 0 && !exists("d"));
  FAILS(openat(fd, "y", O_CREAT | O_WRONLY, 0644), ENOENT);
  EXPECT(close(fd) == 0);
}

static void statfs_says(void) {
  struct statvfs before;
  EXPECT(statvfs(".", &before) == 0 && before.f_bsize > 0 && before.f_blocks > 0 && before.f_namemax == 255);
  EXPECT(before.f_bavail <= before.f_bfree && before.f_bfree <= before.f_blocks);
}

static void long_names(void) {
  char name[300];
  memset(name, 'n', sizeof name);
  name[255] = '\0';
  put(name, "long");
  EXPECT(holds(name, "long"));
  DIR *dir = opendir(".");
  int found = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) found += strcmp(entry->d_name, name) == 0;
  EXPECT(found == 1);
  name[255] = 'n';
  name[256] = '\0';
  FAILS(open(name, O_CREAT | O_WRONLY, 0644), ENAMETOOLONG);
  FAILS(mkdir(name, 0755), ENAMETOOLONG);
  FAILS(open(name, O_RDONLY), ENAMETOOLONG);
  put("\xff\xfe \n\t", "bytes");
  EXPECT(holds("\xff\xfe \n\t", "bytes"));
}

static void vectors_and_positions(void) {
  int fd = open("a", O_RDWR | O_CREAT, 0644);
  struct iovec out[3] = {{"one", 3}, {"", 0}, {"two", 3}};
  char a[4] = {0}, b[4] = {0};
  struct iovec in[2] = {{a, 3}, {b, 3}};
  EXPECT(writev(fd, out, 3) == 6 && preadv(fd, in, 2, 0) == 6 && strcmp(a, "one") == 0 && strcmp(b, "two") == 0);
  EXPECT(lseek(fd, 100, SEEK_SET) == 100 && write(fd, "x", 1) == 1 && look("a").st_size == 101);
  EXPECT(pread(fd, a, 3, 50) == 3 && a[0] == 0 && pread(fd, a, 3, 101) == 0);
  FAILS(write(open("a", O_RDONLY), "x", 1), EBADF);
  FAILS(read(open("a", O_WRONLY), a, 1), EBADF);
}

static void copies_within(void) {
  char *block = malloc(1 << 20), *found = malloc(1 << 20);
  for (int i = 0; i < 1 << 20; i++) block[i] = (char)(i * 7 + i / 251);
  int from = open("from", O_RDWR | O_CREAT, 0644), to = open("to", O_RDWR | O_CREAT, 0644);
  EXPECT(write(from, block, 1 << 20) == 1 << 20);
  loff_t at = 0, into = 0;
  while (at < 1 << 20) EXPECT(copy_file_range(from, &at, to, &into, (size_t)((1 << 20) - at), 0) > 0);
  EXPECT(pread(to, found, 1 << 20, 0) == 1 << 20 && memcmp(block, found, 1 << 20) == 0);
}

static void direct_io(void) {
  void *block;
  EXPECT(posix_memalign(&block, 4096, 8192) == 0);
  memset(block, 'd', 8192);
  int fd = open("a", O_RDWR | O_CREAT | O_DIRECT, 0644);
  EXPECT(fd >= 0 && pwrite(fd, block, 8192, 0) == 8192);
  int plain = open("a", O_RDONLY);
  char text[2];
  EXPECT(pread(plain, text, 2, 8190) == 2 && text[1] == 'd');
  memset(block, 'e', 8192);
  EXPECT(pwrite(fd, block, 4096, 4096) == 4096 && pread(plain, text, 2, 4095) == 2 && text[0] == 'd' && text[1] == 'e');
  EXPECT(pread(fd, block, 8192, 0) == 8192 && ((char *)block)[8191] == 'e');
}

static void synced_writes(void) {
  int fd = open("a", O_WRONLY | O_CREAT | O_SYNC, 0644);
  EXPECT(fd >= 0 && write(fd, "synced", 6) == 6 && close(fd) == 0);
  fd = open("a", O_WRONLY | O_APPEND | O_DSYNC);
  EXPECT(fd >= 0 && write(fd, "more", 4) == 4 && fdatasync(fd) == 0 && syncfs(fd) == 0 && close(fd) == 0);
  EXPECT(holds("a", "syncedmore"));
}

static const struct check CHECKS[] = {
    {"rename replaces", rename_replaces},
    {"rename NOREPLACE", rename_noreplace},
    {"rename EXCHANGE", rename_exchange},
    {"rename of open files", rename_open_file},
    {"unlink while open", unlink_while_open},
    {"hard links", hard_links},
    {"symbolic links", symlinks},
    {"O_APPEND", append_writes},
    {"O_APPEND from two processes", append_from_two_processes},
    {"truncate", truncates},
    {"O_TRUNC and O_EXCL", truncate_at_open},
    {"fallocate and punch", fallocate_and_punch},
    {"SEEK_DATA and SEEK_HOLE", seek_data_and_hole},
    {"shared mmap between processes", mmap_shared},
    {"private mmap", mmap_private},
    {"flock", flock_locks},
    {"fcntl locks", fcntl_locks},
    {"extended attributes", xattrs},
    {"times to the nanosecond", times},
    {"modes and owners", modes_and_owners},
    {"fifos and devices", kinds},
    {"readdir of 2,000 while removing", readdir_while_removing},
    {"seekdir", seekdir_goes_back},
    {"directories", directories},
    {"statfs", statfs_says},
    {"names of 255 bytes", long_names},
    {"vectors and positions", vectors_and_positions},
    {"copy_file_range", copies_within},
    {"O_DIRECT", direct_io},
    {"O_SYNC and O_DSYNC", synced_writes},
    {NULL, NULL},
};

static const struct check *const TABLES[] = {CHECKS, RANGE_CHECKS, NAME_CHECKS, ACCESS_CHECKS, SHARING_CHECKS, NULL};

int main(int count, char **words) {
  int list = count == 2 && strcmp(words[1], "--list") == 0;
  if (!list && (count != 3 || chdir(words[2]) != 0)) return 2;
  for (const struct check *const *table = TABLES; *table != NULL; table++) {
    for (const struct check *check = *table; check->name != NULL; check++) {
      if (list) puts(check->name);
      else if (strcmp(check->name, words[1]) == 0) {
        check->run();
        return 0;
      }
    }
  }
  return list ? 0 : 2;
}
