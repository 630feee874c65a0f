/** Another file system to measure beside, over the same device. */
import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { join } from 'node:path';

export interface Peer {
  readonly name: string;
  /** Programs that must be on the PATH. */
  readonly programs: readonly string[];
  /** What a user does to have it. */
  readonly install: string;
  /** What its figures have to be read with: what it keeps, and what it promises. */
  readonly remark: string;
  /** Mounts it at `place.mountpoint`. Whatever it starts it hands to `place.undo` at once, so that a failure leaves nothing. */
  readonly start: (place: PeerPlace) => Promise<void>;
}

export interface PeerPlace {
  /** A fresh directory of its own. */
  readonly base: string;
  /** Three empty directories in it, the peer's disks. */
  readonly branches: readonly string[];
  /** An empty directory in it. */
  readonly mountpoint: string;
  /** Undone last first, after the unmounting. */
  undo(what: string, step: () => Promise<void>): void;
}

/** Starts a server that stays in the foreground, its output in a file below `base`; it is ended with SIGKILL, since what it keeps is thrown away. */
export function startServer(place: PeerPlace, program: string, args: readonly string[]): void {
  const log = openSync(join(place.base, `${program}.log`), 'a');
  const child = spawn(program, args, { stdio: ['ignore', log, log] });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  place.undo(`end ${program}`, async () => {
    child.kill('SIGKILL');
    await ended;
  });
}
