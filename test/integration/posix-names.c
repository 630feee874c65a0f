/* Checks of names: renames with flags, files without a name, directories that are gone, limits, handles as an NFS server uses them. */
#include "posix-checks.h"

static void rename_whiteout(void) {
  put("a", "a");
  put("b", "b");
  OFFERED(renameat2_("a", "c", RENAME_WHITEOUT) == 0);
  EXPECT(holds("c", "a") && S_ISCHR(look("a").st_mode) && look("a").st_rdev == 0);
  EXPECT(renameat2_("b", "c", RENAME_WHITEOUT) == 0 && holds("c", "b") && S_ISCHR(look("b").st_mode));
  FAILS(renameat2_("c", "d", RENAME_WHITEOUT | RENAME_EXCHANGE), EINVAL);
  put("e", "e");
  FAILS(renameat2_("e", "c", RENAME_WHITEOUT | RENAME_NOREPLACE), EEXIST);
  EXPECT(holds("e", "e") && mkdir("d", 0755) == 0 && renameat2_("d", "f", RENAME_WHITEOUT) == 0);
  EXPECT(S_ISCHR(look("d").st_mode) && S_ISDIR(look("f").st_mode) && rmdir("f") == 0);
}

static int link_fd(int fd, const char *path) {
  char from[64];
  snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
  return linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

static void nameless_file(void) {
  char *block = malloc(1 << 20);
  memset(block, 'n', 1 << 20);
  EXPECT(mkdir("d", 02755) == 0);
  int fd, gone;
  OFFERED((fd = open("d", O_TMPFILE | O_RDWR, 0640)) >= 0);
  struct stat st;
  EXPECT(fstat(fd, &st) == 0 && st.st_nlink == 0 && (st.st_mode & 07777) == 0640 && S_ISREG(st.st_mode));
  EXPECT(rmdir("d") == 0 && mkdir("d", 0755) == 0);
  EXPECT(write(fd, block, 1 << 20) == 1 << 20 && fsync(fd) == 0);
  EXPECT(fsetxattr(fd, "user.kept", "yes", 3, 0) == 0);
  EXPECT(link_fd(fd, "d/named") == 0);
  EXPECT(fstat(fd, &st) == 0 && st.st_nlink == 1 && look("d/named").st_ino == st.st_ino);
  FAILS(link_fd(fd, "d/named"), EEXIST);
  EXPECT(link_fd(fd, "again") == 0 && look("again").st_nlink == 2);
  EXPECT(pwrite(fd, "later", 5, 1 << 20) == 5 && close(fd) == 0);
  EXPECT(look("again").st_size == (1 << 20) + 5 && look("again").st_size == look("d/named").st_size);
  fd = open("again", O_RDONLY);
  char text[8] = {0};
  EXPECT(pread(fd, text, 8, (1 << 20) - 1) == 6 && strcmp(text, "nlater") == 0);
  EXPECT(getxattr("again", "user.kept", text, sizeof text) == 3);
  /* Never named: gone when it is closed. With O_EXCL it cannot be named. */
  gone = open("d", O_TMPFILE | O_WRONLY | O_EXCL, 0600);
  EXPECT(gone >= 0 && write(gone, block, 1 << 20) == 1 << 20);
  FAILS(link_fd(gone, "never"), ENOENT);
  EXPECT(close(gone) == 0 && !exists("never") && look("d").st_nlink == 2);
  FAILS(open("d", O_TMPFILE | O_RDONLY, 0600), EINVAL);
  FAILS(open("again", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
  /* Losing the last name is for good. */
  gone = open("again", O_RDWR);
  EXPECT(unlink("again") == 0 && unlink("d/named") == 0);
  FAILS(link_fd(gone, "back"), ENOENT);
  EXPECT(pread(gone, text, 1, 0) == 1 && text[0] == 'n');
}

/* A shell stands in a directory that somebody removes. */
static void removed_working_directory(void) {
  EXPECT(mkdir("d", 0755) == 0 && mkdir("other", 0755) == 0);
  int fd = open("d", O_RDONLY | O_DIRECTORY);
  EXPECT(chdir("d") == 0 && rmdir("../d") == 0);
  DIR *dir = opendir(".");
  EXPECT(dir != NULL);
  errno = 0;
  EXPECT(readdir(dir) == NULL && (errno == 0 || errno == ENOENT));
  EXPECT(closedir(dir) == 0);
  struct stat st;
  EXPECT(stat(".", &st) == 0 && S_ISDIR(st.st_mode) && st.st_nlink == 0 && fstat(fd, &st) == 0);
  FAILS(open("x", O_CREAT | O_WRONLY, 0644), ENOENT);
  FAILS(mkdir("x", 0755), ENOENT);
  FAILS(symlink("x", "x"), ENOENT);
  FAILS(open("x", O_RDONLY), ENOENT);
  FAILS(rename("../other", "x"), ENOENT);
  EXPECT(stat("..", &st) == 0 && chdir("..") == 0 && exists("other"));
  EXPECT(mkdir("d", 0755) == 0 && fchdir(fd) == 0);
  FAILS(open("x", O_CREAT | O_WRONLY, 0644), ENOENT);
  EXPECT(close(fd) == 0);
  /* A rename over it removes it as well. */
  EXPECT(chdir("..") == 0 && chdir("d") == 0 && rename("../other", "../d") == 0);
  dir = opendir(".");
  EXPECT(dir != NULL && readdir(dir) == NULL && closedir(dir) == 0 && stat(".", &st) == 0);
}

static void removed_open_directory(void) {
  EXPECT(mkdir("d", 0755) == 0);
  put("d/x", "x");
  DIR *dir = opendir("d");
  EXPECT(dir != NULL && unlink("d/x") == 0 && rmdir("d") == 0);
  int fd = dirfd(dir);
  EXPECT(fsync(fd) == 0 && fchmod(fd, 0700) == 0);
  struct stat st;
  EXPECT(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0700);
  while (readdir(dir) != NULL) continue;
  EXPECT(closedir(dir) == 0);
}

/* 4,095 bytes and a NUL are a path; one more is none. Deeper down one goes step by step. */
static void long_paths(void) {
  char name[256], path[PATH_MAX + 8] = "";
  memset(name, 'p', 255);
  name[255] = '\0';
  int start = open(".", O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 20; i++) EXPECT(mkdir(name, 0755) == 0 && chdir(name) == 0);
  put("deep", "deep");
  EXPECT(fchdir(start) == 0);
  for (int i = 0; i < 15; i++) {
    strcat(path, name);
    strcat(path, "/");
  }
  size_t length = strlen(path);
  memset(path + length, 'q', PATH_MAX - 1 - length);
  path[PATH_MAX - 1] = '\0';
  put(path, "4095");
  EXPECT(holds(path, "4095"));
  path[PATH_MAX - 1] = 'q';
  path[PATH_MAX] = '\0';
  FAILS(open(path, O_RDONLY), ENAMETOOLONG);
  char target[4096];
  memset(target, 't', 4095);
  target[4095] = '\0';
  EXPECT(symlink(target, "link") == 0 || errno == ENAMETOOLONG);
  /* Programs that remove a tree by its whole paths could not. */
  path[PATH_MAX - 1] = '\0';
  EXPECT(unlink(path) == 0);
  for (int i = 0; i < 20; i++) EXPECT(chdir(name) == 0);
  EXPECT(holds("deep", "deep") && unlink("deep") == 0);
  for (int i = 0; i < 20; i++) EXPECT(chdir("..") == 0 && rmdir(name) == 0);
}

/* ext4 allows 65,000 names of one inode; that many only where there is time. */
static void many_links(void) {
  put("a", "linked");
  const char *scale = getenv("CAIRN_TEST_SCALE");
  int limit = scale != NULL && strcmp(scale, "full") == 0 ? 65000 : 300;
  char name[32];
  EXPECT(mkdir("d", 0755) == 0);
  for (int i = 1; i < limit; i++) {
    snprintf(name, sizeof name, "d/%d", i);
    EXPECT(link("a", name) == 0);
  }
  EXPECT(look("a").st_nlink == (nlink_t)limit);
  if (limit == 65000) FAILS(link("a", "one more"), EMLINK);
  for (int i = 1; i < limit; i++) {
    snprintf(name, sizeof name, "d/%d", i);
    EXPECT(unlink(name) == 0);
  }
  EXPECT(look("a").st_nlink == 1 && holds("a", "linked") && rmdir("d") == 0);
}

static void stream_of_open_files(void) {
  put("a", "first");
  int fd = open("a", O_RDWR);
  EXPECT(mkdir("d", 0755) == 0 && rename("a", "d/b") == 0 && rename("d", "e") == 0);
  EXPECT(pwrite(fd, "FIRST", 5, 0) == 5 && holds("e/b", "FIRST"));
  put("c", "second");
  EXPECT(rename("c", "e/b") == 0 && pwrite(fd, "gone!", 5, 0) == 5 && holds("e/b", "second"));
  struct stat st;
  EXPECT(fstat(fd, &st) == 0 && st.st_nlink == 0 && close(fd) == 0);
  /* One set of attributes per inode, whatever the name. */
  put("b", "b");
  EXPECT(link("b", "a") == 0);
  fd = open("b", O_WRONLY | O_APPEND);
  EXPECT(write(fd, "more", 4) == 4 && look("a").st_size == 5 && look("a").st_nlink == 2 && close(fd) == 0);
  EXPECT(chmod("a", 0600) == 0 && (look("b").st_mode & 07777) == 0600);
}

union handle {
  struct file_handle handle;
  char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

static void handle_of(const char *path, union handle *into) {
  int mount;
  into->handle.handle_bytes = MAX_HANDLE_SZ;
  EXPECT(name_to_handle_at(AT_FDCWD, path, &into->handle, &mount, 0) == 0);
}

/* What an NFS server does: a handle stays good over renames, and never becomes another file's. */
static void lookup_by_handle(void) {
  if (geteuid() != 0) return;
  union handle file, directory, again;
  int mount = open(".", O_RDONLY | O_DIRECTORY), id;
  EXPECT(mkdir("d", 0755) == 0);
  put("d/a", "handle");
  again.handle.handle_bytes = MAX_HANDLE_SZ;
  OFFERED(name_to_handle_at(AT_FDCWD, "d/a", &again.handle, &id, 0) == 0);
  handle_of("d/a", &file);
  handle_of("d", &directory);
  EXPECT(rename("d/a", "d/b") == 0 && rename("d", "e") == 0);
  handle_of("e/b", &again);
  EXPECT(memcmp(again.handle.f_handle, file.handle.f_handle, file.handle.handle_bytes) == 0);
  /* Also when the kernel has forgotten the inode: then it asks by number, and for the way up. */
  for (int pass = 0; pass < 2; pass++) {
    int drop = open("/proc/sys/vm/drop_caches", O_WRONLY);
    if (pass == 1 && drop >= 0) EXPECT(write(drop, "2", 1) == 1);
    if (drop >= 0) close(drop);
    int fd = open_by_handle_at(mount, &file.handle, O_RDONLY);
    if (fd < 0 && errno == EPERM) return;
    char text[8] = {0};
    EXPECT(fd >= 0 && read(fd, text, 8) == 6 && strcmp(text, "handle") == 0 && close(fd) == 0);
    fd = open_by_handle_at(mount, &directory.handle, O_RDONLY | O_DIRECTORY);
    EXPECT(fd >= 0 && faccessat(fd, "b", F_OK, 0) == 0 && faccessat(fd, "../e", F_OK, 0) == 0 && close(fd) == 0);
  }
  EXPECT(unlink("e/b") == 0);
  put("e/b", "another");
  FAILS(open_by_handle_at(mount, &file.handle, O_RDONLY), ESTALE);
  EXPECT(holds("e/b", "another"));
}

static void open_of_nothing(void) {
  FAILS(open("nothing/x", O_CREAT | O_WRONLY, 0644), ENOENT);
  FAILS(rmdir("."), EINVAL);
  EXPECT(mkdir("d", 0755) == 0);
  FAILS(rmdir("d/.."), ENOTEMPTY);
  FAILS(rename("d/.", "e"), EBUSY);
}

const struct check NAME_CHECKS[] = {
    {"rename WHITEOUT", rename_whiteout},
    {"O_TMPFILE and linkat", nameless_file},
    {"a removed working directory", removed_working_directory},
    {"a removed open directory", removed_open_directory},
    {"paths of 4,096 bytes", long_paths},
    {"many links", many_links},
    {"renames under an open file", stream_of_open_files},
    {"lookup by handle", lookup_by_handle},
    {"what is not there", open_of_nothing},
    {NULL, NULL},
};
