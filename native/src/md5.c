/*
 * MD5 (RFC 1321) of several streams at once. One stream cannot be hashed faster than about 0.7 GB/s, since each step waits for the one before; eight streams in
 * the lanes of one vector take hardly longer than one. Only whole blocks of 64 bytes are taken here: the caller pads.
 *
 * The vectors are the compiler's own (vector_size): eight lanes become one AVX2 register where the processor has it, checked for at run time, and two of
 * SSE2 or NEON elsewhere.
 */
#include "md5.h"

#include <stdlib.h>
#include <string.h>

#include "arguments.h"

#define LANES 8
#define BLOCK_BYTES 64
#define STATE_BYTES 16
/* Streams of one call. */
#define MAX_STREAMS 1024

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));

struct stream {
  uint8_t *state; /* little-endian words, as a digest is written */
  const uint8_t *data;
  size_t blocks;
};

static const uint8_t nothing[BLOCK_BYTES];

static inline uint32_t load_word(const uint8_t *from) {
  return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static inline void store_word(uint8_t *to, uint32_t word) {
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(word >> (8 * i));
}

#define F(x, y, z) (z ^ (x & (y ^ z)))
#define G(x, y, z) (y ^ (z & (x ^ y)))
#define H(x, y, z) (x ^ y ^ z)
#define I(x, y, z) (y ^ (x | ~z))
#define STEP(f, a, b, c, d, word, constant, shift) \
  a += f(b, c, d) + (word) + constant##u;            \
  a = (a << shift) | (a >> (32 - shift));          \
  a += b;

/* The 64 steps over the words w[0..15], for a number as for a vector of numbers. */
#define ROUNDS(w)                                                                                                     \
  STEP(F, a, b, c, d, w[0], 0xd76aa478, 7) STEP(F, d, a, b, c, w[1], 0xe8c7b756, 12)                                  \
  STEP(F, c, d, a, b, w[2], 0x242070db, 17) STEP(F, b, c, d, a, w[3], 0xc1bdceee, 22)                                 \
  STEP(F, a, b, c, d, w[4], 0xf57c0faf, 7) STEP(F, d, a, b, c, w[5], 0x4787c62a, 12)                                  \
  STEP(F, c, d, a, b, w[6], 0xa8304613, 17) STEP(F, b, c, d, a, w[7], 0xfd469501, 22)                                 \
  STEP(F, a, b, c, d, w[8], 0x698098d8, 7) STEP(F, d, a, b, c, w[9], 0x8b44f7af, 12)                                  \
  STEP(F, c, d, a, b, w[10], 0xffff5bb1, 17) STEP(F, b, c, d, a, w[11], 0x895cd7be, 22)                               \
  STEP(F, a, b, c, d, w[12], 0x6b901122, 7) STEP(F, d, a, b, c, w[13], 0xfd987193, 12)                                \
  STEP(F, c, d, a, b, w[14], 0xa679438e, 17) STEP(F, b, c, d, a, w[15], 0x49b40821, 22)                               \
  STEP(G, a, b, c, d, w[1], 0xf61e2562, 5) STEP(G, d, a, b, c, w[6], 0xc040b340, 9)                                   \
  STEP(G, c, d, a, b, w[11], 0x265e5a51, 14) STEP(G, b, c, d, a, w[0], 0xe9b6c7aa, 20)                                \
  STEP(G, a, b, c, d, w[5], 0xd62f105d, 5) STEP(G, d, a, b, c, w[10], 0x02441453, 9)                                  \
  STEP(G, c, d, a, b, w[15], 0xd8a1e681, 14) STEP(G, b, c, d, a, w[4], 0xe7d3fbc8, 20)                                \
  STEP(G, a, b, c, d, w[9], 0x21e1cde6, 5) STEP(G, d, a, b, c, w[14], 0xc33707d6, 9)                                  \
  STEP(G, c, d, a, b, w[3], 0xf4d50d87, 14) STEP(G, b, c, d, a, w[8], 0x455a14ed, 20)                                 \
  STEP(G, a, b, c, d, w[13], 0xa9e3e905, 5) STEP(G, d, a, b, c, w[2], 0xfcefa3f8, 9)                                  \
  STEP(G, c, d, a, b, w[7], 0x676f02d9, 14) STEP(G, b, c, d, a, w[12], 0x8d2a4c8a, 20)                                \
  STEP(H, a, b, c, d, w[5], 0xfffa3942, 4) STEP(H, d, a, b, c, w[8], 0x8771f681, 11)                                  \
  STEP(H, c, d, a, b, w[11], 0x6d9d6122, 16) STEP(H, b, c, d, a, w[14], 0xfde5380c, 23)                               \
  STEP(H, a, b, c, d, w[1], 0xa4beea44, 4) STEP(H, d, a, b, c, w[4], 0x4bdecfa9, 11)                                  \
  STEP(H, c, d, a, b, w[7], 0xf6bb4b60, 16) STEP(H, b, c, d, a, w[10], 0xbebfbc70, 23)                                \
  STEP(H, a, b, c, d, w[13], 0x289b7ec6, 4) STEP(H, d, a, b, c, w[0], 0xeaa127fa, 11)                                 \
  STEP(H, c, d, a, b, w[3], 0xd4ef3085, 16) STEP(H, b, c, d, a, w[6], 0x04881d05, 23)                                 \
  STEP(H, a, b, c, d, w[9], 0xd9d4d039, 4) STEP(H, d, a, b, c, w[12], 0xe6db99e5, 11)                                 \
  STEP(H, c, d, a, b, w[15], 0x1fa27cf8, 16) STEP(H, b, c, d, a, w[2], 0xc4ac5665, 23)                                \
  STEP(I, a, b, c, d, w[0], 0xf4292244, 6) STEP(I, d, a, b, c, w[7], 0x432aff97, 10)                                  \
  STEP(I, c, d, a, b, w[14], 0xab9423a7, 15) STEP(I, b, c, d, a, w[5], 0xfc93a039, 21)                                \
  STEP(I, a, b, c, d, w[12], 0x655b59c3, 6) STEP(I, d, a, b, c, w[3], 0x8f0ccc92, 10)                                 \
  STEP(I, c, d, a, b, w[10], 0xffeff47d, 15) STEP(I, b, c, d, a, w[1], 0x85845dd1, 21)                                \
  STEP(I, a, b, c, d, w[8], 0x6fa87e4f, 6) STEP(I, d, a, b, c, w[15], 0xfe2ce6e0, 10)                                 \
  STEP(I, c, d, a, b, w[6], 0xa3014314, 15) STEP(I, b, c, d, a, w[13], 0x4e0811a1, 21)                                \
  STEP(I, a, b, c, d, w[4], 0xf7537e82, 6) STEP(I, d, a, b, c, w[11], 0xbd3af235, 10)                                 \
  STEP(I, c, d, a, b, w[2], 0x2ad7d2bb, 15) STEP(I, b, c, d, a, w[9], 0xeb86d391, 21)

static void hash_one(uint8_t *state, const uint8_t *data, size_t blocks) {
  uint32_t a = load_word(state), b = load_word(state + 4), c = load_word(state + 8), d = load_word(state + 12);
  for (; blocks > 0; blocks--, data += BLOCK_BYTES) {
    uint32_t w[16];
    for (int i = 0; i < 16; i++) w[i] = load_word(data + 4 * i);
    uint32_t before_a = a, before_b = b, before_c = c, before_d = d;
    ROUNDS(w)
    a += before_a;
    b += before_b;
    c += before_c;
    d += before_d;
  }
  store_word(state, a);
  store_word(state + 4, b);
  store_word(state + 8, c);
  store_word(state + 12, d);
}

/* `blocks` blocks of every lane. The state is four vectors. */
static inline __attribute__((always_inline)) void hash_lanes(lanes state[4], const uint8_t *data[LANES], const size_t step[LANES],
                                                             size_t blocks) {
  lanes a = state[0], b = state[1], c = state[2], d = state[3];
  for (; blocks > 0; blocks--) {
    lanes w[16];
    for (int i = 0; i < 16; i++) {
      for (int lane = 0; lane < LANES; lane++) w[i][lane] = load_word(data[lane] + 4 * i);
    }
    for (int lane = 0; lane < LANES; lane++) data[lane] += step[lane];
    lanes before_a = a, before_b = b, before_c = c, before_d = d;
    ROUNDS(w)
    a += before_a;
    b += before_b;
    c += before_c;
    d += before_d;
  }
  state[0] = a;
  state[1] = b;
  state[2] = c;
  state[3] = d;
}

static void hash_lanes_plain(lanes state[4], const uint8_t *data[LANES], const size_t step[LANES], size_t blocks) {
  hash_lanes(state, data, step, blocks);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void hash_lanes_avx2(lanes state[4], const uint8_t *data[LANES],
                                                            const size_t step[LANES], size_t blocks) {
  hash_lanes(state, data, step, blocks);
}
#endif

/* Up to LANES streams of any lengths: those that are longest go on alone. */
static void hash_group(struct stream *streams, size_t count) {
  for (;;) {
    size_t shortest = 0, active = 0;
    for (size_t i = 0; i < count; i++) {
      if (streams[i].blocks == 0) continue;
      if (active == 0 || streams[i].blocks < shortest) shortest = streams[i].blocks;
      active++;
    }
    if (active == 0) return;
    if (active == 1) {
      for (size_t i = 0; i < count; i++) {
        if (streams[i].blocks > 0) hash_one(streams[i].state, streams[i].data, streams[i].blocks);
        streams[i].blocks = 0;
      }
      return;
    }
    lanes state[4] = {{0}};
    const uint8_t *data[LANES];
    size_t step[LANES];
    for (size_t lane = 0; lane < LANES; lane++) {
      bool is_used = lane < count && streams[lane].blocks > 0;
      data[lane] = is_used ? streams[lane].data : nothing;
      step[lane] = is_used ? BLOCK_BYTES : 0;
      for (int i = 0; is_used && i < 4; i++) state[i][lane] = load_word(streams[lane].state + 4 * i);
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) hash_lanes_avx2(state, data, step, shortest);
    else
#endif
      hash_lanes_plain(state, data, step, shortest);
    for (size_t lane = 0; lane < count; lane++) {
      if (step[lane] == 0) continue;
      for (int i = 0; i < 4; i++) store_word(streams[lane].state + 4 * i, state[i][lane]);
      streams[lane].data += shortest * BLOCK_BYTES;
      streams[lane].blocks -= shortest;
    }
  }
}

struct job {
  struct stream *streams;
  size_t count;
  napi_ref buffers[2]; /* states and parts */
  napi_ref callback;
  napi_async_work work;
};

static void run_job(napi_env env, void *data) {
  (void)env;
  struct job *job = data;
  for (size_t i = 0; i < job->count; i += LANES) {
    hash_group(job->streams + i, job->count - i < LANES ? job->count - i : LANES);
  }
}

static void free_job(napi_env env, struct job *job) {
  for (int i = 0; i < 2; i++) {
    if (job->buffers[i] != NULL) napi_delete_reference(env, job->buffers[i]);
  }
  if (job->callback != NULL) napi_delete_reference(env, job->callback);
  if (job->work != NULL) napi_delete_async_work(env, job->work);
  free(job->streams);
  free(job);
}

/* A job that was cancelled never ran: its thread is ending, and nobody is told. */
static void finish_job(napi_env env, napi_status status, void *data) {
  struct job *job = data;
  napi_value callback, receiver;
  bool ready = status == napi_ok && napi_get_reference_value(env, job->callback, &callback) == napi_ok &&
               napi_get_undefined(env, &receiver) == napi_ok;
  free_job(env, job);
  if (ready) napi_call_function(env, receiver, callback, 0, NULL, NULL);
}

/* Fills job->streams from the arguments 0 and 1. The parts are read one by one: none is left out, and each has its state. */
static bool get_streams(napi_env env, napi_value *arguments, struct job *job) {
  uint32_t count;
  bool is_array = false;
  if (napi_is_array(env, arguments[1], &is_array) != napi_ok || !is_array ||
      napi_get_array_length(env, arguments[1], &count) != napi_ok || count == 0 || count > MAX_STREAMS) {
    throw_invalid(env, "parts must be an array of 1 to %d buffers", MAX_STREAMS);
    return false;
  }
  job->streams = calloc(count, sizeof *job->streams);
  if (job->streams == NULL) {
    throw_api_failure(env);
    return false;
  }
  job->count = count;
  /* What could run a getter comes first: pointers are taken when nothing of JavaScript runs any more. */
  for (uint32_t i = 0; i < count; i++) {
    napi_value part;
    uint8_t *data;
    size_t length;
    if (napi_get_element(env, arguments[1], i, &part) != napi_ok || !get_bytes(env, part, "part", &data, &length)) return false;
  }
  uint8_t *states;
  size_t states_length;
  if (!get_bytes(env, arguments[0], "states", &states, &states_length)) return false;
  if (states_length != (size_t)count * STATE_BYTES) {
    throw_invalid(env, "states must have %u bytes, not %zu", count * STATE_BYTES, states_length);
    return false;
  }
  for (uint32_t i = 0; i < count; i++) {
    napi_value part;
    uint8_t *data;
    size_t length;
    if (napi_get_element(env, arguments[1], i, &part) != napi_ok || !get_bytes(env, part, "part", &data, &length)) return false;
    if (length % BLOCK_BYTES != 0) {
      throw_invalid(env, "a part must have a multiple of %d bytes, not %zu", BLOCK_BYTES, length);
      return false;
    }
    job->streams[i] = (struct stream){.state = states + i * STATE_BYTES, .data = data, .blocks = length / BLOCK_BYTES};
  }
  return true;
}

static napi_value call_now(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  struct job job = {0};
  if (!get_arguments(env, info, 2, arguments, NULL)) return NULL;
  if (get_streams(env, arguments, &job)) run_job(env, &job);
  free(job.streams);
  return NULL;
}

static napi_value call_async(napi_env env, napi_callback_info info) {
  napi_value arguments[3], callback, name;
  struct job *job = calloc(1, sizeof *job);
  if (job == NULL) return throw_api_failure(env);
  if (!get_arguments(env, info, 3, arguments, NULL) || !get_function(env, arguments[2], "callback", &callback) ||
      !get_streams(env, arguments, job)) {
    free_job(env, job);
    return NULL;
  }
  if (napi_create_reference(env, arguments[0], 1, &job->buffers[0]) != napi_ok ||
      napi_create_reference(env, arguments[1], 1, &job->buffers[1]) != napi_ok ||
      napi_create_reference(env, callback, 1, &job->callback) != napi_ok ||
      napi_create_string_utf8(env, "cairn.md5", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, run_job, finish_job, job, &job->work) != napi_ok ||
      napi_queue_async_work(env, job->work) != napi_ok) {
    free_job(env, job);
    return throw_api_failure(env);
  }
  return NULL;
}

napi_status md5_register(napi_env env, napi_value exports) {
  const napi_property_descriptor properties[] = {
      {"md5Blocks", NULL, call_now, NULL, NULL, NULL, napi_enumerable, NULL},
      {"md5BlocksAsync", NULL, call_async, NULL, NULL, NULL, napi_enumerable, NULL},
  };
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  return napi_define_properties(env, exports, sizeof properties / sizeof *properties, properties);
}
