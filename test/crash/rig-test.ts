/** A run of the power-cut rig as a test. */
import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { SCALE } from '../integration/scale.js';
import type { Mode } from './crash-options.js';
import { cannotCutPower, runInside } from './own-namespace.js';

/** A run takes as long as the machine is slow; only a hang is a failure. */
const PATIENCE_MS = 800_000 * SCALE.patience;

/** Runs power-cut.ts with these arguments; returns what it printed. `SEED=` repeats it. */
export async function runRig(t: Test, ...args: string[]): Promise<string> {
  const seed = process.env['SEED'] ?? String(Date.now());
  const { code, output } = await runInside('power-cut', [...args, '--seed', seed]);
  for (const line of output.trim().split('\n')) t.comment(line);
  t.equal(code, 0, `SEED=${seed} power-cut ${args.join(' ')}`);
  t.notMatch(readFileSync('/proc/mounts', 'utf8'), /cairn-power-/, 'nothing is left mounted');
  return output;
}

export function testPowerCuts(t: Test, mode: Mode): void {
  t.test(`${mode} mode`, { skip: cannotCutPower(), timeout: PATIENCE_MS }, async (t) => {
    const output = await runRig(t, '--mode', mode, '--cycles', String(SCALE.powerCuts));
    t.match(output, new RegExp(`${mode}: ${SCALE.powerCuts} cuts, 0 failed`));
  });
}
