/** What is made of a tree: attributes, links, odd and hostile names, files of which parts are gone. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadAddon } from '../../../native/addon.js';
import type { RecordInput } from '../../../src/disks/record.js';
import type { RowChange } from '../../../src/meta/rows.js';
import type { RescueSummary } from '../../../src/rescue/rescue.js';
import {
  commitOf,
  copyOf,
  extentOf,
  fileOf,
  inodeOf,
  listOf,
  makeDisk,
  nameOf,
  type RescueFlags,
  ROOT,
  rescueTo,
  TIME,
} from './hand-made-disk.js';

const MTIME_NS = BigInt(TIME.sec) * 1_000_000_000n + BigInt(TIME.nsec);

interface Rescued {
  readonly to: string;
  readonly disk: string;
  readonly summary: RescueSummary;
  readonly problems: {
    readonly what: string;
    readonly path: string;
    readonly why: string;
    readonly [more: string]: unknown;
  }[];
}

async function rescue(
  t: Test,
  changes: readonly RowChange[],
  data: readonly RecordInput[],
  flags: RescueFlags = {},
): Promise<Rescued> {
  const directory = t.testdir();
  const disk = makeDisk(directory, { number: 1, journal: [commitOf(1, [ROOT, ...changes])], data });
  const to = join(directory, 'to');
  const summary = await rescueTo(to, [disk], flags);
  return { to, disk, summary, problems: JSON.parse(readFileSync(join(to, 'cairn-rescue.json'), 'utf8')).problems };
}

t.test('files, directories and links come with their attributes', async (t) => {
  const plain = fileOf(3, 'plain', 'plain', 2);
  const { to, summary } = await rescue(
    t,
    [
      inodeOf(2, 0o040551, { nlink: 2 }),
      nameOf(1, 'directory', 2, true),
      ...plain.changes,
      inodeOf(4, 0o120777, { target: 'directory/plain' }),
      nameOf(1, 'link', 4),
      inodeOf(5, 0o101640),
      nameOf(1, 'sticky', 5),
    ],
    [plain.shard],
  );
  t.match(summary, { complete: true, restored: { files: 3, directories: 1, bytes: 5 } });
  t.equal(readFileSync(join(to, 'directory', 'plain'), 'utf8'), 'plain');
  t.equal(readlinkSync(join(to, 'link')), 'directory/plain');
  for (const [path, mode] of [
    ['', 0o040755],
    ['directory', 0o040551],
    ['directory/plain', 0o100644],
    ['sticky', 0o101640],
  ] as const)
    t.equal(statSync(join(to, path)).mode, mode, path);
  for (const path of ['', 'directory', 'directory/plain', 'link'])
    t.equal(lstatSync(join(to, path), { bigint: true }).mtimeNs, MTIME_NS, `${path}: to the nanosecond`);
});

t.test('several names of one file are one file again', async (t) => {
  const { changes, shard } = fileOf(2, 'b', 'shared');
  const two = changes.map((change) =>
    change.kind === 'inode' ? inodeOf(2, 0o100644, { nlink: 2, sizeBytes: 6 }) : change,
  );
  const { to, summary } = await rescue(t, [...two, nameOf(1, 'a', 2)], [shard]);
  t.equal(summary.restored.files, 2);
  t.equal(statSync(join(to, 'a')).ino, statSync(join(to, 'b')).ino);
  t.equal(statSync(join(to, 'a')).nlink, 2, 'and no name more');
});

t.test('extended attributes', async (t) => {
  const { changes, shard } = fileOf(2, 'file', 'content');
  const value = Buffer.from([0, 1, 255]);
  const probe = t.testdir({ probe: '' });
  try {
    loadAddon().setXattr(Buffer.from(join(probe, 'probe')), Buffer.from('user.probe'), value);
  } catch {
    t.pass('the temporary directory takes none');
    return;
  }
  const { to, problems } = await rescue(
    t,
    [
      ...changes,
      { kind: 'xattr', row: { ino: 2, name: 'user.binary', value } },
      { kind: 'xattr', row: { ino: 2, name: 'nonsense', value } },
    ],
    [shard],
  );
  const script = 'import os,sys; sys.stdout.buffer.write(os.getxattr(sys.argv[1], "user.binary"))';
  try {
    t.same(execFileSync('python3', ['-c', script, join(to, 'file')]), value);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  t.match(problems, [{ what: 'note', path: 'file', why: /the extended attribute nonsense could not be set/ }]);
});

t.test('holes stay holes, and the size is the file’s', async (t) => {
  const bytes = Buffer.from('in the middle');
  const at = 1024 * 1024;
  const extent = extentOf(bytes, at);
  const { to } = await rescue(
    t,
    [
      inodeOf(2, 0o100644, { sizeBytes: 3 * at }),
      nameOf(1, 'sparse', 2),
      { kind: 'extents', ino: 2, from: at, to: at + bytes.length, extents: [extent] },
    ],
    [copyOf(bytes)],
  );
  const found = readFileSync(join(to, 'sparse'));
  const expected = Buffer.alloc(3 * at);
  bytes.copy(expected, at);
  t.ok(found.equals(expected));
  t.ok(statSync(join(to, 'sparse')).blocks * 512 < at);
});

t.test('names are bytes', async (t) => {
  const name = 'n\xff\xfe\n';
  const { changes, shard } = fileOf(2, name, 'odd');
  const { to, disk } = await rescue(t, changes, [shard]);
  t.equal(readFileSync(Buffer.from(`${to}/${name}`, 'latin1'), 'utf8'), 'odd');
  t.match(await listOf([disk]), [{ path: 'n\\xff\\xfe\\x0a', pathHex: '6efffe0a', kind: 'file', sizeBytes: 3 }]);
});

t.test('hostile names do not lead out of the directory, and are listed', async (t) => {
  const inside = fileOf(3, 'passwd', 'hostile', 2);
  const up = fileOf(5, 'up', 'up', 4);
  const { to, problems, summary } = await rescue(
    t,
    [
      // A link to somewhere, and a directory of the same name with something in it.
      inodeOf(8, 0o120777, { target: '..' }),
      nameOf(1, 'both', 8),
      inodeOf(2, 0o040755),
      nameOf(1, 'both', 2, true),
      ...inside.changes,
      inodeOf(4, 0o040755),
      nameOf(1, '..', 4, true),
      ...up.changes,
      nameOf(1, '.', 5),
      // A directory inside itself, and a name of nothing.
      inodeOf(6, 0o040755),
      nameOf(1, 'loop', 6, true),
      nameOf(6, 'loop', 6, true),
      nameOf(1, 'nothing', 7),
    ],
    [inside.shard, up.shard],
  );
  t.notOk(existsSync(join(to, '..', 'passwd')));
  t.notOk(existsSync(join(to, '..', 'up')));
  t.same(readdirSync(join(to, 'loop')), []);
  t.same(problems.map(({ path }) => path).sort(), ['.', '..', 'both', 'both/passwd', 'loop/loop', 'nothing']);
  t.match(summary, { refused: 6, complete: false });
});

t.test('names that the rescue uses itself are given another', async (t) => {
  const report = fileOf(2, 'cairn-rescue.json', 'mine');
  const work = fileOf(4, 'inner', 'inner', 3);
  const { to, problems } = await rescue(
    t,
    [...report.changes, inodeOf(3, 0o040755), nameOf(1, '.cairn-rescue', 3, true), ...work.changes],
    [report.shard, work.shard],
  );
  t.equal(readFileSync(join(to, 'cairn-rescue.json.from-pool'), 'utf8'), 'mine');
  t.equal(readFileSync(join(to, '.cairn-rescue.from-pool', 'inner'), 'utf8'), 'inner');
  t.match(
    problems.map(({ what }) => what),
    ['note', 'note'],
  );
});

const GOOD = Buffer.from('good part ');
const LOST = Buffer.from('lost part ');
const PARTLY: RowChange[] = [
  inodeOf(2, 0o100644, { sizeBytes: 30 }),
  nameOf(1, 'partly', 2),
  {
    kind: 'extents',
    ino: 2,
    from: 0,
    to: 30,
    extents: [extentOf(GOOD), extentOf(LOST, 10), extentOf(GOOD, 20)],
  },
];

t.test('a file of which part is lost does not stand under its name', async (t) => {
  const { to, problems, summary } = await rescue(t, PARTLY, [copyOf(GOOD)]);
  t.same(readdirSync(to).sort(), ['cairn-rescue.json', 'cairn-rescue.txt']);
  t.match(problems, [{ what: 'lost', path: 'partly', lostBytes: 10, ranges: [{ from: 10, to: 20 }] }]);
  t.match(summary, { lost: 1, lostBytes: 10, complete: false });
  t.match(
    readFileSync(join(to, 'cairn-rescue.txt'), 'utf8'),
    /NOT RESTORED {2}partly: 10 of its 30.*\n.*bytes 10 to 20: chunk [0-9a-f]{64}/,
  );
});

t.test('with --partial it stands under another, with zeros', async (t) => {
  const namesake = fileOf(3, 'partly.cairn-partial', 'a file of the pool');
  const { to, summary } = await rescue(t, PARTLY, [copyOf(GOOD)], { partial: true });
  t.same(readFileSync(join(to, 'partly.cairn-partial')), Buffer.concat([GOOD, Buffer.alloc(10), GOOD]));
  t.match(summary, { lost: 1, restored: { partial: 1 }, complete: false });
  const both = await rescue(t, [...PARTLY, ...namesake.changes], [copyOf(GOOD), namesake.shard], { partial: true });
  t.equal(readFileSync(join(both.to, 'partly.cairn-partial'), 'utf8'), 'a file of the pool');
  t.same(readFileSync(join(both.to, 'partly~2.cairn-partial')), Buffer.concat([GOOD, Buffer.alloc(10), GOOD]));
});

t.test('wrong bytes under right checksums are not the chunk', async (t) => {
  const wrong = copyOf(Buffer.from('LOST part '), extentOf(LOST).chunk);
  const { problems } = await rescue(t, PARTLY, [copyOf(GOOD), wrong]);
  t.match(problems, [{ ranges: [{ why: /shard 0 is not the chunk that it is named/ }] }]);
  const right = await rescue(t, PARTLY, [copyOf(GOOD), wrong, copyOf(LOST)]);
  t.same(
    readFileSync(join(right.to, 'partly')),
    Buffer.concat([GOOD, LOST, GOOD]),
    'and a right one beside them is found',
  );
});

t.test('a rescue goes on where it was interrupted', async (t) => {
  const directory = t.testdir();
  const files = Array.from({ length: 300 }, (_, i) =>
    fileOf(10 + i, `file ${String(i).padStart(3, '0')}`, `content ${i}`),
  );
  const disk = makeDisk(directory, {
    number: 1,
    journal: [commitOf(1, [ROOT, ...files.flatMap(({ changes }) => changes)])],
    data: files.map(({ shard }) => shard),
  });
  const to = join(directory, 'to');
  const interrupt = async (): Promise<void> => {
    const abort = new AbortController();
    const watch = setInterval(() => {
      if (existsSync(to) && readdirSync(to).length > 1) abort.abort(new Error('enough'));
    }, 0);
    await t.rejects(rescueTo(to, [disk], { signal: abort.signal }), { message: 'enough' });
    clearInterval(watch);
  };
  const names = () => readdirSync(to).filter((name) => name.startsWith('file'));
  const check = async (why: string, reused: RegExp | ((count: number) => boolean)): Promise<void> => {
    const summary = await rescueTo(to, [disk]);
    t.equal(summary.complete, true);
    if (typeof reused === 'function')
      t.ok(reused(summary.restored.alreadyThere), `${why}: ${summary.restored.alreadyThere} were there`);
    for (let i = 0; i < 300; i++) {
      const text = readFileSync(join(to, `file ${String(i).padStart(3, '0')}`), 'utf8');
      if (text !== `content ${i}`) t.fail(`${why}: file ${i} is ${text}`);
    }
    execFileSync('rm', ['-r', to]);
  };

  await interrupt();
  const before = names();
  t.ok(before.length > 0 && before.length < 300, `${before.length} files before the interruption`);
  await check('the same boot', (count) => count === before.length);

  await interrupt();
  const first = join(to, names()[0]!);
  const time = lstatSync(first, { bigint: true });
  // What a power cut may leave: the name, size and times of the file, without its bytes.
  writeFileSync(first, '\0'.repeat(Number(time.size)));
  loadAddon().setTimes(Buffer.from(first), TIME.sec, TIME.nsec, TIME.sec, TIME.nsec);
  const state = join(to, '.cairn-rescue', 'state.json');
  writeFileSync(state, JSON.stringify({ ...JSON.parse(readFileSync(state, 'utf8')), boots: ['another boot'] }));
  await check('after a restart', (count) => count > 0);

  await interrupt();
  const other = makeDisk(join(directory, 'other'), { number: 1, journal: [commitOf(1, [ROOT]), commitOf(2, [])] });
  await t.rejects(rescueTo(to, [other]), {
    code: 'NOT_EMPTY',
    message: /interrupted rescue of commit 1, and these disks give commit 2/,
  });
});

t.test('where it refuses to write', async (t) => {
  const directory = t.testdir();
  const disk = makeDisk(directory, { number: 1, journal: [commitOf(1, [ROOT])] });
  await t.rejects(rescueTo(join(disk, 'to'), [disk]), { code: 'INVALID', message: /lies on the disk/ });
  await t.rejects(rescueTo(disk, [disk]), { code: 'INVALID' });
  const full = join(directory, 'full');
  mkdirSync(full);
  writeFileSync(join(full, 'mine'), 'mine');
  await t.rejects(rescueTo(full, [disk]), { code: 'NOT_EMPTY', message: /it holds mine/ });
  await t.rejects(rescueTo(join(full, 'mine'), [disk]), { code: 'NOT_DIRECTORY' });
  await t.rejects(rescueTo(join(directory, 'no', 'to'), [disk]), { code: 'NOT_FOUND' });
  t.same(readdirSync(full), ['mine']);
  await t.rejects(rescueTo(join(directory, 'to'), [disk], { only: '/nothing' }), { code: 'NOT_FOUND' });
  await t.rejects(rescueTo(join(directory, 'to'), [disk], { only: '/a/../b' }), { code: 'INVALID' });
  t.notOk(existsSync(join(directory, 'to')), 'nothing was made');
});
