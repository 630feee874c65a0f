/**
 * `cairn rescue` as a person would use it after the worst day: pool directory, cache, metadata and one disk are gone, and what is left is only
 * read.
 */
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { contentOf } from './content.js';
import { cannotMount, MountHarness } from './mount-harness.js';
import { SIZES, writeSome } from './samples.js';
import { SCALE } from './scale.js';
import { makeSourceTree, sameTree } from './source-tree.js';

const INIT = ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'];

/** One hash over everything in a directory: names, kinds, modes, owners, times, sizes, bytes. */
function treeHash(directory: string): string {
  const hash = createHash('sha256');
  const visit = (path: string): void => {
    const { mode, uid, gid, size, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
    hash.update([path, mode, uid, gid, size, mtimeNs, ctimeNs].join('|'));
    const type = Number(mode) & 0o170000;
    if (type === 0o040000) for (const name of readdirSync(path).sort()) visit(join(path, name));
    else hash.update(type === 0o120000 ? readlinkSync(path) : readFileSync(path));
  };
  visit(directory);
  return hash.digest('hex');
}

t.test('two of three disks and nothing else give the tree back', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: INIT });
  const { mountpoint, disks } = harness;
  const tree = await makeSourceTree(harness, 'source', SCALE.treeFiles);
  await harness.init();
  await harness.mount();
  await harness.must('cp', '-a', tree, mountpoint);
  await writeSome(harness, 'samples');
  await harness.unmount();
  for (const path of [harness.pool, harness.cache, disks[1]!]) await rm(path, { recursive: true });
  const left = [disks[2]!, disks[0]!];
  for (const disk of left) {
    for (const name of ['index.sqlite', 'index.sqlite-wal', 'index.sqlite-shm', 'lock'])
      await rm(join(disk, name), { force: true });
    await harness.must('chmod', '-R', 'a-w', disk);
  }
  const before = left.map(treeHash);

  const target = join(harness.directory, 'rescued');
  const startMs = performance.now();
  const out = await harness.ok('rescue', ...left, '--to', target);
  const elapsedS = (performance.now() - startMs) / 1000;
  t.comment(out);
  const files = Number((await harness.must('find', target, '-type', 'f', '-printf', '.')).length);
  t.comment(`${files} files in ${elapsedS.toFixed(1)} s: ${Math.round(files / elapsedS)} files a second`);
  t.match(out, /everything that these disks know of was restored/);
  t.match(out, /missing {2}disk 2 of the pool/);
  await sameTree(t, harness, tree, join(target, 'source'), 'rescued');
  for (const size of SIZES)
    t.ok(
      (await readFile(join(target, 'samples', `${size}`))).equals(contentOf(`samples ${size}`, size)),
      `${size} bytes`,
    );
  t.same((await readdir(target)).sort(), ['cairn-rescue.json', 'cairn-rescue.txt', 'samples', 'source']);
  t.same(left.map(treeHash), before, 'the disks are as they were, to their times');
  const sparse = await stat(join(target, 'source', 'oddities', 'sparse'));
  t.ok(sparse.blocks * 512 < sparse.size, 'holes stay holes');

  await t.test('again into the same directory', async (t) => {
    const { code, stderr } = await harness.run('rescue', ...left, '--to', target);
    t.equal(code, 1);
    t.match(stderr, /^cairn: --to .* is not empty: it holds .*; choose a new or empty directory[^\n]*\n$/);
  });

  await t.test('a part of it', async (t) => {
    const part = join(harness.directory, 'part');
    await harness.ok('rescue', ...left, '--to', part, '--only', '/source/oddities');
    await sameTree(t, harness, join(tree, 'oddities'), join(part, 'source', 'oddities'), 'only');
    t.same(await readdir(join(part, 'source')), ['oddities']);
    const none = await harness.run('rescue', ...left, '--to', join(harness.directory, 'none'), '--only', '/nothing');
    t.equal(none.code, 1);
    t.match(none.stderr, /there is no \/nothing in commit \d+ of the pool/);
  });

  await t.test('what there is', async (t) => {
    const list = await harness.ok('rescue', ...left, '--list');
    t.match(list, /^source\/oddities\/n\\xff\\xfe {2}9 B$/m);
    t.match(list, /all of them can be restored, by what is on the disks/);
    const lines = (await harness.ok('rescue', ...left, '--list', '--json')).trim().split('\n');
    t.match(JSON.parse(lines.at(-1)!), { troubled: 0, missingDisks: [2] });
  });

  await t.test('interrupted, and gone on with', async (t) => {
    const again = join(harness.directory, 'again');
    const running = harness.startCairn('rescue', ...left, '--to', again);
    // Something of the tree is there, beside the work directory.
    while ((await readdir(again).catch(() => [])).length < 2) await setTimeout(2);
    running.signal('SIGINT');
    const { code, stderr } = await running.ended;
    t.comment(
      `interrupted with ${code} after ${(await harness.must('find', again, '-type', 'f', '-printf', '.')).length} files`,
    );
    t.equal(code, 130);
    t.match(stderr, /interrupted; the same command goes on where it was/);
    t.ok((await readdir(again)).includes('.cairn-rescue'));
    const rest = await harness.ok('rescue', ...left, '--to', again);
    t.match(rest, /of these \d+ were there from an interrupted rescue/);
    await sameTree(t, harness, tree, join(again, 'source'), 'resumed');
    t.notOk((await readdir(again)).includes('.cairn-rescue'));
  });

  await t.test('one of three disks: files of one copy come, the others are listed', async (t) => {
    const one = join(harness.directory, 'one');
    const { code, stdout } = await harness.run('rescue', left[0]!, '--to', one, '--only', '/samples');
    t.equal(code, 1);
    t.match(stdout, /missing {2}disk 1, disk 2 of the pool/);
    const report = JSON.parse(await readFile(join(one, 'cairn-rescue.json'), 'utf8'));
    const lost = new Set(report.problems.map(({ path }: { path: string }) => basename(path)));
    for (const size of SIZES) {
      const path = join(one, 'samples', `${size}`);
      const found = await readFile(path).catch(() => undefined);
      t.equal(found === undefined, lost.has(`${size}`), `${size} bytes: restored or listed`);
      t.ok(found === undefined || found.equals(contentOf(`samples ${size}`, size)));
    }
    t.ok(lost.has('300000') && !lost.has('0'));
    t.match(
      await readFile(join(one, 'cairn-rescue.txt'), 'utf8'),
      /NOT RESTORED {2}samples\/300000: 300000 of its 300000 bytes/,
    );
  });
});

t.test('a pool with journal disks', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: INIT, journals: 2 });
  await harness.init();
  await harness.mount('--strong');
  await writeSome(harness, 'samples');
  await mkdir(join(harness.mountpoint, 'later'));
  for (let i = 0; i < 30; i++)
    await writeFile(join(harness.mountpoint, 'later', `${i}`), contentOf(`later ${i}`, 900 * i));
  await harness.kill();
  const given = [harness.journals[1]!, harness.disks[0]!, harness.disks[1]!];
  const target = join(harness.directory, 'rescued');
  const out = await harness.ok('rescue', ...given, '--to', target);
  t.comment(out);
  for (const size of SIZES)
    t.ok(
      (await readFile(join(target, 'samples', `${size}`))).equals(contentOf(`samples ${size}`, size)),
      `${size} bytes`,
    );
  for (let i = 0; i < 30; i++)
    t.ok((await readFile(join(target, 'later', `${i}`))).equals(contentOf(`later ${i}`, 900 * i)), `later ${i}`);
});
