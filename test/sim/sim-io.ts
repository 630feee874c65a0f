/**
 * FileIo over simulated devices. Every change of what is on them, and every sync, is an event: between two events the machine may stop.
 * Operations under way end in an order drawn from the seed, as in a thread pool. What `interference` throws is what the operation fails with; what
 * it tells to skip is acknowledged and never done, which no honest machine does: a planted bug.
 */
import { CairnError } from '../../src/errors/cairn-error.js';
import type { FileIo, IoFile, IoLock, OpenOptions } from '../../src/io/file-io.js';
import type { SeededRandom } from './seeded-random.js';
import { copied } from './sim-content.js';
import { parentOf, type SimDevice, SimFile } from './sim-device.js';

type OperationKind =
  | 'create'
  | 'read'
  | 'write'
  | 'sync'
  | 'rename'
  | 'remove'
  | 'syncDirectory'
  | 'makeDirectory'
  | 'look';

export interface Operation {
  readonly kind: OperationKind;
  readonly path: string;
  /** Where a write goes. */
  readonly position?: number;
  readonly bytes?: Buffer;
}

export interface Interference {
  /** Before the operation takes effect: throw to make it fail, return `skip` to pretend. */
  before(operation: Operation): 'skip' | undefined;
  /** Turns that the operation waits beyond the usual. */
  delay?(operation: Operation): number;
}

export interface SimIoParts {
  readonly devices: readonly SimDevice[];
  readonly random: SeededRandom;
  readonly bootId: string;
  /** Operations end at once and in order: where interleaving is not what is being looked for. */
  readonly quick: boolean;
  readonly onEvent: (operation: Operation) => void;
}

const SECTOR_BYTES = 512;
const PLENTY_BYTES = 2 ** 34;

export class SimIo implements FileIo {
  interference: Interference | undefined;
  /** Operations begun and not ended. */
  underWay = 0;
  readonly #devices: ReadonlyMap<string, SimDevice>;
  readonly #random: SeededRandom;
  readonly #bootId: string;
  readonly #quick: boolean;
  readonly #onEvent: (operation: Operation) => void;
  readonly #locks = new Set<string>();
  #stopped = false;

  constructor(parts: SimIoParts) {
    this.#devices = new Map(parts.devices.map((device) => [device.root, device]));
    this.#random = parts.random;
    this.#bootId = parts.bootId;
    this.#quick = parts.quick;
    this.#onEvent = parts.onEvent;
  }

  /** The machine has stopped: nothing that is under way or comes later ever ends. */
  stop(): void {
    this.#stopped = true;
  }

  device(path: string): SimDevice {
    const end = path.indexOf('/', 1);
    const device = this.#devices.get(end < 0 ? path : path.slice(0, end));
    if (device === undefined) throw new CairnError('NOT_FOUND', `${path}: no such device`);
    return device;
  }

  /** Asks the interference, then does it and reports the event; on the calling thread. */
  perform<T>(operation: Operation, effect: () => T, skipped: T): T {
    if (this.#stopped) throw new CairnError('IO', 'the machine has stopped');
    if (this.interference?.before(operation) === 'skip') return skipped;
    const result = effect();
    if (operation.kind !== 'read' && operation.kind !== 'look') this.#onEvent(operation);
    return result;
  }

  /** As `perform`, in the simulated thread pool. */
  async run<T>(operation: Operation, effect: () => T, skipped: T): Promise<T> {
    this.underWay++;
    try {
      await this.turns(operation);
      return this.perform(operation, effect, skipped);
    } finally {
      this.underWay--;
      if (this.#stopped) await never();
    }
  }

  /** Lets others go first, or not. */
  async turns(operation: Operation): Promise<void> {
    let turns = this.interference?.delay?.(operation) ?? 0;
    if (!this.#quick) {
      const draw = this.#random.next();
      if (draw < 0.25) turns += 1 + this.#random.below(3);
      else if (draw < 0.6) for (let i = this.#random.below(4); i >= 0; i--) await undefined;
    }
    for (let i = 0; i < turns; i++) await new Promise(setImmediate);
    if (this.#stopped) await never();
  }

  /** Asynchronous reads of content: pages that a failed sync marked clean may be gone by now. */
  maybeEvict(file: SimFile): void {
    if (file.forgotten && this.#random.chance(0.5)) file.evict();
  }

  get random(): SeededRandom {
    return this.#random;
  }

  open(path: string, options: OpenOptions): Promise<IoFile> {
    return this.run({ kind: 'look', path }, () => this.#open(path, options), undefined as never);
  }

  openNow(path: string, options: OpenOptions): IoFile {
    return this.perform({ kind: 'look', path }, () => this.#open(path, options), undefined as never);
  }

  #open(path: string, { create, exclusive }: OpenOptions): IoFile {
    const device = this.device(path);
    let entry = device.find(path);
    if (entry === 'directory') throw new CairnError('IS_DIRECTORY', path);
    if (entry !== undefined && exclusive) throw new CairnError('EXISTS', path);
    if (entry === undefined) {
      if (!create || device.find(parentOf(path)) === undefined)
        throw new CairnError('NOT_FOUND', `${path} is not there`);
      const file = new SimFile();
      this.perform({ kind: 'create', path }, () => device.set(path, file), undefined);
      entry = file;
    }
    return new SimIoFile(this, path, entry);
  }

  async makeDirectory(path: string): Promise<void> {
    await this.run({ kind: 'look', path }, () => this.makeDirectoryNow(path), undefined);
  }

  makeDirectoryNow(path: string): void {
    if (path === '/') return;
    const device = this.device(path);
    if (device.find(path) !== undefined) return;
    this.makeDirectoryNow(parentOf(path) || '/');
    this.perform({ kind: 'makeDirectory', path }, () => device.set(path, 'directory'), undefined);
  }

  list(path: string): Promise<string[]> {
    return this.run({ kind: 'look', path }, () => {
      if (this.device(path).find(path) !== 'directory') throw new CairnError('NOT_FOUND', `${path} is not there`);
      return this.device(path).list(path);
    }, []);
  }

  exists(path: string): Promise<boolean> {
    return this.run({ kind: 'look', path }, () => this.device(path).find(path) !== undefined, false);
  }

  rename(from: string, to: string): Promise<void> {
    return this.run(
      { kind: 'rename', path: to },
      () => {
        if (this.device(from).find(from) === undefined) throw new CairnError('NOT_FOUND', from);
        this.device(from).rename(from, to);
      },
      undefined,
    );
  }

  remove(path: string): Promise<void> {
    return this.run({ kind: 'remove', path }, () => this.#remove(path), undefined);
  }

  removeNow(path: string): void {
    this.perform({ kind: 'remove', path }, () => this.#remove(path), undefined);
  }

  #remove(path: string): void {
    if (!(this.device(path).find(path) instanceof SimFile)) throw new CairnError('NOT_FOUND', path);
    this.device(path).remove(path);
  }

  syncDirectory(path: string): Promise<void> {
    // What holds the mount points is not part of the machine.
    if (path === '/') return Promise.resolve();
    return this.run({ kind: 'syncDirectory', path }, () => this.device(path).syncDirectory(path), undefined);
  }

  readFile(path: string): Promise<Buffer> {
    return this.run(
      { kind: 'read', path },
      () => {
        const file = this.device(path).file(path);
        if (file === undefined) throw new CairnError('NOT_FOUND', `${path} is not there`);
        return file.current.bytes();
      },
      Buffer.alloc(0),
    );
  }

  async replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    const temporary = `${path}.tmp`;
    const file = await this.open(temporary, { create: true });
    await file.truncate(0);
    await file.writeAndDatasync([bytes], 0);
    await file.close();
    await this.rename(temporary, path);
    await this.syncDirectory(parentOf(path));
  }

  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    return { totalBytes: PLENTY_BYTES, freeBytes: PLENTY_BYTES };
  }

  lock(path: string): Promise<IoLock> {
    return this.run<IoLock>(
      { kind: 'look', path },
      () => {
        if (this.#locks.has(path)) throw new CairnError('LOCKED', path);
        if (this.device(path).find(parentOf(path)) === undefined) throw new CairnError('NOT_FOUND', path);
        this.#locks.add(path);
        return { release: async () => void this.#locks.delete(path) };
      },
      undefined as never,
    );
  }

  bootId(): string {
    return this.#bootId;
  }
}

class SimIoFile implements IoFile {
  readonly fd = undefined;
  readonly path: string;
  readonly #io: SimIo;
  readonly #file: SimFile;
  #closed = false;

  constructor(io: SimIo, path: string, file: SimFile) {
    this.#io = io;
    this.path = path;
    this.#file = file;
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#io.run({ kind: 'read', path: this.path }, () => this.#read(into, position), 0);
  }

  readNow(into: Uint8Array, position: number): number {
    return this.#io.perform({ kind: 'read', path: this.path }, () => this.#read(into, position), 0);
  }

  #read(into: Uint8Array, position: number): number {
    this.#alive();
    this.#io.maybeEvict(this.#file);
    return this.#file.current.read(into, position);
  }

  write(parts: readonly Uint8Array[], position: number): Promise<void> {
    this.#alive();
    // The caller may use its memory again only when this resolves, so the bytes are taken when the write takes effect.
    const operation: Operation = { kind: 'write', path: this.path, position };
    return this.#io
      .run(operation, () => this.#write(parts, position), undefined)
      .catch((error: unknown) => {
        this.#partly(parts, position);
        throw error;
      });
  }

  writeNow(parts: readonly Uint8Array[], position: number): void {
    this.#alive();
    const operation: Operation = { kind: 'write', path: this.path, position };
    this.#io.perform(operation, () => this.#write(parts, position), undefined);
  }

  #write(parts: readonly Uint8Array[], position: number): void {
    this.#file.change({ kind: 'write', position, bytes: copied(parts) });
  }

  /** What a write that fails has written all the same: a first part of whole sectors. */
  #partly(parts: readonly Uint8Array[], position: number): void {
    const bytes = Buffer.concat(parts);
    const length = Math.floor((this.#io.random.next() * bytes.length) / SECTOR_BYTES) * SECTOR_BYTES;
    if (length > 0) this.#file.change({ kind: 'write', position, bytes: bytes.subarray(0, length) });
  }

  async writeAndDatasync(parts: readonly Uint8Array[], position: number): Promise<void> {
    await this.write(parts, position);
    await this.datasync();
  }

  async datasync(): Promise<void> {
    const operation: Operation = { kind: 'sync', path: this.path };
    try {
      await this.#io.run(
        operation,
        () => {
          this.#alive();
          this.#file.sync();
        },
        undefined,
      );
    } catch (error) {
      this.#file.failSync(this.#io.random);
      throw error;
    }
    await this.#io.turns(operation);
  }

  async allocate(): Promise<void> {}

  punch(offset: number, length: number): Promise<void> {
    const end = Math.min(offset + length, this.#file.current.length);
    if (end <= offset) return Promise.resolve();
    return this.write([Buffer.alloc(end - offset)], offset);
  }

  truncate(length: number): Promise<void> {
    const effect = (): void => this.#file.change({ kind: 'resize', length });
    return this.#io.run({ kind: 'write', path: this.path, position: length }, effect, undefined);
  }

  async size(): Promise<number> {
    this.#alive();
    return this.#file.current.length;
  }

  async close(): Promise<void> {
    if (this.#closed) throw new Error(`${this.path} is closed twice`);
    this.#closed = true;
  }

  #alive(): void {
    if (this.#closed) throw new Error(`${this.path} is used after it was closed`);
  }
}

/** A promise of a machine that has stopped. */
function never(): Promise<never> {
  return new Promise(() => undefined);
}
