/** The decoders of stage records and snapshot positions against damaged and random bytes. `SEED=` replays a run. */
import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { decodeStageRecord } from '../../src/cache/stage-op.js';
import { hasCode } from '../../src/errors/cairn-error.js';
import { decodeSnapshotPosition, encodeSnapshotPosition } from '../../src/meta/snapshot-position.js';
import { arbitraryOp, encodeRecord } from '../unit/cache/arbitrary-ops.js';
import { record, whole } from '../unit/meta/arbitrary-rows.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);
const run = (numRuns: number) => ({ seed, numRuns });

const bootId = fc.constantFrom('', 'boot', '2f7a3c1e-0000-4000-8000-0123456789ab');
const ops = fc.array(arbitraryOp, { maxLength: 20 });
const position = record({ sequence: whole, epoch: whole, stagedThrough: whole, nextIno: whole });

/** What was decoded, or undefined if the bytes were refused as CORRUPT. Any other error is a failure. */
function attempt<T>(decode: (bytes: Uint8Array) => T, bytes: Uint8Array): T | undefined {
  try {
    return decode(bytes);
  } catch (error) {
    if (hasCode(error, 'CORRUPT')) return undefined;
    throw error;
  }
}

/** Whatever is accepted must be the one spelling of what it says. */
function isRefusedOrCanonical(bytes: Uint8Array): boolean {
  const found = attempt(decodeStageRecord, bytes);
  if (found !== undefined && Buffer.compare(encodeRecord(found.bootId, found.ops, found.durableThrough), bytes) !== 0)
    return false;
  const place = attempt(decodeSnapshotPosition, bytes);
  return place === undefined || Buffer.compare(encodeSnapshotPosition(place), bytes) === 0;
}

t.test('what is encoded is decoded', async (t) => {
  fc.assert(
    fc.property(bootId, ops, (bootId, ops) => {
      deepStrictEqual(decodeStageRecord(Buffer.from(encodeRecord(bootId, ops, 7))), { bootId, durableThrough: 7, ops });
    }),
    run(300),
  );
  fc.assert(
    fc.property(position, (position) => {
      deepStrictEqual(decodeSnapshotPosition(encodeSnapshotPosition(position)), position);
    }),
    run(200),
  );
  t.pass();
});

t.test('cut anywhere, flipped anywhere, or random: refused, or a smaller record that is well formed', async (t) => {
  fc.assert(
    fc.property(bootId, ops, fc.nat(), fc.integer({ min: 1, max: 255 }), (bootId, ops, at, flip) => {
      const bytes = Buffer.from(encodeRecord(bootId, ops));
      const place = at % bytes.length;
      if (!isRefusedOrCanonical(bytes.subarray(0, place))) return false;
      bytes[place] = bytes[place]! ^ flip;
      return isRefusedOrCanonical(bytes);
    }),
    run(2000),
  );
  fc.assert(
    fc.property(
      fc.constantFrom([], [0x53, 1], [0x53, 1, 0], [0x51, 1]),
      fc.uint8Array({ maxLength: 200 }),
      (start, rest) => isRefusedOrCanonical(Buffer.from([...start, ...rest])),
    ),
    run(3000),
  );
  t.pass();
});

t.test('a truncated position is refused at every length, and so is a longer one', async (t) => {
  fc.assert(
    fc.property(position, (position) => {
      const bytes = encodeSnapshotPosition(position);
      for (let length = 0; length < bytes.length; length++)
        if (attempt(decodeSnapshotPosition, bytes.subarray(0, length)) !== undefined) return false;
      return attempt(decodeSnapshotPosition, Buffer.concat([bytes, Buffer.of(0)])) === undefined;
    }),
    run(200),
  );
  t.pass();
});
