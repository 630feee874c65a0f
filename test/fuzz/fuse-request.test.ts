/**
 * Whatever bytes arrive as a request, the session answers it exactly once (or not at all where no reply is due), with a
 * well-formed message, and never throws into the transport. The seed is printed; SEED=n replays it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { Opcode } from '../../src/fuse/protocol.js';
import { FakeKernel, initBody, requestMessage } from '../unit/fuse/fake-channel.js';
import { answeringLater, FakeVfs } from '../unit/fuse/fake-vfs.js';

const seed = process.env['SEED'] === undefined ? Date.now() % 2 ** 31 : Number(process.env['SEED']);
const RUNS = 3000;
const NO_REPLY: readonly number[] = [Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT];

const u32 = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 4, 8, 0x10, 0o1002, 0o2002, 0o100644, 0xffff_ffff),
  fc.integer({ min: 0, max: 0xffff_ffff }),
);
/** Bodies that look like the kernel's: little numbers in 32-bit fields, then perhaps names. */
const field = u32.map((value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
});
const name = fc
  .oneof(
    fc.constantFrom('a', 'b', 'd', '.', '..', '', 'user.x', 'system.posix_acl_access'),
    fc.string({ maxLength: 300 }),
  )
  .map((text) => Buffer.from(`${text}\0`, 'latin1'));
const body = fc.oneof(
  fc
    .tuple(fc.array(field, { maxLength: 24 }), fc.array(name, { maxLength: 3 }), fc.uint8Array({ maxLength: 64 }))
    .map(([fields, names, rest]) => Buffer.concat([...fields, ...names, rest])),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
);
const opcode = fc.oneof(
  { weight: 20, arbitrary: fc.constantFrom(...Object.values(Opcode).filter((code) => code !== Opcode.INIT)) },
  { weight: 1, arbitrary: u32 },
);
const request = fc.record({
  opcode,
  nodeid: fc.oneof(fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })),
  uid: u32,
  extensions: fc.oneof({ weight: 10, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(0xffff) }),
  /** Added to the length field: a message that contradicts itself. */
  lie: fc.oneof({ weight: 10, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(1000) }),
  /** Bytes cut off the end. */
  cut: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(60) }),
  body,
});

t.comment(`SEED=${seed}`);

for (const when of ['at once', 'later']) {
  t.test(`a vfs that answers ${when}`, async (t) => {
    const scratch = mkdtempSync(join(tmpdir(), 'cairn-fuzz-'));
    const vfs = new FakeVfs(scratch);
    const kernel = new FakeKernel(when === 'later' ? answeringLater(vfs) : vfs);
    t.teardown(async () => {
      await kernel.unmount();
      kernel.remove();
      vfs.close();
      rmSync(scratch, { recursive: true });
    });
    await kernel.ask(Opcode.INIT, 0, initBody());
    const caller = { uid: 0, gid: 0, pid: 0 };
    vfs.create(1, 'a', 0o4755, { read: true, write: true }, caller);
    vfs.mkdir(1, 'd', 0o755, caller);
    vfs.opendir(1);
    let unique = 1000n;
    await fc.assert(
      fc.asyncProperty(request, async ({ opcode, nodeid, uid, extensions, lie, cut, body }) => {
        unique += 2n;
        const whole = requestMessage({ opcode, unique, nodeid, uid }, body);
        const message = whole.subarray(0, Math.max(0, whole.length - cut));
        if (message.length >= 4) message.writeUInt32LE(message.length + lie, 0);
        if (message.length >= 40) message.writeUInt16LE(extensions, 36);
        kernel.deliver(message);
        const isDue = message.length >= 40 && !NO_REPLY.includes(opcode);
        // A later answer takes a few turns at most: none of the vfs's methods waits for anything else.
        for (let turn = 0; turn < 20 && isDue && !kernel.replies.some((reply) => reply.unique === unique); turn++) {
          await new Promise((resolve) => setImmediate(resolve));
        }
        const replies = kernel.replies.splice(0).filter((reply) => reply.unique !== 0n);
        if (replies.length !== (isDue ? 1 : 0)) throw new Error(`${replies.length} replies to opcode ${opcode}`);
        for (const reply of replies) {
          if (reply.unique !== unique) throw new Error('a reply to another request');
          if (reply.error > 0 || reply.error < -511) throw new Error(`the kernel refuses the error ${reply.error}`);
          if (reply.error !== 0 && reply.body.length > 0) throw new Error('the kernel refuses an error with a body');
        }
      }),
      { seed, numRuns: RUNS, interruptAfterTimeLimit: 5000 },
    );
    const defects = kernel.logged.filter((line) => !/^malformed request|message of \d+ bytes/.test(line));
    t.same(defects, [], 'no request reaches a failure that only the log can explain');
  });
}
