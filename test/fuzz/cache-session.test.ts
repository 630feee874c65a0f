/** The cache's session file: what is written is read back; anything else is refused, never taken for another session. `SEED=` replays. */
import fc from 'fast-check';
import t from 'tap';
import { beginSession, checkSession, decodeSession } from '../../src/pool/cache-session.js';
import { MemoryFileIo } from '../unit/disks/memory-file-io.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

async function encoded(epoch: number, before: number): Promise<Buffer> {
  const io = new MemoryFileIo();
  await io.makeDirectory('/cache');
  await beginSession(io, '/cache', { epoch, before, known: 5 });
  return io.readFile('/cache/cairn-session.json');
}

t.test('what is written is read back', async () => {
  await fc.assert(
    fc.asyncProperty(fc.maxSafeNat(), fc.maxSafeNat(), async (epoch, before) => {
      const session = decodeSession(await encoded(epoch, before));
      return session?.epoch === epoch && session.before === before && session.after > 5;
    }),
    { seed, numRuns: 200 },
  );
});

t.test('a changed byte, a cut and noise are no session', async () => {
  const good = await encoded(123_456_789, 42);
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(254), (at, change) => {
      const bytes = Buffer.from(good);
      bytes.writeUInt8((bytes.readUInt8(at) + 1 + change) % 256, at);
      const session = decodeSession(bytes);
      // White space may take another form: the numbers are the same then.
      return session === undefined || (session.epoch === 123_456_789 && session.before === 42);
    }),
    { seed, numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.nat(good.length - 2), (length) => decodeSession(good.subarray(0, length)) === undefined),
    { seed, numRuns: 200 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => decodeSession(Buffer.from(noise)) === undefined),
    { seed, numRuns: 200 },
  );
});

t.test('a damaged one is said, with what to do', async (t) => {
  const io = new MemoryFileIo();
  await io.makeDirectory('/cache');
  await io.replaceFile('/cache/cairn-session.json', Buffer.from('{}'));
  await t.rejects(checkSession(io, '/cache', 1), { code: 'CORRUPT', hint: /remove that file/ });
});
