/**
 * Rescue on disks that hold anything: damaged, cut, spliced and random segments, and records whose checksums are right whatever they say. It ends
 * with a tree or with one clear refusal; a file under its name is one that the pool had under it; nothing is written elsewhere.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { loadAddon } from '../../native/addon.js';
import { peekHeaderBytes } from '../../src/disks/record-codec.js';
import { CairnError } from '../../src/errors/cairn-error.js';
import type { RowChange } from '../../src/meta/rows.js';
import {
  commitOf,
  fileOf,
  inodeOf,
  makeDisk,
  nameOf,
  ROOT,
  rescueTo,
  snapshotOf,
} from '../unit/rescue/hand-made-disk.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);
const { crc32c } = loadAddon();

const parent = mkdtempSync(join(tmpdir(), 'cairn-rescue-fuzz-'));
t.teardown(() => rmSync(parent, { recursive: true, force: true }));

/** Every content that a name ever had. */
const contents = new Map<string, Set<string>>();
const file = (ino: number, name: string, text: string) => {
  contents.set(name, (contents.get(name) ?? new Set()).add(text));
  return fileOf(ino, name, text);
};
const old = [file(2, 'a', 'first content of a'), file(3, 'b', 'b '.repeat(40_000)), file(4, 'c', 'c')];
const recent = [file(5, 'd', 'd of a later commit'), file(6, 'e', 'e '.repeat(3000))];
const others = [file(2, 'a', 'what another disk says that a is'), file(9, 'f', 'f')];
const rows = (files: readonly { changes: readonly RowChange[] }[]) => files.flatMap(({ changes }) => changes);
const directory = [
  inodeOf(7, 0o040755),
  nameOf(1, 'directory', 7, true),
  inodeOf(8, 0o120777, { target: 'a' }),
  nameOf(7, 'link', 8),
];
/** Two disks whose records contradict each other about the first commit. */
const sources = [
  makeDisk(join(parent, 'sources'), {
    number: 1,
    journal: [commitOf(2, rows(recent.slice(0, 1))), commitOf(3, rows(recent.slice(1)))],
    data: [...[...old, ...recent].map(({ shard }) => shard), ...snapshotOf(1, 1, [[ROOT], rows(old), directory])],
  }),
  makeDisk(join(parent, 'sources'), {
    number: 2,
    journal: [commitOf(1, [ROOT, ...rows(others)], { epoch: 2 })],
    data: others.map(({ shard }) => shard),
  }),
];
const segmentNames = ['journal-0000000001.log', 'data-0000000002.log'];
const originals = sources.map((disk) => segmentNames.map((name) => readFileSync(join(disk, 'log', name))));
const pieces = originals.flat();

type Change =
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'cut'; readonly at: number }
  | { readonly kind: 'random'; readonly at: number; readonly bytes: Uint8Array }
  | {
      readonly kind: 'splice';
      readonly at: number;
      readonly from: number;
      readonly start: number;
      readonly length: number;
    }
  /** Sets bytes of a header and makes its checksum right again. */
  | { readonly kind: 'sign'; readonly record: number; readonly at: number; readonly value: number };

const place = fc.nat(100_000);
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: place, bit: fc.nat(7) }),
  fc.record({ kind: fc.constant('cut' as const), at: place }),
  fc.record({ kind: fc.constant('random' as const), at: place, bytes: fc.uint8Array({ maxLength: 2000 }) }),
  fc.record({
    kind: fc.constant('splice' as const),
    at: fc.nat(1500).map((block) => block * 64),
    from: fc.nat(3),
    start: fc.nat(1500).map((block) => block * 64),
    length: fc.nat(5000),
  }),
);
const signing: fc.Arbitrary<Change> = fc.record({
  kind: fc.constant('sign' as const),
  record: fc.nat(20),
  at: fc.integer({ min: 5, max: 111 }),
  value: fc.nat(255),
});

function changed(bytes: Buffer, changes: readonly Change[]): Buffer {
  let now = Buffer.from(bytes);
  for (const one of changes) {
    if (now.length === 0) return now;
    if (one.kind === 'sign') sign(now, one.record, one.at, one.value);
    else {
      const at = one.at % now.length;
      if (one.kind === 'flip') now[at] = now[at]! ^ (1 << one.bit);
      else if (one.kind === 'cut') now = now.subarray(0, at);
      else if (one.kind === 'random') Buffer.from(one.bytes).copy(now, at);
      else {
        const piece = pieces[one.from]!.subarray(one.start, one.start + one.length);
        now = Buffer.concat([now.subarray(0, at), piece, now.subarray(at + piece.length)]);
      }
    }
  }
  return now;
}

function sign(bytes: Buffer, record: number, at: number, value: number): void {
  const starts: number[] = [];
  for (let position = 0; position < bytes.length; position += 64)
    if (peekHeaderBytes(bytes, position) !== undefined) starts.push(position);
  const start = starts[record % starts.length];
  if (start === undefined) return;
  bytes[start + at] = value;
  const length = peekHeaderBytes(bytes, start);
  if (length === undefined || start + length > bytes.length) return;
  bytes.writeUInt32LE(crc32c(bytes, start + 16, start + length, crc32c(bytes, start, start + 12, 0)), start + 12);
}

/** Writes the changed disks, rescues, and returns where to; undefined if it was refused. */
async function rescueChanged(
  perSegment: readonly (readonly Change[])[],
  partial: boolean,
): Promise<string | undefined> {
  const place = mkdtempSync(join(parent, 'run-'));
  const disks = sources.map((source, index) => {
    const disk = join(place, `disk${index}`);
    mkdirSync(join(disk, 'log'), { recursive: true });
    if (index === 0) writeFileSync(join(disk, 'cairn-disk.json'), readFileSync(join(source, 'cairn-disk.json')));
    segmentNames.forEach((name, segment) => {
      writeFileSync(
        join(disk, 'log', name),
        changed(originals[index]![segment]!, perSegment[2 * index + segment] ?? []),
      );
    });
    return disk;
  });
  const to = join(place, 'to');
  const refusal = await rescueTo(to, disks, { partial }).then(
    () => undefined,
    (error: unknown) => error,
  );
  const found = readdirSync(place).filter((name) => !['disk0', 'disk1', 'to'].includes(name));
  if (found.length > 0) throw new Error(`beside the target: ${found}`);
  if (refusal === undefined) return to;
  if (!(refusal instanceof CairnError)) throw refusal;
  if (refusal.message.includes('\n')) throw new Error(`more than one line: ${refusal.message}`);
  return undefined;
}

const perSegment = (one: fc.Arbitrary<Change>) =>
  fc.tuple(...segmentNames.flatMap(() => [fc.array(one, { maxLength: 4 }), fc.array(one, { maxLength: 4 })]));

t.test('undamaged, there is something to restore', async (t) => {
  const to = await rescueChanged([], false);
  t.same(
    readdirSync(to!).filter((name) => !name.startsWith('cairn-')),
    ['a', 'b', 'c', 'd', 'directory', 'e'],
  );
});

t.test('damage never makes a wrong file', async () => {
  let restored = 0;
  await fc.assert(
    fc.asyncProperty(perSegment(change), fc.boolean(), async (changes, partial) => {
      const to = await rescueChanged(changes, partial);
      if (to === undefined) return;
      for (const [name, texts] of contents) {
        const path = join(to, name);
        if (!statSync(path, { throwIfNoEntry: false })?.isFile()) continue;
        restored++;
        if (!texts.has(readFileSync(path, 'utf8')))
          throw new Error(`${name} is ${readFileSync(path, 'utf8').slice(0, 100)}`);
      }
      rmSync(join(to, '..'), { recursive: true });
    }),
    { seed, numRuns: 120 },
  );
  t.comment(`${restored} files restored`);
  t.ok(restored > 0);
});

t.test('records that say anything under right checksums end in a tree or a refusal', async () => {
  await fc.assert(
    fc.asyncProperty(perSegment(fc.oneof(signing, signing, change)), fc.boolean(), async (changes, partial) => {
      const to = await rescueChanged(changes, partial);
      if (to !== undefined) rmSync(join(to, '..'), { recursive: true });
    }),
    { seed, numRuns: 120 },
  );
});

t.test('random bytes for segments', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 5000 }), { minLength: 4, maxLength: 4 }), async (bytes) => {
      await rescueChanged(
        bytes.map((one) => [
          { kind: 'cut', at: one.length + 1 },
          { kind: 'random', at: 0, bytes: one },
        ]),
        false,
      );
    }),
    { seed, numRuns: 40 },
  );
});
