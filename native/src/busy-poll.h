#ifndef CAIRN_BUSY_POLL_H
#define CAIRN_BUSY_POLL_H

#include <stdint.h>
#include <uv.h>

struct busy_poll {
  uv_prepare_t prepare;
  uv_check_t check;
  /* All in nanoseconds, the points in time of CLOCK_MONOTONIC. */
  uint64_t budget; /* as long as the next wait may be spent looking */
  uint64_t began;  /* when the loop began to wait */
  uint64_t last_request;
  uint64_t paused_until;
  uint64_t pause; /* as long as the next pause lasts */
};

#define BUSY_POLL_HANDLES 2

/* Attaches to the loop, which it does not keep alive. `data` becomes that of its handles. On a machine with one processor it does nothing. */
void busy_poll_start(uv_loop_t *loop, struct busy_poll *self, void *data);

/* To be told of requests: the loop is looked at only while they come. */
void busy_poll_request(struct busy_poll *self);

/* Closes its handles; `on_closed` is called for each of them. */
void busy_poll_close(struct busy_poll *self, uv_close_cb on_closed);

#endif
