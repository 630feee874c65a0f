/** Random operations on a pool and on the model at once, drawn from a seed. */
import { CairnError, hasCode } from '../../../src/errors/cairn-error.js';
import { ROOT_INO } from '../../../src/meta/rows.js';
import { S_IFREG } from '../../../src/vfs/mode.js';
import type { Handle, Ino } from '../../../src/vfs/vfs.js';
import { SeededRandom } from '../../sim/seeded-random.js';
import { compareBytes, compareTree, readAll } from './compare-tree.js';
import type { PoolFixture } from './pool-fixture.js';
import { type ModelNode, type Place, TreeModel } from './tree-model.js';

const CALLER = { uid: 1000, gid: 1000, pid: 1 };
const NAMES = ['a', 'b', 'c', 'd.txt', 'e', 'a.b', 'f'.repeat(255), '\xff\xfe'];
const EDGES = [1, 100, 4096, 65_536, 131_072, 262_144, 400_000];

export function randomFrom(seed: number): () => number {
  const random = new SeededRandom(seed);
  return () => random.next();
}

interface Open {
  readonly handle: Handle;
  readonly node: ModelNode;
}

export class RandomHistory {
  readonly model = new TreeModel();
  /** What has been done, for the report of a failure. */
  readonly steps: string[] = [];
  readonly #fixture: PoolFixture;
  readonly #random: () => number;
  #open: Open[] = [];
  /** Commits and syncs that go on while the next operations run. */
  #running: Promise<unknown>[] = [];

  constructor(fixture: PoolFixture, seed: number) {
    this.#fixture = fixture;
    this.#random = randomFrom(seed);
    this.model.root.uid = process.getuid?.() ?? 0;
    this.model.root.gid = process.getgid?.() ?? 0;
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)]!;
  }

  #offset(): number {
    const edge = this.#pick(EDGES);
    return this.#random() < 0.5 ? Math.max(0, edge - 1 + this.#below(3)) : this.#below(edge);
  }

  #bytes(): Buffer {
    const bytes = Buffer.alloc(1 + this.#below(this.#pick([10, 5000, 70_000, 300_000])));
    if (this.#random() < 0.2) return bytes.fill(1 + this.#below(3));
    for (let i = 0; i < bytes.length; i++) bytes[i] = (this.#random() * 256) | 0;
    return bytes;
  }

  #place(): Place {
    return { dir: this.#pick(this.model.directories()), name: this.#pick(NAMES) };
  }

  async #ino(node: ModelNode): Promise<Ino> {
    if (node === this.model.root) return ROOT_INO;
    const place = this.model.places().find((candidate) => candidate.node === node)!;
    return (await this.#fixture.vfs.lookup(await this.#ino(place.dir), place.name))!.ino;
  }

  /** A file that has a name, or is open without one. */
  #handleOf(): Open | undefined {
    return this.#open.length === 0 ? undefined : this.#pick(this.#open);
  }

  #file(): ModelNode | undefined {
    const files = this.model.places().filter(({ node }) => node.isFile);
    return files.length === 0 ? undefined : this.#pick(files).node;
  }

  async step(): Promise<void> {
    const { vfs, pool } = this.#fixture;
    const { model } = this;
    const note = (text: string): void => void this.steps.push(text.replace(/f{255}/g, 'f*255'));
    const draw = this.#random();
    if (draw < 0.1) {
      const place = this.#place();
      note(`create ${place.name}`);
      const taken = place.dir.children.has(place.name);
      const created = await this.#expecting(taken ? 'EXISTS' : undefined, async () =>
        vfs.create(await this.#ino(place.dir), place.name, 0o644, { read: true, write: true }, CALLER),
      );
      if (created === undefined) return;
      const node = model.make(place, S_IFREG | 0o644);
      node.uid = CALLER.uid;
      node.gid = CALLER.gid;
      this.#open.push({ handle: created.handle, node });
    } else if (draw < 0.15) {
      const place = this.#place();
      note(`mkdir ${place.name}`);
      const taken = place.dir.children.has(place.name);
      const made = await this.#expecting(taken ? 'EXISTS' : undefined, async () =>
        vfs.mkdir(await this.#ino(place.dir), place.name, 0o755, CALLER),
      );
      if (made === undefined) return;
      const node = model.make(place, 0o040755);
      node.uid = CALLER.uid;
      node.gid = CALLER.gid;
    } else if (draw < 0.17) {
      const place = this.#place();
      if (place.dir.children.has(place.name)) return;
      note(`symlink ${place.name}`);
      const made = await vfs.symlink(await this.#ino(place.dir), place.name, `to/${this.steps.length}`, CALLER);
      model.symlink(place, `to/${this.steps.length}`);
      const node = place.dir.children.get(place.name)!;
      node.uid = made.uid;
      node.gid = made.gid;
    } else if (draw < 0.21) {
      const node = this.#file();
      const place = this.#place();
      if (node === undefined) return;
      note(`link ${place.name}`);
      const taken = place.dir.children.has(place.name);
      const ino = await this.#ino(node);
      const made = await this.#expecting(taken ? 'EXISTS' : undefined, async () =>
        vfs.link(ino, await this.#ino(place.dir), place.name),
      );
      if (made !== undefined) model.link(node, place);
    } else if (draw < 0.28) await this.#remove(note);
    else if (draw < 0.36) await this.#rename(note);
    else if (draw < 0.4) {
      const node = this.#file();
      if (node === undefined || this.#open.length > 12) return;
      const truncate = this.#random() < 0.2;
      note(`open${truncate ? ' truncate' : ''}`);
      const handle = await vfs.open(await this.#ino(node), { read: true, write: true, truncate });
      if (truncate) node.resize(0);
      this.#open.push({ handle, node });
    } else if (draw < 0.44) {
      const open = this.#handleOf();
      if (open === undefined) return;
      note('close');
      this.#open = this.#open.filter((other) => other !== open);
      await vfs.flush(open.handle);
      await vfs.release(open.handle);
    } else if (draw < 0.62) {
      const open = this.#handleOf();
      if (open === undefined) return;
      const bytes = this.#bytes();
      const offset = this.#random() < 0.4 ? open.node.data.length : this.#offset();
      note(`write ${offset}+${bytes.length}`);
      await vfs.write(open.handle, offset, bytes);
      open.node.write(offset, bytes);
    } else if (draw < 0.66) {
      const node = this.#file();
      if (node === undefined) return;
      const size = this.#offset();
      note(`truncate ${node.data.length} to ${size}`);
      await vfs.setattr(await this.#ino(node), { sizeBytes: size }, CALLER);
      node.resize(size);
    } else if (draw < 0.7) {
      const open = this.#handleOf();
      if (open === undefined) return;
      const from = this.#offset();
      const length = 1 + this.#below(200_000);
      note(`punch ${from}+${length}`);
      await vfs.fallocate(open.handle, { keepSize: true, punchHole: true, zeroRange: false }, from, length);
      open.node.punch(from, from + length);
    } else if (draw < 0.74) {
      const open = this.#handleOf();
      if (open === undefined) return;
      const from = this.#offset();
      const length = 1 + this.#below(100_000);
      note(`read ${from}+${length}`);
      compareBytes(
        await readAll(vfs, open.handle, from, length),
        open.node.data.subarray(from, Math.max(from, Math.min(from + length, open.node.data.length))),
        'open file',
      );
    } else if (draw < 0.78) await this.#attributes(note);
    else if (draw < 0.84) {
      const open = this.#handleOf();
      if (open === undefined) return;
      note('fsync');
      this.#later(vfs.fsync(open.handle, false));
    } else if (draw < 0.9) {
      note('commit');
      this.#later(pool.control.commit(['/'], () => {}));
    } else if (draw < 0.94) {
      note('wait');
      await this.settle();
    } else await new Promise(setImmediate);
  }

  #later(result: unknown): void {
    if (result instanceof Promise) this.#running.push(result);
  }

  /** Waits for the commits and syncs under way; they must succeed. */
  async settle(): Promise<void> {
    const running = this.#running;
    this.#running = [];
    await Promise.all(running);
  }

  async #expecting<T>(code: 'EXISTS' | 'NOT_EMPTY' | undefined, task: () => Promise<T>): Promise<T | undefined> {
    try {
      const value = await task();
      if (code !== undefined) throw new CairnError('CONFLICT', `${code} was expected`);
      return value;
    } catch (error) {
      if (code !== undefined && hasCode(error, code)) return undefined;
      throw error;
    }
  }

  async #remove(note: (text: string) => void): Promise<void> {
    const places = this.model.places();
    if (places.length === 0) return;
    const { vfs } = this.#fixture;
    const place = this.#pick(places);
    note(`remove ${place.path}`);
    const dir = await this.#ino(place.dir);
    if (place.node.isDirectory) {
      const full = place.node.children.size > 0;
      await this.#expecting(full ? 'NOT_EMPTY' : undefined, async () => vfs.rmdir(dir, place.name));
      if (full) return;
    } else await vfs.unlink(dir, place.name);
    this.model.remove(place);
  }

  async #rename(note: (text: string) => void): Promise<void> {
    const { vfs } = this.#fixture;
    const { model } = this;
    const places = model.places();
    if (places.length === 0) return;
    const from = this.#pick(places);
    const to = this.#random() < 0.5 ? this.#pick(places) : this.#place();
    const node = from.node;
    const other = to.dir.children.get(to.name);
    const exchange = other !== undefined && this.#random() < 0.4;
    if (node.isDirectory && model.isBelow(to.dir, node)) return;
    if (exchange && other.isDirectory && model.isBelow(from.dir, other)) return;
    if (!exchange && other !== undefined && other !== node) {
      if (other.isDirectory !== node.isDirectory) return;
      if (other.children.size > 0) return;
    }
    note(`${exchange ? 'exchange' : 'rename'} ${from.path} ${to.name}`);
    await vfs.rename(await this.#ino(from.dir), from.name, await this.#ino(to.dir), to.name, { exchange });
    if (exchange) model.exchange(from, to);
    else model.rename(from, to);
  }

  async #attributes(note: (text: string) => void): Promise<void> {
    const { vfs } = this.#fixture;
    const places = this.model.places();
    if (places.length === 0) return;
    const { node } = this.#pick(places);
    const ino = await this.#ino(node);
    const name = `user.${this.#pick(['x', 'y', 'z'])}`;
    const draw = this.#random();
    if (draw < 0.3) {
      note('chmod');
      const mode = this.#pick([0o600, 0o644, 0o755]);
      await vfs.setattr(ino, { mode }, CALLER);
      node.mode = (node.mode & 0o170000) | mode;
    } else if (draw < 0.7) {
      note(`setxattr ${name}`);
      const value = Buffer.from(String(this.#random()));
      await vfs.setxattr(ino, name, value, 'set');
      node.xattrs.set(name, value);
    } else {
      if (!node.xattrs.has(name)) return;
      note(`removexattr ${name}`);
      await vfs.removexattr(ino, name);
      node.xattrs.delete(name);
    }
    node.changed();
  }

  async compare(): Promise<void> {
    await compareTree(this.#fixture.vfs, this.model);
    for (const { handle, node } of this.#open)
      compareBytes(await readAll(this.#fixture.vfs, handle, 0, node.data.length + 1), node.data, 'open file');
  }

  /** All of the pool or of the process goes away and comes back. */
  async restart(): Promise<void> {
    const fixture = this.#fixture;
    const way = this.#below(6);
    this.steps.push(['reopen', 'kill', 'kill', 'without cache', 'without metadata', 'without both'][way]!);
    if (way === 1 || way === 2) {
      // What is not synced may be lost with the last milliseconds: this says that the rest may not.
      if (fixture.strong) await fixture.pool.control.commit(['/'], () => {});
      else {
        await fixture.vfs.fsyncdir(await fixture.vfs.opendir(ROOT_INO));
        this.#later(fixture.pool.control.commit(['/'], () => {}));
      }
      for (let i = this.#below(4); i > 0; i--) await new Promise(setImmediate);
      const running = Promise.allSettled(this.#running.splice(0));
      await fixture.kill();
      await running;
      this.#open = [];
    } else {
      await this.settle();
      for (const { handle } of this.#open) await fixture.vfs.release(handle);
      this.#open = [];
      if (way === 0) await fixture.reopen();
      else if (way === 3) await fixture.reopenWithout('cache');
      else if (way === 4) await fixture.reopenWithout('meta');
      else await fixture.reopenWithout('cache', 'meta');
    }
    await this.compare();
  }
}
