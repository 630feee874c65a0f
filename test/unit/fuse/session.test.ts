import t, { type Test } from 'tap';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { Opcode } from '../../../src/fuse/protocol.js';
import type { Interruption } from '../../../src/vfs/interruption.js';
import type { Caller, Vfs } from '../../../src/vfs/vfs.js';
import { bodyOf, FakeKernel, initBody, requestMessage, withKernel } from './fake-channel.js';
import { answeringLater, FakeVfs } from './fake-vfs.js';

const ROOT = 1;

/** Runs the test over a vfs that answers at once and over one that answers later, each with INIT done. */
function both(name: string, test: (t: Tap, kernel: FakeKernel, vfs: FakeVfs) => Promise<void>): void {
  for (const when of ['at once', 'later']) {
    t.test(`${name} (the vfs answers ${when})`, async (t) => {
      const vfs = FakeVfs.until(t);
      await withKernel(when === 'later' ? answeringLater(vfs) : vfs, async (kernel) => {
        await kernel.ask(Opcode.INIT, 0, initBody());
        await test(t, kernel, vfs);
      });
    });
  }
}
type Tap = Pick<Test, 'equal' | 'same' | 'match' | 'ok' | 'notOk' | 'pass' | 'throws'>;

const O_RDWR = 2;
const O_APPEND = 0o2000;
const O_EXCL = 0o200;
const KEEP_CACHE = 2;
const CACHE_DIR = 8;

async function create(kernel: FakeKernel, name: string, flags = O_RDWR, mode = 0o100644) {
  const { error, body } = await kernel.ask(Opcode.CREATE, ROOT, bodyOf(flags, mode, 0o022, 0, name));
  return error === 0
    ? { error, ino: Number(body.readBigUInt64LE(0)), handle: body.readBigUInt64LE(128), flags: body.readUInt32LE(136) }
    : { error, ino: 0, handle: 0n, flags: 0 };
}

function writeBody(handle: bigint, offset: bigint, bytes: Uint8Array, writeFlags = 0, flags = O_RDWR): Buffer {
  return bodyOf(handle, offset, bytes.length, writeFlags, 0n, flags, 0, bytes);
}

function readBody(handle: bigint, offset: bigint, size: number): Buffer {
  return bodyOf(handle, offset, size, 0, 0n, 0, 0);
}

both('create, write, read, look up', async (t, kernel) => {
  const { ino, handle, flags } = await create(kernel, 'a');
  t.equal(flags, 2, 'KEEP_CACHE');
  const written = await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 0n, Buffer.from('hello')));
  t.equal(written.body.readUInt32LE(0), 5);
  t.equal((await kernel.ask(Opcode.READ, ino, readBody(handle, 1n, 4096))).body.toString(), 'ello');
  t.equal((await kernel.ask(Opcode.READ, ino, readBody(handle, 5n, 4096))).body.length, 0, 'the end');
  t.equal((await kernel.ask(Opcode.READ, ino, readBody(handle, 2n ** 63n, 4096))).body.length, 0, 'far beyond it');
  const found = await kernel.ask(Opcode.LOOKUP, ROOT, bodyOf('a'));
  t.equal(found.body.readBigUInt64LE(0), BigInt(ino));
  t.equal(found.body.readBigUInt64LE(48), 5n, 'its size');
  const missing = await kernel.ask(Opcode.LOOKUP, ROOT, bodyOf('b'));
  t.same([missing.error, missing.body.readBigUInt64LE(0)], [0, 0n], 'a negative entry');
  t.equal((await kernel.ask(Opcode.LOOKUP, ROOT, bodyOf('.'))).body.readBigUInt64LE(0), 1n);
  t.equal((await kernel.ask(Opcode.LOOKUP, ROOT, bodyOf('..'))).body.readBigUInt64LE(0), 1n);
  t.equal((await kernel.ask(Opcode.RELEASE, ino, bodyOf(handle, 0, 0, 0n))).error, 0);
  t.equal((await kernel.ask(Opcode.RELEASE, ino, bodyOf(handle, 0, 0, 0n))).error, -9, 'no such handle any more');
});

both('the payload of a write survives the next request', async (t, kernel, vfs) => {
  const { ino, handle } = await create(kernel, 'a');
  // Both are delivered before either is awaited: the second overwrites the buffer of the first.
  const answers = ['first', 'SECOND'].map((text, index) =>
    kernel.ask(Opcode.WRITE, ino, writeBody(handle, BigInt(index * 5), Buffer.from(text))),
  );
  await Promise.all(answers);
  t.equal(vfs.bytes(ino).toString(), 'firstSECOND');
});

both('O_APPEND writes at the true end; a page written back where it says', async (t, kernel, vfs) => {
  const { ino, handle } = await create(kernel, 'log', O_RDWR | O_APPEND);
  const append = (offset: bigint, text: string, writeFlags = 0) =>
    kernel.ask(Opcode.WRITE, ino, writeBody(handle, offset, Buffer.from(text), writeFlags, O_RDWR | O_APPEND));
  await append(0n, 'one');
  vfs.write(Number(handle), 3, Buffer.from('two'));
  await append(3n, 'three');
  t.equal(vfs.bytes(ino).toString(), 'onetwothree', 'another face had moved the end');
  await append(0n, 'ONE', 1);
  t.equal(vfs.bytes(ino).toString(), 'ONEtwothree');
  const notified = await kernel.unmount();
  t.equal(notified.readInt32LE(4), 2, 'the kernel is told that its cached bytes are at the wrong place');
  t.equal(notified.readBigUInt64LE(16), BigInt(ino));
});

both('an existing file is opened by create without O_EXCL', async (t, kernel, vfs) => {
  const caller = { uid: 0, gid: 0, pid: 0 };
  vfs.create(ROOT, 'a', 0o644, { read: true, write: true }, caller);
  vfs.mkdir(ROOT, 'd', 0o755, caller);
  t.equal((await create(kernel, 'a')).ino, 2);
  t.equal((await create(kernel, 'a', O_RDWR | O_EXCL)).error, -17);
  t.equal((await create(kernel, 'd')).error, -116, 'STALE: the kernel looks again');
});

both('errors of the vfs', async (t, kernel) => {
  t.equal((await kernel.ask(Opcode.UNLINK, ROOT, bodyOf('nothing'))).error, -2);
  t.equal((await kernel.ask(Opcode.GETATTR, 77, bodyOf(0, 0, 0n))).error, -2);
  t.equal((await kernel.ask(Opcode.READ, ROOT, readBody(99n, 0n, 10))).error, -9);
  t.same(kernel.logged, [], 'nothing that a program did wrong is logged');
});

t.test('a failure that no errno explains is EIO, and logged once', async (t) => {
  const broken = { getattr: () => Promise.reject(new CairnError('CORRUPT', 'chunk abc is damaged')) };
  const defect = {
    statfs: () => {
      throw new TypeError('a defect');
    },
  };
  await withKernel({ ...broken, ...defect } as unknown as Vfs, async (kernel) => {
    await kernel.ask(Opcode.INIT, 0, initBody());
    for (let i = 0; i < 3; i++) {
      t.equal((await kernel.ask(Opcode.GETATTR, ROOT, bodyOf(0, 0, 0n))).error, -5);
      t.equal((await kernel.ask(Opcode.STATFS, ROOT)).error, -5);
    }
    t.same(kernel.logged, ['chunk abc is damaged', 'a defect']);
  });
});

both('malformed requests are answered and change nothing', async (t, kernel, vfs) => {
  vfs.calls.length = 0;
  t.equal((await kernel.ask(Opcode.MKDIR, ROOT, bodyOf(0o755))).error, -5);
  t.equal((await kernel.ask(Opcode.MKDIR, ROOT, bodyOf(0o755, 0, 'a/b'))).error, -22);
  t.equal((await kernel.ask(Opcode.LOOKUP, ROOT, Buffer.from('no end'))).error, -5);
  t.equal((await kernel.ask(Opcode.LOOKUP, ROOT, bodyOf('x'.repeat(256)))).error, -36);
  t.equal((await kernel.ask(Opcode.WRITE, ROOT, bodyOf(1n, 0n, 5000, 0, 0n, 0, 0, 'short'))).error, -5);
  t.equal((await kernel.ask(Opcode.WRITE, ROOT, writeBody(1n, 2n ** 53n, Buffer.from('x')))).error, -27);
  t.same(vfs.calls, []);
  const before = kernel.replies.length;
  kernel.deliver(Buffer.alloc(12));
  t.equal(kernel.replies.length, before, 'no header: nobody to answer');
});

both('what we do not have', async (t, kernel) => {
  const ACCESS = 34;
  for (const opcode of [ACCESS, 31, 32, 33, 37, 40, 50, 53, 999]) {
    t.equal((await kernel.ask(opcode, ROOT, Buffer.alloc(64))).error, -38, `opcode ${opcode}: ENOSYS`);
  }
  t.equal((await kernel.ask(Opcode.IOCTL, ROOT, Buffer.alloc(32))).error, -25, 'ENOTTY');
});

both('FORGET, BATCH_FORGET and INTERRUPT get no reply, also when they are cut short', async (t, kernel) => {
  for (const opcode of [Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT])
    for (const bytes of [8, 4]) kernel.deliver(requestMessage({ opcode, unique: 1n }, Buffer.alloc(bytes, 0xff)));
  await kernel.ask(Opcode.STATFS, ROOT);
  t.same(kernel.replies, []);
});

both('the kernel holds the directories that it was told of, until it forgets them', async (t, kernel, vfs) => {
  const { body } = await kernel.ask(Opcode.MKDIR, ROOT, bodyOf(0o755, 0, 'd'));
  const ino = Number(body.readBigUInt64LE(0));
  await kernel.ask(Opcode.LOOKUP, ROOT, bodyOf('d'));
  kernel.errnos.push(2);
  kernel.deliver(requestMessage({ opcode: Opcode.LOOKUP, unique: 99n }, bodyOf('d')));
  await kernel.ask(Opcode.STATFS, ROOT);
  await create(kernel, 'file');
  t.same([...vfs.holds], [[ino, 2]], 'not of files, nor of replies that the kernel did not take');
  const handle = (await kernel.ask(Opcode.OPENDIR, ROOT, bodyOf(0, 0))).body.readBigUInt64LE(0);
  await kernel.ask(Opcode.READDIRPLUS, ROOT, readBody(handle, 0n, 4096));
  t.same([...vfs.holds], [[ino, 3]]);
  kernel.deliver(requestMessage({ opcode: Opcode.FORGET, nodeid: ino }, bodyOf(1n)));
  t.same([...vfs.holds], [[ino, 2]]);
  const pairs = bodyOf(2, 0, 77n, 1n, BigInt(ino), 2n);
  kernel.deliver(requestMessage({ opcode: Opcode.BATCH_FORGET, nodeid: 0 }, pairs));
  t.same([...vfs.holds], []);
  kernel.deliver(requestMessage({ opcode: Opcode.BATCH_FORGET, nodeid: 0 }, bodyOf(1000, 0, BigInt(ino), 2n)));
  t.match(kernel.logged, [/of \d+ bytes|with \d+ of/], 'a count without its pairs');
});

both('a file without a name', async (t, kernel, vfs) => {
  const reply = await kernel.ask(Opcode.TMPFILE, ROOT, bodyOf(O_RDWR, 0o100640, 0o022, 0, '/'));
  t.equal(reply.error, 0);
  const ino = Number(reply.body.readBigUInt64LE(0));
  t.equal(reply.body.readUInt32LE(40 + 64), 0, 'st_nlink');
  const handle = reply.body.readBigUInt64LE(128);
  t.equal((await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 0n, Buffer.from('x')))).error, 0);
  await kernel.ask(Opcode.RELEASE, ino, bodyOf(handle, 0, 0, 0n));
  t.throws(() => vfs.getattr(ino), 'gone with its handle');
});

t.test('a program that is killed need not wait, others get their answer', async (t) => {
  const vfs = FakeVfs.until(t);
  let end: () => void = () => {};
  const stuck = new Proxy(vfs as Vfs, {
    get(target, property) {
      const method: unknown = Reflect.get(target, property);
      if (property === 'fsync') return () => new Promise<void>((resolve) => (end = resolve));
      if (property === 'write')
        return (
          handle: number,
          offset: number,
          bytes: Uint8Array,
          killer: Caller | undefined,
          interruption: Interruption,
        ) => {
          const copy = Uint8Array.from(bytes);
          const waits = new Promise<void>((resolve) => (end = resolve));
          return interruption.after(waits, () => target.write(handle, offset, copy, killer));
        };
      return typeof method === 'function' ? (method.bind(target) as unknown) : method;
    },
  });
  await withKernel(stuck, async (kernel) => {
    await kernel.ask(Opcode.INIT, 0, initBody());
    const { ino, handle } = await create(kernel, 'a');
    let unique = 1000n;
    const send = (opcode: number, body: Uint8Array, pid: number): bigint => {
      unique += 2n;
      kernel.deliver(requestMessage({ opcode, unique, nodeid: ino, pid }, body));
      return unique;
    };
    const interrupt = (of: bigint) =>
      kernel.deliver(requestMessage({ opcode: Opcode.INTERRUPT, unique: of + 1n }, bodyOf(of)));
    const answers = async (): Promise<[bigint, number][]> => {
      end();
      await new Promise((resolve) => setImmediate(resolve));
      return kernel.replies.splice(0).map(({ unique, error }) => [unique, error]);
    };
    kernel.killed.add(7);
    for (const [opcode, body] of [
      [Opcode.FSYNC, bodyOf(handle, 0, 0)],
      [Opcode.WRITE, writeBody(handle, 0n, Buffer.from('bytes'))],
    ] as const) {
      const signalled = send(opcode, body, 6);
      interrupt(signalled);
      t.same(kernel.replies, [], 'a signal that a program handles ends no call on a file');
      t.same(await answers(), [[signalled, 0]]);
      vfs.setattr(ino, { sizeBytes: 0 }, { uid: 0, gid: 0, pid: 0 });
      const killed = send(opcode, body, 7);
      interrupt(killed);
      t.same(
        kernel.replies.splice(0).map(({ unique, error }) => [unique, error]),
        [[killed, -4]],
        'EINTR at once',
      );
      interrupt(killed);
      interrupt(killed + 100n);
      t.same(await answers(), [], 'and nothing more');
      t.equal(vfs.getattr(ino).sizeBytes, 0, 'nothing was written');
    }
  });
});

both('SETATTR changes what its mask says', async (t, kernel, vfs) => {
  const { ino } = await create(kernel, 'a', O_RDWR, 0o104755);
  const setattr = (valid: number) =>
    kernel.ask(
      Opcode.SETATTR,
      ino,
      // valid, padding, fh, size, lock_owner, three times, their nanoseconds, mode, unused, uid, gid, unused
      bodyOf(valid, 0, 0n, 77n, 0n, -5n, 6n, 7n, 1, 2, 3, 0o100600, 0, 1000, 1001, 0),
    );
  t.equal((await setattr(1 << 3)).body.readBigUInt64LE(16 + 8), 77n, 'SIZE alone');
  t.equal(vfs.getattr(ino).mode, 0o104755);
  await setattr(1 << 11);
  t.equal(vfs.getattr(ino).mode, 0o100755, 'KILL_SUIDGID');
  await setattr((1 << 0) | (1 << 1) | (1 << 2) | (1 << 4) | (1 << 5) | (1 << 10));
  const { mode, uid, gid, atime, mtime, ctime } = vfs.getattr(ino);
  t.same({ mode, uid, gid }, { mode: 0o100600, uid: 1000, gid: 1001 });
  t.same(
    [atime, mtime, ctime],
    [
      { sec: -5, nsec: 1 },
      { sec: 6, nsec: 2 },
      { sec: 7, nsec: 3 },
    ],
  );
  await setattr((1 << 4) | (1 << 5) | (1 << 7) | (1 << 8));
  t.ok(vfs.getattr(ino).atime.sec > 1e9 && vfs.getattr(ino).mtime.sec > 1e9, 'now, not the times given');
});

both('a write that clears set-id bits tells the kernel before it is answered', async (t, kernel) => {
  const { ino, handle } = await create(kernel, 'a', O_RDWR, 0o104755);
  kernel.replies.length = 0;
  const KILL = 4;
  await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 0n, Buffer.from('x'), KILL));
  const notified = kernel.replies.splice(0);
  t.equal(notified.length, 1);
  t.equal(notified[0]?.error, 2, 'INVAL_INODE');
  t.same([notified[0]?.body.readBigUInt64LE(0), notified[0]?.body.readBigInt64LE(8)], [BigInt(ino), -1n]);
  await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 0n, Buffer.from('x'), KILL));
  t.same(kernel.replies, [], 'once is enough');
});

both('set-id bits go with fallocate and a copied range, too, but for root', async (t, kernel, vfs) => {
  const { ino, handle } = await create(kernel, 'a', O_RDWR, 0o104755);
  const source = await create(kernel, 'source');
  await kernel.ask(Opcode.WRITE, source.ino, writeBody(source.handle, 0n, Buffer.from('x')));
  const change = {
    fallocate: (uid: number) => kernel.ask(Opcode.FALLOCATE, ino, bodyOf(handle, 0n, 9n, 0, 0), uid),
    copy: (uid: number) =>
      kernel.ask(Opcode.COPY_FILE_RANGE, source.ino, bodyOf(source.handle, 0n, BigInt(ino), handle, 0n, 1n, 0n), uid),
  };
  for (const [what, ask] of Object.entries(change)) {
    await kernel.ask(Opcode.SETATTR, ino, bodyOf(1, 0, 0n, 0n, 0n, 0n, 0n, 0n, 0, 0, 0, 0o104755, 0, 0, 0, 0));
    t.equal((await ask(0)).error, 0);
    t.equal(vfs.getattr(ino).mode, 0o104755, `${what} by root`);
    kernel.replies.length = 0;
    t.equal((await ask(1000)).error, 0);
    t.equal(vfs.getattr(ino).mode, 0o100755, what);
    t.equal(
      kernel.replies.filter(({ unique, error }) => unique === 0n && error === 2).length,
      1,
      'and the kernel is told',
    );
  }
});

both('rename and its flags', async (t, kernel, vfs) => {
  await create(kernel, 'a');
  await create(kernel, 'b');
  const rename2 = async (flags: number) =>
    (await kernel.ask(Opcode.RENAME2, ROOT, bodyOf(1n, flags, 0, 'a', 'b'))).error;
  t.equal(await rename2(1), -17, 'NOREPLACE');
  t.equal(await rename2(2), 0, 'EXCHANGE');
  t.equal(vfs.lookup(ROOT, 'a')?.ino, 3);
  vfs.calls.length = 0;
  t.equal(await rename2(3), -22);
  t.equal(await rename2(6), -22);
  t.equal(await rename2(8), -22);
  t.same(vfs.calls, []);
  t.equal((await kernel.ask(Opcode.RENAME, ROOT, bodyOf(1n, 'a', 'c'))).error, 0);
  t.equal(vfs.lookup(ROOT, 'c')?.ino, 3);
});

both('directories are read in pages', async (t, kernel) => {
  const names = Array.from({ length: 50 }, (_, index) => `file ${index} ${'\xff'.repeat(index)}`);
  for (const name of names) await create(kernel, name);
  const opened = await kernel.ask(Opcode.OPENDIR, ROOT, bodyOf(0, 0));
  t.equal(opened.body.readUInt32LE(8), CACHE_DIR, 'the kernel may keep what it reads');
  const handle = opened.body.readBigUInt64LE(0);
  for (const plus of [false, true]) {
    const seen: string[] = [];
    let cookie = 0n;
    for (;;) {
      const opcode = plus ? Opcode.READDIRPLUS : Opcode.READDIR;
      const { body } = await kernel.ask(opcode, ROOT, readBody(handle, cookie, 600));
      if (body.length === 0) break;
      t.ok(body.length <= 600);
      for (let at = 0; at < body.length; ) {
        const dirent = plus ? at + 128 : at;
        const length = body.readUInt32LE(dirent + 16);
        const name = body.toString('latin1', dirent + 24, dirent + 24 + length);
        if (plus) t.equal(body.readBigUInt64LE(at) === 0n, name === '.' || name === '..', name);
        cookie = body.readBigUInt64LE(dirent + 8);
        seen.push(name);
        at = dirent + ((24 + length + 7) & ~7);
      }
    }
    t.same(seen, ['.', '..', ...names]);
  }
  t.equal((await kernel.ask(Opcode.READDIR, ROOT, readBody(handle, 0n, 16))).error, -22, 'not taken for the end');
  t.equal((await kernel.ask(Opcode.FSYNCDIR, ROOT, bodyOf(handle, 0, 0))).error, 0);
  t.equal((await kernel.ask(Opcode.RELEASEDIR, ROOT, bodyOf(handle, 0, 0, 0n))).error, 0);
});

both('a listing that stands is kept by the kernel, and counts as read', async (t, kernel, vfs) => {
  const flags = async () => (await kernel.ask(Opcode.OPENDIR, ROOT, bodyOf(0, 0))).body.readUInt32LE(8);
  vfs.calls.length = 0;
  t.equal(await flags(), CACHE_DIR);
  t.same(vfs.calls, ['opendir', 'listingStands']);
  vfs.keepsListings = true;
  t.equal(await flags(), CACHE_DIR | KEEP_CACHE);
  t.same(vfs.calls, ['opendir', 'listingStands', 'opendir', 'listingStands', 'accessed']);
});

both('two directories listed at once do not mix', async (t, kernel, vfs) => {
  vfs.mkdir(ROOT, 'd', 0o755, { uid: 0, gid: 0, pid: 0 });
  const handles = [vfs.opendir(ROOT), vfs.opendir(2)];
  const [first, second] = await Promise.all(
    handles.map((handle, index) => kernel.ask(Opcode.READDIR, index + 1, readBody(BigInt(handle), 0n, 4096))),
  );
  t.equal(first?.body.length, 32 * 3);
  t.equal(second?.body.length, 32 * 2);
});

both('extended attributes', async (t, kernel) => {
  const set = (flags: number, name: string) =>
    kernel.ask(Opcode.SETXATTR, ROOT, bodyOf(3, flags, 0, 0, name, Buffer.from('abc')));
  const get = (size: number, name: string) => kernel.ask(Opcode.GETXATTR, ROOT, bodyOf(size, 0, name));
  t.equal((await set(2, 'user.x')).error, -61, 'REPLACE of nothing');
  t.equal((await set(1, 'user.x')).error, 0);
  t.equal((await set(1, 'user.x')).error, -17, 'CREATE again');
  t.equal((await set(0, 'user.y')).error, 0);
  t.equal((await get(0, 'user.x')).body.readUInt32LE(0), 3, 'size 0 asks for the size');
  t.equal((await get(3, 'user.x')).body.toString(), 'abc');
  t.equal((await get(2, 'user.x')).error, -34, 'ERANGE');
  t.equal((await get(0, 'user.z')).error, -61, 'ENODATA');
  const list = (size: number) => kernel.ask(Opcode.LISTXATTR, ROOT, bodyOf(size, 0));
  t.equal((await list(0)).body.readUInt32LE(0), 14);
  t.equal((await list(14)).body.toString(), 'user.x\0user.y\0');
  t.equal((await list(13)).error, -34);
  t.equal((await kernel.ask(Opcode.REMOVEXATTR, ROOT, bodyOf('user.x'))).error, 0);
  t.equal((await get(0, 'system.posix_acl_access')).error, -61, 'access lists are attributes');
});

t.test('a kernel that does not enforce access lists is not given any', async (t) => {
  const vfs = FakeVfs.until(t);
  await withKernel(vfs, async (kernel) => {
    const POSIX_ACL_AND_SETXATTR_EXT = (1 << 20) | (1 << 29);
    await kernel.ask(Opcode.INIT, 0, bodyOf(7, 31, 131072, ~POSIX_ACL_AND_SETXATTR_EXT, 0, new Uint8Array(44)));
    const set = (name: string) => kernel.ask(Opcode.SETXATTR, ROOT, bodyOf(3, 0, name, Buffer.from('abc')));
    t.equal((await kernel.ask(Opcode.GETXATTR, ROOT, bodyOf(0, 0, 'system.posix_acl_access'))).error, -95);
    t.equal((await set('system.posix_acl_access')).error, -95);
    t.equal((await set('user.x')).error, 0, 'the short form of the request');
  });
});

both('symlink, readlink, link, mknod, statfs, statx', async (t, kernel) => {
  const made = await kernel.ask(Opcode.SYMLINK, ROOT, bodyOf('l', '/somewhere/\xff'));
  t.equal(
    (await kernel.ask(Opcode.READLINK, Number(made.body.readBigUInt64LE(0)))).body.toString('latin1'),
    '/somewhere/\xff',
  );
  const { ino } = await create(kernel, 'a');
  const linked = await kernel.ask(Opcode.LINK, ROOT, bodyOf(BigInt(ino), 'b'));
  t.equal(linked.body.readUInt32LE(40 + 64), 2, 'nlink');
  const node = await kernel.ask(Opcode.MKNOD, ROOT, bodyOf(0o020600, 0x0501, 0, 0, 'tty'));
  t.equal(node.body.readUInt32LE(40 + 60), 0o020600);
  t.equal(node.body.readUInt32LE(40 + 76), 0x0501);
  t.equal((await kernel.ask(Opcode.STATFS, ROOT)).body.readBigUInt64LE(0), 1000n);
  t.equal((await kernel.ask(Opcode.STATX, ROOT, bodyOf(0, 0, 0n, 0, 0xfff))).body.readUInt32LE(32), 0xfff);
});

both('fallocate and lseek', async (t, kernel, vfs) => {
  const { ino, handle } = await create(kernel, 'a');
  const fallocate = async (mode: number, offset: bigint, length: bigint) =>
    (await kernel.ask(Opcode.FALLOCATE, ino, bodyOf(handle, offset, length, mode, 0))).error;
  t.equal(await fallocate(0, 0n, 100n), 0);
  t.equal(vfs.getattr(ino).sizeBytes, 100);
  t.equal(await fallocate(1, 0n, 200n), 0);
  t.equal(vfs.getattr(ino).sizeBytes, 100, 'KEEP_SIZE');
  t.equal(await fallocate(8, 0n, 10n), -95, 'COLLAPSE_RANGE');
  t.equal(await fallocate(0, 2n ** 53n, 1n), -27);
  const lseek = (offset: bigint, whence: number) => kernel.ask(Opcode.LSEEK, ino, bodyOf(handle, offset, whence, 0));
  t.equal((await lseek(5n, 3)).body.readBigUInt64LE(0), 5n, 'SEEK_DATA');
  t.equal((await lseek(5n, 4)).body.readBigUInt64LE(0), 100n, 'SEEK_HOLE');
  t.equal((await lseek(100n, 3)).error, -6, 'ENXIO');
  t.equal((await lseek(2n ** 60n, 3)).error, -6);
  t.equal((await lseek(0n, 0)).error, -22);
});

both('open flags', async (t, kernel, vfs) => {
  const { ino, handle } = await create(kernel, 'a');
  await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 0n, Buffer.from('text')));
  const open = (flags: number, openFlags = 0) => kernel.ask(Opcode.OPEN, ino, bodyOf(flags, openFlags));
  t.equal((await open(0)).body.readUInt32LE(8), 0x22, 'read only: KEEP_CACHE and NOFLUSH');
  t.equal((await open(1)).body.readUInt32LE(8), 0x02);
  t.equal(vfs.getattr(ino).sizeBytes, 4);
  vfs.setattr(ino, { mode: 0o4755 }, { uid: 0, gid: 0, pid: 0 });
  t.equal((await open(O_RDWR | 0o1000, 1)).error, 0);
  t.equal(vfs.getattr(ino).sizeBytes, 0, 'O_TRUNC');
  t.equal(vfs.getattr(ino).mode & 0o7777, 0o755, 'by someone who may not keep set-id bits');
});

both('flush and fsync reach the vfs', async (t, kernel, vfs) => {
  const { ino, handle } = await create(kernel, 'a');
  vfs.calls.length = 0;
  t.equal((await kernel.ask(Opcode.FLUSH, ino, bodyOf(handle, 0, 0, 0n))).error, 0);
  t.equal((await kernel.ask(Opcode.FSYNC, ino, bodyOf(handle, 1, 0))).error, 0);
  t.same(vfs.calls, ['flush', 'fsync']);
});

both('a handle whose open was interrupted is released', async (t, kernel, vfs) => {
  const { ino } = await create(kernel, 'a');
  const open = vfs.openHandles;
  const ENOENT = 2;
  for (const [opcode, nodeid, body] of [
    [Opcode.OPEN, ino, bodyOf(0, 0)],
    [Opcode.OPENDIR, ROOT, bodyOf(0, 0)],
    [Opcode.CREATE, ROOT, bodyOf(O_RDWR, 0o100644, 0, 0, 'b')],
  ] as const) {
    kernel.errnos.push(ENOENT);
    kernel.deliver(requestMessage({ opcode, nodeid }, body));
    while (kernel.errnos.length > 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await kernel.unmount();
  t.equal(vfs.openHandles, open);
  t.same(kernel.logged, []);
});

t.test('parts of a read are joined in order, and a cache file that ends early is an error, never zeros', async (t) => {
  const files = FakeVfs.until(t);
  const { handle } = files.create(ROOT, 'a', 0o644, { read: true, write: true }, { uid: 0, gid: 0, pid: 0 });
  files.write(handle, 0, Buffer.from('0123456789'));
  const [slice] = files.read(handle, 0, 10);
  const fd = slice instanceof Uint8Array || slice === undefined ? -1 : slice.fd;
  const answers = [
    [Buffer.from('ab'), Buffer.from('cd')],
    [Buffer.from('ab'), { fd, position: 2, length: 3 }, Buffer.from('cd')],
    [{ fd, position: 8, length: 4 }, Buffer.from('cd')],
    [Buffer.from('ab'), { fd, position: 8, length: 4 }],
    [{ fd, position: 8, length: 4 }],
    Array.from({ length: 300 }, () => Buffer.from('x')),
    [{ fd: 1_000_000, position: 0, length: 4 }],
    [{ fd: 1_000_000, position: 0, length: 4 }, Buffer.from('ab')],
    [Buffer.alloc(5000)],
  ];
  const vfs = { read: () => answers.shift() } as unknown as Vfs;
  await withKernel(vfs, async (kernel) => {
    await kernel.ask(Opcode.INIT, 0, initBody());
    const read = () => kernel.ask(Opcode.READ, 2, readBody(1n, 0n, 4096));
    t.equal((await read()).body.toString(), 'abcd');
    t.equal((await read()).body.toString(), 'ab234cd');
    t.equal((await read()).error, -5, 'a part that ends early before another');
    t.equal((await read()).error, -5, 'at the end too');
    t.equal((await read()).error, -5, 'and alone');
    t.equal((await read()).body.toString(), 'x'.repeat(300));
    t.equal((await read()).error, -5, 'a cache file that cannot be read');
    t.equal((await read()).error, -5);
    t.equal((await read()).error, -5, 'more than was asked for');
    t.equal(kernel.logged.length, 4, 'each kind once');
  });
});

t.test('notifications, in order and each whole', async (t) => {
  await withKernel({} as Vfs, async (kernel) => {
    await kernel.session.invalidateInode(7, 4096, 100);
    kernel.session.invalidateEntry(1, 'n\xff');
    await kernel.session.forgetChild(1, 9, 'x');
    const written = await kernel.unmount();
    const messages: Buffer[] = [];
    for (let at = 0; at < written.length; at += written.readUInt32LE(at)) {
      messages.push(written.subarray(at, at + written.readUInt32LE(at)));
    }
    t.same(
      messages.map((message) => message.readInt32LE(4)),
      [2, 3, 2, 6, 2],
    );
    t.ok(messages.every((message) => message.readBigUInt64LE(8) === 0n));
    t.same(messages[0]?.subarray(16), bodyOf(7n, 4096n, 100n));
    t.same(messages[1]?.subarray(16), bodyOf(1n, 2, 0, 'n\xff'));
    t.same(messages[2]?.subarray(16), bodyOf(1n, 0n, 0n));
    t.same(messages[3]?.subarray(16), bodyOf(1n, 9n, 1, 0, 'x'));
    await kernel.session.invalidateInode(7, 0, 0);
    t.pass('after the end it resolves and does nothing');
  });
});

t.test('before INIT nothing is served; a kernel too old ends it', async (t) => {
  await withKernel({} as Vfs, async (kernel) => {
    t.equal((await kernel.ask(Opcode.STATFS, ROOT)).error, -5);
    t.equal((await kernel.ask(Opcode.INIT, 0, initBody(7, 12))).error, -71);
    await t.rejects(kernel.session.ready, /7\.12/);
  });
});

t.test('the end waits for answers under way', async (t) => {
  let finish = () => {};
  const vfs = {
    fsync: () =>
      new Promise<void>((resolve) => {
        finish = resolve;
      }),
  } as unknown as Vfs;
  const kernel = new FakeKernel(vfs);
  t.teardown(() => kernel.remove());
  await kernel.ask(Opcode.INIT, 0, initBody());
  kernel.deliver(requestMessage({ opcode: Opcode.FSYNC }, bodyOf(1n, 0, 0)));
  let ended = false;
  const end = kernel.unmount().then(() => {
    ended = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(ended);
  t.ok(kernel.isStopped);
  finish();
  await end;
  t.ok(ended);
});
