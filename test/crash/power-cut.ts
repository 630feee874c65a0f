/**
 * Cuts the power of pools and checks that they keep what they promised: `npm run powercut -- --cycles 100 --mode both`. With
 * `--control` it cuts SQLite on plain file systems instead, to show that the cut is one.
 *
 * A pool lives for some cycles, then the next one has its file systems the other way round. Each cycle prints a line; one that
 * fails keeps its images and prints the command that repeats it. Ends with 0 if all promises were
 * kept, 77 if the power cannot be cut here.
 */
import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CONTROL_CASES, controlCut } from './control-experiment.js';
import { type CrashOptions, type Mode, parseCrashOptions } from './crash-options.js';
import { Dice } from './dice.js';
import { cannotCutPower, directoryInside, runInside, settle } from './own-namespace.js';
import { PowerCutPool } from './power-cut-pool.js';

const CYCLES_OF_A_POOL = 5;
const FAILURES_MAX = 5;
const CANNOT = 77;

interface Tally {
  cycles: number;
  failures: number;
  acknowledged: number;
  staged: number;
}

async function cut(directory: string, mode: Mode, options: CrashOptions): Promise<Tally> {
  const tally: Tally = { cycles: 0, failures: 0, acknowledged: 0, staged: 0 };
  const { seed, from, cycles } = options;
  let pool: PowerCutPool | undefined;
  const end = async (): Promise<void> => {
    tally.acknowledged += pool?.checked ?? 0;
    await pool?.end();
    pool = undefined;
  };
  try {
    for (let cycle = from; cycle < from + cycles && tally.failures < FAILURES_MAX; cycle++) {
      const first = cycle - (cycle % CYCLES_OF_A_POOL);
      if (cycle === first) await end();
      const problems: string[] = [];
      let line = '';
      try {
        if (pool === undefined) {
          pool = await PowerCutPool.make(directory, mode, seed, Math.floor(cycle / CYCLES_OF_A_POOL));
          process.stdout.write(`${mode}: a pool of ${pool.types}\n`);
        }
        const report = await pool.cycle(cycle);
        problems.push(...report.problems);
        line = report.line;
        tally.staged += report.stagedFiles > 0 ? 1 : 0;
      } catch (error) {
        problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
      }
      tally.cycles += 1;
      process.stdout.write(`${mode} ${cycle}: ${problems.length === 0 ? 'ok' : 'FAILED'}, ${line}\n`);
      if (problems.length === 0) continue;
      tally.failures += 1;
      const evidence = join(tmpdir(), `cairn-powercut-${seed}-${mode}-${cycle}`);
      await pool?.keepEvidence(evidence, problems);
      for (const problem of problems) process.stdout.write(`  ${problem}\n`);
      process.stdout.write(`  evidence: ${evidence}\n`);
      process.stdout.write(
        `  again: npm run powercut -- --seed ${seed} --mode ${mode} --from ${first} --cycles ${cycle - first + 1}\n`,
      );
      // What the pool has lost it would miss in every cycle to come.
      await end();
    }
  } finally {
    await end();
  }
  return tally;
}

/** FULL must lose nothing, NORMAL something. */
async function control(directory: string, { seed, cycles }: CrashOptions): Promise<number> {
  const execute = promisify(execFile);
  let failures = 0;
  for (const which of CONTROL_CASES) {
    const what = `${which.type}, ${which.journal}, synchronous=${which.synchronous.replace('+', '')}`;
    let lost = 0;
    let acknowledged = 0;
    for (let cycle = 0; cycle < cycles; cycle++) {
      const dice = new Dice(`${seed} ${what} ${cycle}`);
      const report = await controlCut(directory, which, dice, (program, ...args) => execute(program, args));
      process.stdout.write(`${what} ${cycle}: ${report.lost} of ${report.acknowledged} acknowledged are lost\n`);
      for (const problem of report.problems) process.stdout.write(`  ${problem}\n`);
      failures += report.problems.length > 0 ? 1 : 0;
      lost += report.lost;
      acknowledged += report.acknowledged;
    }
    const right = which.synchronous === 'NORMAL' ? lost > 0 : lost === 0;
    if (!right) failures += 1;
    process.stdout.write(`${what}: ${right ? 'ok' : 'FAILED'}, ${lost} of ${acknowledged} lost in ${cycles} cuts\n`);
  }
  return failures === 0 ? 0 : 1;
}

async function inside(directory: string, options: CrashOptions): Promise<number> {
  settle(directory);
  if (options.control) return await control(directory, options);
  let failures = 0;
  for (const mode of options.modes) {
    const { cycles, failures: failed, acknowledged, staged } = await cut(directory, mode, options);
    failures += failed;
    process.stdout.write(
      `${mode}: ${cycles} cuts, ${failed} failed, ${acknowledged} acknowledgements checked, ${staged} cuts with staged files\n`,
    );
    if (mode === 'default' && staged < cycles - failed) {
      process.stdout.write('default: cuts that find nothing staged show nothing: the rig fails\n');
      failures += 1;
    }
  }
  return failures === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  const directory = directoryInside();
  const args = process.argv.slice(directory === undefined ? 2 : 4);
  const options = parseCrashOptions(args, 100);
  if (directory !== undefined) return await inside(directory, options);
  const reason = cannotCutPower();
  if (reason !== false) {
    process.stderr.write(`the power cannot be cut here: ${reason}\n`);
    return CANNOT;
  }
  process.stdout.write(`SEED=${options.seed}\n`);
  return (await runInside('power-cut', [...args, '--seed', options.seed])).code;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(2);
  },
);
