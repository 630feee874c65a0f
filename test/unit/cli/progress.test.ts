import t from 'tap';
import { Progress } from '../../../src/cli/progress.js';
import { FakeClock, TextOutput } from './fake-pool.js';

const MIB = 1024 * 1024;
const at = (bytesDone: number) => ({ filesDone: 3, filesTotal: 7, bytesDone, bytesTotal: 100 * MIB });

t.test('what is quick says nothing', async (t) => {
  const clock = new FakeClock();
  const output = new TextOutput(true);
  const progress = new Progress(output, clock, 'committing');
  progress.update(at(MIB));
  clock.advance(1900);
  progress.done();
  clock.advance(60_000);
  t.equal(output.text, '');
});

t.test('a terminal gets one line that is redrawn and cleared', async (t) => {
  const clock = new FakeClock();
  const output = new TextOutput(true);
  const progress = new Progress(output, clock, 'committing');
  progress.update(at(0));
  clock.advance(4000);
  progress.update(at(40 * MIB));
  clock.advance(200);
  const last = output.text.split('\r').at(-1) ?? '';
  t.match(last, /committing: 40 MiB of 100 MiB, 3 of 7 files, 9.5\d? MiB\/s, 6 s left/);
  t.notMatch(output.text, /\n/);
  progress.done();
  t.ok(output.text.endsWith('\r\u001b[K'));
});

t.test('a narrow terminal gets a line that fits', async (t) => {
  const clock = new FakeClock();
  const output = new TextOutput(true, 20);
  const progress = new Progress(output, clock, 'committing');
  progress.update(at(0));
  clock.advance(3000);
  for (const line of output.text.split('\r\u001b[K')) t.ok(line.length <= 19, line);
  progress.done();
});

t.test('a pipe gets a plain line every ten seconds', async (t) => {
  const clock = new FakeClock();
  const output = new TextOutput(false);
  const progress = new Progress(output, clock, 'opening the pool');
  clock.advance(13_000);
  progress.step('committing');
  progress.update(at(0));
  clock.advance(10_000);
  progress.done();
  const lines = output.text.split('\n').slice(0, -1);
  t.equal(lines.length, 3);
  t.equal(lines[0], 'opening the pool, 2 s so far');
  t.match(lines[2], /^committing: 0 B of 100 MiB/);
  t.notMatch(output.text, '\u001b');
});
