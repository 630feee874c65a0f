/** Which handles the kernel serves by itself: what it is told, in which order, and that its rules are kept. */

import assert from 'node:assert';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { OpenModes } from '../../../src/fuse/open-modes.js';
import { Passthrough } from '../../../src/fuse/passthrough.js';
import { Opcode } from '../../../src/fuse/protocol.js';
import type { Backing, Vfs } from '../../../src/vfs/vfs.js';
import { bodyOf, type FakeKernel, initBody, requestMessage, withKernel } from './fake-channel.js';
import { FakeVfs } from './fake-vfs.js';

const ROOT = 1;
const O_RDONLY = 0;
const KEEP_CACHE = 2;
const NOFLUSH = 32;
const PASSTHROUGH = 128;
const FILE_FD = 77;

/** Has a file for everything as soon as it is told to. */
class BackingVfs extends FakeVfs {
  hasBackings = true;
  taken = 0;

  backing(): Backing | undefined {
    if (!this.hasBackings) return undefined;
    this.taken += 1;
    return { fd: FILE_FD, release: () => void this.taken-- };
  }
}

interface Served {
  readonly kernel: FakeKernel;
  readonly vfs: BackingVfs;
  readonly refusals: string[];
  readonly ino: number;
  open(): Promise<{ handle: bigint; flags: number; id: number }>;
  release(handle: bigint): Promise<void>;
}

async function serve(t: Test, test: (served: Served) => Promise<void>, init = initBody()): Promise<void> {
  const vfs = BackingVfs.until(t);
  const { attr, handle } = vfs.create(ROOT, 'a', 0o644, { read: true, write: true }, { uid: 0, gid: 0, pid: 0 });
  vfs.release(handle);
  const refusals: string[] = [];
  const run = async (kernel: FakeKernel) => {
    await kernel.ask(Opcode.INIT, 0, init);
    const open = async () => {
      const { error, body } = await kernel.ask(Opcode.OPEN, attr.ino, bodyOf(O_RDONLY, 0));
      t.equal(error, 0);
      return { handle: body.readBigUInt64LE(0), flags: body.readUInt32LE(8), id: body.readInt32LE(12) };
    };
    const release = async (handle: bigint) => {
      t.equal((await kernel.ask(Opcode.RELEASE, attr.ino, bodyOf(handle, 0, 0, 0n))).error, 0);
    };
    await test({ kernel, vfs, refusals, ino: attr.ino, open, release });
  };
  await withKernel(vfs as Vfs, run, (why) => refusals.push(why));
}

t.test('one number for an inode, without KEEP_CACHE, taken back with the last handle', async (t) => {
  await serve(t, async ({ kernel, vfs, open, release }) => {
    const first = await open();
    t.match(first, { flags: PASSTHROUGH | NOFLUSH, id: 1 });
    vfs.hasBackings = false;
    const second = await open();
    t.match(
      second,
      { flags: PASSTHROUGH | NOFLUSH, id: 1 },
      'all others must be as well, whatever the vfs has by then',
    );
    t.same(kernel.backings, [`open ${FILE_FD}`]);
    await release(first.handle);
    t.same([kernel.backings.length, vfs.taken], [1, 1]);
    await release(second.handle);
    t.same(kernel.backings, [`open ${FILE_FD}`, 'close 1']);
    t.equal(vfs.taken, 0);
    t.match(await open(), { flags: KEEP_CACHE | NOFLUSH, id: 0 }, 'there is none any more');
  });
});

t.test('no file of an inode of which an ordinary handle is open', async (t) => {
  await serve(t, async ({ kernel, vfs, open, release }) => {
    vfs.hasBackings = false;
    const ordinary = await open();
    vfs.hasBackings = true;
    const beside = await open();
    t.match([ordinary, beside], [{ flags: KEEP_CACHE | NOFLUSH }, { flags: KEEP_CACHE | NOFLUSH, id: 0 }]);
    t.same(kernel.backings, []);
    t.equal(vfs.taken, 0);
    await release(ordinary.handle);
    t.match(await open(), { flags: KEEP_CACHE | NOFLUSH }, 'one is left');
    await release(beside.handle);
  });
});

t.test('an open that nobody waits for any more leaves nothing behind', async (t) => {
  await serve(t, async ({ kernel, vfs, ino }) => {
    kernel.errnos.push(2);
    kernel.deliver(requestMessage({ opcode: Opcode.OPEN, unique: 1000n, nodeid: ino }, bodyOf(O_RDONLY, 0)));
    t.same(kernel.backings, [`open ${FILE_FD}`, 'close 1']);
    t.equal(vfs.taken, 0);
    t.equal(vfs.openHandles, 0);
  });
});

t.test('what is open when the mount ends is let go of', async (t) => {
  await serve(t, async ({ kernel, vfs, open }) => {
    await open();
    await kernel.unmount();
    t.same(kernel.backings, [`open ${FILE_FD}`, 'close 1']);
    t.equal(vfs.taken, 0);
  });
});

t.test('a kernel that refuses is not asked again; a passing reason is no refusal', async (t) => {
  for (const [errno, isForGood] of [
    [1, true],
    [25, true],
    [40, true],
    [12, false],
  ] as const)
    await serve(t, async ({ kernel, vfs, refusals, open, release }) => {
      kernel.backingErrno = errno;
      const ordinary = await open();
      t.match(ordinary, { flags: KEEP_CACHE | NOFLUSH, id: 0 }, `errno ${errno}`);
      await release(ordinary.handle);
      t.equal(vfs.taken, 0);
      t.equal(refusals.length, isForGood ? 1 : 0);
      await open();
      t.equal(kernel.backings.length, isForGood ? 1 : 2);
      t.same(kernel.logged, [], 'it is no failure');
    });
});

t.test('a kernel without it', async (t) => {
  const without = bodyOf(7, 38, 131072, 0xffffffff, 1 << 4, new Uint8Array(44));
  const test = async ({ kernel, vfs, refusals, open }: Served) => {
    t.match(await open(), { flags: KEEP_CACHE | NOFLUSH, id: 0 });
    t.same([kernel.backings, vfs.taken, refusals.length], [[], 0, 1]);
  };
  await serve(t, test, without);
});

t.test('a mount that may be written to is never given any', async (t) => {
  const vfs = BackingVfs.until(t);
  await withKernel(vfs as Vfs, async (kernel) => {
    await kernel.ask(Opcode.INIT, 0, initBody());
    const { body } = await kernel.ask(Opcode.CREATE, ROOT, bodyOf(O_RDONLY, 0o100644, 0, 0, 'b'));
    const opened = await kernel.ask(Opcode.OPEN, Number(body.readBigUInt64LE(0)), bodyOf(O_RDONLY, 0));
    t.equal(opened.body.readUInt32LE(8), KEEP_CACHE | NOFLUSH);
    t.same(kernel.backings, []);
  });
});

t.test('no inode is open both ways, and each number is taken back once', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 0, max: 7 }), fc.boolean())),
      (steps) => {
        let has = false;
        let nextId = 1;
        const standing = new Set<number>();
        let taken = 0;
        const backing = () => {
          if (!has) return undefined;
          taken += 1;
          return { fd: FILE_FD, release: () => void taken-- };
        };
        const channel = {
          openBacking: () => {
            standing.add(nextId);
            return nextId++;
          },
          closeBacking: (id: number) => (standing.delete(id) ? 0 : assert.fail('taken back twice')),
        };
        const passthrough = new Passthrough({ backing } as unknown as Vfs, channel, {
          invalidateInode: async () => {},
        });
        passthrough.isOn = true;
        const modes = new OpenModes();
        const open = new Map<number, { ino: number; id: number }>();
        let next = 1;
        for (const [ino, action, there] of steps) {
          has = there;
          if (action < 4) {
            const id = passthrough.opened(ino, next, modes.hasHandles(ino));
            if (id === 0) modes.opened(ino, next, true, false);
            open.set(next++, { ino, id });
          } else {
            const handle = [...open.keys()][action - 4];
            if (handle === undefined) continue;
            modes.released(handle);
            passthrough.released(handle);
            open.delete(handle);
          }
          const ids = new Set([...open.values()].filter((one) => one.ino === ino).map(({ id }) => id));
          if (ids.size > 1) return false;
          const inUse = new Set([...open.values()].map(({ id }) => id).filter((id) => id !== 0));
          if (inUse.size !== standing.size || taken !== inUse.size) return false;
        }
        return true;
      },
    ),
  );
  t.pass();
});
