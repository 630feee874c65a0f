/**
 * Does the steps of fault-steps.ts on a mount, one after the other, and writes to a manifest what it begins and what was acknowledged.
 *
 *     node fault-writer.js ROOT MANIFEST POOL
 *
 * Goes on after an error, without the steps that need what failed. Ends with 0 also then: the manifest says it.
 */
import { appendFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ControlClient } from '../../src/http/control-client.js';
import { COMMIT, type ManifestLine, STEPS } from './fault-steps.js';

const [root, manifest, pool] = process.argv.slice(2);
if (root === undefined || manifest === undefined || pool === undefined) throw new Error('usage: ROOT MANIFEST POOL');

const note = (line: ManifestLine): void => appendFileSync(manifest, `${JSON.stringify(line)}\n`);
/** Below a mount that is gone, writing would succeed and mean nothing. */
const mustBeMounted = (): void => {
  if (statSync(root).dev === statSync(join(root, '..')).dev) throw new Error('nothing is mounted');
};
const done = new Set<string>();

for (const step of STEPS) {
  if (step === COMMIT) {
    try {
      await new ControlClient(pool).commit(['/'], () => undefined);
      note({ pool: true });
    } catch {
      // Then nothing has the pool promise.
    }
    continue;
  }
  if (!step.needs.every((name) => done.has(name))) continue;
  note({ begin: step.name });
  try {
    mustBeMounted();
    step.run(root);
    done.add(step.name);
    note({ ok: step.name });
  } catch (error) {
    note({ failed: step.name, code: (error as NodeJS.ErrnoException).code ?? String(error) });
  }
}
