import fc from 'fast-check';
import t from 'tap';
import { counted, formatBytes, formatDuration, formatRate, parseSize } from '../../../src/cli/units.js';

t.test('sizes are read as people write them', async (t) => {
  const cases: [string, number][] = [
    ['0', 0],
    ['4096', 4096],
    ['4096B', 4096],
    ['512k', 512 * 1024],
    ['4M', 4 * 1024 ** 2],
    ['4MiB', 4 * 1024 ** 2],
    ['64GiB', 64 * 1024 ** 3],
    ['64g', 64 * 1024 ** 3],
    [' 1.5 GiB ', 1.5 * 1024 ** 3],
    ['500GB', 500e9],
    ['6TB', 6e12],
    ['1PiB', 1024 ** 5],
  ];
  for (const [text, bytes] of cases) t.equal(parseSize(text), bytes, text);
});

t.test('what is no size is refused, never guessed', async (t) => {
  for (const text of [
    '',
    'x',
    '-1',
    '4X',
    '4iB',
    '1e9',
    '0x10',
    '4 M M',
    '1.5',
    '0.3k',
    '9PiBB',
    '99999999PiB',
    'NaN',
    '4,000',
  ]) {
    t.throws(() => parseSize(text), { code: 'INVALID', hint: /64GiB/ }, JSON.stringify(text));
  }
});

t.test('any whole number of bytes reads back', async () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), fc.constantFrom(['', 1], ['k', 1024], ['MiB', 1024 ** 2], ['MB', 1e6]), (n, unit) => {
      const [name, factor] = unit as [string, number];
      return parseSize(`${n}${name}`) === n * factor;
    }),
  );
});

t.test('figures have three digits and a unit', async (t) => {
  t.equal(formatBytes(0), '0 B');
  t.equal(formatBytes(1023), '1023 B');
  t.equal(formatBytes(1024), '1 KiB');
  t.equal(formatBytes(1536), '1.5 KiB');
  t.equal(formatBytes(1024 * 1024 - 1), '1 MiB', 'never 1024 KiB');
  t.equal(formatBytes(12.34 * 1024 ** 3), '12.3 GiB');
  t.equal(formatBytes(64 * 1024 ** 3), '64 GiB');
  t.equal(formatRate(210.4 * 1024 ** 2), '210 MiB/s');
  t.equal(formatDuration(400), '0 s');
  t.equal(formatDuration(59_400), '59 s');
  t.equal(formatDuration(200_000), '3 min 20 s');
  t.equal(formatDuration(7_500_000), '2 h 5 min');
  t.equal(formatDuration(4 * 86_400_000), '4 days');
  t.equal(counted(1, 'file'), '1 file');
  t.equal(counted(20000, 'file'), '20,000 files');
});
