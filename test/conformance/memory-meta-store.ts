/**
 * A MetaStore in plain JavaScript: the model that other engines are compared with, and the store of simulated pools. It
 * is written to be obviously right: a commit works on copies of the maps, references are counted by looking at every extent.
 */
import { CairnError } from '../../src/errors/cairn-error.js';
import type { MetaPosition, MetaSnapshot, MetaStore } from '../../src/meta/meta-store.js';
import {
  type ChunkId,
  type ChunkRow,
  type Commit,
  type DentryRow,
  type ExtentRow,
  type Ino,
  type InodeRow,
  type Name,
  ROOT_INO,
  type RowChange,
  sortKey,
  type XattrRow,
} from '../../src/meta/rows.js';

const EMPTY: MetaPosition = { sequence: 0, epoch: 0, stagedThrough: 0, nextIno: ROOT_INO };
const BATCH_CHANGES = 100;

class State {
  readonly inodes: Map<Ino, InodeRow>;
  /** By parent and sort key: `12/name`. */
  readonly dentries: Map<string, DentryRow>;
  readonly extents: Map<Ino, readonly ExtentRow[]>;
  /** By inode and name. */
  readonly xattrs: Map<string, XattrRow>;
  readonly chunks: Map<ChunkId, number>;

  constructor(from?: State) {
    this.inodes = new Map(from?.inodes);
    this.dentries = new Map(from?.dentries);
    this.extents = new Map(from?.extents);
    this.xattrs = new Map(from?.xattrs);
    this.chunks = new Map(from?.chunks);
  }

  references(chunk: ChunkId): number {
    return this.allExtents().filter((extent) => extent.chunk === chunk).length;
  }

  allExtents(): ExtentRow[] {
    return [...this.extents.values()].flat();
  }

  apply(change: RowChange): void {
    switch (change.kind) {
      case 'inode':
        expect(this.inodes.get(change.row.ino), change.before);
        this.inodes.set(change.row.ino, change.row);
        break;
      case 'inode-delete':
        expect(this.inodes.get(change.ino), change.before);
        this.inodes.delete(change.ino);
        this.extents.delete(change.ino);
        for (const [key, row] of this.xattrs) if (row.ino === change.ino) this.xattrs.delete(key);
        break;
      case 'dentry': {
        const key = `${change.row.parent}/${sortKey(change.row.name, change.row.isDirectory)}`;
        expect(this.dentries.get(key), change.before);
        this.dentries.set(key, change.row);
        break;
      }
      case 'dentry-delete': {
        const key = `${change.parent}/${sortKey(change.name, change.isDirectory)}`;
        expect(this.dentries.get(key), change.before);
        this.dentries.delete(key);
        break;
      }
      case 'extents':
        this.#splice(change.ino, change.from, change.to, change.extents);
        break;
      case 'xattr':
        this.xattrs.set(`${change.row.ino}/${change.row.name}`, change.row);
        break;
      case 'xattr-delete':
        this.xattrs.delete(`${change.ino}/${change.name}`);
        break;
      case 'chunk':
        if (!this.chunks.has(change.chunk)) this.chunks.set(change.chunk, change.chunkBytes);
        break;
      case 'chunk-delete':
        if (!this.chunks.has(change.chunk) || this.references(change.chunk) > 0) throw conflict();
        this.chunks.delete(change.chunk);
        break;
    }
  }

  #splice(ino: Ino, from: number, to: number, added: readonly ExtentRow[]): void {
    const rows = [...added];
    for (const old of this.extents.get(ino) ?? []) {
      const end = old.offset + old.length;
      if (to <= from || end <= from || old.offset >= to) rows.push(old);
      else {
        if (old.offset < from) rows.push({ ...old, length: from - old.offset });
        const skip = to - old.offset;
        if (end > to) rows.push({ ...old, offset: to, length: end - to, chunkOffset: old.chunkOffset + skip });
      }
    }
    for (const { chunk, chunkBytes } of added) {
      if ((this.chunks.get(chunk) ?? chunkBytes) !== chunkBytes) throw conflict();
      this.chunks.set(chunk, chunkBytes);
    }
    rows.sort((a, b) => a.offset - b.offset);
    if (rows.length === 0) this.extents.delete(ino);
    else this.extents.set(ino, rows);
  }

  asChanges(): RowChange[] {
    return [
      ...[...this.chunks].map(([chunk, chunkBytes]): RowChange => ({ kind: 'chunk', chunk, chunkBytes })),
      ...[...this.inodes.values()].map((row): RowChange => ({ kind: 'inode', before: 0, row })),
      ...[...this.dentries.values()].map((row): RowChange => ({ kind: 'dentry', before: 0, row })),
      ...[...this.xattrs.values()].map((row): RowChange => ({ kind: 'xattr', row })),
      ...[...this.extents].map(
        ([ino, extents]): RowChange => ({ kind: 'extents', ino, from: 0, to: Number.MAX_SAFE_INTEGER, extents }),
      ),
    ];
  }
}

export class MemoryMetaStore implements MetaStore {
  #state: State;
  #position: MetaPosition;
  #isClosed = false;

  /** Empty, or in the state that another one has at this moment. */
  constructor(from?: MemoryMetaStore) {
    // A state never changes: a commit makes another one.
    this.#state = from === undefined ? new State() : from.#state;
    this.#position = from === undefined ? EMPTY : from.#position;
  }

  position(): MetaPosition {
    return this.#position;
  }

  async getInode(ino: Ino): Promise<InodeRow | undefined> {
    return this.#open().inodes.get(ino);
  }

  async getDentry(parent: Ino, name: Name): Promise<DentryRow | undefined> {
    const { dentries } = this.#open();
    return dentries.get(`${parent}/${name}/`) ?? dentries.get(`${parent}/${name}`);
  }

  async getDirectoryEntry(ino: Ino): Promise<DentryRow | undefined> {
    return [...this.#open().dentries.values()].find((row) => row.isDirectory && row.ino === ino);
  }

  async listDentries(parent: Ino, afterKey: string, limit: number): Promise<DentryRow[]> {
    return [...this.#open().dentries.values()]
      .filter((row) => row.parent === parent && sortKey(row.name, row.isDirectory) > afterKey)
      .sort((a, b) => (sortKey(a.name, a.isDirectory) < sortKey(b.name, b.isDirectory) ? -1 : 1))
      .slice(0, limit);
  }

  async listExtents(ino: Ino, from: number, to: number, limit: number): Promise<ExtentRow[]> {
    const rows = this.#open().extents.get(ino) ?? [];
    return rows.filter((row) => row.offset < to && row.offset + row.length > from).slice(0, limit);
  }

  async allocatedBytes(ino: Ino): Promise<number> {
    return (this.#open().extents.get(ino) ?? []).reduce((sum, row) => sum + row.length, 0);
  }

  async listXattrs(ino: Ino): Promise<XattrRow[]> {
    const rows = [...this.#open().xattrs.values()].filter((row) => row.ino === ino);
    return rows.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async getChunk(chunk: ChunkId): Promise<ChunkRow | undefined> {
    const state = this.#open();
    const chunkBytes = state.chunks.get(chunk);
    return chunkBytes === undefined ? undefined : { chunk, chunkBytes, references: state.references(chunk) };
  }

  async listChunks(after: ChunkId | '', limit: number): Promise<ChunkRow[]> {
    const state = this.#open();
    return [...state.chunks]
      .filter(([chunk]) => chunk > after)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .slice(0, limit)
      .map(([chunk, chunkBytes]) => ({ chunk, chunkBytes, references: state.references(chunk) }));
  }

  async listUnreferenced(after: ChunkId | '', limit: number): Promise<ChunkRow[]> {
    const state = this.#open();
    return [...state.chunks]
      .filter(([chunk]) => chunk > after && state.references(chunk) === 0)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .slice(0, limit)
      .map(([chunk, chunkBytes]) => ({ chunk, chunkBytes, references: 0 }));
  }

  async listNameless(after: Ino, limit: number): Promise<Ino[]> {
    return [...this.#open().inodes.values()]
      .filter(({ ino, nlink }) => nlink === 0 && ino > after)
      .map(({ ino }) => ino)
      .sort((a, b) => a - b)
      .slice(0, limit);
  }

  async listChunkUsers(chunk: ChunkId, limit: number): Promise<Ino[]> {
    const users = [...this.#open().extents].filter(([, rows]) => rows.some((row) => row.chunk === chunk));
    return users
      .map(([ino]) => ino)
      .sort((a, b) => a - b)
      .slice(0, limit);
  }

  async apply(commit: Commit): Promise<void> {
    const { sequence, epoch, stagedThrough, nextIno } = commit;
    const next = new State(this.#open());
    if (sequence <= this.#position.sequence) return;
    if (sequence !== this.#position.sequence + 1) throw conflict();
    for (const change of commit.changes) next.apply(change);
    this.#state = next;
    this.#position = { sequence, epoch, stagedThrough, nextIno };
  }

  async snapshot(): Promise<MetaSnapshot> {
    const changes = this.#open().asChanges();
    async function* batches() {
      for (let start = 0; start < changes.length; start += BATCH_CHANGES) {
        yield changes.slice(start, start + BATCH_CHANGES);
      }
    }
    return { position: this.#position, batches: batches() };
  }

  async restore(position: MetaPosition, batches: AsyncIterable<readonly RowChange[]>): Promise<void> {
    this.#open();
    const next = new State();
    for await (const batch of batches) for (const change of batch) next.apply(change);
    this.#state = next;
    this.#position = position;
  }

  async statistics() {
    const { inodes, dentries, chunks } = this.#state;
    const chunkBytes = [...chunks.values()].reduce((sum, bytes) => sum + bytes, 0);
    const extents = this.#state.allExtents().length;
    return { inodes: inodes.size, dentries: dentries.size, extents, chunks: chunks.size, chunkBytes };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #open(): State {
    if (this.#isClosed) throw new CairnError('CLOSED', 'the metadata store is closed');
    return this.#state;
  }
}

function expect(row: { readonly version: number } | undefined, before: number): void {
  if ((row?.version ?? 0) !== before) throw conflict();
}

function conflict(): CairnError {
  return new CairnError('CONFLICT', 'the change does not fit the state');
}
