/*
 * Looks at the event loop's descriptors for a moment before the loop goes to sleep, as long as requests follow on each other quickly. A thread
 * that sleeps is woken by an interrupt to another processor, which in a virtual machine takes longer (30 to 60 us) than nearly every request;
 * a program that asks one thing after the other pays that twice per request, and here only once. What is gained and lost is in docs/performance.md.
 *
 * How long it looks adapts as in Linux's haltpoll (drivers/cpuidle/governors/haltpoll.c): a wait that was longer than the budget, but not longer
 * than LONGEST_NS, doubles it; a longer one halves it, and below the start it is nothing. So a daemon that has little to do never looks, and where
 * others want the processor (a step of the loop takes far too long) it stops for a while.
 */
#include "busy-poll.h"

#include <poll.h>
#include <stddef.h>
#include <time.h>

#define START_NS 20000u
#define LONGEST_NS 200000u
/* Requests further apart than this are not a conversation. */
#define ACTIVE_NS 1000000u
/* A step is a system call of less than 1 us. Who was away for so long was not running. */
#define PREEMPTED_NS 30000u
#define SHORTEST_PAUSE_NS 2000000u
#define LONGEST_PAUSE_NS 128000000u

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void on_prepare(uv_prepare_t *prepare) {
  struct busy_poll *self = (struct busy_poll *)((char *)prepare - offsetof(struct busy_poll, prepare));
  uint64_t now = self->began = now_ns();
  if (self->budget == 0 || now < self->paused_until || now - self->last_request > ACTIVE_NS) return;
  if (uv_backend_timeout(prepare->loop) == 0) return;
  struct pollfd loop = {.fd = uv_backend_fd(prepare->loop), .events = POLLIN};
  while (now - self->began < self->budget) {
    if (poll(&loop, 1, 0) != 0) {
      self->pause = SHORTEST_PAUSE_NS;
      return;
    }
    uint64_t before = now;
    now = now_ns();
    if (now - before < PREEMPTED_NS) continue;
    self->paused_until = now + self->pause;
    self->pause = self->pause * 2 < LONGEST_PAUSE_NS ? self->pause * 2 : LONGEST_PAUSE_NS;
    return;
  }
}

static void on_check(uv_check_t *check) {
  struct busy_poll *self = (struct busy_poll *)((char *)check - offsetof(struct busy_poll, check));
  uint64_t waited = now_ns() - self->began;
  if (waited > LONGEST_NS) {
    self->budget = self->budget / 2 < START_NS ? 0 : self->budget / 2;
  } else if (waited > self->budget) {
    uint64_t more = self->budget == 0 ? START_NS : self->budget * 2;
    self->budget = more < LONGEST_NS ? more : LONGEST_NS;
  }
}

void busy_poll_start(uv_loop_t *loop, struct busy_poll *self, void *data) {
  self->pause = SHORTEST_PAUSE_NS;
  uv_prepare_init(loop, &self->prepare);
  uv_check_init(loop, &self->check);
  self->prepare.data = self->check.data = data;
  if (uv_available_parallelism() < 2) return;
  uv_prepare_start(&self->prepare, on_prepare);
  uv_check_start(&self->check, on_check);
  uv_unref((uv_handle_t *)&self->prepare);
  uv_unref((uv_handle_t *)&self->check);
}

void busy_poll_request(struct busy_poll *self) {
  self->last_request = now_ns();
}

void busy_poll_close(struct busy_poll *self, uv_close_cb on_closed) {
  uv_close((uv_handle_t *)&self->prepare, on_closed);
  uv_close((uv_handle_t *)&self->check, on_closed);
}
