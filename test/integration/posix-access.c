/* Checks of who may do what: access control lists, umask, set-group-id and sticky directories, supplementary groups; limits of xattrs. */
#include <grp.h>

#include "posix-checks.h"

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

/* linux/posix_acl_xattr.h */
struct entry {
  uint16_t tag, perm;
  uint32_t id;
};
struct list {
  uint32_t version;
  struct entry entries[8];
};
enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32, NOBODY = -1 };

static int set_list(const char *path, const char *name, const struct entry *entries, size_t count) {
  struct list list = {.version = 2};
  memcpy(list.entries, entries, count * sizeof *entries);
  return setxattr(path, name, &list, sizeof list.version + count * sizeof *entries, 0);
}

/* How many entries the list of a file has, into `list`; -1 if it has none. */
static int get_list(const char *path, const char *name, struct list *list) {
  ssize_t length = getxattr(path, name, list, sizeof *list);
  return length < 0 ? -1 : (int)((size_t)length - sizeof list->version) / (int)sizeof *list->entries;
}

static unsigned mode_of(const char *path) { return look(path).st_mode & 07777; }

/* Runs as another user with these supplementary groups, in a child. */
static void as_user(uid_t uid, gid_t gid, gid_t supplementary, void (*body)(void)) {
  pid_t pid = fork();
  EXPECT(pid >= 0);
  if (pid == 0) {
    EXPECT(setgroups(1, &supplementary) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0);
    body();
    _exit(0);
  }
  int status = 0;
  EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The directory of the check may lie below one that others may not enter. */
static void enter_as_root(void) { EXPECT(chmod(".", 0755) == 0); }

static const struct entry FOR_1001[] = {{USER_OBJ, 6, NOBODY}, {USER, 6, 1001}, {GROUP_OBJ, 4, NOBODY}, {MASK, 6, NOBODY}, {OTHER, 0, NOBODY}};

static void acl_and_mode(void) {
  struct list list;
  put("a", "a");
  EXPECT(chmod("a", 0640) == 0 && get_list("a", ACCESS, &list) == -1);
  OFFERED(set_list("a", ACCESS, FOR_1001, 5) == 0);
  /* The mode's group bits are the mask. */
  EXPECT(mode_of("a") == 0660 && get_list("a", ACCESS, &list) == 5 && list.entries[1].id == 1001);
  EXPECT(chmod("a", 0604) == 0 && get_list("a", ACCESS, &list) == 5);
  EXPECT(list.entries[3].tag == MASK && list.entries[3].perm == 0 && list.entries[4].perm == 4 && list.entries[1].perm == 6);
  /* A list that says no more than the mode is no list. */
  const struct entry minimal[] = {{USER_OBJ, 7, NOBODY}, {GROUP_OBJ, 5, NOBODY}, {OTHER, 1, NOBODY}};
  EXPECT(set_list("a", ACCESS, minimal, 3) == 0 && mode_of("a") == 0751 && get_list("a", ACCESS, &list) == -1);
  EXPECT(set_list("a", ACCESS, FOR_1001, 5) == 0 && removexattr("a", ACCESS) == 0 && get_list("a", ACCESS, &list) == -1);
  EXPECT(mode_of("a") == 0660);
  const struct entry unordered[] = {{GROUP_OBJ, 5, NOBODY}, {USER_OBJ, 7, NOBODY}, {OTHER, 1, NOBODY}};
  const struct entry maskless[] = {{USER_OBJ, 6, NOBODY}, {USER, 6, 1001}, {GROUP_OBJ, 4, NOBODY}, {OTHER, 0, NOBODY}};
  const struct entry bad[] = {{USER_OBJ, 8, NOBODY}, {GROUP_OBJ, 5, NOBODY}, {OTHER, 1, NOBODY}};
  FAILS(set_list("a", ACCESS, unordered, 3), EINVAL);
  FAILS(set_list("a", ACCESS, maskless, 4), EINVAL);
  FAILS(set_list("a", ACCESS, bad, 3), EINVAL);
  FAILS(setxattr("a", ACCESS, "nonsense", 8, 0), EOPNOTSUPP);
  FAILS(set_list("a", DEFAULT, FOR_1001, 5), EACCES);
  EXPECT(mode_of("a") == 0660);
}

static void default_acl(void) {
  struct list list;
  umask(077);
  EXPECT(mkdir("d", 0755) == 0 && mode_of("d") == 0700);
  OFFERED(set_list("d", DEFAULT, FOR_1001, 5) == 0);
  EXPECT(mode_of("d") == 0700);
  /* Where a default list is, it stands in for the umask. */
  EXPECT(close(open("d/file", O_CREAT | O_WRONLY, 0666)) == 0 && mode_of("d/file") == 0660);
  EXPECT(get_list("d/file", ACCESS, &list) == 5 && list.entries[1].perm == 6 && get_list("d/file", DEFAULT, &list) == -1);
  EXPECT(close(open("d/narrow", O_CREAT | O_WRONLY, 0600)) == 0 && mode_of("d/narrow") == 0600);
  EXPECT(get_list("d/narrow", ACCESS, &list) == 5 && list.entries[3].perm == 0);
  EXPECT(mkdir("d/e", 0777) == 0 && mode_of("d/e") == 0660 && get_list("d/e", DEFAULT, &list) == 5);
  EXPECT(mkfifo("d/fifo", 0666) == 0 && mode_of("d/fifo") == 0660 && get_list("d/fifo", ACCESS, &list) == 5);
  EXPECT(symlink("x", "d/link") == 0 && mode_of("d/link") == 0777);
  int fd = open("d", O_TMPFILE | O_RDWR, 0666);
  struct stat st;
  EXPECT(fd < 0 || (fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0660 && close(fd) == 0));
  EXPECT(removexattr("d", DEFAULT) == 0);
  EXPECT(close(open("d/masked", O_CREAT | O_WRONLY, 0666)) == 0 && mode_of("d/masked") == 0600);
  char names[256];
  EXPECT(listxattr("d/file", names, sizeof names) == sizeof ACCESS && strcmp(names, ACCESS) == 0);
}

static void reader_1001(void) {
  EXPECT(holds("granted", "secret"));
  FAILS(open("granted", O_WRONLY), EACCES);
  FAILS(open("refused", O_RDONLY), EACCES);
  FAILS(setxattr("granted", "user.x", "x", 1, 0), EACCES);
  FAILS(chmod("granted", 0777), EPERM);
}

static void acl_is_enforced(void) {
  if (geteuid() != 0) return;
  enter_as_root();
  put("granted", "secret");
  put("refused", "secret");
  EXPECT(chmod("granted", 0600) == 0 && chmod("refused", 0644) == 0);
  const struct entry grant[] = {{USER_OBJ, 6, NOBODY}, {USER, 4, 1001}, {GROUP_OBJ, 0, NOBODY}, {MASK, 4, NOBODY}, {OTHER, 0, NOBODY}};
  const struct entry refuse[] = {{USER_OBJ, 6, NOBODY}, {USER, 0, 1001}, {GROUP_OBJ, 4, NOBODY}, {MASK, 4, NOBODY}, {OTHER, 4, NOBODY}};
  OFFERED(set_list("granted", ACCESS, grant, 5) == 0);
  EXPECT(set_list("refused", ACCESS, refuse, 5) == 0);
  as_user(1001, 1001, 1001, reader_1001);
}

static void member_of_77(void) {
  EXPECT(holds("shared/a", "a"));
  int fd = open("shared/mine", O_CREAT | O_WRONLY, 0664);
  EXPECT(fd >= 0 && close(fd) == 0 && look("shared/mine").st_gid == 77 && look("shared/mine").st_uid == 1002);
  /* Of a group that one belongs to a file may be given to; to others it loses set-group-id. */
  EXPECT(chown("shared/mine", -1, 1002) == 0 && chown("shared/mine", -1, 77) == 0);
  FAILS(chown("shared/mine", -1, 78), EPERM);
  EXPECT(chmod("shared/mine", 02775) == 0 && (mode_of("shared/mine") & S_ISGID) != 0);
  FAILS(open("closed/x", O_CREAT | O_WRONLY, 0644), EACCES);
  /* Not owner of file nor directory. */
  FAILS(unlink("sticky/others"), EPERM);
  FAILS(rename("sticky/others", "sticky/b"), EPERM);
  put("sticky/own", "own");
  EXPECT(rename("sticky/own", "sticky/own2") == 0 && unlink("sticky/own2") == 0);
}

static void outsider(void) {
  FAILS(open("shared/a", O_RDONLY), EACCES);
  put("open/own", "own");
  EXPECT(look("open/own").st_gid == 77);
  /* Set-group-id of a group that one does not belong to is taken off. */
  EXPECT(chmod("open/own", 02755) == 0 && mode_of("open/own") == 0755);
  int fd = open("open/program", O_CREAT | O_WRONLY, 02755);
  EXPECT(fd >= 0 && close(fd) == 0 && (mode_of("open/program") & S_ISGID) == 0);
}

static void groups_and_sticky(void) {
  if (geteuid() != 0) return;
  umask(0);
  enter_as_root();
  EXPECT(mkdir("shared", 0770) == 0 && chown("shared", 0, 77) == 0 && chmod("shared", 02770) == 0);
  EXPECT(mkdir("open", 0777) == 0 && chown("open", 0, 77) == 0 && chmod("open", 02777) == 0);
  EXPECT(mkdir("closed", 0750) == 0 && mkdir("sticky", 0777) == 0 && chmod("sticky", 01777) == 0);
  put("shared/a", "a");
  put("sticky/others", "x");
  EXPECT(chmod("shared/a", 0660) == 0 && look("shared/a").st_gid == 77);
  as_user(1002, 1002, 77, member_of_77);
  as_user(1003, 1003, 1003, outsider);
}

static void writer_1003(void) {
  int fd = open("program", O_WRONLY);
  EXPECT(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0 && mode_of("program") == 0777);
  EXPECT(truncate("other", 1) == 0 && mode_of("other") == 0777);
  fd = open("locked", O_WRONLY);
  EXPECT(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
  fd = open("filled", O_WRONLY);
  EXPECT(fd >= 0 && fallocate(fd, 0, 0, 100) == 0 && close(fd) == 0);
}

static void writer_of_77(void) {
  int fd = open("shared", O_WRONLY);
  EXPECT(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
}

/* Whoever writes to a set-id program takes the bits off. */
static void set_id_bits_go(void) {
  if (geteuid() != 0) return;
  enter_as_root();
  put("program", "program");
  put("other", "other");
  put("locked", "locked");
  put("filled", "filled");
  EXPECT(chmod("program", 06777) == 0 && chmod("other", 06777) == 0);
  EXPECT(chmod("locked", 06666) == 0 && chmod("filled", 06666) == 0);
  put("shared", "shared");
  EXPECT(chown("shared", 0, 77) == 0 && chmod("shared", 06666) == 0);
  as_user(1003, 1003, 1003, writer_1003);
  as_user(1003, 1003, 77, writer_of_77);
  EXPECT(mode_of("program") == 0777 && mode_of("shared") == 02666);
  // Also set-group-id that is none, by who is not of the group: Linux since 6.2.
  if (on_cairn()) EXPECT(mode_of("locked") == 0666 && mode_of("filled") == 0666);
}

static void xattr_limits(void) {
  char *value = calloc(1, 70000), name[300] = "user.", list[70000];
  put("a", "");
  memset(name + 5, 'n', 250);
  EXPECT(setxattr("a", name, "x", 1, 0) == 0);
  strcat(name, "n");
  FAILS(setxattr("a", name, "x", 1, 0), ERANGE);
  FAILS(getxattr("a", name, value, 10), ERANGE);
  FAILS(setxattr("a", "user.", "x", 1, 0), EINVAL);
  FAILS(setxattr("a", "nowhere.x", "x", 1, 0), EOPNOTSUPP);
  FAILS(setxattr("a", "user.big", value, 65537, 0), E2BIG);
  EXPECT(removexattr("a", "user.none") == -1 && errno == ENODATA);
  if (on_cairn()) {
    EXPECT(setxattr("a", "user.big", value, 65536, 0) == 0 && getxattr("a", "user.big", value, 65536) == 65536);
    char many[32];
    int count = 0;
    while (count < 20 && (snprintf(many, sizeof many, "user.%d", count), setxattr("a", many, value, 60000, 0) == 0)) count++;
    EXPECT(errno == ENOSPC && count >= 2 && count < 20 && getxattr("a", "user.0", NULL, 0) == 60000);
    snprintf(many, sizeof many, "user.%d", count);
    FAILS(getxattr("a", many, value, 70000), ENODATA);
  }
  EXPECT(listxattr("a", list, sizeof list) > 255);
  FAILS(listxattr("a", list, 10), ERANGE);
  EXPECT(mkfifo("fifo", 0644) == 0 && symlink("a", "link") == 0);
  FAILS(setxattr("fifo", "user.x", "x", 1, 0), EPERM);
  FAILS(lsetxattr("link", "user.x", "x", 1, 0), EPERM);
  if (geteuid() == 0) EXPECT(setxattr("a", "trusted.x", "x", 1, 0) == 0 && setxattr("a", "security.x", "x", 1, 0) == 0);
}

const struct check ACCESS_CHECKS[] = {
    {"access lists and modes", acl_and_mode},
    {"default access lists", default_acl},
    {"access lists are enforced", acl_is_enforced},
    {"groups, set-group-id and sticky", groups_and_sticky},
    {"set-id bits of what is written", set_id_bits_go},
    {"limits of extended attributes", xattr_limits},
    {NULL, NULL},
};
