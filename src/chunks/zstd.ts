/**
 * zstd frames, on the calling thread: what every zstd program makes and reads. The one place that knows which library it is.
 *
 * Of @cloudpss/zstd its stream objects are used, one of each kind per thread: its plain functions share one context between all threads of the process, and two
 * that compress at once spoil each other's memory. It is loaded when it is first needed, so that a pool without compressed chunks neither pays for it nor depends on it.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { assert, CairnError } from '../errors/cairn-error.js';

interface Stream {
  data(input: Buffer, take: (output: Buffer) => void): void;
  /** Ends the frame; the next `data` begins another. */
  end(take: (output: Buffer) => void): void;
}

interface Library {
  readonly Compressor: new (level: number) => Stream;
  readonly Decompressor: new () => Stream;
}

/** Higher levels cost several times as much for a few hundredths of the bytes. */
const LEVEL = 1;
const MAGIC = 0xfd2fb528;
/** A frame that wants more memory is none of ours: level 1 takes 512 KiB. */
const WINDOW_MAX_BYTES = 1024 * 1024;

let library: Library | undefined;
let compressor: Stream | undefined;
let decompressor: Stream | undefined;

/** CONFIG on a machine that the library has no binary for. */
function loaded(): Library {
  if (library !== undefined) return library;
  try {
    const require = createRequire(import.meta.url);
    const home = dirname(require.resolve('@cloudpss/zstd/package.json'));
    // Past the package's own loader, which is a module with a top-level await, and prints a warning and goes on slowly where the binary is missing.
    const load = createRequire(join(home, 'package.json'))('node-gyp-build') as (home: string) => Library;
    library = load(home);
    return library;
  } catch (error) {
    throw new CairnError('CONFIG', 'zstd is not there: compressed chunks can neither be made nor read', {
      hint: 'reinstall cairn with the packages that it depends on',
      cause: error,
    });
  }
}

/** Why nothing can be compressed here; undefined if it can. */
export function zstdRefusal(): string | undefined {
  try {
    loaded();
    return undefined;
  } catch (error) {
    return (error as CairnError).message;
  }
}

/** One frame. CONFIG. */
export function compressFrame(bytes: Uint8Array): Buffer {
  compressor ??= new (loaded().Compressor)(LEVEL);
  const parts: Buffer[] = [];
  const take = (part: Buffer): void => void parts.push(part);
  compressor.data(asBuffer(bytes), take);
  compressor.end(take);
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/** Fills `into` with what the frame holds. CORRUPT if that is not exactly one frame of so many bytes, whatever it says of itself; CONFIG. */
export function decompressFrame(frame: Uint8Array, into: Uint8Array): void {
  assert(into.length > 0, 'a frame holds something');
  const buffer = asBuffer(frame);
  checkFrame(buffer);
  decompressor ??= new (loaded().Decompressor)();
  let done = 0;
  const take = (part: Buffer): void => {
    // Thrown through the library, which stops there: a frame may claim to be a thousand times as long.
    if (done + part.length > into.length) throw corrupt('it holds more than it should');
    into.set(part, done);
    done += part.length;
  };
  try {
    decompressor.data(buffer, take);
    decompressor.end(take);
    if (done < into.length) throw corrupt(`it holds ${done} bytes instead of ${into.length}`);
  } catch (error) {
    // It is in the middle of a frame.
    decompressor = undefined;
    throw error instanceof CairnError ? error : corrupt((error as Error).message, error);
  }
}

/** Walks the frame's blocks (RFC 8878, 3.1.1): one frame, no dictionary, little memory, and nothing behind it. */
function checkFrame(frame: Buffer): void {
  if (frame.length < 9 || frame.readUInt32LE(0) !== MAGIC) throw corrupt('it does not begin like one');
  const descriptor = frame[4]!;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6]!;
  if ((descriptor & 0x0b) !== 0) throw corrupt('it wants a dictionary, or is of a later kind');
  // The window is as long as the content then, which is at most a block of ours and checked in the end.
  const windowBytes = isSingleSegment ? 0 : 2 ** (10 + (frame[5]! >>> 3)) * (1 + (frame[5]! & 7) / 8);
  if (windowBytes > WINDOW_MAX_BYTES || (isSingleSegment && sizeBytes === 8)) throw corrupt('it wants too much memory');
  if (isSingleSegment && sizeBytes === 4 && frame.readUInt32LE(5) > WINDOW_MAX_BYTES)
    throw corrupt('it wants too much memory');
  let at = 5 + (isSingleSegment ? 0 : 1) + sizeBytes;
  for (let isLast = false; !isLast; ) {
    if (at + 3 > frame.length) throw corrupt('it is cut short');
    const header = frame.readUIntLE(at, 3);
    isLast = (header & 1) !== 0;
    // A run of one byte is stored as that byte.
    at += 3 + (((header >>> 1) & 3) === 1 ? 1 : header >>> 3);
  }
  if ((descriptor & 4) !== 0) at += 4;
  if (at !== frame.length) throw corrupt(at > frame.length ? 'it is cut short' : 'something else follows it');
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function corrupt(what: string, cause?: unknown): CairnError {
  return new CairnError('CORRUPT', `a zstd frame cannot be unpacked: ${what}`, { cause });
}
