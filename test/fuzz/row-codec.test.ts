/** The decoder of commits and snapshot parts against damaged and random bytes. `SEED=` replays a run. */
import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { hasCode } from '../../src/errors/cairn-error.js';
import { decodeChanges, decodeCommit, encodeChanges, encodeCommit } from '../../src/meta/row-codec.js';
import { arbitraryChange, arbitraryCommit } from '../unit/meta/arbitrary-rows.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);
const run = (numRuns: number) => ({ seed, numRuns });

/** The commit, or undefined if the bytes were refused as CORRUPT. Any other error is a failure. */
function tryDecode(bytes: Uint8Array) {
  try {
    return decodeCommit(bytes);
  } catch (error) {
    if (hasCode(error, 'CORRUPT')) return undefined;
    throw error;
  }
}

/** Whatever is accepted must be the one spelling of what it says. */
function isRefusedOrCanonical(bytes: Uint8Array): boolean {
  const commit = tryDecode(bytes);
  return commit === undefined || Buffer.compare(encodeCommit(commit), bytes) === 0;
}

t.test('what is encoded is decoded', async (t) => {
  fc.assert(
    fc.property(arbitraryCommit, (commit) => {
      deepStrictEqual(decodeCommit(encodeCommit(commit)), commit);
    }),
    run(300),
  );
  fc.assert(
    fc.property(fc.array(arbitraryChange, { maxLength: 20 }), (changes) => {
      deepStrictEqual(decodeChanges(encodeChanges(changes)), changes);
    }),
    run(100),
  );
  t.pass();
});

t.test('a truncated commit is refused at every length', async (t) => {
  fc.assert(
    fc.property(arbitraryCommit, (commit) => {
      const bytes = encodeCommit(commit);
      const step = Math.max(1, Math.floor(bytes.length / 200));
      for (let length = 0; length < bytes.length; length += step) {
        if (tryDecode(bytes.subarray(0, length)) !== undefined) return false;
      }
      return tryDecode(bytes.subarray(0, bytes.length - 1)) === undefined;
    }),
    run(100),
  );
  t.pass();
});

t.test('flipped bits are refused, or change a value and nothing else', async (t) => {
  fc.assert(
    fc.property(arbitraryCommit, fc.array(fc.maxSafeNat(), { minLength: 1, maxLength: 4 }), (commit, flips) => {
      const bytes = Buffer.from(encodeCommit(commit));
      for (const flip of flips) bytes[Math.floor(flip / 8) % bytes.length]! ^= 1 << (flip % 8);
      return isRefusedOrCanonical(bytes);
    }),
    run(2000),
  );
  t.pass();
});

t.test('random bytes behind a good beginning are refused or canonical', async (t) => {
  const beginning = encodeCommit({
    sequence: 7,
    epoch: 1,
    acknowledged: 6,
    stagedThrough: 0,
    nextIno: 2,
    changes: [],
  });
  fc.assert(
    fc.property(fc.nat(9), fc.uint8Array({ maxLength: 200 }), (kind, noise) =>
      // One change of each kind is announced, so that the noise reaches every branch.
      isRefusedOrCanonical(Buffer.concat([beginning.subarray(0, -1), Buffer.of(1, kind), noise])),
    ),
    run(5000),
  );
  t.pass();
});
