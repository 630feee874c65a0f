/** What one seed stands for, how it is run, and what is said of a failure: shared by the tests and by `npm run sim`. */
import { describe, explore, type Outcome, type Scenario } from './crash-points.js';
import { describeLong, drawLongHistory, type LongHistory, runLongHistory } from './long-history.js';
import { SeededRandom } from './seeded-random.js';
import { shrink } from './shrink.js';
import { USUAL_LAYOUT } from './sim-pool.js';
import { layoutOf, SMALL_HISTORIES } from './small-histories.js';
import { compressing, drawSteps, type Step } from './steps.js';

/** `small`: every crash point of a fixed history; `short`: of a random one; `long`: many lives with faults. */
export const KINDS = ['small', 'short', 'long'] as const;
export type Kind = (typeof KINDS)[number];

export interface RunResult {
  readonly kind: Kind;
  readonly seed: number;
  readonly points: number;
  /** What went wrong, in lines for people; undefined: nothing. */
  readonly failure: string | undefined;
  /** Faults that struck, by kind. */
  readonly struck: ReadonlyMap<string, number>;
}

const SHRINK_ATTEMPTS = 60;
const NOTHING: ReadonlyMap<string, number> = new Map();

/** The number of histories of kind `small`: their seeds are 0 to one less. */
export const SMALL_COUNT = SMALL_HISTORIES.length * 2;

export async function runSeed(
  kind: Kind,
  seed: number,
  options: { readonly shrink?: boolean } = {},
): Promise<RunResult> {
  if (kind === 'long') return runLong(seed, options.shrink ?? false);
  const scenario = kind === 'small' ? smallScenario(seed) : shortScenario(seed);
  const { points, failure } = await attempt(scenario);
  if (failure === undefined) return { kind, seed, points, failure, struck: NOTHING };
  let steps = scenario.steps;
  if (options.shrink)
    steps = await shrink(
      steps,
      async (fewer) => (await attempt({ ...scenario, steps: fewer }, true)).failure !== undefined,
      SHRINK_ATTEMPTS,
    );
  return { kind, seed, points, failure: `${failure}\n${listed(steps)}\n${replayLine(kind, seed)}`, struck: NOTHING };
}

async function attempt(
  scenario: Scenario,
  firstOnly = false,
): Promise<{ points: number; failure: string | undefined }> {
  let outcome: Outcome;
  try {
    outcome = await explore(scenario, { firstOnly });
  } catch (error) {
    return { points: 0, failure: `the history itself failed: ${error instanceof Error ? error.stack : String(error)}` };
  }
  const first = outcome.failures[0];
  if (first === undefined) return { points: outcome.points, failure: undefined };
  return {
    points: outcome.points,
    failure: `${outcome.failures.length} of ${outcome.points} crash points failed, the first at ${describe(first)}`,
  };
}

export function smallScenario(seed: number): Scenario {
  const history = SMALL_HISTORIES[seed % SMALL_HISTORIES.length]!;
  const mode = seed < SMALL_HISTORIES.length ? 'default' : 'strong';
  const layout = layoutOf(history, mode);
  const { steps, change } = history;
  // While disks change there are several times as many events, and each recovery moves all that is left to be moved.
  const stops = change === undefined ? 'every' : 2;
  return { layout, steps, seed, share: 1, stops, nested: 0.02, probed: 0.4, audited: 0.05, change };
}

export function shortScenario(seed: number): Scenario {
  const random = new SeededRandom(seed);
  const steps = [...compressing(seed), ...drawSteps(random, 30)];
  const mode = random.chance(0.5) ? 'strong' : 'default';
  return { layout: { ...USUAL_LAYOUT, mode }, steps, seed, share: 1, stops: 1, nested: 0.02, probed: 1, audited: 0.1 };
}

async function runLong(seed: number, shorter: boolean): Promise<RunResult> {
  const history = drawLongHistory(seed, 5, 40);
  const outcome = await runLongHistory(history);
  const { points, struck } = outcome;
  if (outcome.failure === undefined) return { kind: 'long', seed, points, failure: undefined, struck };
  let lives = history.lives;
  if (shorter) {
    const flat = lives.flatMap((steps, life) => steps.map((step) => ({ life, step })));
    const together = (items: readonly { life: number; step: Step }[]): LongHistory => ({
      ...history,
      lives: history.lives.map((_, life) => items.filter((item) => item.life === life).map(({ step }) => step)),
    });
    const fewer = await shrink(
      flat,
      async (items) => (await runLongHistory(together(items))).failure !== undefined,
      SHRINK_ATTEMPTS,
    );
    lives = together(fewer).lives;
  }
  const failure = [
    describeLong(outcome),
    `${JSON.stringify(history.layout)}, victim: disk ${history.victim}, ${JSON.stringify(history.rates)}`,
    ...lives.map((steps, life) => `life ${life}:\n${listed(steps)}`),
    replayLine('long', seed),
  ];
  return { kind: 'long', seed, points, failure: failure.join('\n'), struck };
}

function listed(steps: readonly Step[]): string {
  return steps.map((step) => `  ${JSON.stringify(step)}`).join('\n');
}

function replayLine(kind: Kind, seed: number): string {
  return `to see it again: npm run sim -- --kind ${kind} --seed ${seed}`;
}
