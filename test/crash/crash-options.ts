/** The command line of the scripts of this folder. */
import { parseArgs } from 'node:util';

export type Mode = 'default' | 'strong';

export interface CrashOptions {
  readonly cycles: number;
  /** The number of the first cycle: a cycle is replayed from the first one of its pool on. */
  readonly from: number;
  readonly modes: readonly Mode[];
  readonly seed: string;
  readonly control: boolean;
}

/** Throws with a sentence for whoever typed it. */
export function parseCrashOptions(args: readonly string[], cycles: number): CrashOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      cycles: { type: 'string', default: String(cycles) },
      from: { type: 'string', default: '0' },
      mode: { type: 'string', default: 'both' },
      control: { type: 'boolean', default: false },
      seed: { type: 'string', default: process.env['SEED'] ?? String(Date.now()) },
    },
  });
  const { mode, seed } = values;
  if (mode !== 'default' && mode !== 'strong' && mode !== 'both')
    throw new Error(`--mode is default, strong or both, not ${mode}`);
  return {
    cycles: count('cycles', values.cycles, 1),
    from: count('from', values.from, 0),
    modes: mode === 'both' ? ['default', 'strong'] : [mode],
    seed,
    control: values.control,
  };
}

function count(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least)
    throw new Error(`--${name} is a whole number of at least ${least}`);
  return value;
}
