/**
 * Carries the steps of a history out on a pool, tells the model what began, what was answered and what was acknowledged, and reads
 * what a pool says of its tree.
 */
import { decodeMap, encodeMap } from '../../diskmap/index.js';
import { Snapshotter } from '../../src/commit/snapshotter.js';
import { CairnError, hasCode } from '../../src/errors/cairn-error.js';
import { ROOT_INO } from '../../src/meta/rows.js';
import type { Pool } from '../../src/pool/pool.js';
import type { Handle, Ino, Vfs } from '../../src/vfs/vfs.js';
import { beginChange, isRefusal, loseDisk, whenMoved } from './disk-change.js';
import { type Found, type Mark, Node, type Promises } from './promises.js';
import type { SimMachine } from './sim-machine.js';
import { pass, quiet, settled } from './sim-pool.js';
import type { Step } from './steps.js';

const CALLER = { uid: 1000, gid: 1000, pid: 1 };
const XATTR = 'user.sim';
const FILE_MODE = 0o100644;
const DIRECTORY_MODE = 0o040755;

interface Open {
  readonly handle: Handle;
  readonly node: Node;
  /** Written since the last acknowledged promise of the pool through any handle. */
  dirty: boolean;
}

/** One life of a pool's user: from an opening to the stop. */
export class Session {
  readonly machine: SimMachine;
  readonly pool: Pool;
  readonly promises: Promises;
  readonly #open = new Map<number, Open>();
  readonly #running = new Set<Promise<void>>();
  readonly #baseStamp: number;
  /** Faults are being injected: operations may fail with an error, which promises nothing. */
  readonly #mayFail: boolean;
  /** Changes of disks are drawn without knowing whether they make sense. */
  readonly #mayBeRefused: boolean;
  #writes: number;
  /** From the loss of a disk until what it had is elsewhere: no other may be lost then. */
  vulnerable: { from: number; to: number } | undefined;
  /** The first unexpected failure of what runs in the background. */
  #failure: unknown;

  constructor(parts: {
    machine: SimMachine;
    pool: Pool;
    promises: Promises;
    baseStamp: number;
    mayFail?: boolean;
    mayBeRefused?: boolean;
    /** Tells the bytes of one write from those of another. */
    writes: number;
  }) {
    this.machine = parts.machine;
    this.pool = parts.pool;
    this.promises = parts.promises;
    this.#baseStamp = parts.baseStamp;
    this.#mayFail = parts.mayFail ?? false;
    this.#mayBeRefused = parts.mayBeRefused ?? false;
    this.#writes = parts.writes;
  }

  get stamp(): number {
    return this.#baseStamp + this.machine.events;
  }

  /** Whether a disk may be lost at that event. */
  mayLoseDisk(stamp: number): boolean {
    return this.vulnerable === undefined || stamp < this.vulnerable.from || stamp > this.vulnerable.to;
  }

  get writes(): number {
    return this.#writes;
  }

  get #vfs(): Vfs {
    return this.pool.vfs;
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      await this.step(step);
      if (this.#failure !== undefined) throw this.#failure;
    }
  }

  /** Everything that was begun ends. */
  async settle(): Promise<void> {
    while (this.#running.size > 0) await settled(this.machine, Promise.all(this.#running));
    if (this.#failure !== undefined) throw this.#failure;
  }

  async step(step: Step): Promise<void> {
    try {
      await this.#step(step);
    } catch (error) {
      this.#forgive(error);
    }
  }

  #forgive(error: unknown): void {
    if (!this.#mayFail || !(error instanceof CairnError)) throw error;
  }

  async #step(step: Step): Promise<void> {
    const { machine, promises, pool } = this;
    switch (step.op) {
      case 'create':
        return this.#create(step.path, step.slot);
      case 'open':
        return this.#openFile(step.path, step.slot);
      case 'close':
        return this.#close(step.slot);
      case 'write':
        return this.#write(step.slot, step.from, step.length);
      case 'truncate': {
        const open = this.#open.get(step.slot);
        if (open?.node.ino === undefined) return;
        const bytes = Buffer.alloc(step.size);
        open.node.bytes.copy(bytes);
        return this.#content(open, bytes, () => this.#vfs.setattr(open.node.ino!, { sizeBytes: step.size }, CALLER));
      }
      case 'punch': {
        const open = this.#open.get(step.slot);
        if (open === undefined) return;
        const bytes = Buffer.from(open.node.bytes);
        bytes.fill(0, Math.min(step.from, bytes.length), Math.min(step.from + step.length, bytes.length));
        const mode = { keepSize: true, punchHole: true, zeroRange: false };
        return this.#content(open, bytes, () => this.#vfs.fallocate(open.handle, mode, step.from, step.length));
      }
      case 'fsync': {
        const open = this.#open.get(step.slot);
        if (open === undefined) return;
        // A file without a name is gone with the handle: its fsync promises nothing.
        if (!this.#isNamed(open.node)) return;
        const mark = promises.mark([open.node]);
        const level = pool.parts.mode === 'strong' ? 'pool' : 'local';
        return this.#promise(step.wait, level, mark, () => this.#vfs.fsync(open.handle, false));
      }
      case 'fsyncdir': {
        const mark = promises.mark([]);
        const level = pool.parts.mode === 'strong' ? 'pool' : 'local';
        return this.#promise(step.wait, level, mark, async () => {
          const handle = await this.#vfs.opendir(ROOT_INO);
          await this.#vfs.fsyncdir(handle);
          await this.#vfs.releasedir(handle);
        });
      }
      case 'commit':
        return this.#promise(step.wait, 'pool', promises.mark(promises.nodes()), async () => {
          await pool.commit();
        });
      case 'mkdir':
      case 'rmdir':
      case 'unlink':
      case 'rename':
      case 'link':
      case 'chmod':
      case 'setxattr':
        return this.#names(step);
      case 'compress':
        await this.#vfs.setxattr(ROOT_INO, 'user.cairn.policy.compression', Buffer.from('zstd'), 'set');
        return;
      case 'pass':
        return pass(machine, step.ms);
      case 'collect':
        return settled(machine, pool.collect());
      case 'snapshot': {
        const { disks, meta, chunks } = pool.parts;
        // In the background it would be logged, and tried again later.
        await settled(machine, new Snapshotter(disks, meta, chunks).take()).catch((error: unknown) => {
          if (machine.io.interference === undefined || !(error instanceof CairnError)) throw error;
        });
        return;
      }
      case 'map':
        return settled(machine, this.#writeMap());
      case 'add':
      case 'replace':
      case 'remove':
        return settled(machine, beginChange(pool, step)).catch((error: unknown) => {
          if (!this.#mayBeRefused || !isRefusal(error)) throw error;
        });
      case 'lose':
        this.vulnerable = { from: this.stamp, to: Number.POSITIVE_INFINITY };
        return loseDisk(machine, step.disk);
      case 'settle': {
        await this.settle();
        const moved = await settled(machine, whenMoved(pool));
        if (moved?.state === 'done' && this.vulnerable !== undefined) this.vulnerable.to = this.stamp;
        return quiet(machine);
      }
      case 'reopen':
        return;
      case 'clock':
        machine.clock.jump(step.ms);
    }
  }

  /** A newer version of the diskmap, with the same groups, on one disk after the other. */
  async #writeMap(): Promise<void> {
    for (const disk of this.pool.parts.disks.data()) {
      try {
        const bytes = await disk.readMap();
        if (bytes === undefined) continue;
        const map = decodeMap(bytes);
        await disk.writeMap(encodeMap({ ...map, version: map.version + 1 }));
      } catch (error) {
        // Where a disk fails the others are told all the same.
        if (!(error instanceof CairnError)) throw error;
      }
    }
  }

  /** The operation ends with a promise of what stood when it began. */
  async #promise(wait: boolean, level: 'local' | 'pool', mark: Mark, operation: () => unknown): Promise<void> {
    const running = (async () => {
      await operation();
      this.promises.acknowledge(this.stamp, level, mark);
    })().catch((error: unknown) => {
      try {
        this.#forgive(error);
      } catch {
        this.#failure ??= error;
      }
    });
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
    if (wait) await settled(this.machine, running);
    else await undefined;
  }

  #isNamed(node: Node): boolean {
    for (const entry of this.promises.names.values()) if (entry.node === node) return true;
    return false;
  }

  async #inoOf(path: string): Promise<Ino | undefined> {
    if (path === '') return ROOT_INO;
    const entry = this.promises.names.get(path);
    return entry?.node.ino;
  }

  async #place(path: string): Promise<{ parent: Ino; name: string } | undefined> {
    const cut = path.lastIndexOf('/');
    const parent = await this.#inoOf(path.slice(0, cut));
    return parent === undefined ? undefined : { parent, name: path.slice(cut + 1) };
  }

  async #create(path: string, slot: number): Promise<void> {
    const { promises, machine } = this;
    const place = await this.#place(path);
    if (place === undefined || promises.names.has(path)) return;
    await this.#close(slot);
    const { stamp } = this;
    const node = new Node(false, stamp);
    const state = promises.change(stamp, (names) => names.set(path, { node, mode: FILE_MODE, xattr: '' }));
    try {
      const mode = { read: true, write: true };
      const { attr, handle } = await settled(machine, this.#vfs.create(place.parent, place.name, 0o644, mode, CALLER));
      node.ino = attr.ino;
      this.#open.set(slot, { handle, node, dirty: false });
    } catch (error) {
      promises.undo(state);
      throw error;
    }
  }

  async #openFile(path: string, slot: number): Promise<void> {
    const entry = this.promises.names.get(path);
    if (entry?.node.ino === undefined || entry.node.isDirectory) return;
    await this.#close(slot);
    const handle = await settled(this.machine, this.#vfs.open(entry.node.ino, { read: true, write: true }));
    this.#open.set(slot, { handle, node: entry.node, dirty: false });
  }

  async #close(slot: number): Promise<void> {
    const open = this.#open.get(slot);
    if (open === undefined) return;
    this.#open.delete(slot);
    const mark = this.promises.mark([open.node]);
    const promised = this.pool.parts.mode === 'strong' && this.#isNamed(open.node);
    try {
      await settled(this.machine, this.#vfs.flush(open.handle));
      if (open.dirty) this.promises.acknowledge(this.stamp, promised ? 'pool' : 'kill', mark);
    } finally {
      await settled(this.machine, this.#vfs.release(open.handle));
    }
  }

  async #write(slot: number, from: number | undefined, length: number): Promise<void> {
    const open = this.#open.get(slot);
    if (open === undefined) return;
    const { bytes } = open.node;
    const start = from ?? bytes.length;
    this.#writes++;
    const part = Buffer.alloc(length);
    for (let i = 0; i < length; i++) part[i] = 1 + ((this.#writes * 31 + start + i) % 251);
    const next = Buffer.alloc(Math.max(bytes.length, start + length));
    bytes.copy(next);
    part.copy(next, start);
    await this.#content(open, next, () => this.#vfs.write(open.handle, start, part));
    // Strong mode promises at the close of a handle that wrote.
    open.dirty = true;
  }

  async #content(open: Open, bytes: Buffer, operation: () => unknown): Promise<void> {
    const state = { stamp: this.stamp, bytes };
    open.node.states.push(state);
    try {
      await settled(this.machine, operation());
    } catch (error) {
      // It may have happened in part; only where it certainly did not is it forgotten.
      if (hasCode(error, 'NO_SPACE', 'IO', 'DISK_FAILED', 'CLOSED'))
        open.node.states.splice(open.node.states.indexOf(state), 1);
      throw error;
    }
  }

  async #names(step: Extract<Step, { readonly path: string }>): Promise<void> {
    const { promises, machine } = this;
    const vfs = this.#vfs;
    const place = await this.#place(step.path);
    const entry = promises.names.get(step.path);
    if (place === undefined) return;
    const { parent, name } = place;
    const run = async (
      edit: (names: Map<string, { node: Node; mode: number; xattr: string }>) => void,
      operation: () => unknown,
    ): Promise<void> => {
      const state = promises.change(this.stamp, edit);
      try {
        await settled(machine, operation());
      } catch (error) {
        promises.undo(state);
        throw error;
      }
      // What changes names is in the stage log when it is answered, with all that was before; an attribute alone may be a moment later.
      if (step.op !== 'setxattr' && step.op !== 'chmod') promises.acknowledge(this.stamp, 'kill', promises.mark([]));
    };
    const everywhere =
      (node: Node, change: { mode?: number; xattr?: string }) =>
      (names: Map<string, { node: Node; mode: number; xattr: string }>) => {
        for (const [path, other] of names) if (other.node === node) names.set(path, { ...other, ...change });
      };
    switch (step.op) {
      case 'mkdir': {
        if (entry !== undefined) return;
        const node = new Node(true, this.stamp);
        return run(
          (names) => names.set(step.path, { node, mode: DIRECTORY_MODE, xattr: '' }),
          async () => {
            node.ino = (await vfs.mkdir(parent, name, 0o755, CALLER)).ino;
          },
        );
      }
      case 'rmdir':
        if (!entry?.node.isDirectory || [...promises.names.keys()].some((path) => path.startsWith(`${step.path}/`)))
          return;
        return run(
          (names) => names.delete(step.path),
          () => vfs.rmdir(parent, name),
        );
      case 'unlink':
        if (entry === undefined || entry.node.isDirectory) return;
        return run(
          (names) => names.delete(step.path),
          () => vfs.unlink(parent, name),
        );
      case 'rename': {
        const to = await this.#place(step.to);
        const other = promises.names.get(step.to);
        if (entry === undefined || entry.node.isDirectory || to === undefined) return;
        if (other?.node.isDirectory || other?.node === entry.node) return;
        return run(
          (names) => {
            names.delete(step.path);
            names.set(step.to, entry);
          },
          () => vfs.rename(parent, name, to.parent, to.name, {}),
        );
      }
      case 'link': {
        const to = await this.#place(step.to);
        if (entry?.node.ino === undefined || entry.node.isDirectory || to === undefined || promises.names.has(step.to))
          return;
        return run(
          (names) => names.set(step.to, entry),
          () => vfs.link(entry.node.ino!, to.parent, to.name),
        );
      }
      case 'chmod': {
        if (entry?.node.ino === undefined) return;
        const mode = (entry.mode & 0o170000) | step.mode;
        return run(everywhere(entry.node, { mode }), () => vfs.setattr(entry.node.ino!, { mode: step.mode }, CALLER));
      }
      case 'setxattr': {
        if (entry?.node.ino === undefined) return;
        const value = Buffer.from(step.value);
        return run(everywhere(entry.node, { xattr: step.value }), () =>
          vfs.setxattr(entry.node.ino!, XATTR, value, 'set'),
        );
      }
      default:
        return;
    }
  }
}

/** The whole tree, with every byte. */
export async function readTree(pool: Pool): Promise<Found> {
  const { vfs } = pool;
  const names = new Map<string, { ino: number; mode: number; isDirectory: boolean; xattr: string }>();
  const bytes = new Map<number, Buffer>();
  const walk = async (ino: Ino, path: string): Promise<void> => {
    const directory = await vfs.opendir(ino);
    const entries: { name: string; ino: Ino }[] = [];
    await vfs.readdir(directory, 0, false, (entry) => {
      if (entry.name !== '.' && entry.name !== '..') entries.push({ name: entry.name, ino: entry.ino });
      return true;
    });
    await vfs.releasedir(directory);
    for (const entry of entries) {
      const attr = await vfs.getattr(entry.ino);
      const isDirectory = (attr.mode & 0o170000) === 0o040000;
      const listed = await vfs.listxattr(entry.ino);
      const xattr = listed.includes(XATTR) ? Buffer.from(await vfs.getxattr(entry.ino, XATTR)).toString() : '';
      names.set(`${path}/${entry.name}`, { ino: entry.ino, mode: attr.mode, isDirectory, xattr });
      if (isDirectory) await walk(entry.ino, `${path}/${entry.name}`);
      else if (!bytes.has(entry.ino)) bytes.set(entry.ino, await readFile(vfs, entry.ino, attr.sizeBytes));
    }
  };
  await walk(ROOT_INO, '');
  return { names, bytes };
}

async function readFile(vfs: Vfs, ino: Ino, sizeBytes: number): Promise<Buffer> {
  const handle = await vfs.open(ino, { read: true, write: false });
  try {
    const parts = await vfs.read(handle, 0, sizeBytes + 1);
    const bytes = Buffer.concat(parts as Uint8Array[]);
    if (bytes.length !== sizeBytes) throw new Error(`inode ${ino}: ${bytes.length} bytes were read of ${sizeBytes}`);
    return bytes;
  } finally {
    await vfs.release(handle);
  }
}
