// The whole check of this repository: build, lint (Biome, dependency-cruiser, knip), then every test.
// Prints the failures and, last, `N passed, N failed`.
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';

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
const tap = spawn('npx', ['tap', 'run', '--reporter=tap', ...only], { stdio: ['ignore', 'pipe', 'inherit'] });
let passed = 0;
let failed = 0;
let inFailure = false;
for await (const line of createInterface({ input: tap.stdout })) {
  const result = /^( *)(not ok|ok) \d+( - (.*?))?( # (SKIP|TODO)\b.*)?( \{)?$/.exec(line);
  if (/^# Subtest|^ok \d+ - /.test(line) && line.includes('.test.js')) process.stdout.write(`${line}\n`);
  if (result && result[1].length > 0 && !line.endsWith('{')) {
    if (result[6]) {
      if (result[6] === 'SKIP') process.stdout.write(`# not run: ${line.trim().replace(/^ok \d+ - /, '')}\n`);
      continue;
    }
    if (result[2] === 'ok') passed++;
    else failed++;
  }
  if (result) inFailure = result[2] === 'not ok';
  if (inFailure) process.stdout.write(`${line}\n`);
}
const status = await new Promise((resolve) =>
  tap.exitCode === null ? tap.on('close', resolve) : resolve(tap.exitCode),
);
if (status !== 0 && failed === 0) failed = 1;
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exit(failed > 0 ? 1 : 0);
