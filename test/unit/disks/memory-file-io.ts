/**
 * A FileIo in memory that behaves like a disk with a volatile cache: `crash` loses or tears what was not synced, faults can be armed,
 * operations are counted. Operations of one file may end in any order, as in a thread pool.
 */
import { CairnError } from '../../../src/errors/cairn-error.js';
import type { FileIo, IoFile, IoLock, OpenOptions } from '../../../src/io/file-io.js';

const SECTOR_BYTES = 512;

interface Inode {
  content: Buffer;
  durable: Buffer;
  unsynced: { position: number; bytes: Buffer }[];
}

export type FaultKind = 'read' | 'write' | 'datasync' | 'create' | 'rename' | 'remove' | 'syncDirectory';

export class MemoryFileIo implements FileIo {
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  /** Changes of names that no directory sync covers yet: a crash keeps the first few, as a journaling file system does. */
  #nameChanges: ((names: Map<string, Inode>) => void)[] = [];
  readonly #directories = new Set<string>();
  readonly #locks = new Set<string>();
  readonly #faults: { kind: FaultKind; path: RegExp; error: CairnError; left: number }[] = [];
  /** Grows with every crash: files opened before are dead. */
  life = 0;
  /** What was to be read ahead, and why that fails. */
  readonly ahead: { readonly path: string; readonly from: number; readonly to: number }[] = [];
  aheadFailure: Error | undefined;
  readonly counts = { write: 0, datasync: 0, read: 0, writeAndDatasync: 0 };
  readonly #random: () => number;

  /** `random` yields numbers in [0, 1); it decides what a crash keeps and in which order operations end. */
  constructor(random: () => number = () => 0.5) {
    this.#random = random;
  }

  /** The next `times` operations of the kind on matching paths fail. */
  fail(kind: FaultKind, path: RegExp, error: CairnError, times = 1): void {
    this.#faults.push({ kind, path, error, left: times });
  }

  heal(): void {
    this.#faults.length = 0;
  }

  /** Power loss: of what was not synced, every sector survives or not; new names survive or not. */
  crash(): void {
    this.life++;
    this.#locks.clear();
    const kept = Math.floor(this.#random() * (this.#nameChanges.length + 1));
    for (const change of this.#nameChanges.slice(0, kept)) change(this.#durableNames);
    this.#nameChanges = [];
    this.#names = new Map(this.#durableNames);
    for (const inode of new Set(this.#names.values())) {
      const whole = this.#random();
      for (const { position, bytes } of inode.unsynced) {
        for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
          const kept = whole < 0.3 ? false : whole > 0.7 ? true : this.#random() < 0.5;
          if (kept) inode.durable = patched(inode.durable, bytes.subarray(at, at + SECTOR_BYTES), position + at);
        }
      }
      inode.unsynced = [];
      inode.content = Buffer.from(inode.durable);
    }
  }

  /** kill -9: the page cache survives. */
  kill(): void {
    this.life++;
    this.#locks.clear();
  }

  paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  /** The file's bytes, to be damaged at will: what is changed here is durable. */
  edit(path: string, change: (bytes: Buffer) => Buffer): void {
    const inode = this.#names.get(path);
    if (inode === undefined) throw new Error(`no file ${path}`);
    inode.content = Buffer.from(change(Buffer.from(inode.content)));
    inode.durable = Buffer.from(inode.content);
    inode.unsynced = [];
  }

  delete(path: string): void {
    this.#names.delete(path);
    this.#durableNames.delete(path);
  }

  /** A copy of all files as they are, for trying many crashes of one state. */
  clone(): MemoryFileIo {
    const copy = new MemoryFileIo(this.#random);
    for (const [path, { content }] of this.#names) {
      const inode = { content: Buffer.from(content), durable: Buffer.from(content), unsynced: [] };
      copy.#names.set(path, inode);
      copy.#durableNames.set(path, inode);
    }
    for (const directory of this.#directories) copy.#directories.add(directory);
    return copy;
  }

  /**
   * What one process sees of the machine: after the next crash or kill all that it still asks for fails, so that a run which nobody ended
   * does not work on the files of the one after it.
   */
  running(): FileIo {
    const { life } = this;
    return new Proxy(this, {
      get: (io, name) => {
        const value: unknown = Reflect.get(io, name, io);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          if (io.life === life) return Reflect.apply(value, io, args);
          const stopped = new CairnError('IO', 'the machine has stopped');
          if (String(name).endsWith('Now')) throw stopped;
          return Promise.reject(stopped);
        };
      },
    });
  }

  async open(path: string, options: OpenOptions): Promise<IoFile> {
    const life = this.life;
    await this.turn();
    if (life !== this.life) throw new CairnError('IO', 'the machine has stopped');
    return this.openNow(path, options);
  }

  openNow(path: string, { create, exclusive }: OpenOptions): IoFile {
    let inode = this.#names.get(path);
    if (inode !== undefined && exclusive) throw new CairnError('EXISTS', path);
    if (inode === undefined) {
      if (!create) throw new CairnError('NOT_FOUND', `${path} is not there`);
      this.check('create', path);
      inode = { content: Buffer.alloc(0), durable: Buffer.alloc(0), unsynced: [] };
      const created = inode;
      this.#change((names) => names.set(path, created));
    }
    return new MemoryFile(this, path, inode);
  }

  async makeDirectory(path: string): Promise<void> {
    this.makeDirectoryNow(path);
  }

  makeDirectoryNow(path: string): void {
    for (let at = path; at !== '/' && at !== '.'; at = at.slice(0, at.lastIndexOf('/')) || '/')
      this.#directories.add(at);
  }

  async list(path: string): Promise<string[]> {
    const names = new Set<string>();
    for (const entry of [...this.#names.keys(), ...this.#directories]) {
      if (entry.startsWith(`${path}/`)) names.add(entry.slice(path.length + 1).split('/')[0] ?? '');
    }
    return [...names];
  }

  async exists(path: string): Promise<boolean> {
    return this.#directories.has(path) || this.#names.has(path);
  }

  async rename(from: string, to: string): Promise<void> {
    const life = this.life;
    await this.turn();
    if (life !== this.life) throw new CairnError('IO', 'the machine has stopped');
    this.check('rename', from);
    const inode = this.#names.get(from);
    if (inode === undefined) throw new CairnError('NOT_FOUND', from);
    this.#change((names) => {
      names.delete(from);
      names.set(to, inode);
    });
  }

  async remove(path: string): Promise<void> {
    const life = this.life;
    await this.turn();
    if (life !== this.life) throw new CairnError('IO', 'the machine has stopped');
    this.check('remove', path);
    this.removeNow(path);
  }

  removeNow(path: string): void {
    if (!this.#names.has(path)) throw new CairnError('NOT_FOUND', path);
    this.#change((names) => names.delete(path));
  }

  async syncDirectory(path: string): Promise<void> {
    const life = this.life;
    await this.turn();
    if (life !== this.life) throw new CairnError('IO', 'the machine has stopped');
    this.check('syncDirectory', path);
    this.#durableNames = new Map(this.#names);
    this.#nameChanges = [];
  }

  async readFile(path: string): Promise<Buffer> {
    this.check('read', path);
    const inode = this.#names.get(path);
    if (inode === undefined) throw new CairnError('NOT_FOUND', path);
    return Buffer.from(inode.content);
  }

  async replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    const content = Buffer.from(bytes);
    const inode = { content, durable: Buffer.from(content), unsynced: [] };
    this.#names.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  /** Of the device: what is in files is not free. */
  totalBytes = 2 ** 40;

  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    const { totalBytes } = this;
    let freeBytes = totalBytes;
    for (const { content } of this.#names.values()) freeBytes -= content.length;
    return { totalBytes, freeBytes: Math.max(0, freeBytes) };
  }

  async lock(path: string): Promise<IoLock> {
    if (this.#locks.has(path)) throw new CairnError('LOCKED', path);
    this.#locks.add(path);
    const life = this.life;
    return {
      release: async () => {
        if (life === this.life) this.#locks.delete(path);
      },
    };
  }

  bootId(): string {
    return String(this.life);
  }

  #change(change: (names: Map<string, Inode>) => void): void {
    change(this.#names);
    this.#nameChanges.push(change);
  }

  /** Throws if a fault is armed. */
  check(kind: FaultKind, path: string): void {
    const fault = this.#faults.find((one) => one.kind === kind && one.left > 0 && one.path.test(path));
    if (fault === undefined) return;
    fault.left--;
    throw fault.error;
  }

  /** Lets other operations go first, now and then. */
  async turn(): Promise<void> {
    if (this.#random() < 0.6) await new Promise((resolve) => setImmediate(resolve));
  }
}

class MemoryFile implements IoFile {
  readonly fd = undefined;
  readonly path: string;
  readonly #io: MemoryFileIo;
  readonly #inode: Inode;
  readonly #life: number;
  #closed = false;

  constructor(io: MemoryFileIo, path: string, inode: Inode) {
    this.#io = io;
    this.path = path;
    this.#inode = inode;
    this.#life = io.life;
  }

  async readAhead(position: number, length: number): Promise<void> {
    this.#alive();
    this.#io.ahead.push({ path: this.path, from: position, to: position + length });
    if (this.#io.aheadFailure !== undefined) throw this.#io.aheadFailure;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    this.#alive();
    await this.#io.turn();
    return this.readNow(into, position);
  }

  readNow(into: Uint8Array, position: number): number {
    this.#alive();
    this.#io.counts.read++;
    this.#io.check('read', this.path);
    return this.#inode.content.copy(into, 0, Math.min(position, this.#inode.content.length));
  }

  async write(parts: readonly Uint8Array[], position: number): Promise<void> {
    this.#io.counts.write++;
    await this.#io.turn();
    this.writeNow(parts, position);
    await this.#io.turn();
  }

  writeNow(parts: readonly Uint8Array[], position: number): void {
    this.#alive();
    this.#io.check('write', this.path);
    const bytes = Buffer.concat(parts);
    this.#inode.unsynced.push({ position, bytes });
    this.#inode.content = patched(this.#inode.content, bytes, position);
  }

  async writeAndDatasync(parts: readonly Uint8Array[], position: number): Promise<void> {
    this.#io.counts.writeAndDatasync++;
    await this.#io.turn();
    this.writeNow(parts, position);
    this.#sync();
    await this.#io.turn();
  }

  async datasync(): Promise<void> {
    this.#io.counts.datasync++;
    await this.#io.turn();
    this.#sync();
    await this.#io.turn();
  }

  async allocate(): Promise<void> {}

  async punch(offset: number, length: number): Promise<void> {
    this.writeNow([Buffer.alloc(length)], offset);
  }

  async truncate(length: number): Promise<void> {
    this.#alive();
    this.#inode.content = Buffer.from(this.#inode.content.subarray(0, length));
    this.#inode.durable = Buffer.from(this.#inode.durable.subarray(0, length));
    this.#inode.unsynced = [];
  }

  async size(): Promise<number> {
    return this.#inode.content.length;
  }

  async close(): Promise<void> {
    if (this.#closed) throw new Error(`${this.path} is closed twice`);
    this.#closed = true;
  }

  #sync(): void {
    this.#alive();
    this.#io.check('datasync', this.path);
    for (const { position, bytes } of this.#inode.unsynced)
      this.#inode.durable = patched(this.#inode.durable, bytes, position);
    this.#inode.unsynced = [];
  }

  #alive(): void {
    if (this.#closed) throw new Error(`${this.path} is used after it was closed`);
    if (this.#life !== this.#io.life) throw new CairnError('IO', `${this.path}: the machine has stopped`);
  }
}

function patched(content: Buffer, bytes: Buffer, position: number): Buffer {
  let into = content;
  if (position + bytes.length > content.length) {
    into = Buffer.alloc(position + bytes.length);
    content.copy(into);
  }
  bytes.copy(into, position);
  return into;
}

/** A seeded generator of numbers in [0, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}
