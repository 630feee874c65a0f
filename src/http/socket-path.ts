/**
 * Where a pool's control socket is, in a form that the kernel takes. A unix socket's path may have 107 bytes at most;
 * a pool may lie deeper than that. Then the socket is named through a descriptor of the pool directory,
 * `/proc/self/fd/N/control.sock`: short, the same file, and no process has to change its working directory. A path in a
 * temporary directory would need a pointer file, and could be taken by somebody else.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';

const SOCKET_NAME = 'control.sock';
const MAX_SOCKET_PATH_BYTES = 107;

export interface SocketPath {
  /** What to bind or connect to; valid until `close`. */
  readonly path: string;
  close(): void;
}

export function openSocketPath(poolDirectory: string): SocketPath {
  const path = join(poolDirectory, SOCKET_NAME);
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return { path, close: () => {} };
  const fd = openSync(poolDirectory, constants.O_RDONLY | constants.O_DIRECTORY);
  return { path: `/proc/self/fd/${fd}/${SOCKET_NAME}`, close: () => closeSync(fd) };
}
