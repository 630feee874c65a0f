import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { formatConfig, loadConfig, type PoolConfig, parseConfig, saveConfig } from '../../../src/pool/config.js';
import { saveDisks, withDisks } from '../../../src/pool/config-edit.js';
import { disksNeeded, formatScheme, parseScheme } from '../../../src/pool/scheme-choice.js';

const POOL = '/srv/pool';
const uuid = (n: number) => n.toString(16).padStart(32, '0');

const BASE: PoolConfig = {
  format: 1,
  pool: uuid(0xabc),
  scheme: 'auto',
  bucketBytes: 64 * 1024 ** 3,
  chunkBytes: 4 * 1024 * 1024,
  mode: 'default',
  metaDirectory: '/srv/pool/meta',
  cache: { directory: '/mnt/ssd/cache', sizeBytes: undefined },
  whenDegraded: 'allow',
  commitDelayMs: 5000,
  scrubDays: 30,
  disks: [
    { directory: '/mnt/a', uuid: uuid(1), role: 'data', number: 1 },
    { directory: '/srv/pool/disk2', uuid: uuid(2), role: 'data', number: 2 },
    { directory: '/mnt/ssd/journal', uuid: uuid(3), role: 'journal', number: 0 },
  ],
};
const TEXT = formatConfig(BASE, POOL);

t.test('what is written reads back', async (t) => {
  t.same(parseConfig(TEXT, POOL), BASE);
  t.match(TEXT, /directory = "disk2"/, 'what lies in the pool directory is relative');
  t.match(TEXT, /directory = "\/mnt\/a"/);
  t.equal(parseConfig(TEXT, '/elsewhere').metaDirectory, '/elsewhere/meta', 'so the pool can be moved');
});

t.test('any pool reads back, whatever its directories are called', async () => {
  const name = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
    .filter((s) => !/[/\0]/.test(s) && s !== '.' && s !== '..');
  const scheme = fc.constantFrom('auto', 'copies:1', 'copies:3', 'ec:2+1', 'ec:8+3').map(parseScheme);
  const config = fc.record({
    names: fc.uniqueArray(name, { minLength: 3, maxLength: 6 }),
    inside: fc.boolean(),
    scheme,
    mode: fc.constantFrom('default' as const, 'strong' as const),
    bucketBytes: fc.integer({ min: 4 * 1024 * 1024, max: 1024 ** 4 }),
    chunks: fc.integer({ min: 2, max: 64 }),
    whenDegraded: fc.constantFrom('allow' as const, 'refuse' as const),
    commitDelayMs: fc.nat(86_400_000),
    sizeBytes: fc.option(fc.integer({ min: 1024 * 1024, max: Number.MAX_SAFE_INTEGER }), { nil: undefined }),
  });
  fc.assert(
    fc.property(config, ({ names, inside, chunks, sizeBytes, ...rest }) => {
      const places = names.map((each) => join(inside ? POOL : '/mnt', each));
      const [metaDirectory = '', cache = '', ...disks] = places;
      const whole: PoolConfig = {
        ...BASE,
        ...rest,
        chunkBytes: chunks * 65536,
        metaDirectory,
        cache: { directory: cache, sizeBytes },
        disks: disks.map((directory, i) => ({ directory, uuid: uuid(i), role: 'data', number: i + 1 })),
      };
      t.same(parseConfig(formatConfig(whole, POOL), POOL), whole);
    }),
    { numRuns: 200 },
  );
});

t.test('a dead data disk and its successor may be listed in one directory; nothing else may', async (t) => {
  const [dead, other, journal] = BASE.disks;
  const successor = { ...dead!, uuid: uuid(9), number: 9 };
  const disks = [dead!, other!, journal!, successor];
  t.same(parseConfig(formatConfig({ ...BASE, disks }, POOL), POOL).disks, disks);
  for (const pair of [
    [dead!, { ...journal!, directory: dead!.directory }],
    [journal!, { ...dead!, directory: journal!.directory }],
  ])
    t.throws(() => parseConfig(formatConfig({ ...BASE, disks: [other!, ...pair] }, POOL), POOL), {
      message: /are the same directory/,
    });
});

t.test('defaults', async (t) => {
  const short = TEXT.replace(/^(scheme|mode|delay_ms|\[commit\]).*$/gm, '').replace(/^role = "data"$/gm, '');
  t.same(parseConfig(short, POOL), BASE);
});

t.test('a mistake is refused by the name of its key', async (t) => {
  const swap = (from: string | RegExp, to: string) => TEXT.replace(from, to);
  const cases: [string, string, RegExp][] = [
    ['not TOML', swap('format = 1', 'format == 1'), /^line 4, column \d+: /],
    ['another format', swap('format = 1', 'format = 2'), /^format must be 1.*, not 2$/],
    ['a missing key', swap(/^pool = .*$/m, ''), /^pool is missing$/],
    ['an unknown key', swap('format = 1', 'format = 1\ncolour = "red"'), /^colour is not a key of the file$/],
    ['an unknown key in a table', swap('[cache]', '[cache]\nsize = 1'), /^cache\.size is not a key of \[cache\]/],
    [
      'an unknown key of a disk',
      swap('number = 2', 'number = 2\nnick = 1'),
      /^disk\[2\]\.nick is not a key of \[\[disk\]\]$/,
    ],
    ['a pool that is no id', swap(uuid(0xabc), 'ABC'), /^pool must be 32 lowercase hex digits, not "ABC"$/],
    [
      'a bucket too small',
      swap(/^bucket_bytes = .*$/m, 'bucket_bytes = 7'),
      /^bucket_bytes must be a whole number from 1048576 to \d+, not 7$/,
    ],
    [
      'a bucket that is a text',
      swap(/^bucket_bytes = .*$/m, 'bucket_bytes = "64GiB"'),
      /^bucket_bytes must be a whole number.*not "64GiB"$/,
    ],
    ['an odd chunk', swap(/^chunk_bytes = .*$/m, 'chunk_bytes = 200000'), /^chunk_bytes must be a multiple of 65536/],
    [
      'a chunk beyond its bucket',
      swap(/^bucket_bytes = .*$/m, 'bucket_bytes = 1048576'),
      /^chunk_bytes must not be larger/,
    ],
    ['a scheme', swap('scheme = "auto"', 'scheme = "raid5"'), /^scheme must be auto, copies:N.*not "raid5"$/],
    ['a mode', swap('mode = "default"', 'mode = "fast"'), /^mode must be "default" or "strong", not "fast"$/],
    ['a role', swap('role = "journal"', 'role = "spare"'), /^disk\[3\]\.role must be "data" or "journal"/],
    ['a number', swap('number = 2', 'number = 65536'), /^disk\[2\]\.number must be a whole number from 0 to 65535/],
    ['no number', swap('number = 2', ''), /^disk\[2\]\.number must be a whole number from 1 to 65535/],
    ['a number twice', swap('number = 2', 'number = 1'), /^disk\[2\]\.number is that of another disk/],
    ['an id twice', swap(uuid(2), uuid(1)), /^disk\[2\]\.uuid is that of another disk/],
    [
      'a directory twice',
      swap('"/mnt/a"', '"/mnt/ssd/cache"'),
      /^disk\[1\]\.directory and cache\.directory are the same/,
    ],
    ['an empty directory', swap('"/mnt/a"', '""'), /^disk\[1\]\.directory must be the path/],
    [
      'no data disk',
      swap(/^role = "data"\nnumber = \d+$/gm, 'role = "journal"'),
      /^disk must have one with role = "data"/,
    ],
    ['no disk', TEXT.slice(0, TEXT.indexOf('[[disk]]')), /^disk is missing/],
    ['a disk table', `${TEXT.slice(0, TEXT.indexOf('[[disk]]'))}[disk]\ndirectory = "/mnt/a"`, /^disk must be a list/],
    ['a delay', swap('delay_ms = 5000', 'delay_ms = -1'), /^commit\.delay_ms must be a whole number from 0/],
    [
      'a table that is none',
      swap(/\[commit\]\ndelay_ms = 5000/, '').replace('format = 1', 'format = 1\ncommit = 3'),
      /^commit must be a table/,
    ],
  ];
  for (const [what, text, message] of cases) {
    t.not(text, TEXT, `${what}: the text was changed`);
    t.throws(() => parseConfig(text, POOL), { code: 'CONFIG', message }, what);
  }
});

t.test('on disk', async (t) => {
  const directory = t.testdir();
  const io = {
    readFile: (path: string) => readFile(path),
    replaceFile: (path: string, bytes: Uint8Array) => writeFile(path, bytes),
  };
  await t.rejects(loadConfig(io, directory), { code: 'NOT_FOUND', hint: /cairn init/ });
  await t.rejects(loadConfig(io, join(directory, 'absent')), { code: 'NOT_FOUND' });
  await saveConfig(io, directory, BASE);
  t.same(await loadConfig(io, directory), { ...BASE });
  mkdirSync(join(directory, 'bad'));
  writeFileSync(join(directory, 'bad', 'cairn.toml'), 'format = 9');
  await t.rejects(loadConfig(io, join(directory, 'bad')), {
    code: 'CONFIG',
    message: new RegExp(`^${directory}/bad/cairn.toml: `),
    hint: /correct the file/,
  });
});

t.test('schemes', async (t) => {
  for (const text of ['auto', 'copies:1', 'copies:8', 'ec:2+1', 'ec:24+4'])
    t.equal(formatScheme(parseScheme(text)), text);
  for (const text of [
    '',
    'ec',
    'ec:1+1',
    'ec:2+0',
    'ec:25+1',
    'ec:2+5',
    'copies:0',
    'copies:9',
    'copies:',
    'AUTO',
    'ec:2+1 ',
  ]) {
    t.throws(() => parseScheme(text), { code: 'INVALID', hint: /copies:N/ }, JSON.stringify(text));
  }
  t.equal(disksNeeded(parseScheme('ec:4+2')), 6);
  t.equal(disksNeeded(parseScheme('copies:3')), 3);
  t.equal(disksNeeded('auto'), 1);
});

t.test('a change of disks leaves all else of the file as people have written it', async (t) => {
  const edited = TEXT.replace('delay_ms = 5000', '# Slower: the disks sleep at night.\ndelay_ms   =  60_000 # a minute')
    .replace(
      '[[disk]]\ndirectory = "disk2"',
      '# The loud one, in the upper bay.\n[[disk]]\ndirectory = "disk2" # by hand',
    )
    .concat('\n# The last word.\n');
  const old = parseConfig(edited, POOL);
  const added = { directory: '/mnt/d', uuid: uuid(9), role: 'data', number: 3 } as const;
  const grown = withDisks(edited, POOL, [...old.disks, added]) ?? '';
  t.same(parseConfig(grown, POOL), { ...old, disks: [...old.disks, added] });
  t.equal(grown.replace(/\n\n\[\[disk\]\]\ndirectory = "\/mnt\/d"[\s\S]*?number = 3/, ''), edited, 'only a table more');
  const less = withDisks(grown, POOL, [old.disks[0]!, old.disks[2]!, added]) ?? '';
  t.match(less, /# Slower: the disks sleep at night\.\ndelay_ms {3}= {2}60_000 # a minute\n/);
  t.match(less, /\n# The last word\.\n/);
  t.notMatch(less, /disk2|loud one/, 'a disk that leaves takes its comment along');
  t.equal(withDisks(edited, POOL, old.disks), edited, 'nothing to change changes nothing');

  const inline = edited
    .replace(/\[\[disk\]\][\s\S]*$/, '')
    .replace('format = 1', `format = 1\ndisk = [{ directory = "x", uuid = "${uuid(1)}", number = 1 }]`);
  t.equal(withDisks(inline, POOL, old.disks), undefined, 'written in another way, it cannot be edited');
  for (const [kept, text] of [
    ['a list in one line', inline],
    ['half an edit', edited.replace('[commit]', '[commit')],
  ] as const) {
    const files = new Map([[join(POOL, 'cairn.toml'), Buffer.from(text)]]);
    const io = {
      readFile: async (path: string) => files.get(path)!,
      replaceFile: async (path: string, bytes: Uint8Array) => void files.set(path, Buffer.from(bytes)),
    };
    await saveDisks(io, POOL, { ...BASE, disks: [...BASE.disks, added] });
    t.equal(files.get(join(POOL, 'cairn.toml.before'))?.toString(), text, kept);
    t.same(parseConfig(files.get(join(POOL, 'cairn.toml'))!.toString(), POOL).disks, [...BASE.disks, added]);
  }
});

t.test('[mount]: read back as written; what a mount that may be written to cannot have is refused', (t) => {
  for (const passthrough of ['auto', 'off'] as const)
    for (const [readOnly, writeback] of [
      [true, false],
      [false, false],
      [false, true],
    ] as const) {
      const mount = { readOnly, passthrough, writeback };
      t.same(parseConfig(formatConfig({ ...BASE, mount }, POOL), POOL), { ...BASE, mount });
    }
  const readOnly = { readOnly: true, passthrough: 'auto', writeback: false };
  t.same(parseConfig(`${TEXT}\n[mount]\nread_only = true`, POOL).mount, readOnly);
  t.equal(parseConfig(TEXT, POOL).mount, undefined);
  for (const [line, message] of [
    ['passthrough = "on"', /^mount\.passthrough must be "auto" or "off", not "on"$/],
    ['writeback = 1', /^mount\.writeback must be true or false, not 1$/],
    ['writeback = true\nread_only = true', /^mount\.read_only and mount\.writeback exclude each other/],
    ['read_only = "yes"', /^mount\.read_only must be true or false, not "yes"$/],
    ['atime = false', /^mount\.atime is not a key of \[mount\]/],
  ] as const)
    t.throws(() => parseConfig(`${TEXT}\n[mount]\n${line}`, POOL), { code: 'CONFIG', message }, line);
  t.end();
});

t.test('the status page and notifications: read back as written, refused by name where they cannot be', (t) => {
  const web = {
    host: '0.0.0.0',
    port: 8090,
    password: 'scrypt$32768$8$1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2g',
    names: ['nas.local'],
    tls: { certificate: '/srv/pool/web.pem', key: '/etc/web.key' },
  };
  const notify = {
    on: ['degraded', 'jobs'] as const,
    fullPercent: 80,
    webhook: 'https://example.org/hook?a="b"',
    ntfy: undefined,
    ntfyToken: undefined,
    mailTo: 'me@example.org',
    mailFrom: undefined,
    mailCommand: ['msmtp', '-t'],
  };
  t.same(parseConfig(formatConfig({ ...BASE, web, notify }, POOL), POOL), { ...BASE, web, notify });
  const refused = (table: string, message: RegExp) =>
    t.throws(() => parseConfig(`${TEXT}\n${table}`, POOL), { code: 'CONFIG', message }, table);
  refused('[web]\naddress = "0.0.0.0:8090"', /can be reached from elsewhere.*password, certificate and key/);
  refused('[web]\npassword = "hunter2"', /web\.password .*never the password itself/);
  refused('[web]\ncertificate = "a.pem"', /web\.key must both/);
  refused('[web]\nport = 80', /web\.port is not a key of \[web\]/);
  refused('[notify]', /must say how: webhook, ntfy or mail_to/);
  refused('[notify]\nmail_to = "a@b\\nBcc: c@d"', /notify\.mail_to must be a mail address/);
  refused('[notify]\nntfy = "file:///etc/passwd"', /notify\.ntfy must begin with http/);
  refused('[notify]\nwebhook = "http://a/"\non = ["everything"]', /notify\.on\[1\] must be "degraded"/);
  t.end();
});
