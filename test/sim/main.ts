/**
 * `npm run sim`: simulated crashes for as long as one likes, in one process per core. Prints what it has done every few seconds, and of a
 * failure the shortest history found and the command that shows it again. Exit code 1 if anything failed, 2 for wrong usage.
 */
import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { KINDS, type Kind, type RunResult, runSeed, SMALL_COUNT } from './runs.js';

const USAGE = `usage: npm run sim -- [--hours H] [--kind ${KINDS.join('|')}] [--seed N] [--jobs N]
  --hours H   how long (0.05 by default); --seed with --kind runs that one history and makes it shorter if it fails
  --seed N    without --kind: where the random seeds begin; a fresh one is drawn and printed otherwise
  --jobs N    processes; one per core by default`;
const REPORT_MS = 10_000;

interface Progress {
  readonly points: number;
  readonly histories: number;
  readonly failure: string | undefined;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      hours: { type: 'string', default: '0.05' },
      kind: { type: 'string' },
      seed: { type: 'string' },
      jobs: { type: 'string', default: String(availableParallelism()) },
      worker: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  const hours = Number(values.hours);
  const jobs = Number(values.jobs);
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
  const kind = KINDS.find((one) => one === values.kind);
  const wrong = !(hours > 0) || !(jobs >= 1) || !Number.isSafeInteger(seed) || (values.kind !== undefined && !kind);
  if (values.help || wrong) {
    console.log(USAGE);
    return wrong ? 2 : 0;
  }
  if (values.worker !== undefined) return work(Number(values.worker), jobs, seed, hours);
  if (kind !== undefined && values.seed !== undefined) return one(kind, seed);
  return all(jobs, seed, hours);
}

async function one(kind: Kind, seed: number): Promise<number> {
  const { points, failure } = await runSeed(kind, seed, { shrink: true });
  console.log(failure ?? `${points} crash points, nothing went wrong`);
  return failure === undefined ? 0 : 1;
}

/** The small histories first, then random ones until the time is over. */
async function work(index: number, jobs: number, seed: number, hours: number): Promise<number> {
  const end = Date.now() + hours * 3_600_000;
  const tell = (result: RunResult): void => {
    const progress: Progress = { points: result.points, histories: 1, failure: result.failure };
    process.send?.(progress);
  };
  for (let small = index; small < SMALL_COUNT && Date.now() < end; small += jobs) tell(await runSeed('small', small));
  for (let i = index; Date.now() < end; i += jobs)
    tell(await runSeed(i % 2 === 0 ? 'short' : 'long', seed + Math.floor(i / 2), { shrink: true }));
  process.disconnect();
  return 0;
}

async function all(jobs: number, seed: number, hours: number): Promise<number> {
  const began = Date.now();
  let points = 0;
  let histories = 0;
  let failures = 0;
  const report = (): void => {
    const seconds = (Date.now() - began) / 1000;
    const rate = points / seconds;
    console.log(
      `${Math.round(seconds)} s: ${points} crash points in ${histories} histories, ${failures} failures; ` +
        `${rate.toFixed(0)} points per second, ${(rate / jobs).toFixed(0)} per process`,
    );
  };
  console.log(`seed ${seed}, ${jobs} processes, ${hours} hours`);
  const timer = setInterval(report, REPORT_MS);
  const workers = Array.from({ length: jobs }, (_, index) => {
    const args = ['--worker', String(index), '--jobs', String(jobs), '--seed', String(seed), '--hours', String(hours)];
    const child = fork(fileURLToPath(import.meta.url), args);
    child.on('message', (progress: Progress) => {
      points += progress.points;
      histories += progress.histories;
      if (progress.failure === undefined) return;
      failures++;
      console.log(progress.failure);
    });
    return new Promise<number>((resolve) => child.on('exit', (code) => resolve(code ?? 1)));
  });
  const codes = await Promise.all(workers);
  clearInterval(timer);
  report();
  return failures > 0 || codes.some((code) => code !== 0) ? 1 : 0;
}

process.exitCode = await main();
