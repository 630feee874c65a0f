import { execFileSync } from 'node:child_process';
import { lstatSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadAddon } from '../../../native/addon.js';

const addon = loadAddon();
const NSEC = 1_000_000_000n;

t.test('times are set to the nanosecond, before the epoch too, and on the link itself', async (t) => {
  const place = t.testdir({ file: '' });
  const file = join(place, 'file');
  const link = join(place, 'n\xff');
  symlinkSync('file', Buffer.from(link, 'latin1'));
  addon.setTimes(Buffer.from(file), 1, 2, -5, 999_999_999);
  const { atimeNs, mtimeNs } = lstatSync(file, { bigint: true });
  t.equal(atimeNs, NSEC + 2n);
  t.equal(mtimeNs, -5n * NSEC + 999_999_999n);
  addon.setTimes(Buffer.from(link, 'latin1'), 7, 0, 7, 7);
  t.equal(lstatSync(Buffer.from(link, 'latin1'), { bigint: true }).mtimeNs, 7n * NSEC + 7n, 'paths are bytes');
  t.equal(lstatSync(file, { bigint: true }).mtimeNs, mtimeNs, 'the file that it leads to is as it was');
});

t.test('extended attributes are bytes', async (t) => {
  const file = join(t.testdir({ file: '' }), 'file');
  try {
    addon.setXattr(Buffer.from(file), Buffer.from('user.name'), Buffer.from([0, 255]));
  } catch (error) {
    t.match(error, { code: 'ENOTSUP', syscall: 'lsetxattr' });
    return;
  }
  const script = 'import os,sys; sys.stdout.write(os.getxattr(sys.argv[1], "user.name").hex())';
  try {
    t.equal(execFileSync('python3', ['-c', script, file], { encoding: 'utf8' }), '00ff');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
});

t.test('the time of files is the one that the kernel gives them', async (t) => {
  const nanoseconds = new Uint32Array(1);
  const now = () => BigInt(addon.fileTime(nanoseconds)) * NSEC + BigInt(nanoseconds[0]!);
  const before = now();
  const file = join(t.testdir({ file: '' }), 'file');
  const made = lstatSync(file, { bigint: true }).mtimeNs;
  t.ok(before <= made, 'never later than what the kernel gives afterwards', { before, made });
  // A file system may look at a finer clock; ours follows with the next tick. The test's own time limit ends it.
  while (now() < made) await new Promise(setImmediate);
  t.throws(() => addon.fileTime(new Uint32Array(0)), { code: 'EINVAL' });
});

t.test('bad arguments are refused', async (t) => {
  const path = Buffer.from(join(t.testdir(), 'no such file'));
  const name = Buffer.from('user.a');
  t.throws(() => addon.setTimes(path, 0, 0, 0, 0), { code: 'ENOENT', syscall: 'utimensat' });
  t.throws(() => addon.setXattr(path, name, name), { code: 'ENOENT', syscall: 'lsetxattr' });
  const bad: (() => void)[] = [
    () => addon.setTimes(path, 0, 1_000_000_000, 0, 0),
    () => addon.setTimes(path, 0.5, 0, 0, 0),
    () => addon.setTimes(Buffer.from('a\0b'), 0, 0, 0, 0),
    () => addon.setTimes(Buffer.alloc(0), 0, 0, 0, 0),
    () => addon.setTimes(Buffer.alloc(5000, 'a'), 0, 0, 0, 0),
    () => addon.setXattr(path, Buffer.alloc(256, 'a'), name),
    () => addon.setXattr('path' as unknown as Buffer, name, name),
  ];
  for (const [index, call] of bad.entries()) t.throws(call, { code: 'EINVAL' }, `${index}`);
});
