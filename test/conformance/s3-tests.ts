/**
 * `npm run s3-tests`: ceph/s3-tests against fresh pools in this process, and the result in docs/s3-conformance.md. The suite is a checkout
 * that CAIRN_S3_TESTS names, with Python, pytest and boto3 as it needs them; nothing in it is changed. With `--only EXPR` (pytest's -k) the table goes
 * to the terminal and the document stays as it is.
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { SystemClock } from '../../src/io/clock.js';
import { Pool } from '../../src/pool/pool.js';
import { S3Server } from '../../src/s3/s3-server.js';
import { type S3User, UserTable } from '../../src/s3/users.js';
import { conformanceReport, countOf, markersOf, type Outcome, parseOutcome } from './s3-report.js';

const REPORT = 'docs/s3-conformance.md';
const TESTS = 's3tests/functional';
/** A lifecycle's day in the suite's `lc_debug_interval`. */
const DAY_SECONDS = 10;
const NOT_OFFERED = [
  'fails_on_aws',
  'bucket_logging',
  'encryption',
  'sse_s3',
  'cloud_transition',
  'cloud_restore',
  'iam_account',
  'lifecycle_transition',
];
const S3_FILES = ['test_headers', 'test_s3'];
const OTHER_FILES = ['test_iam', 'test_s3select', 'test_sns', 'test_sts'];
const GATE = NOT_OFFERED.map((marker) => `not ${marker}`).join(' and ');
/** Each has a pool of its own, and they run side by side: most of the time is spent in waiting. */
const GROUPS = [
  { title: 'the gate', files: S3_FILES, marked: GATE },
  { title: 'the rest of S3', files: S3_FILES, marked: `not (${GATE})` },
  { title: 'other services', files: OTHER_FILES, marked: '' },
];
const HELP = `Usage: CAIRN_S3_TESTS=DIRECTORY npm run s3-tests -- [--gate] [--only EXPR] [--dir DIR]

DIRECTORY is a checkout of https://github.com/ceph/s3-tests; PYTHONPATH and PATH say where Python finds pytest and boto3.
  --gate       only the gate; ${REPORT} is not written
  --only EXPR  only the tests whose names pytest's -k takes; ${REPORT} is not written
  --dir DIR    where the pools are made (the temporary directory)`;

const user = (section: string, id: string, name: string): S3User & { readonly section: string } => ({
  section,
  id,
  name,
  accessKey: `${section.toUpperCase().replaceAll(' ', '')}ACCESSKEY`,
  secretKey: `${section.replaceAll(' ', '')}-secret-key`,
  email: `${section.replaceAll(' ', '')}@example.com`,
});
const USERS = [
  user('s3 main', 'main-id', 'main user'),
  user('s3 alt', 'alt-id', 'alt user'),
  user('s3 tenant', 'testx$tenant-id', 'testx$tenant user'),
  user('iam', 'iam-id', 'iam user'),
  // The suite's configuration names these two; accounts are not offered.
  user('iam root', 'iam-root-id', 'iam root'),
  user('iam alt root', 'iam-alt-root-id', 'iam alt root'),
];

function configuration(port: number): string {
  const sections = USERS.map(({ section, id, name, accessKey, secretKey, email }) => {
    const more = section === 's3 main' ? `lc_debug_interval = ${DAY_SECONDS}\napi_name = default\n` : '';
    const tenant = section === 's3 tenant' ? 'tenant = testx\n' : '';
    return `[${section}]\nuser_id = ${id}\ndisplay_name = ${name}\naccess_key = ${accessKey}\nsecret_key = ${secretKey}\nemail = ${email}\n${more}${tenant}`;
  });
  return `[DEFAULT]
host = 127.0.0.1
port = ${port}
is_secure = False
ssl_verify = False
[fixtures]
bucket prefix = cairn-{random}-
iam name prefix = s3-tests-
iam path prefix = /s3-tests/
${sections.join('')}`;
}

type Group = (typeof GROUPS)[number];

interface Setting {
  readonly suite: string;
  /** Of the group's pool. */
  readonly directory: string;
  readonly only: string | undefined;
  /** Where failures of the server's own are noted. */
  readonly failures: string[];
}

/** Runs pytest, shows what it says, and gives what became of each test. An error if it ends without having run them. */
async function runSuite(suite: string, config: string, group: Group, only: string | undefined): Promise<Outcome[]> {
  const args = ['-m', 'pytest', '-p', 'no:cacheprovider', '-q', '--tb=no', '-rA'];
  if (group.marked !== '') args.push('-m', group.marked);
  if (only !== undefined) args.push('-k', only);
  const env = { ...process.env, S3TEST_CONF: config, COLUMNS: '400', PYTHONDONTWRITEBYTECODE: '1' };
  const child = spawn('python3', [...args, ...group.files.map((name) => `${TESTS}/${name}.py`)], {
    cwd: suite,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
    process.stdout.write(piece);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  // 0: all passed, 1: some failed, 5: none has such a name. All else means that the suite did not run.
  const isOver = code === 0 || code === 1 || (code === 5 && only !== undefined);
  if (!isOver) throw new Error(`pytest ended with ${code}: the suite did not run`);
  return text.split('\n').flatMap((line) => {
    const outcome = parseOutcome(line);
    return outcome === undefined ? [] : new Array<Outcome>(countOf(line)).fill(outcome);
  });
}

/** A fresh pool and its server in this process, for one group. */
async function runGroup(group: Group, { suite, directory, only, failures }: Setting): Promise<Outcome[]> {
  const ends: (() => Promise<void>)[] = [];
  try {
    const disks = ['d1', 'd2', 'd3'].map((name) => join(directory, name));
    const cache = join(directory, 'cache');
    for (const path of [...disks, cache]) await mkdir(path, { recursive: true });
    await Pool.init(directory, { disks, cache });
    const pool = await Pool.open(directory);
    ends.push(() => pool.close());
    const onFailure = (what: string, error: unknown): void => {
      failures.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    };
    const clock = new SystemClock();
    const users = new UserTable(
      async () => USERS,
      clock,
      (error) => onFailure('users', error),
    );
    const server = await S3Server.start(
      { tree: pool.objects, users, clock, audit: () => undefined, onFailure },
      { host: '127.0.0.1', port: 0, region: 'us-east-1', requestsMax: 500, lifecycleDayMs: DAY_SECONDS * 1000 },
    );
    ends.push(() => server.close());
    const config = join(directory, 's3tests.conf');
    await writeFile(config, configuration(Number(new URL(server.endpoint).port)));
    return await runSuite(suite, config, group, only);
  } finally {
    for (const end of ends.reverse()) await end();
  }
}

async function commitOf(directory: string): Promise<string> {
  const { stdout } = await promisify(execFile)('git', ['-C', directory, 'rev-parse', 'HEAD']);
  return stdout.trim();
}

async function allMarkers(suite: string): Promise<Map<string, readonly string[]>> {
  const markers = new Map<string, readonly string[]>();
  for (const file of [...S3_FILES, ...OTHER_FILES])
    for (const [test, own] of markersOf(await readFile(join(suite, TESTS, `${file}.py`), 'utf8'), file))
      markers.set(test, own);
  return markers;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      gate: { type: 'boolean', default: false },
      only: { type: 'string' },
      dir: { type: 'string', default: tmpdir() },
      help: { type: 'boolean' },
    },
  });
  const suite = process.env['CAIRN_S3_TESTS'];
  if (values.help === true || suite === undefined || !existsSync(join(suite, TESTS, 'test_s3.py'))) {
    process.stderr.write(
      values.help === true ? `${HELP}\n` : `CAIRN_S3_TESTS names no checkout of ceph/s3-tests.\n\n${HELP}\n`,
    );
    return values.help === true ? 0 : 2;
  }
  const { only, gate } = values;
  const directory = await mkdtemp(join(values.dir, 'cairn-s3-tests-'));
  try {
    const failures: string[] = [];
    // As it is when the run begins: what is committed meanwhile is not what runs.
    const cairn = await commitOf(process.cwd());
    const groups = await Promise.all(
      (gate ? GROUPS.slice(0, 1) : GROUPS).map(async (group, i) => {
        const own = join(directory, String(i));
        return { ...group, outcomes: await runGroup(group, { suite, directory: own, only, failures }) };
      }),
    );
    const report = conformanceReport(groups, {
      date: new Date().toISOString().slice(0, 10),
      suite: await commitOf(suite),
      cairn,
      markers: await allMarkers(suite),
      outside: NOT_OFFERED,
      failures,
    });
    if (only === undefined && !gate) await writeFile(REPORT, report);
    else process.stdout.write(report);
    const outcomes = groups.flatMap((group) => group.outcomes);
    return outcomes.some(({ result }) => result !== 'passed' && result !== 'skipped') || outcomes.length === 0 ? 1 : 0;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

process.exitCode = await main();
