/**
 * A program: mounts the fake vfs at argv[2] with its bytes in argv[3], and serves until it is unmounted. Prints `ready`
 * when it may be used. On its standard input it takes commands, one JSON array a line, that act as another face would,
 * and answers each with one JSON line. argv[4] `later` makes every answer of the vfs come later.
 */
import { createInterface } from 'node:readline';
import { loadAddon } from '../../../native/addon.js';
import { mountFuse, unmountFuse } from '../../../src/fuse/mount.js';
import { FuseSession } from '../../../src/fuse/session.js';
import { answeringLater, FakeVfs } from './fake-vfs.js';

const [, , mountpoint = '', scratch = '', when = ''] = process.argv;
const addon = loadAddon();
const vfs = new FakeVfs(scratch);
const fd = await mountFuse(addon, mountpoint);
const session = new FuseSession({
  addon,
  fd,
  vfs: when === 'later' ? answeringLater(vfs) : vfs,
  log: (message, error) => process.stderr.write(`${message} ${String(error ?? '')}\n`),
});
const caller = { uid: 0, gid: 0, pid: 0 };

/** What the test asks of the tree behind the kernel's back. */
const commands: Record<string, (...values: string[]) => unknown> = {
  create: async (name = '', text = '') => {
    const { attr, handle } = vfs.create(1, name, 0o644, { read: true, write: true }, caller);
    vfs.write(handle, 0, Buffer.from(text));
    vfs.release(handle);
    await session.invalidateEntry(1, name);
    return attr.ino;
  },
  overwrite: async (name = '', text = '') => {
    const ino = vfs.lookup(1, name)?.ino ?? 0;
    const handle = vfs.open(ino, { read: true, write: true, truncate: true });
    vfs.write(handle, 0, Buffer.from(text));
    vfs.release(handle);
    await session.invalidateInode(ino, 0, 0);
    return ino;
  },
  remove: async (name = '') => {
    const ino = vfs.lookup(1, name)?.ino ?? 0;
    vfs.unlink(1, name);
    await session.forgetChild(1, ino, name);
    return ino;
  },
  silentCreate: (name = '') => {
    const { attr, handle } = vfs.create(1, name, 0o644, { read: true, write: true }, caller);
    vfs.release(handle);
    return attr.ino;
  },
  calls: () => vfs.calls.splice(0),
  unmount: async () => unmountFuse(mountpoint),
};

const lines = createInterface({ input: process.stdin });
lines.on('line', async (line) => {
  const [name = '', ...values] = JSON.parse(line) as string[];
  try {
    process.stdout.write(`${JSON.stringify({ value: (await commands[name]?.(...values)) ?? null })}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: String(error) })}\n`);
  }
});

await session.ready;
process.stdout.write('ready\n');
await session.ended;
process.stderr.write(`${vfs.openHandles} handles open at the end\n`);
vfs.close();
lines.close();
process.stdin.destroy();
