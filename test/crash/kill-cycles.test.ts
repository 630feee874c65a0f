/** kill -9 under a mixed load, a few times in each mode (kill-cycles.ts). Long runs: `npm run killcycles`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { cannotMount } from '../integration/mount-harness.js';
import { SCALE } from '../integration/scale.js';

t.test('no acknowledged write is lost', { skip: cannotMount() }, async (t) => {
  const script = fileURLToPath(new URL('./kill-cycles.js', import.meta.url));
  const child = spawn(process.execPath, [script, '--cycles', String(SCALE.loadedKills)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill());
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  const [code] = await once(child, 'close');
  for (const line of output.trim().split('\n')) t.comment(line);
  t.equal(code, 0);
  t.match(output, /default: \d+ kills, 0 failed, [1-9]/);
  t.match(output, /strong: \d+ kills, 0 failed, [1-9]/);
});
