/**
 * A tree of real files to copy into a pool, with the things that trees have and tests forget, and what makes a copy of it equal:
 * bytes (`diff -r`), and kinds, modes, owners, times to the nanosecond, link targets, hard links (`find -printf`).
 */
import { link, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import type { MountHarness } from './mount-harness.js';

const NODE_MODULES = fileURLToPath(new URL('../../../node_modules/', import.meta.url));

/** At least `files` files: system headers and packages of node_modules, copied to a new directory `<name>` beside the pool. */
export async function makeSourceTree(harness: MountHarness, name: string, files: number): Promise<string> {
  const tree = join(harness.directory, name);
  await mkdir(join(tree, 'headers'), { recursive: true });
  await mkdir(join(tree, 'node_modules'));
  await makeOddities(harness, join(tree, 'oddities'));
  const packages = (await readdir(NODE_MODULES)).filter((entry) => !entry.startsWith('.')).sort();
  const headers = files > 10_000 ? '/usr/include' : '/usr/include/linux';
  const sources = [headers, ...packages.map((entry) => join(NODE_MODULES, entry))];
  for (const source of sources) {
    if ((await countFiles(harness, tree)) >= files) break;
    const part = source === headers ? 'headers' : 'node_modules';
    await harness.exec('cp', ['-a', source, join(tree, part)]);
  }
  return tree;
}

async function countFiles(harness: MountHarness, tree: string): Promise<number> {
  return (await harness.must('find', tree, '-type', 'f', '-printf', '.')).length;
}

async function makeOddities(harness: MountHarness, place: string): Promise<void> {
  await mkdir(join(place, 'empty directory'), { recursive: true });
  await writeFile(join(place, 'empty'), '');
  await writeFile(join(place, `long ${'n'.repeat(250)}`), 'long name');
  await writeFile(join(place, 'new\nline'), 'new line');
  await writeFile(join(place, '사진 – été.txt'), 'names are bytes');
  await writeFile(Buffer.concat([Buffer.from(`${place}/`), Buffer.from([0x6e, 0xff, 0xfe])]), 'not UTF-8');
  await writeFile(join(place, 'read only'), 'read only', { mode: 0o444 });
  await writeFile(join(place, 'set-user-id'), 'set-user-id');
  await harness.must('chmod', '6755', join(place, 'set-user-id'));
  await mkdir(join(place, 'sticky'));
  await harness.must('chmod', '1777', join(place, 'sticky'));
  await symlink('empty', join(place, 'relative link'));
  await symlink('/nowhere/at/all', join(place, 'dangling link'));
  await symlink('empty directory', join(place, 'link to a directory'));
  await writeFile(join(place, 'linked'), 'one file, three names');
  await link(join(place, 'linked'), join(place, 'linked again'));
  await link(join(place, 'linked'), join(place, 'empty directory', 'and again'));
  await writeFile(join(place, 'old'), 'old');
  await harness.must('touch', '-d', '1963-11-22 12:30:00.123456789', join(place, 'old'));
  await writeFile(join(place, 'future'), 'future');
  await harness.must('touch', '-d', '2106-02-08 01:02:03.999999999', join(place, 'future'));
  // 3 MiB of file, of which 64 KiB exist.
  await harness.must(
    'dd',
    'if=/dev/urandom',
    `of=${join(place, 'sparse')}`,
    'bs=64k',
    'count=1',
    'seek=20',
    'status=none',
  );
  await harness.must('truncate', '-s', '3M', join(place, 'sparse'));
  let deep = place;
  for (let i = 0; i < 40; i++) deep = join(deep, `level ${i}`);
  await mkdir(deep, { recursive: true });
  await writeFile(join(deep, 'bottom'), 'bottom');
}

/** The copy is the tree, to the last attribute. */
export async function sameTree(
  t: Test,
  harness: MountHarness,
  tree: string,
  copy: string,
  what: string,
): Promise<void> {
  const { code, stdout, stderr } = await harness.exec('diff', ['-r', '--no-dereference', tree, copy]);
  t.equal(code, 0, `${what}: diff -r is clean`, { diff: (stdout + stderr).slice(0, 4000) });
  const expected = await attributesOf(harness, tree);
  const found = await attributesOf(harness, copy);
  const wrong = [...expected].filter((line) => !found.has(line));
  const extra = [...found].filter((line) => !expected.has(line));
  t.ok(expected.size > 0 && wrong.length + extra.length === 0, `${what}: attributes are the same`, {
    expected: wrong.slice(0, 10),
    found: extra.slice(0, 10),
  });
}

/** One line per entry. Of a directory the size and the number of links are its file system's own business. */
async function attributesOf(harness: MountHarness, tree: string): Promise<Set<string>> {
  const common = '%P|%y|%m|%U|%G|%T@|%l';
  const lines = await harness.must(
    ...(['find', tree, '(', '-type', 'd', '-printf', `${common}\\0`, ')', '-o'] as const),
    ...['-printf', `${common}|%s|%n\\0`],
  );
  return new Set(lines.split('\0').filter((line) => line !== ''));
}
