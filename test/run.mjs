// The whole check of this repository: build, lint (Biome, dependency-cruiser, knip), then every test.
// Prints the failures and, last, `N passed, N failed`.
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Some of each wait for disks. */
const JOBS = 4;
const FILE_SECONDS = 900;
const running = new Set();

const only = process.argv.slice(2);

function step(name, command, args) {
  process.stdout.write(`# ${name}\n`);
  const { status } = spawnSync(command, args, { stdio: 'inherit', shell: false });
  if (status !== 0) {
    process.stdout.write(`# ${name} failed\n0 passed, 1 failed\n`);
    process.exit(1);
  }
}

step('build', 'npx', ['tsc', '--build', 'src/page']);
if (only.length === 0) {
  step('format and lint', 'npx', ['biome', 'check', '.']);
  step('arrows', 'npx', [
    'depcruise',
    '--config',
    '.dependency-cruiser.cjs',
    '--no-progress',
    'src',
    'diskmap',
    'native',
  ]);
  step('dead code', 'npx', ['knip']);
}

process.stdout.write('# tests\n');
const root = fileURLToPath(new URL('..', import.meta.url));
const files = only.length > 0 ? only : inOrder(testFiles());
const total = files.length;
const began = performance.now();
let passed = 0;
let failed = 0;
let ended = 0;

function testFiles() {
  const entries = readdirSync(`${root}dist/test`, { recursive: true });
  return entries.filter((name) => name.endsWith('.test.js')).map((name) => `dist/test/${name}`);
}

/** The long ones first, so that none is left alone at the end. */
function inOrder(names) {
  const long = ['integration', 'sim', 'crash'];
  const rank = (name) => long.indexOf(name.split('/')[2]);
  return names.sort((a, b) => rank(b) - rank(a) || (a < b ? -1 : 1));
}

/** Each file is a program of its own that prints TAP. Started by itself: what `tap run` loads into it and into each of its children costs more than most tests. */
async function runFile(file) {
  const start = performance.now();
  const child = spawn(process.execPath, [file], {
    cwd: root,
    env: { ...process.env, TAP_TIMEOUT: String(FILE_SECONDS) },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const kill = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  };
  running.add(kill);
  const timer = setTimeout(kill, FILE_SECONDS * 1000 + 30_000);
  const lines = [];
  const errors = [];
  child.stderr.setEncoding('utf8').on('data', (text) => errors.push(text));
  const closed = new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)));
  let good = 0;
  let bad = 0;
  let inFailure = false;
  let last = '';
  for await (const line of createInterface({ input: child.stdout })) {
    if (line !== '') last = line;
    const result = /^( *)(not ok|ok) \d+( - (.*?))?( # (SKIP|TODO)\b.*)?( \{)?$/.exec(line);
    if (result && !line.endsWith('{')) {
      if (result[6] === 'SKIP') lines.push(`# not run: ${line.trim().replace(/^ok \d+ - /, '')}`);
      if (result[6] === undefined) {
        if (result[2] === 'ok') good++;
        else bad++;
      }
    }
    if (result) inFailure = result[2] === 'not ok';
    if (inFailure || /^ *# SEED=/.test(line)) lines.push(line);
  }
  const code = await closed;
  clearTimeout(timer);
  running.delete(kill);
  if (code !== 0 && bad === 0) {
    bad = 1;
    lines.push(`not ok - it ended with ${code}, after: ${last}`);
  }
  passed += good;
  failed += bad;
  ended += 1;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  process.stdout.write(`${bad === 0 ? 'ok' : 'not ok'} ${ended}/${total} - ${file}, ${good} passed, ${seconds} s\n`);
  for (const line of lines) process.stdout.write(`    ${line}\n`);
  if (bad > 0) process.stdout.write(errors.join('').replace(/^/gm, '    '));
}

async function work() {
  for (let file = files.shift(); file !== undefined; file = files.shift()) await runFile(file);
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    for (const kill of running) kill();
    process.exit(130);
  });
}
await Promise.all(Array.from({ length: JOBS }, work));
process.stdout.write(`# ${total} files in ${Math.round((performance.now() - began) / 1000)} s\n`);
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exit(failed > 0 ? 1 : 0);
