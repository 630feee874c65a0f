/** cairn.toml is edited by people: whatever it holds, the answer is a config or one CONFIG error of one line. */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { CairnError } from '../../src/errors/cairn-error.js';
import { formatConfig, parseConfig } from '../../src/pool/config.js';
import { withDisks } from '../../src/pool/config-edit.js';

const seed = Number(process.env['SEED'] ?? Math.trunc(Math.random() * 2 ** 31));
t.comment(`SEED=${seed}`);

const id = (n: number) => n.toString(16).padStart(32, '0');
const VALID = formatConfig(
  {
    format: 1,
    pool: id(7),
    scheme: { kind: 'erasure', k: 2, m: 1 },
    bucketBytes: 16 * 1024 * 1024,
    chunkBytes: 1024 * 1024,
    mode: 'strong',
    metaDirectory: '/p/meta',
    cache: { directory: '/p/cache', sizeBytes: 1e9 },
    whenDegraded: 'allow',
    commitDelayMs: 100,
    scrubDays: 30,
    mount: { readOnly: true, passthrough: 'off', writeback: false },
    disks: [1, 2, 3].map((n) => ({ directory: `/p/disk${n}`, uuid: id(n), role: 'data' as const, number: n })),
  },
  '/p',
);

function judge(text: string): boolean {
  try {
    const config = parseConfig(text, '/p');
    // What was accepted has one meaning: written and read again it is the same.
    t.same(parseConfig(formatConfig(config, '/p'), '/p'), config);
    // Edited, it is what was wanted, or it is not edited.
    const disks = [
      ...config.disks.slice(1),
      { directory: '/new', uuid: id(99), role: 'data' as const, number: 65_000 },
    ];
    const edited = withDisks(text, '/p', disks);
    if (edited !== undefined && !isDeepStrictEqual(new Set(parseConfig(edited, '/p').disks), new Set(disks)))
      throw new Error(`edited otherwise than asked: ${JSON.stringify(edited)}`);
  } catch (error) {
    if (!(error instanceof CairnError) || error.code !== 'CONFIG' || error.message.includes('\n')) {
      t.comment(JSON.stringify(text));
      throw error;
    }
  }
  return true;
}

const junk = fc.constantFrom(
  '"',
  '[',
  ']',
  '=',
  '\n',
  '\0',
  '\\',
  '-',
  '1e400',
  '0x',
  'inf',
  'nan',
  '{}',
  '[[disk]]',
  '[meta]',
  'true',
  '1979-05-27',
  "'''",
  '__proto__ = 1\n',
  'number = 1\n',
);

t.test('texts with something put in, taken out or doubled', async () => {
  const edit = fc.record({
    at: fc.nat(VALID.length),
    remove: fc.nat(40),
    insert: fc.oneof(junk, fc.string({ maxLength: 8 })),
  });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) =>
      judge(
        edits.reduce((text, { at, remove, insert }) => text.slice(0, at) + insert + text.slice(at + remove), VALID),
      ),
    ),
    { seed, numRuns: 2000 },
  );
});

t.test('values of any kind', async () => {
  const lines = VALID.split('\n');
  const value = fc.oneof(
    junk,
    fc.integer().map(String),
    fc.double().map(String),
    fc.string().map((text) => JSON.stringify(text)),
    fc.constantFrom('[]', '[1]', '{ a = 1 }', '""', '"/"', '".."', '9223372036854775807', '9223372036854775808'),
  );
  fc.assert(
    fc.property(fc.nat(lines.length - 1), value, (index, text) =>
      judge(lines.map((line, i) => (i === index ? line.replace(/=.*$/, `= ${text}`) : line)).join('\n')),
    ),
    { seed, numRuns: 2000 },
  );
});
