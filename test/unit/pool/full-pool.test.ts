/**
 * Pools of disks of drawn sizes, filled with files of drawn sizes until they say that they are full: what was taken can be committed and reads back, and deleting
 * makes room again, also with a disk away.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ROOT_INO } from '../../../src/meta/rows.js';
import { type NewPool, Pool } from '../../../src/pool/pool.js';
import { SeededRandom } from '../../sim/seeded-random.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const RUNS = Number(process.env['RUNS'] ?? 1);
/** The pool has said so often that it is full before it is believed. */
const REFUSALS = 3;
const PIECE_BYTES = 256 * KIB;

/** The pool's own timers do not keep a process alive. */
const alive = setInterval(() => {}, 1000);
t.teardown(() => clearInterval(alive));

interface Draw {
  readonly sizesMib: readonly number[];
  readonly mode: 'default' | 'strong';
  readonly scheme: NewPool['scheme'];
  /** The sizes of files. */
  readonly bytes: () => number;
  /** The number of a disk that goes before anything is written. */
  readonly away: number | undefined;
}

function draw(random: SeededRandom): Draw {
  const count = 2 + random.below(3);
  const sizesMib = Array.from({ length: count }, () => 16 + random.below(1 + random.below(24)));
  const kind = random.below(3);
  return {
    sizesMib,
    mode: random.below(2) === 0 ? 'default' : 'strong',
    scheme: random.below(3) > 0 ? 'auto' : { kind: 'copies', copies: 2 },
    bytes: () => {
      if (kind === 0) return MIB + random.below(5 * MIB);
      if (kind === 1) return 16 * KIB + random.below(48 * KIB);
      return 1 + random.below([3 * KIB, MIB, 4 * MIB][random.below(3)]!);
    },
    away: random.below(3) === 0 ? random.below(count) : undefined,
  };
}

class Filled {
  readonly #pool: Pool;
  readonly #content: Buffer;
  /** Name → bytes, of what was taken. */
  readonly #kept = new Map<string, number>();
  #next = 0;

  constructor(pool: Pool, content: Buffer) {
    this.#pool = pool;
    this.#content = content;
  }

  get bytes(): number {
    return [...this.#kept.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** No two files have a chunk in common. */
  #contentOf(name: string, bytes: number): Buffer {
    const content = Buffer.alloc(bytes);
    for (let at = 0; at < bytes; at += this.#content.length) this.#content.copy(content, at);
    for (let at = 0; at < bytes; at += 16 * KIB) content.write(`${name} ${at}`.slice(0, bytes - at), at, 'latin1');
    return content;
  }

  /** The code of the error that it was refused with; then nothing of it is left. */
  async put(bytes: number): Promise<string | undefined> {
    const name = `f${this.#next++}`;
    const content = this.#contentOf(name, bytes);
    try {
      const file = await this.#pool.openFile(`/${name}`, 'w');
      try {
        for (let at = 0; at < bytes; at += PIECE_BYTES) await file.write(at, content.subarray(at, at + PIECE_BYTES));
        if (this.#next % 2 === 0) await file.flush();
      } finally {
        await file.close();
      }
      this.#kept.set(name, bytes);
      return undefined;
    } catch (error) {
      await this.#pool.vfs.unlink(ROOT_INO, name);
      return (error as { code?: string }).code;
    }
  }

  /** Names of those that do not read back as they were written. */
  async wrong(): Promise<string[]> {
    const wrong: string[] = [];
    for (const [name, bytes] of this.#kept) {
      const file = await this.#pool.openFile(`/${name}`);
      if (!this.#contentOf(name, bytes).equals(await file.read(0, bytes + 1))) wrong.push(name);
      await file.close();
    }
    return wrong;
  }

  async deleteAll(): Promise<void> {
    for (const name of this.#kept.keys()) await this.#pool.vfs.unlink(ROOT_INO, name);
    this.#kept.clear();
  }
}

async function fillAndEmpty(t: Test, { sizesMib, mode, scheme, bytes, away }: Draw, content: Buffer): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'cairn-full-'));
  const disks = sizesMib.map((_, i) => join(root, `disk${i}`));
  const cache = join(root, 'cache');
  for (const directory of [...disks, cache]) mkdirSync(directory);
  const sizes = new Map(disks.map((disk, i) => [disk, sizesMib[i]! * MIB]));
  await Pool.init(join(root, 'pool'), { disks, cache, sizes, ...(scheme !== undefined && { scheme }) });
  if (away !== undefined) rmSync(disks[away]!, { recursive: true });
  const pool = await Pool.open(join(root, 'pool'), { mode });
  t.teardown(async () => {
    await pool.close().catch(() => undefined);
    rmSync(root, { recursive: true, force: true });
  });
  const filled = new Filled(pool, content);
  const refusals: (string | undefined)[] = [];
  while (refusals.length < REFUSALS) {
    const refused = await filled.put(bytes());
    if (refused !== undefined) refusals.push(refused);
  }
  t.strictSame(new Set(refusals), new Set(['NO_SPACE']), 'refused for want of room, and for nothing else');
  const first = filled.bytes;
  t.ok(first > 0);
  await pool.commit();
  t.equal(pool.parts.account.dirtyBytes, 0, 'all that was taken is in the pool');
  t.strictSame(await filled.wrong(), []);
  await filled.deleteAll();
  let refused: string | undefined;
  while (refused === undefined && filled.bytes < first / 2) refused = await filled.put(bytes());
  t.equal(refused, undefined, 'what was deleted makes room');
  await pool.commit();
  t.strictSame(await filled.wrong(), []);
  await pool.close();
}

t.test('what a nearly full pool takes can be committed, and deleting makes room', async (t) => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
  t.comment(`SEED=${seed}`);
  for (let run = 0; run < RUNS; run++) {
    const random = new SeededRandom(seed + run);
    const drawn = draw(random);
    const { sizesMib, mode, scheme, away } = drawn;
    await t.test(`seed ${seed + run}: ${JSON.stringify({ sizesMib, mode, scheme, away })}`, (t) =>
      fillAndEmpty(t, drawn, Buffer.from(random.bytes(MIB))),
    );
  }
});
