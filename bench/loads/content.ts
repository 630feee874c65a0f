/**
 * What the loads write: random bytes, each MiB of them unlike any other, so that neither compression nor deduplication
 * makes a load smaller than it says; and each MiB knows its place, so that a read can tell that it got what was written.
 */
import { randomFillSync } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';

export const MIB = 1024 * 1024;
export const BLOCK = 4096;
const DIFFERENT = 16;

export class Content {
  readonly #bytes = randomFillSync(Buffer.allocUnsafe(DIFFERENT * MIB));

  /** The MiB with this number, stamped with it. Valid until the next call. */
  mebibyte(index: number): Buffer {
    const at = (index % DIFFERENT) * MIB;
    const bytes = this.#bytes.subarray(at, at + MIB);
    stamp(bytes, index);
    return bytes;
  }

  /** `length` bytes (at most 4 KiB) that no other index has. Valid until the next call. */
  piece(index: number, length: number): Buffer {
    const at = (index % DIFFERENT) * MIB + (Math.floor(index / DIFFERENT) % 128) * BLOCK;
    const bytes = this.#bytes.subarray(at, at + length);
    stamp(bytes, index);
    return bytes;
  }

  /** Writes a file in calls of 1 MiB. */
  writeFile(path: string, bytes: number, firstIndex = 0): void {
    const fd = openSync(path, 'w');
    for (let at = 0; at < bytes; at += MIB) writeFully(fd, this.mebibyte(firstIndex + at / MIB), at);
    closeSync(fd);
  }
}

/** Reads a file that `writeFile` wrote in calls of 1 MiB; throws if it is not what was written. */
export function readFileThrough(path: string, bytes: number): void {
  const into = Buffer.allocUnsafe(MIB);
  const fd = openSync(path, 'r');
  for (let at = 0; at < bytes; at += MIB) {
    const length = readSync(fd, into, 0, MIB, at);
    if (length !== MIB || into.readUInt32LE(0) !== at / MIB) throw new Error(`${path}: wrong bytes at ${at}`);
  }
  if (readSync(fd, into, 0, 1, bytes) !== 0) throw new Error(`${path} is longer than ${bytes} bytes`);
  closeSync(fd);
}

export function writeFully(fd: number, bytes: Buffer, position: number): void {
  const length = writeSync(fd, bytes, 0, bytes.length, position);
  if (length !== bytes.length) throw new Error(`wrote ${length} bytes of ${bytes.length}`);
}

/** Seconds that `work` took. */
export function secondsOf(work: () => void): number {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

/** Numbers in [0, below), the same for the same seed: both sides get the same positions. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function stamp(bytes: Buffer, index: number): void {
  bytes.writeUInt32LE(index, 0);
}
