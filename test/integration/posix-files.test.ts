/** What programs count on between several names, handles and ways of opening of the same files, through the kernel's caches. */
import { constants } from 'node:fs';
import {
  link,
  mkdir,
  open,
  opendir,
  readdir,
  readFile,
  rename,
  stat,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { cannotMount, MountHarness } from './mount-harness.js';

const MIB = 1024 * 1024;

async function mounted(t: Test): Promise<MountHarness> {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  await harness.init();
  await harness.mount();
  return harness;
}

t.test('files on a mount', { skip: cannotMount() }, async (t) => {
  const harness = await mounted(t);
  const at = (name: string) => join(harness.mountpoint, name);

  await t.test('a listing goes on where it stopped, though another handle lists the directory meanwhile', async (t) => {
    const directory = at('listing');
    await mkdir(directory);
    const names = Array.from({ length: 2000 }, (_, index) => `a name of some length ${index}`);
    for (const name of names) await writeFile(join(directory, name), '');
    // Whoever comes first may have the kernel keep what it lists; the second time it would answer from that.
    await readdir(directory);
    await readdir(directory);
    const seen: string[] = [];
    const first = await opendir(directory);
    const other = await opendir(directory);
    for (;;) {
      const entry = await first.read();
      if (entry === null) break;
      seen.push(entry.name);
      if (seen.length === 100) {
        for (const name of seen) await unlink(join(directory, name));
        await other.read();
      }
    }
    await Promise.all([first.close(), other.close()]);
    t.same(seen.sort(), names.sort(), 'every name once');
    t.equal((await readdir(directory)).length, names.length - 100);
  });

  await t.test('attributes are those of the file, whatever name or handle changed them', async (t) => {
    await writeFile(at('one'), 'x'.repeat(10));
    await link(at('one'), at('two'));
    const handle = await open(at('one'));
    t.match(await handle.stat(), { size: 10, nlink: 2 });
    const before = (await handle.stat({ bigint: true })).mtimeNs;
    await writeFile(at('two'), 'y'.repeat(20), { flag: 'a' });
    t.match(await stat(at('one')), { size: 30, nlink: 2 });
    t.ok((await handle.stat({ bigint: true })).mtimeNs > before);
    await truncate(at('two'), 5);
    t.match(await handle.stat(), { size: 5 });
    await writeFile(at('three'), '');
    await rename(at('three'), at('two'));
    t.match(await handle.stat(), { nlink: 1 });
    await unlink(at('one'));
    t.match(await handle.stat(), { nlink: 0, size: 5 });
    t.equal(String(await handle.readFile()), 'xxxxx');
    await handle.close();
  });

  await t.test('readers see what writers of any kind write', async (t) => {
    const path = at('shared');
    await writeFile(path, Buffer.alloc(MIB, 1));
    t.equal((await readFile(path))[5000], 1, 'in the pages of the kernel');
    const { O_WRONLY, O_RDWR, O_RDONLY, O_APPEND } = constants;
    const flags = [O_WRONLY, O_RDWR, O_RDONLY, O_WRONLY | O_APPEND, O_RDWR];
    // Each opens first once: who comes first decides whether the kernel keeps pages.
    for (let turn = 0; turn < flags.length; turn++) {
      const order = [...flags.slice(turn), ...flags.slice(0, turn)];
      const handles = [];
      for (const flag of order) handles.push({ flag, handle: await open(path, flag) });
      let size = (await stat(path)).size;
      let value = 10 * turn + 10;
      for (const { flag, handle } of handles) {
        if (flag === O_RDONLY) continue;
        value += 1;
        const appends = (flag & O_APPEND) !== 0;
        const position = appends ? size : 4000;
        await handle.write(Buffer.alloc(3000, value), 0, 3000, appends ? null : position);
        if (appends) size += 3000;
        for (const reader of handles) {
          if ((reader.flag & O_WRONLY) !== 0) continue;
          const { buffer, bytesRead } = await reader.handle.read(Buffer.alloc(3000), 0, 3000, position);
          t.ok(bytesRead === 3000 && buffer.every((byte) => byte === value), `turn ${turn}, write ${value}`);
        }
        t.equal((await stat(path)).size, size);
      }
      for (const { handle } of handles) await handle.close();
    }
  });

  await t.test('a sparse file stays sparse when it is copied', async (t) => {
    const handle = await open(at('sparse'), 'w');
    await handle.truncate(64 * MIB);
    await handle.write(Buffer.alloc(4096, 7), 0, 4096, 32 * MIB);
    await handle.close();
    for (const state of ['staged', 'committed']) {
      t.ok((await stat(at('sparse'))).blocks * 512 <= MIB, state);
      const copy = join(harness.directory, `copy-${state}`);
      t.equal((await harness.exec('cp', ['--sparse=auto', at('sparse'), copy])).code, 0);
      t.match(await stat(copy), { size: 64 * MIB });
      t.ok((await stat(copy)).blocks * 512 <= MIB, 'the copy is too');
      t.equal((await harness.exec('cmp', [at('sparse'), copy])).code, 0);
      await harness.commit();
    }
  });

  await t.test('what programs do wrong is told to them, not to the log', async (t) => {
    await t.rejects(writeFile(at('n'.repeat(256)), ''), { code: 'ENAMETOOLONG' });
    await t.rejects(stat(at('nothing here')), { code: 'ENOENT' });
    await t.rejects(mkdir(at('listing')), { code: 'EEXIST' });
    await t.rejects(rename(at('listing'), at('listing/below')), { code: 'EINVAL' });
    t.notMatch(await readFile(join(harness.pool, 'daemon.log'), 'utf8'), /"level":[45]0/);
  });

  await harness.unmount();
});
