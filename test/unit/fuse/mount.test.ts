/**
 * The protocol against the kernel: a child process mounts the fake vfs, and this process uses it as any program does.
 * All attributes and names are cached for an hour, so whatever is seen here right after a change is either what the
 * kernel dropped by itself or what the session told it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  statfsSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadAddon } from '../../../native/addon.js';
import { mountFuse, unmountFuse } from '../../../src/fuse/mount.js';
import { findMount } from '../../../src/fuse/mount-table.js';
import { cannotMount, ServedMount, withMount } from './served-mount.js';

const skip = cannotMount();

for (const when of ['at once', 'later']) {
  t.test(`a vfs that answers ${when}`, { skip }, async (t) => {
    await withMount(when, async (served) => {
      const at = (...names: string[]) => join(served.mountpoint, ...names);

      await t.test('files', async (t) => {
        writeFileSync(at('a'), 'hello');
        t.equal(readFileSync(at('a'), 'utf8'), 'hello');
        writeFileSync(at('a'), ' more', { flag: 'a' });
        t.equal(readFileSync(at('a'), 'utf8'), 'hello more');
        truncateSync(at('a'), 5);
        t.equal(statSync(at('a')).size, 5);
        truncateSync(at('a'), 7);
        t.equal(readFileSync(at('a'), 'latin1'), 'hello\0\0');
        writeFileSync(at('a'), 'new');
        t.equal(readFileSync(at('a'), 'utf8'), 'new', 'O_TRUNC');
        t.throws(() => writeFileSync(at('a'), 'x', { flag: 'wx' }), { code: 'EEXIST' });
        t.throws(() => readFileSync(at('b')), { code: 'ENOENT' });
        writeFileSync(at('b'), 'b');
        t.equal(readFileSync(at('b'), 'utf8'), 'b', 'a name that was known not to be there');
      });

      await t.test('large files, in unaligned pieces', async (t) => {
        const bytes = randomBytes(5 * 1024 * 1024 + 123);
        const fd = openSync(at('large'), 'w+');
        for (let offset = 0; offset < bytes.length; ) {
          offset += writeSync(fd, bytes, offset, Math.min(1_234_567, bytes.length - offset), offset);
        }
        const back = Buffer.alloc(bytes.length);
        t.equal(readSync(fd, back, 0, back.length, 0), bytes.length);
        t.ok(back.equals(bytes));
        fsyncSync(fd);
        closeSync(fd);
        // Past the page cache: what the vfs holds, at offsets and lengths of whole pages.
        const direct = openSync(at('large'), constants.O_RDONLY | constants.O_DIRECT);
        const fromVfs = Buffer.alloc(2 * 1024 * 1024);
        t.equal(readSync(direct, fromVfs, 0, fromVfs.length, 1024 * 1024), fromVfs.length);
        t.ok(fromVfs.equals(bytes.subarray(1024 * 1024, 3 * 1024 * 1024)));
        closeSync(direct);
      });

      await t.test('a file lives until its last close', async (t) => {
        const fd = openSync(at('doomed'), 'w+');
        writeSync(fd, 'still here');
        unlinkSync(at('doomed'));
        t.notOk(existsSync(at('doomed')));
        t.equal(fstatSync(fd).nlink, 0);
        const back = Buffer.alloc(10);
        readSync(fd, back, 0, 10, 0);
        t.equal(back.toString(), 'still here');
        ftruncateSync(fd, 5);
        t.equal(fstatSync(fd).size, 5);
        closeSync(fd);
      });

      await t.test('attributes that change with another name are not kept', async (t) => {
        mkdirSync(at('d1'));
        mkdirSync(at('d2'));
        writeFileSync(at('d1', 'x'), 'x');
        linkSync(at('d1', 'x'), at('d2', 'y'));
        t.same([statSync(at('d1', 'x')).nlink, statSync(at('d2', 'y')).nlink], [2, 2]);
        const linked = statSync(at('d2', 'y'), { bigint: true });
        unlinkSync(at('d1', 'x'));
        t.equal(statSync(at('d2', 'y')).nlink, 1);
        t.ok(statSync(at('d2', 'y'), { bigint: true }).ctimeNs > linked.ctimeNs, 'unlink: ctime of the other name');

        const before = ['d1', 'd2', join('d2', 'y')].map((name) => statSync(at(name), { bigint: true }));
        renameSync(at('d2', 'y'), at('d1', 'z'));
        const after = ['d1', 'd2', join('d1', 'z')].map((name) => statSync(at(name), { bigint: true }));
        t.ok(
          after[0]!.mtimeNs > before[0]!.mtimeNs && after[1]!.mtimeNs > before[1]!.mtimeNs,
          "rename: parents' mtime",
        );
        t.ok(after[2]!.ctimeNs > before[2]!.ctimeNs, 'rename: ctime of the file');

        mkdirSync(at('d1', 'sub'));
        t.same([statSync(at('d1')).nlink, statSync(at('d2')).nlink], [3, 2]);
        renameSync(at('d1', 'sub'), at('d2', 'sub'));
        t.same(
          [statSync(at('d1')).nlink, statSync(at('d2')).nlink],
          [2, 3],
          'a moved directory counts in its new parent',
        );
        rmdirSync(at('d2', 'sub'));
        t.equal(statSync(at('d2')).nlink, 2);

        const old = statSync(at('d1', 'z'), { bigint: true });
        writeFileSync(at('d1', 'z'), 'longer', { flag: 'r+' });
        const written = statSync(at('d1', 'z'), { bigint: true });
        t.ok(written.size === 6n && written.mtimeNs > old.mtimeNs && written.ctimeNs > old.ctimeNs, 'write');
      });

      await t.test('rename over, and what the target was', async (t) => {
        writeFileSync(at('r1'), 'one');
        writeFileSync(at('r2'), 'two');
        const fd = openSync(at('r2'), 'r');
        renameSync(at('r1'), at('r2'));
        t.equal(readFileSync(at('r2'), 'utf8'), 'one');
        t.notOk(existsSync(at('r1')));
        t.equal(fstatSync(fd).nlink, 0);
        t.equal(readFileSync(fd, 'utf8'), 'two');
        closeSync(fd);
      });

      await t.test('symbolic links, modes and times', async (t) => {
        symlinkSync('some/where', at('l'));
        t.equal(readlinkSync(at('l')), 'some/where');
        lutimesSync(at('l'), new Date(-1_000_000), 1.5);
        t.same([lstatSync(at('l')).atimeMs, lstatSync(at('l')).mtimeMs], [-1_000_000, 1500]);
        writeFileSync(at('m'), '', { mode: 0o600 });
        t.equal(statSync(at('m')).mode & 0o7777, 0o600);
        chmodSync(at('m'), 0o640);
        t.equal(statSync(at('m')).mode & 0o7777, 0o640);
        t.ok(statSync(at('m')).birthtimeMs > 1e12, 'STATX');
      });

      await t.test('directories', async (t) => {
        mkdirSync(at('many'));
        const names = Array.from(
          { length: 700 },
          (_, index) => `a file with a rather long name, number ${index}`,
        ).sort();
        for (const name of names) writeFileSync(at('many', name), '');
        for (let round = 0; round < 2; round++) t.same(readdirSync(at('many')).sort(), names);
        unlinkSync(at('many', names[350]!));
        t.equal(readdirSync(at('many')).length, 699, 'a kept listing is dropped');
        t.throws(() => rmdirSync(at('many')), { code: 'ENOTEMPTY' });
        const fd = openSync(at('many'), 'r');
        fsyncSync(fd);
        closeSync(fd);
        t.ok(((await served.command('calls')) as string[]).includes('fsyncdir'));
      });

      await t.test('O_SYNC syncs, and writing asks for no capabilities', async (t) => {
        await served.command('calls');
        const fd = openSync(at('synced'), constants.O_CREAT | constants.O_WRONLY | constants.O_SYNC);
        for (let i = 0; i < 5; i++) writeSync(fd, 'x');
        closeSync(fd);
        const calls = (await served.command('calls')) as string[];
        t.equal(calls.filter((call) => call === 'fsync').length, 5);
        t.ok(calls.filter((call) => call.startsWith('getxattr')).length <= 1, 'not before every write');
      });

      await t.test('a write by someone else takes set-user-id away', async (t) => {
        writeFileSync(at('set-id'), 'x');
        chmodSync(at('set-id'), 0o4777);
        t.equal(statSync(at('set-id')).mode & 0o7777, 0o4777);
        chmodSync(served.mountpoint, 0o777);
        const { status, stderr } = spawnSync('sh', ['-c', 'echo y >> "$1"', 'sh', at('set-id')], {
          ...(process.getuid?.() === 0 ? { uid: 65534, gid: 65534, cwd: '/' } : {}),
          encoding: 'utf8',
        });
        t.equal(status, 0, stderr);
        t.equal(statSync(at('set-id')).mode & 0o7777, 0o777);
      });

      await t.test('what another face does is seen', async (t) => {
        t.notOk(existsSync(at('theirs')), 'now known not to be there');
        const count = readdirSync(served.mountpoint).length;
        await served.command('create', 'theirs', 'from elsewhere');
        t.equal(readFileSync(at('theirs'), 'utf8'), 'from elsewhere');
        t.equal(readdirSync(served.mountpoint).length, count + 1);
        // The second comes out of the kernel's cache, and leaves it nothing that it would ask for again by itself.
        for (let round = 0; round < 2; round++) readdirSync(served.mountpoint);
        await served.command('create', 'unheard of', '');
        t.equal(readdirSync(served.mountpoint).length, count + 2, 'also a name that nobody had asked for');
        const fd = openSync(at('theirs'), 'r');
        await served.command('overwrite', 'theirs', 'other, and longer than before');
        t.equal(readFileSync(at('theirs'), 'utf8'), 'other, and longer than before');
        t.equal(fstatSync(fd).size, 29);
        closeSync(fd);
        await served.command('remove', 'theirs');
        t.notOk(existsSync(at('theirs')));
        t.equal(readdirSync(served.mountpoint).length, count + 1);
      });

      await t.test('open(O_CREAT) of a name that another face took unseen', async (t) => {
        t.notOk(existsSync(at('quick')));
        const ino = await served.command('silentCreate', 'quick');
        const fd = openSync(at('quick'), 'a');
        t.equal(fstatSync(fd).ino, ino);
        closeSync(fd);
      });

      await t.test('changes by another face while programs read and create', async (t) => {
        await served.command('create', 'busy', 'x'.repeat(300_000));
        // The kernel holds locks of these very inodes most of the time: a notification sent from the daemon's event loop
        // would wait for them, and they for the daemon.
        const script =
          'i=0; while [ $i -lt 200 ]; do cat busy >/dev/null || exit 1; : > "own$i" || exit 2; i=$((i+1)); done';
        const program = spawn('sh', ['-c', script], { cwd: served.mountpoint, stdio: 'inherit' });
        const end = once(program, 'exit');
        for (let round = 0; round < 100; round++) {
          await served.command('overwrite', 'busy', String(round % 10).repeat(300_000));
          await served.command('create', `their${round}`, '');
        }
        t.same(await end, [0, null]);
        t.equal(readFileSync(at('busy'), 'utf8'), '9'.repeat(300_000));
        t.equal(readdirSync(served.mountpoint).filter((name) => /^(own|their)\d/.test(name)).length, 300);
      });

      await t.test('the mount itself', async (t) => {
        const { bsize, blocks, bfree, files } = statfsSync(served.mountpoint);
        t.same({ bsize, blocks, bfree, files }, { bsize: 4096, blocks: 1000, bfree: 600, files: 500 });
        t.equal((await findMount(served.mountpoint))?.type, 'fuse.cairn');
        await t.rejects(mountFuse(loadAddon(), served.mountpoint), { code: 'BUSY' });
        const fd = openSync(at('a'), 'r');
        await t.rejects(unmountFuse(served.mountpoint), { code: 'BUSY' });
        closeSync(fd);
        await served.command('unmount');
        t.equal(await served.exitCode(), 0, 'the daemon unmounted itself and ended');
        t.equal(await findMount(served.mountpoint), undefined);
        await t.rejects(unmountFuse(served.mountpoint), { code: 'INVALID' });
      });
    });
  });
}

t.test('a mount whose daemon was killed is replaced', { skip }, async (t) => {
  await withMount('at once', async (served, scratch) => {
    writeFileSync(join(served.mountpoint, 'a'), 'x');
    await served.kill();
    t.throws(() => statSync(served.mountpoint), { code: 'ENOTCONN' });
    const again = await ServedMount.start(served.mountpoint, scratch, 'at once');
    t.teardown(() => again.kill());
    writeFileSync(join(served.mountpoint, 'b'), 'y');
    t.same(readdirSync(served.mountpoint), ['b']);
    await unmountFuse(served.mountpoint);
    t.equal(await again.exitCode(), 0);
  });
});

t.test('mountpoints that are none', async (t) => {
  const directory = t.testdir({ file: '' });
  await t.rejects(mountFuse(loadAddon(), join(directory, 'nowhere')), { code: 'NOT_FOUND', hint: /mkdir/ });
  await t.rejects(mountFuse(loadAddon(), join(directory, 'no', 'where')), { code: 'NOT_FOUND' });
  await t.rejects(mountFuse(loadAddon(), join(directory, 'file')), { code: 'NOT_DIRECTORY' });
});
