/**
 * Suites that are not this project's code, on a real mount: pjdfstest (what POSIX says of names, permissions and times), fsx and fsstress (xfstests' ltp
 * directory: random reads, writes, truncations, holes, copies and mappings against a model). Where they are is told by environment variables:
 *
 *   CAIRN_PJDFSTEST   a checkout of github.com/pjd/pjdfstest in which `make pjdfstest` was run
 *   CAIRN_FSX         the program fsx
 *   CAIRN_FSSTRESS    the program fsstress
 *   CAIRN_SQLITE      a directory with SQLite's mptester, threadtest3, wordcount, kvtest and speedtest1, and its mptest/*.test
 *   CAIRN_SQLITE_TCL  SQLite's source, in which `make testfixture` was run: its own tests
 */
import { chown, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { cannotMount, MountHarness } from './mount-harness.js';
import { SCALE } from './scale.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
const { CAIRN_PJDFSTEST: pjdfstest = '', CAIRN_FSX: fsx = '', CAIRN_FSSTRESS: fsstress = '' } = process.env;
const { CAIRN_SQLITE: sqlite = '', CAIRN_SQLITE_TCL: sqliteSource = '' } = process.env;

function without(variable: string, value: string): string | false {
  return cannotMount() || (value === '' && `${variable} does not say where it is`);
}

async function mounted(t: Test, ...options: string[]): Promise<MountHarness> {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'] });
  await harness.init();
  await harness.mount(...options);
  return harness;
}

const isRoot = process.getuid?.() === 0;
t.test('pjdfstest', { skip: without('CAIRN_PJDFSTEST', pjdfstest) || (!isRoot && 'it needs root') }, async (t) => {
  const harness = await mounted(t);
  const place = join(harness.mountpoint, 'pjdfstest');
  await mkdir(place);
  const { stdout, stderr } = await harness.exec('prove', ['-r', join(pjdfstest, 'tests')], place);
  const [, count = '0'] = /Tests=(\d+)/.exec(stdout) ?? [];
  t.match(stdout, /^Result: PASS$/m, stderr + stdout.slice(-4000));
  t.ok(Number(count) > 8000, 'all of it', { count });
  await harness.unmount();
});

const operations = String(SCALE.fsxOperations);
/** Every way into a file; in none may the suite have switched an operation off. */
const MODES: Readonly<Record<string, readonly string[]>> = {
  'buffered and mapped': [],
  'closed and opened again': ['-c', '50'],
  'without mappings': ['-R', '-W'],
  O_DIRECT: ['-Z', '-r', '4096', '-w', '4096', '-R', '-W'],
  'large files': ['-l', '16777216', '-o', '3145728'],
};

t.test('fsx', { skip: without('CAIRN_FSX', fsx) }, async (t) => {
  const harness = await mounted(t);
  for (const [index, [mode, flags]] of Object.entries(MODES).entries()) {
    const file = join(harness.mountpoint, `fsx-${index}`);
    t.comment(`${mode}: SEED=${seed}`);
    const { code, stdout, stderr } = await harness.exec(fsx, ['-N', operations, '-S', String(seed), ...flags, file]);
    t.equal(code, 0, mode, { stdout: stdout.slice(-4000), stderr });
    t.match(stdout, /operations completed A-OK/, mode);
    // It says on stderr what the file system refuses; through FUSE the kernel refuses these.
    const off = [...stderr.matchAll(/filesystem does not support (.*), disabling/g)].map(([, what]) => what ?? '');
    t.same(
      off.filter((what) => !/collapse|insert|unshare|clone|dedupe|exchange|atomic|dontcache/i.test(what)),
      [],
      'nothing else is switched off',
    );
    t.ok(off.length > 0, 'it said what it switched off', { stderr });
  }
  await harness.unmount();
});

t.test('fsstress', { skip: without('CAIRN_FSSTRESS', fsstress) }, async (t) => {
  const harness = await mounted(t);
  const place = join(harness.mountpoint, 'fsstress');
  await mkdir(place);
  t.comment(`SEED=${seed}`);
  const flags = ['-d', place, '-n', operations, '-p', '4', '-s', String(seed)];
  t.match(await harness.exec(fsstress, flags), { code: 0 });
  await harness.commit();
  t.equal(await harness.fsck(), undefined, 'nothing is wrong with the pool');
  // It makes sparse files of many TiB: of those only the attributes.
  const state = async () => [
    await harness.must('find', place, '-mindepth', '1', '-printf', '%P|%y|%m|%U|%G|%T@|%l|%n|%s|%i\n'),
    await harness.must('sh', '-c', `cd '${place}' && find . -type f -size -9M -exec cksum {} + | sort`),
  ];
  const before = await state();
  await harness.unmount();
  await harness.mount();
  t.same(await state(), before, 'the same after unmount and mount');
  t.ok((await readdir(place)).length > 0);
  await harness.unmount();
});

t.test("SQLite's stress programs, strong mode", { skip: without('CAIRN_SQLITE', sqlite) }, async (t) => {
  const harness = await mounted(t, '--strong');
  const isFull = SCALE.fsxOperations > 5000;
  /** In a directory of its own: the programs leave their databases behind. */
  const check = async (name: string, program: string, args: readonly string[]): Promise<void> => {
    const place = join(harness.mountpoint, name.replaceAll(' ', '-'));
    await mkdir(place);
    const { code, stdout, stderr } = await harness.exec(join(sqlite, program), args, place);
    t.equal(code, 0, name, { stdout: stdout.slice(-4000), stderr });
    t.notMatch(stdout, /malformed|disk I\/O error|[1-9]\d* errors/i, name);
  };
  for (const mode of ['wal', 'delete', 'truncate', 'persist']) {
    // Each script is several processes on one database. Without --sync they would not sync at all.
    for (const script of isFull ? ['crash01', 'multiwrite01'] : ['multiwrite01'])
      await check(`mptester ${mode} ${script}`, 'mptester', [
        'mp.db',
        ...['--timeout', '600000', '--journalmode', mode, '--sync', join(sqlite, 'mptest', `${script}.test`)],
      ]);
    await check(`speedtest1 ${mode}`, 'speedtest1', [
      '--journal',
      mode,
      '--size',
      isFull ? '10' : '1',
      '--verify',
      'sp.db',
    ]);
  }
  if (isFull) await check('threadtest3', 'threadtest3', []);
  await harness.commit();
  t.equal(await harness.fsck(), undefined, 'nothing is wrong with the pool');
  await harness.unmount();
});

/** In small size those that ask most of a file system. */
const SQLITE_TESTS = ['pager2', 'wal', 'walmode', 'lock', 'lock2', 'exclusive', 'journal2', 'backup2', 'incrvacuum'];
/** They refuse to run as root, for whom no permission is refused. */
const NOBODY = 65534;

t.test("SQLite's own tests", { skip: without('CAIRN_SQLITE_TCL', sqliteSource) }, async (t) => {
  const isFull = SCALE.fsxOperations > 5000;
  const harness = await mounted(t, ...(isFull ? [] : ['--strong']));
  const user = ['--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups'];
  const [program, first] = isRoot
    ? ['setpriv', [...user, join(sqliteSource, 'testfixture')]]
    : [join(sqliteSource, 'testfixture'), []];
  // The mount is below a temporary directory that only its owner may enter.
  if (isRoot) await harness.must('chmod', 'a+x', harness.directory, harness.mountpoint);
  for (const name of isFull ? ['veryquick'] : SQLITE_TESTS) {
    const place = join(harness.mountpoint, name);
    await mkdir(place);
    if (isRoot) await chown(place, NOBODY, NOBODY);
    const script = join(sqliteSource, 'test', `${name}.test`);
    const { stdout, stderr } = await harness.exec(program, [...first, script, '--verbose=0'], place);
    t.match(stdout, /^0 errors out of [1-9]/m, name, { stdout: stdout.slice(-4000), stderr });
  }
  await harness.unmount();
});
