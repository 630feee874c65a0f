/**
 * `kill -9` of the daemon under a mixed load, again and again: `npm run killcycles -- --cycles 200 --mode both`. What was acknowledged
 * is there, also after a second kill at once; in strong mode now and then without cache and metadata, which nobody may need.
 *
 * Each cycle prints a line; one that fails keeps the pool, without the mount, and prints the command that repeats it. Ends with 0
 * if nothing was lost.
 */
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MountHarness } from '../integration/mount-harness.js';
import { Cleanup } from './cleanup.js';
import { type CrashOptions, type Mode, parseCrashOptions } from './crash-options.js';
import { Dice } from './dice.js';
import { LoadedPool } from './loaded-pool.js';
import { acknowledgedBy } from './mixed-load.js';

const CYCLES_OF_A_POOL = 20;
const FAILURES_MAX = 5;
/** Acknowledgements to one program before the kill. */
const LEAST = 3;
const MOST = 150;
const DELAYS_MS = [50, 300, 2000];

async function makePool(cleanup: Cleanup, mode: Mode, seed: string, dice: Dice): Promise<LoadedPool> {
  const harness = await MountHarness.create(cleanup, { init: ['--bucket-size', '32MiB', '--scheme', 'ec:2+1'] });
  await harness.init();
  const delayMs = DELAYS_MS[dice.between(0, DELAYS_MS.length - 1)]!;
  await harness.configure((toml) => toml.replace(/^delay_ms = .*$/m, `delay_ms = ${delayMs}`));
  return new LoadedPool(harness, mode, 'kill', seed);
}

/** Begins and ends without a mount, the daemon killed or ended in order. */
async function cycleOf(pool: LoadedPool, cycle: number, dice: Dice): Promise<{ problems: string[]; line: string }> {
  const { harness } = pool;
  await pool.mount();
  const load = await pool.start(cycle);
  await load.until(dice, LEAST, MOST);
  await harness.kill();
  const acknowledged = acknowledgedBy(await pool.crashed(load));
  const wipe = pool.mode === 'strong' && dice.oneIn(4);
  if (wipe) {
    await rm(harness.meta, { recursive: true });
    await harness.loseCache();
  }
  await pool.mount();
  const problems = pool.check(false);
  // Before or while what was replayed is committed.
  if (dice.oneIn(2)) {
    await harness.kill();
    await pool.mount();
    problems.push(...pool.check(false).map((problem) => `after a second kill: ${problem}`));
  }
  problems.push(...(await pool.checkHealth()));
  const last = dice.oneIn(2) ? 'ended' : 'killed';
  if (last === 'ended') await harness.unmount();
  else await harness.kill();
  return { problems, line: `${acknowledged} acknowledged${wipe ? ', cache and metadata wiped' : ''}, then ${last}` };
}

async function keepEvidence(pool: LoadedPool, to: string, problems: readonly string[]): Promise<void> {
  const { harness, manifest } = pool;
  await harness.detach();
  await harness.exec('cp', ['-a', '--sparse=always', harness.directory, to], '/');
  await writeFile(join(to, 'manifest.json'), JSON.stringify({ problems, manifest }, undefined, 2));
}

async function kill(mode: Mode, { seed, from, cycles }: CrashOptions): Promise<number> {
  let failures = 0;
  let acknowledged = 0;
  let done = 0;
  for (let cycle = from; cycle < from + cycles && failures < FAILURES_MAX; ) {
    const cleanup = new Cleanup();
    cleanup.endAtSignal();
    const first = cycle - (cycle % CYCLES_OF_A_POOL);
    let pool: LoadedPool | undefined;
    let problems: string[] = [];
    try {
      pool = await makePool(cleanup, mode, seed, new Dice(`${seed} ${mode} pool ${first}`));
      const end = Math.min(first + CYCLES_OF_A_POOL, from + cycles);
      for (; cycle < end && problems.length === 0; cycle++) {
        let line = '';
        try {
          ({ problems, line } = await cycleOf(pool, cycle, new Dice(`${seed} ${mode} ${cycle}`)));
        } catch (error) {
          problems = [error instanceof Error ? (error.stack ?? error.message) : String(error)];
        }
        done += 1;
        process.stdout.write(`${mode} ${cycle}: ${problems.length === 0 ? 'ok' : 'FAILED'}, ${line}\n`);
        if (problems.length === 0) continue;
        failures += 1;
        for (const problem of problems) process.stdout.write(`  ${problem}\n`);
        const evidence = join(tmpdir(), `cairn-kill-${seed}-${mode}-${cycle}`);
        await keepEvidence(pool, evidence, problems);
        process.stdout.write(`  evidence: ${evidence}\n`);
        process.stdout.write(
          `  again: npm run killcycles -- --seed ${seed} --mode ${mode} --from ${first} --cycles ${cycle - first + 1}\n`,
        );
      }
    } finally {
      acknowledged += pool?.checked ?? 0;
      await cleanup.end();
    }
  }
  process.stdout.write(`${mode}: ${done} kills, ${failures} failed, ${acknowledged} acknowledgements checked\n`);
  return failures;
}

async function main(): Promise<number> {
  const options = parseCrashOptions(process.argv.slice(2), 200);
  process.stdout.write(`SEED=${options.seed}\n`);
  let failures = 0;
  for (const [index, mode] of options.modes.entries()) {
    // Half of them in each mode.
    const share = options.cycles / options.modes.length;
    const cycles = index === 0 ? Math.ceil(share) : Math.floor(share);
    if (cycles > 0) failures += await kill(mode, { ...options, cycles });
  }
  return failures === 0 ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(2);
  },
);
