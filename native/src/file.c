/*
 * Writing to files: all parts with pwritev, write and fdatasync as one job of the thread pool, syncfs, fallocate, errors of writeback, leases, flock. Reading:
 * what is to be held against checksums, with its checksums, a small file by its name, and into the page cache alone, as one job too.
 *
 * A job owns its iovecs and keeps the JavaScript buffers alive through one reference; nothing in it touches JavaScript until it is done.
 * Jobs are Node-API async work, not bare uv_queue_work: a worker thread that ends waits for them.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "arguments.h"
#include "crc32c.h"

/* Writes everything; uses up `iov`. Returns 0 or the errno, and names the call that failed. */
static int write_parts(int fd, struct iovec *iov, size_t count, off_t position) {
  while (count > 0) {
    ssize_t written = pwritev(fd, iov, count < IOV_MAX ? (int)count : IOV_MAX, position);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    /* No part is empty, so a write of nothing would go on for ever. */
    if (written == 0) return EIO;
    position += written;
    size_t left = (size_t)written;
    while (count > 0 && left >= iov->iov_len) {
      left -= iov->iov_len;
      iov++;
      count--;
    }
    if (left > 0) {
      iov->iov_base = (char *)iov->iov_base + left;
      iov->iov_len -= left;
    }
  }
  return 0;
}

static bool get_position(napi_env env, napi_value value, const struct parts *parts, int64_t *position) {
  return get_integer(env, value, "position", 0, MAX_SAFE_INTEGER - (int64_t)parts->bytes, position);
}

static napi_value call_write_all(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  int fd;
  int64_t position;
  struct parts parts;
  if (!get_arguments(env, info, 3, arguments, NULL) || !get_fd(env, arguments[0], &fd) ||
      !get_parts(env, arguments[1], &parts)) {
    return NULL;
  }
  int error = 0;
  if (get_position(env, arguments[2], &parts, &position)) error = write_parts(fd, parts.iov, parts.count, position);
  parts_free(&parts);
  return error == 0 ? NULL : throw_system_error(env, error, "pwritev", NULL);
}

/* Bytes read at a time before they are summed: they are in the processor's cache then. */
#define SUM_STEP_BYTES (128 << 10)

/* What read_summed fills. */
struct summed {
  uint8_t *head;
  size_t head_bytes;
  uint8_t *body;
  size_t body_bytes;
  size_t block_bytes;
  uint32_t *sums;
  size_t done;
};

/* Returns 0 or the errno; at the end of the file it stops early. */
static int read_parts(int fd, struct iovec *iov, int count, off_t position, size_t *done) {
  *done = 0;
  while (count > 0) {
    ssize_t got = preadv(fd, iov, count, position + (off_t)*done);
    if (got < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (got == 0) return 0;
    *done += (size_t)got;
    size_t left = (size_t)got;
    while (count > 0 && left >= iov->iov_len) {
      left -= iov->iov_len;
      iov++;
      count--;
    }
    if (left > 0) {
      iov->iov_base = (uint8_t *)iov->iov_base + left;
      iov->iov_len -= left;
    }
  }
  return 0;
}

/* Step by step, so that each is summed while it is warm. Blocks that the end of the file cuts short are summed as far as they go. */
static int read_summed(int fd, off_t position, struct summed *into) {
  size_t total = into->head_bytes + into->body_bytes;
  /* The whole range is asked of the device at once: it has all of it to sort, whatever others read from this file meanwhile. */
  if (total > SUM_STEP_BYTES) posix_fadvise(fd, position, (off_t)total, POSIX_FADV_WILLNEED);
  size_t step = SUM_STEP_BYTES / into->block_bytes * into->block_bytes;
  if (step == 0) step = into->block_bytes;
  size_t at = 0;
  do {
    size_t bytes = into->body_bytes - at < step ? into->body_bytes - at : step;
    size_t head = at == 0 ? into->head_bytes : 0, got;
    struct iovec iov[2] = {{.iov_base = into->head, .iov_len = head}, {.iov_base = into->body + at, .iov_len = bytes}};
    int error = read_parts(fd, head == 0 ? iov + 1 : iov, head == 0 ? 1 : 2, position + (off_t)into->done, &got);
    if (error != 0) return error;
    into->done += got;
    size_t body = got < head ? 0 : got - head;
    for (size_t from = 0; from < body; from += into->block_bytes) {
      size_t length = body - from < into->block_bytes ? body - from : into->block_bytes;
      into->sums[(at + from) / into->block_bytes] = crc32c(0, into->body + at + from, length);
    }
    if (got < head + bytes) return 0;
    at += bytes;
  } while (at < into->body_bytes);
  return 0;
}

enum job_kind { JOB_WRITE, JOB_ALLOCATE, JOB_READ, JOB_READ_NAMED, JOB_READ_AHEAD, JOB_SYNC_FILE_SYSTEM };

struct job {
  enum job_kind kind;
  int fd;
  int error;
  const char *syscall; /* the call that failed */
  bool datasync;
  int mode;
  int64_t position;
  int64_t length;
  struct parts parts;
  struct summed summed;
  char *path; /* NULL if it is about a descriptor */
  napi_ref buffers; /* NULL if there are none */
  napi_ref callback;
  napi_async_work work;
};

/* Opens for reading and writing, reads from the start, closes. `job->summed` says where to and counts the bytes. */
static void read_named(struct job *job) {
  job->syscall = "open";
  do {
    job->fd = open(job->path, O_RDWR | O_CLOEXEC);
  } while (job->fd < 0 && errno == EINTR);
  if (job->fd < 0) {
    job->error = errno;
    return;
  }
  struct iovec iov = {.iov_base = job->summed.body, .iov_len = job->summed.body_bytes};
  job->syscall = "preadv";
  job->error = read_parts(job->fd, &iov, 1, 0, &job->summed.done);
  /* Nothing was written, so nothing can be lost by closing. */
  close(job->fd);
}

/* A descriptor that stayed open would keep the file system from being unmounted. */
static void sync_file_system(struct job *job) {
  job->syscall = "open";
  do {
    job->fd = open(job->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } while (job->fd < 0 && errno == EINTR);
  if (job->fd < 0) {
    job->error = errno;
    return;
  }
  job->syscall = "syncfs";
  do {
    job->error = syncfs(job->fd) == 0 ? 0 : errno;
  } while (job->error == EINTR);
  close(job->fd);
}

/* The kernel takes no more than this of one call, where the device likes small requests. */
#define AHEAD_STEP_BYTES (128 << 10)

static int read_ahead(int fd, int64_t position, int64_t length) {
  for (int64_t at = 0; at < length; at += AHEAD_STEP_BYTES) {
    int64_t bytes = length - at < AHEAD_STEP_BYTES ? length - at : AHEAD_STEP_BYTES;
    int error = posix_fadvise(fd, position + at, bytes, POSIX_FADV_WILLNEED);
    if (error != 0) return error;
  }
  return 0;
}

static void run_job(napi_env env, void *data) {
  (void)env;
  struct job *job = data;
  if (job->kind == JOB_READ_AHEAD) {
    job->syscall = "posix_fadvise";
    job->error = read_ahead(job->fd, job->position, job->length);
    return;
  }
  if (job->kind == JOB_READ_NAMED) {
    read_named(job);
    return;
  }
  if (job->kind == JOB_SYNC_FILE_SYSTEM) {
    sync_file_system(job);
    return;
  }
  if (job->kind == JOB_READ) {
    job->syscall = "preadv";
    job->error = read_summed(job->fd, job->position, &job->summed);
    return;
  }
  if (job->kind == JOB_ALLOCATE) {
    job->syscall = "fallocate";
    do {
      job->error = fallocate(job->fd, job->mode, job->position, job->length) == 0 ? 0 : errno;
    } while (job->error == EINTR);
    return;
  }
  job->syscall = "pwritev";
  job->error = write_parts(job->fd, job->parts.iov, job->parts.count, job->position);
  if (job->error != 0 || !job->datasync) return;
  job->syscall = "fdatasync";
  do {
    job->error = fdatasync(job->fd) == 0 ? 0 : errno;
  } while (job->error == EINTR);
}

static void free_job(napi_env env, struct job *job) {
  if (job->buffers != NULL) napi_delete_reference(env, job->buffers);
  if (job->callback != NULL) napi_delete_reference(env, job->callback);
  if (job->work != NULL) napi_delete_async_work(env, job->work);
  parts_free(&job->parts);
  free(job->path);
  free(job);
}

/* An exception that the callback throws is left pending: node makes an uncaughtException of it. */
static void finish_job(napi_env env, napi_status status, void *data) {
  struct job *job = data;
  napi_value callback, receiver, arguments[2];
  size_t count = 1;
  /* Cancelled is only what never ran: its thread is ending. */
  if (status == napi_cancelled) job->error = ECANCELED;
  bool ready = napi_get_reference_value(env, job->callback, &callback) == napi_ok &&
               napi_get_undefined(env, &receiver) == napi_ok && napi_get_null(env, &arguments[0]) == napi_ok;
  if (ready && job->error != 0) {
    arguments[0] = create_system_error(env, job->error, job->syscall == NULL ? "cairn" : job->syscall, NULL, NULL);
    ready = arguments[0] != NULL;
  } else if (ready && (job->kind == JOB_READ || job->kind == JOB_READ_NAMED)) {
    ready = napi_create_int64(env, (int64_t)job->summed.done, &arguments[1]) == napi_ok;
    count = 2;
  }
  free_job(env, job);
  if (ready) napi_call_function(env, receiver, callback, count, arguments, NULL);
}

static struct job *create_job(napi_env env) {
  struct job *job = calloc(1, sizeof *job);
  if (job == NULL) {
    throw_system_error(env, ENOMEM, "malloc", NULL);
    return NULL;
  }
  job->parts.iov = job->parts.inline_iov;
  return job;
}

/* Takes the job over, also when it throws. */
static napi_value queue_job(napi_env env, struct job *job, napi_value callback) {
  napi_value name;
  if (napi_create_reference(env, callback, 1, &job->callback) != napi_ok ||
      napi_create_string_utf8(env, "cairn.file", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, run_job, finish_job, job, &job->work) != napi_ok ||
      napi_queue_async_work(env, job->work) != napi_ok) {
    free_job(env, job);
    return throw_api_failure(env);
  }
  return NULL;
}

/* Takes `array` into the job: a copy, so that what is written and what is kept alive are the same whatever the caller does to his. */
static bool take_parts(napi_env env, napi_value array, struct job *job) {
  napi_value copy, element;
  bool is_array = false;
  uint32_t length = 0;
  if (napi_is_array(env, array, &is_array) != napi_ok) return throw_api_failure(env), false;
  /* What is no array, or too long, is refused by get_parts. */
  if (!is_array || napi_get_array_length(env, array, &length) != napi_ok || length > MAX_PARTS) {
    return get_parts(env, array, &job->parts);
  }
  if (napi_create_array_with_length(env, length, &copy) != napi_ok) return throw_api_failure(env), false;
  for (uint32_t i = 0; i < length; i++) {
    if (napi_get_element(env, array, i, &element) != napi_ok || napi_set_element(env, copy, i, element) != napi_ok) {
      return throw_api_failure(env), false;
    }
  }
  if (!get_parts(env, copy, &job->parts)) return false;
  if (job->parts.count > 0 && napi_create_reference(env, copy, 1, &job->buffers) != napi_ok) {
    return throw_api_failure(env), false;
  }
  return true;
}

static napi_value call_write_all_async(napi_env env, napi_callback_info info) {
  napi_value arguments[5], callback;
  struct job *job;
  if (!get_arguments(env, info, 5, arguments, NULL) || !get_function(env, arguments[4], "callback", &callback) ||
      (job = create_job(env)) == NULL) {
    return NULL;
  }
  if (!get_fd(env, arguments[0], &job->fd) || !get_boolean(env, arguments[3], "datasync", &job->datasync) ||
      !take_parts(env, arguments[1], job) || !get_position(env, arguments[2], &job->parts, &job->position)) {
    free_job(env, job);
    return NULL;
  }
  return queue_job(env, job, callback);
}

static napi_value call_fallocate(napi_env env, napi_callback_info info) {
  napi_value arguments[5], callback;
  int64_t mode;
  struct job *job;
  if (!get_arguments(env, info, 5, arguments, NULL) || !get_function(env, arguments[4], "callback", &callback) ||
      (job = create_job(env)) == NULL) {
    return NULL;
  }
  if (!get_fd(env, arguments[0], &job->fd) || !get_integer(env, arguments[1], "mode", 0, INT32_MAX, &mode) ||
      !get_integer(env, arguments[2], "offset", 0, MAX_SAFE_INTEGER, &job->position) ||
      !get_integer(env, arguments[3], "length", 1, MAX_SAFE_INTEGER, &job->length)) {
    free_job(env, job);
    return NULL;
  }
  job->kind = JOB_ALLOCATE;
  job->mode = (int)mode;
  return queue_job(env, job, callback);
}

static napi_value call_read_ahead(napi_env env, napi_callback_info info) {
  napi_value arguments[4], callback;
  struct job *job;
  if (!get_arguments(env, info, 4, arguments, NULL) || !get_function(env, arguments[3], "callback", &callback) ||
      (job = create_job(env)) == NULL) {
    return NULL;
  }
  if (!get_fd(env, arguments[0], &job->fd) ||
      !get_integer(env, arguments[1], "position", 0, MAX_SAFE_INTEGER, &job->position) ||
      !get_integer(env, arguments[2], "length", 0, MAX_SAFE_INTEGER - job->position, &job->length)) {
    free_job(env, job);
    return NULL;
  }
  job->kind = JOB_READ_AHEAD;
  return queue_job(env, job, callback);
}

/* Keeps head, body and sums alive until the job is done. */
static bool hold_summed(napi_env env, struct job *job, napi_value head, napi_value body, napi_value sums) {
  napi_value array;
  if (napi_create_array_with_length(env, 3, &array) != napi_ok || napi_set_element(env, array, 0, head) != napi_ok ||
      napi_set_element(env, array, 1, body) != napi_ok || napi_set_element(env, array, 2, sums) != napi_ok ||
      napi_create_reference(env, array, 1, &job->buffers) != napi_ok) {
    return throw_api_failure(env), false;
  }
  return true;
}

/* After everything that could run JavaScript: the pointers must still hold when the job is queued. */
static bool take_summed(napi_env env, napi_value head, napi_value body, napi_value sums, int64_t block, struct summed *into) {
  size_t capacity;
  if (!get_bytes(env, head, "head", &into->head, &into->head_bytes) ||
      !get_bytes(env, body, "body", &into->body, &into->body_bytes) || !get_sums(env, sums, "sums", &into->sums, &capacity)) {
    return false;
  }
  into->block_bytes = (size_t)block;
  size_t count = into->body_bytes / into->block_bytes + (into->body_bytes % into->block_bytes != 0);
  if (capacity < count) return throw_invalid(env, "sums must have %zu elements, not %zu", count, capacity), false;
  return true;
}

static napi_value call_read_summed(napi_env env, napi_callback_info info) {
  napi_value arguments[7], callback;
  int64_t block;
  struct job *job;
  if (!get_arguments(env, info, 7, arguments, NULL) || !get_function(env, arguments[6], "callback", &callback) ||
      !get_integer(env, arguments[5], "blockBytes", 1, INT32_MAX, &block) || (job = create_job(env)) == NULL) {
    return NULL;
  }
  job->kind = JOB_READ;
  if (!get_fd(env, arguments[0], &job->fd) || !hold_summed(env, job, arguments[1], arguments[2], arguments[4]) ||
      !take_summed(env, arguments[1], arguments[2], arguments[4], block, &job->summed) ||
      !get_integer(env, arguments[3], "position", 0,
                   MAX_SAFE_INTEGER - (int64_t)(job->summed.head_bytes + job->summed.body_bytes), &job->position)) {
    free_job(env, job);
    return NULL;
  }
  return queue_job(env, job, callback);
}

/* NULL, with an exception, if there is no memory for it. */
static struct job *create_named_job(napi_env env, enum job_kind kind, const char *path) {
  struct job *job = create_job(env);
  if (job == NULL) return NULL;
  job->kind = kind;
  job->path = strdup(path);
  if (job->path != NULL) return job;
  free_job(env, job);
  throw_system_error(env, ENOMEM, "malloc", NULL);
  return NULL;
}

static napi_value call_sync_file_system(napi_env env, napi_callback_info info) {
  napi_value arguments[2], callback;
  char path[PATH_MAX];
  struct job *job;
  if (!get_arguments(env, info, 2, arguments, NULL) || !get_string(env, arguments[0], "path", path, sizeof path) ||
      !get_function(env, arguments[1], "callback", &callback) ||
      (job = create_named_job(env, JOB_SYNC_FILE_SYSTEM, path)) == NULL) {
    return NULL;
  }
  return queue_job(env, job, callback);
}

static napi_value call_read_writable(napi_env env, napi_callback_info info) {
  napi_value arguments[3], callback;
  char path[PATH_MAX];
  struct job *job;
  if (!get_arguments(env, info, 3, arguments, NULL) || !get_string(env, arguments[0], "path", path, sizeof path) ||
      !get_function(env, arguments[2], "callback", &callback) ||
      (job = create_named_job(env, JOB_READ_NAMED, path)) == NULL) {
    return NULL;
  }
  if (!get_bytes(env, arguments[1], "into", &job->summed.body, &job->summed.body_bytes)) {
    free_job(env, job);
    return NULL;
  }
  if (napi_create_reference(env, arguments[1], 1, &job->buffers) != napi_ok) {
    free_job(env, job);
    return throw_api_failure(env);
  }
  return queue_job(env, job, callback);
}

/* Beyond the end of any file: there is nothing to wait for, and the file's error is looked at all the same. */
#define NOWHERE ((off64_t)1 << 62)

static napi_value call_check_writeback(napi_env env, napi_callback_info info) {
  napi_value argument;
  int fd, error;
  if (!get_arguments(env, info, 1, &argument, NULL) || !get_fd(env, argument, &fd)) return NULL;
  do {
    error = sync_file_range(fd, NOWHERE, 1, SYNC_FILE_RANGE_WAIT_BEFORE) == 0 ? 0 : errno;
  } while (error == EINTR);
  return error == 0 ? NULL : throw_system_error(env, error, "sync_file_range", NULL);
}

/* A lease for writing is given only where no other open file, and so no mapping, has it; it is given back at once. */
static napi_value call_is_open_elsewhere(napi_env env, napi_callback_info info) {
  napi_value argument, result;
  int fd;
  if (!get_arguments(env, info, 1, &argument, NULL) || !get_fd(env, argument, &fd)) return NULL;
  int error = fcntl(fd, F_SETLEASE, F_WRLCK) == 0 ? 0 : errno;
  if (error == 0 && fcntl(fd, F_SETLEASE, F_UNLCK) != 0) error = errno;
  if (error != 0 && error != EAGAIN) return throw_system_error(env, error, "fcntl", NULL);
  if (napi_get_boolean(env, error != 0, &result) != napi_ok) return throw_api_failure(env);
  return result;
}

static napi_value call_lock(napi_env env, napi_callback_info info) {
  napi_value argument, result;
  int fd, error;
  if (!get_arguments(env, info, 1, &argument, NULL) || !get_fd(env, argument, &fd)) return NULL;
  do {
    error = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
  } while (error == EINTR);
  if (error != 0 && error != EWOULDBLOCK) return throw_system_error(env, error, "flock", NULL);
  if (napi_get_boolean(env, error == 0, &result) != napi_ok) return throw_api_failure(env);
  return result;
}

napi_status file_register(napi_env env, napi_value exports) {
  const napi_property_descriptor properties[] = {
      {"writeAll", NULL, call_write_all, NULL, NULL, NULL, napi_enumerable, NULL},
      {"writeAllAsync", NULL, call_write_all_async, NULL, NULL, NULL, napi_enumerable, NULL},
      {"readSummed", NULL, call_read_summed, NULL, NULL, NULL, napi_enumerable, NULL},
      {"fallocate", NULL, call_fallocate, NULL, NULL, NULL, napi_enumerable, NULL},
      {"readAhead", NULL, call_read_ahead, NULL, NULL, NULL, napi_enumerable, NULL},
      {"readWritable", NULL, call_read_writable, NULL, NULL, NULL, napi_enumerable, NULL},
      {"syncFileSystem", NULL, call_sync_file_system, NULL, NULL, NULL, napi_enumerable, NULL},
      {"checkWriteback", NULL, call_check_writeback, NULL, NULL, NULL, napi_enumerable, NULL},
      {"isOpenElsewhere", NULL, call_is_open_elsewhere, NULL, NULL, NULL, napi_enumerable, NULL},
      {"lock", NULL, call_lock, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  return napi_define_properties(env, exports, sizeof properties / sizeof *properties, properties);
}
