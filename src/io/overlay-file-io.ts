/**
 * A FileIo that shows what is in another one and never writes there: what is written, renamed or removed is kept in memory. So a pool can be opened,
 * with all that recovery does, and nothing on its disks has changed. Only lock files are made, since they keep others out meanwhile.
 *
 * Zeros are remembered as ranges, so that a cut segment costs no memory; everything else that is written costs what it is. Whoever changes the
 * files below meanwhile may see both states mixed: hold the locks.
 */
import { dirname } from 'node:path';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { FileIo, IoFile, IoLock, OpenOptions } from './file-io.js';

/** Bytes over [from, to); without them zeros. */
interface Piece {
  readonly from: number;
  readonly to: number;
  readonly bytes: Buffer | undefined;
}

/** One file, whatever its names. */
interface Node {
  /** Path of the file below; undefined: there is none. */
  readonly below: string | undefined;
  /** Of the file below only so much counts. */
  belowBytes: number;
  /** The later ones over the earlier ones. */
  pieces: Piece[];
  /** The file is at least so long. */
  leastBytes: number;
}

export class OverlayFileIo implements FileIo {
  readonly #below: FileIo;
  /** What differs from below: a node by its present name, or undefined for a name that is gone. */
  readonly #names = new Map<string, Node | undefined>();
  readonly #directories = new Set<string>();

  constructor(below: FileIo) {
    this.#below = below;
  }

  async open(path: string, options: OpenOptions): Promise<IoFile> {
    const node = await this.#find(path);
    if (node !== undefined && options.exclusive) throw new CairnError('EXISTS', `${path} is there already`);
    if (node === undefined && !options.create && !options.exclusive) throw missing(path);
    if (node === undefined && !(await this.exists(dirname(path)))) throw missing(dirname(path));
    const found = node ?? this.#make(path);
    const below = found.below === undefined ? undefined : await this.#below.open(found.below, { readOnly: true });
    return new OverlayFile(path, found, below, options.readOnly === true);
  }

  openNow(path: string, options: OpenOptions): IoFile {
    const known = this.#names.get(path);
    let below: IoFile | undefined;
    if (known?.below !== undefined || (known === undefined && !this.#names.has(path))) {
      try {
        below = this.#below.openNow(known?.below ?? path, { readOnly: true });
      } catch (error) {
        if (!hasCode(error, 'NOT_FOUND')) throw error;
      }
    }
    const node = known ?? (below === undefined ? undefined : this.#adopt(path));
    if (node !== undefined && options.exclusive) {
      void below?.close();
      throw new CairnError('EXISTS', `${path} is there already`);
    }
    if (node === undefined && !options.create && !options.exclusive) throw missing(path);
    return new OverlayFile(path, node ?? this.#make(path), below, options.readOnly === true);
  }

  async makeDirectory(path: string): Promise<void> {
    this.makeDirectoryNow(path);
  }

  makeDirectoryNow(path: string): void {
    for (let at = path; at !== dirname(at); at = dirname(at)) this.#directories.add(at);
  }

  async list(path: string): Promise<string[]> {
    const names = new Set<string>();
    try {
      for (const name of await this.#below.list(path)) names.add(name);
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND') || !this.#directories.has(path)) throw error;
    }
    for (const [name, node] of this.#names) {
      if (dirname(name) !== path) continue;
      const base = name.slice(name.lastIndexOf('/') + 1);
      if (node === undefined) names.delete(base);
      else names.add(base);
    }
    for (const directory of this.#directories)
      if (dirname(directory) === path) names.add(directory.slice(directory.lastIndexOf('/') + 1));
    return [...names];
  }

  async exists(path: string): Promise<boolean> {
    if (this.#names.has(path)) return this.#names.get(path) !== undefined;
    return this.#directories.has(path) || (await this.#below.exists(path));
  }

  async rename(from: string, to: string): Promise<void> {
    const node = await this.#find(from);
    if (node === undefined) throw missing(from);
    this.#names.set(to, node);
    this.#names.set(from, undefined);
  }

  async remove(path: string): Promise<void> {
    if ((await this.#find(path)) === undefined) throw missing(path);
    this.#names.set(path, undefined);
  }

  removeNow(path: string): void {
    if (this.#names.has(path) && this.#names.get(path) === undefined) throw missing(path);
    // Whether it is there below can only be told by opening it.
    if (!this.#names.has(path)) void this.#below.openNow(path, { readOnly: true }).close();
    this.#names.set(path, undefined);
  }

  async syncDirectory(path: string): Promise<void> {
    if (!(await this.exists(path))) throw missing(path);
  }

  async readFile(path: string): Promise<Buffer> {
    if (!this.#names.has(path)) return this.#below.readFile(path);
    const file = await this.open(path, { readOnly: true });
    try {
      const bytes = Buffer.alloc(await file.size());
      return bytes.subarray(0, await file.read(bytes, 0));
    } finally {
      await file.close();
    }
  }

  async replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    if (!(await this.exists(dirname(path)))) throw missing(dirname(path));
    if (await this.#isDirectory(path)) throw new CairnError('IS_DIRECTORY', `${path} is a directory`);
    const copy = Buffer.from(bytes);
    this.#names.set(path, {
      below: undefined,
      belowBytes: 0,
      pieces: [{ from: 0, to: copy.length, bytes: copy }],
      leastBytes: copy.length,
    });
  }

  space(path: string): Promise<{ totalBytes: number; freeBytes: number }> {
    return this.#below.space(path);
  }

  /** A real lock. Where the file system is read-only nobody else can write either. */
  async lock(path: string): Promise<IoLock> {
    try {
      return await this.#below.lock(path);
    } catch (error) {
      if (!hasCode(error, 'READ_ONLY')) throw error;
      return { release: async () => {} };
    }
  }

  bootId(): string {
    return this.#below.bootId();
  }

  async #find(path: string): Promise<Node | undefined> {
    if (this.#names.has(path)) return this.#names.get(path);
    return (await this.#below.exists(path)) ? this.#adopt(path) : undefined;
  }

  #adopt(path: string): Node {
    const node = { below: path, belowBytes: Number.POSITIVE_INFINITY, pieces: [], leastBytes: 0 };
    this.#names.set(path, node);
    return node;
  }

  #make(path: string): Node {
    const node = { below: undefined, belowBytes: 0, pieces: [], leastBytes: 0 };
    this.#names.set(path, node);
    return node;
  }

  async #isDirectory(path: string): Promise<boolean> {
    if (this.#directories.has(path)) return true;
    if (this.#names.has(path)) return false;
    return this.#below.list(path).then(
      () => true,
      () => false,
    );
  }
}

class OverlayFile implements IoFile {
  readonly fd = undefined;
  readonly path: string;
  readonly #node: Node;
  readonly #below: IoFile | undefined;
  readonly #readOnly: boolean;
  #closed = false;

  constructor(path: string, node: Node, below: IoFile | undefined, readOnly: boolean) {
    this.path = path;
    this.#node = node;
    this.#below = below;
    this.#readOnly = readOnly;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    this.#check(false);
    const wanted = this.#fromBelow(into, position);
    const got = wanted.length === 0 || this.#below === undefined ? 0 : await this.#below.read(wanted, position);
    return this.#patch(into, position, got);
  }

  readNow(into: Uint8Array, position: number): number {
    this.#check(false);
    const wanted = this.#fromBelow(into, position);
    const got = wanted.length === 0 || this.#below === undefined ? 0 : this.#below.readNow(wanted, position);
    return this.#patch(into, position, got);
  }

  async write(parts: readonly Uint8Array[], position: number): Promise<void> {
    this.writeNow(parts, position);
  }

  writeNow(parts: readonly Uint8Array[], position: number): void {
    this.#check(true);
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (length === 0) return;
    const isZero = parts.every((part) => isZeros(part));
    const piece = { from: position, to: position + length, bytes: isZero ? undefined : Buffer.concat(parts) };
    this.#lay(piece);
    this.#node.leastBytes = Math.max(this.#node.leastBytes, piece.to);
  }

  async writeAndDatasync(parts: readonly Uint8Array[], position: number): Promise<void> {
    this.writeNow(parts, position);
  }

  async datasync(): Promise<void> {
    this.#check(false);
  }

  async allocate(): Promise<void> {
    this.#check(true);
  }

  async punch(offset: number, length: number): Promise<void> {
    this.#check(true);
    const to = Math.min(offset + length, await this.size());
    if (to > offset) this.#lay({ from: offset, to, bytes: undefined });
  }

  async truncate(length: number): Promise<void> {
    this.#check(true);
    const node = this.#node;
    node.belowBytes = Math.min(node.belowBytes, length);
    node.pieces = node.pieces.flatMap(({ from, to, bytes }) =>
      from >= length ? [] : [{ from, to: Math.min(to, length), bytes: bytes?.subarray(0, length - from) }],
    );
    node.leastBytes = length;
  }

  async size(): Promise<number> {
    this.#check(false);
    const below = this.#below === undefined ? 0 : Math.min(await this.#below.size(), this.#node.belowBytes);
    return Math.max(below, this.#node.leastBytes);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#below?.close();
  }

  #check(writes: boolean): void {
    if (this.#closed) throw new CairnError('BAD_HANDLE', `${this.path} is closed`);
    if (writes && this.#readOnly) throw new CairnError('BAD_HANDLE', `${this.path} is open for reading only`);
  }

  /** The part of `into` that the file below may fill. */
  #fromBelow(into: Uint8Array, position: number): Uint8Array {
    return into.subarray(0, Math.max(0, Math.min(into.length, this.#node.belowBytes - position)));
  }

  /** Puts what was written over the first `got` bytes from below; returns how many bytes there are. */
  #patch(into: Uint8Array, position: number, got: number): number {
    const { pieces, leastBytes } = this.#node;
    const length = Math.max(got, Math.min(into.length, leastBytes - position));
    if (length <= 0) return 0;
    into.fill(0, got, length);
    for (const { from, to, bytes } of pieces) {
      const [start, end] = [Math.max(from, position), Math.min(to, position + length)];
      if (start >= end) continue;
      if (bytes === undefined) into.fill(0, start - position, end - position);
      else into.set(bytes.subarray(start - from, end - from), start - position);
    }
    return length;
  }

  #lay(piece: Piece): void {
    const last = this.#node.pieces.at(-1);
    if (last !== undefined && last.bytes === undefined && piece.bytes === undefined && last.to === piece.from)
      this.#node.pieces[this.#node.pieces.length - 1] = { from: last.from, to: piece.to, bytes: undefined };
    else this.#node.pieces.push(piece);
  }
}

function isZeros(bytes: Uint8Array): boolean {
  const zeros = Buffer.alloc(Math.min(bytes.length, 64 * 1024));
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length);
    if (Buffer.compare(part, zeros.subarray(0, part.length)) !== 0) return false;
  }
  return true;
}

function missing(path: string): CairnError {
  return new CairnError('NOT_FOUND', `${path} is not there`);
}
