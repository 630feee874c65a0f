/* Checks of ranges within files: holes, zeroed ranges, sparse sizes, copies that the file system makes itself. */
#include "posix-checks.h"

static char *pattern(size_t length) {
  char *bytes = malloc(length);
  for (size_t i = 0; i < length; i++) bytes[i] = (char)(i * 7 + i / 251 + 1);
  return bytes;
}

static void expect_bytes(int fd, const char *bytes, size_t length, off_t at) {
  char *found = malloc(length);
  EXPECT(pread(fd, found, length, at) == (ssize_t)length && memcmp(found, bytes, length) == 0);
  free(found);
}

static void zero_range(void) {
  char *model = calloc(1, 400000);
  char *bytes = pattern(300000);
  memcpy(model, bytes, 300000);
  int fd = open("a", O_RDWR | O_CREAT, 0644);
  EXPECT(fd >= 0 && write(fd, bytes, 300000) == 300000);
  OFFERED(fallocate(fd, FALLOC_FL_ZERO_RANGE, 1001, 70000) == 0);
  memset(model + 1001, 0, 70000);
  expect_bytes(fd, model, 300000, 0);
  EXPECT(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 290000, 50000) == 0 && look("a").st_size == 300000);
  memset(model + 290000, 0, 10000);
  EXPECT(fallocate(fd, FALLOC_FL_ZERO_RANGE, 295000, 105000) == 0 && look("a").st_size == 400000);
  EXPECT(pwrite(fd, "end", 3, 399997) == 3);
  memcpy(model + 399997, "end", 3);
  EXPECT(fsync(fd) == 0);
  expect_bytes(fd, model, 400000, 0);
}

/* A hole is punched through pages that the kernel holds and through a mapping; a size that is kept stays. */
static void punch_under_mapping(void) {
  char *bytes = pattern(65536);
  int fd = open("a", O_RDWR | O_CREAT, 0644);
  EXPECT(fd >= 0 && write(fd, bytes, 65536) == 65536);
  volatile char *map = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  EXPECT(map != MAP_FAILED && map[20000] == bytes[20000]);
  map[20000] = 'm';
  EXPECT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16384, 16384) == 0);
  EXPECT(map[20000] == 0 && map[16383] == bytes[16383] && map[32768] == bytes[32768]);
  EXPECT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 16384) == 0 && look("a").st_size == 65536);
  FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096), EOPNOTSUPP);
  EXPECT(ftruncate(fd, 10000) == 0 && ftruncate(fd, 65536) == 0 && map[9999] == bytes[9999] && map[10000] == 0);
}

/* Not defined through FUSE: the kernel refuses them itself. What is refused must have changed nothing. */
static void collapse_and_insert(void) {
  char *bytes = pattern(65536);
  int fd = open("a", O_RDWR | O_CREAT, 0644);
  EXPECT(fd >= 0 && write(fd, bytes, 65536) == 65536);
  if (!on_cairn()) return;
  FAILS(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4096, 4096), EOPNOTSUPP);
  FAILS(fallocate(fd, FALLOC_FL_INSERT_RANGE, 4096, 4096), EOPNOTSUPP);
  expect_bytes(fd, bytes, 65536, 0);
}

static void sparse_sizes(void) {
  int fd = open("a", O_RDWR | O_CREAT, 0644);
  /* Where bytes are, the cache's own file system must have such positions: ext4 ends at 16 TiB. */
  const off_t far = (off_t)1 << 43;
  EXPECT(fd >= 0 && pwrite(fd, "far", 3, far) == 3 && look("a").st_size == far + 3);
  EXPECT(pwrite(fd, "near", 4, 5000) == 4 && fsync(fd) == 0);
  char text[8] = {0};
  EXPECT(pread(fd, text, 8, far - 2) == 5 && memcmp(text, "\0\0far", 5) == 0);
  EXPECT(pread(fd, text, 8, (off_t)1 << 42) == 8 && memcmp(text, "\0\0\0\0\0\0\0\0", 8) == 0);
  off_t data = lseek(fd, 100000, SEEK_DATA);
  EXPECT(data > 100000 && data <= far && lseek(fd, 100000, SEEK_HOLE) == 100000);
  EXPECT(look("a").st_blocks * 512 < 1 << 20);
  EXPECT(ftruncate(fd, far - 5) == 0 && ftruncate(fd, 6000) == 0 && pread(fd, text, 4, 5000) == 4 && memcmp(text, "near", 4) == 0);
  /* A kernel that keeps what is written tells it later. */
  EXPECT((pwrite(fd, "x", 1, INT64_MAX - 1) == -1 || fsync(fd) == -1) && errno == EFBIG);
  FAILS(ftruncate(fd, INT64_MAX), EFBIG);
  if (!on_cairn()) return;
  /* Sizes end where a JavaScript number is no longer exact: 8 PiB. What cannot be written there is refused and harms nothing. */
  const off_t largest = ((off_t)1 << 53) - 2;
  EXPECT(ftruncate(fd, largest) == 0 && look("a").st_size == largest && fsync(fd) == 0);
  EXPECT(pread(fd, text, 8, largest - 4) == 4 && text[0] == 0 && lseek(fd, 100000, SEEK_HOLE) == 100000);
  FAILS(ftruncate(fd, largest + 10), EFBIG);
  EXPECT((pwrite(fd, "x", 1, (off_t)1 << 50) == 1 && fsync(fd) == 0) || errno == EFBIG);
  EXPECT(pread(fd, text, 4, 5000) == 4 && memcmp(text, "near", 4) == 0);
  EXPECT(pwrite(fd, "again", 5, 5000) == 5 && fsync(fd) == 0 && ftruncate(fd, 6000) == 0);
  /* What failed late is told to whoever asks next for all of the file system, as well: not to another check. */
  syncfs(fd);
}

static size_t copy(int from, off_t at, int to, off_t into, size_t length) {
  size_t done = 0;
  while (done < length) {
    loff_t in = at + (off_t)done, out = into + (off_t)done;
    ssize_t count = copy_file_range(from, &in, to, &out, length - done, 0);
    EXPECT(count >= 0);
    if (count == 0) break;
    EXPECT(in == at + (off_t)(done + (size_t)count) && out == into + (off_t)(done + (size_t)count));
    done += (size_t)count;
  }
  return done;
}

/* Large enough for extents to be shared, at positions that are no multiples of anything. */
static void copy_of_synced(void) {
  const size_t size = 12 << 20;
  char *bytes = pattern(size), *model = calloc(1, size + 5000);
  int from = open("from", O_RDWR | O_CREAT, 0644), to = open("to", O_RDWR | O_CREAT, 0644);
  EXPECT(from >= 0 && to >= 0 && write(from, bytes, size) == (ssize_t)size && fsync(from) == 0);
  EXPECT(write(to, "old bytes", 9) == 9);
  EXPECT(copy(from, 12345, to, 5000, size - 12345) == size - 12345);
  memcpy(model, "old bytes", 9);
  memcpy(model + 5000, bytes + 12345, size - 12345);
  expect_bytes(to, model, 5000 + size - 12345, 0);
  EXPECT(look("to").st_size == (off_t)(5000 + size - 12345));
  /* Beyond the end there is nothing to copy; what was copied is the copy's own. */
  EXPECT(copy(from, (off_t)size - 10, to, 0, 100) == 10);
  memcpy(model, bytes + size - 10, 10);
  EXPECT(pwrite(to, "changed", 7, 1 << 20) == 7 && pwrite(from, "CHANGED", 7, 2 << 20) == 7);
  memcpy(model + (1 << 20), "changed", 7);
  expect_bytes(to, model, 5000 + size - 12345, 0);
  memcpy(bytes + (2 << 20), "CHANGED", 7);
  expect_bytes(from, bytes, size, 0);
  EXPECT(fsync(to) == 0 && unlink("from") == 0);
  expect_bytes(to, model, 5000 + size - 12345, 0);
}

static void copy_of_staged(void) {
  const size_t size = 3 << 20;
  char *bytes = pattern(size), *model = calloc(1, 8 << 20);
  int from = open("from", O_RDWR | O_CREAT, 0644), to = open("to", O_WRONLY | O_CREAT, 0644);
  EXPECT(pwrite(from, bytes, size, 0) == (ssize_t)size && ftruncate(from, 5 << 20) == 0);
  EXPECT(copy(from, 777, to, 4096, (5 << 20) - 777) == (5 << 20) - 777);
  memcpy(model + 4096, bytes + 777, size - 777);
  int plain = open("to", O_RDONLY);
  expect_bytes(plain, model, 4096 + (5 << 20) - 777, 0);
  /* Within one file, and not onto itself. */
  EXPECT(copy(from, 0, from, 6 << 20, 2 << 20) == 2 << 20);
  expect_bytes(from, bytes, 2 << 20, 6 << 20);
  loff_t in = 0, out = 1000;
  FAILS(copy_file_range(from, &in, from, &out, 4096, 0), EINVAL);
  int reading = open("to", O_RDONLY), appending = open("to", O_WRONLY | O_APPEND);
  FAILS(copy_file_range(from, NULL, reading, NULL, 10, 0), EBADF);
  FAILS(copy_file_range(from, NULL, appending, NULL, 10, 0), EBADF);
}

const struct check RANGE_CHECKS[] = {
    {"fallocate ZERO_RANGE", zero_range},
    {"punch under a mapping", punch_under_mapping},
    {"fallocate COLLAPSE and INSERT", collapse_and_insert},
    {"sparse sizes", sparse_sizes},
    {"copy_file_range of synced bytes", copy_of_synced},
    {"copy_file_range of staged bytes", copy_of_staged},
    {NULL, NULL},
};
