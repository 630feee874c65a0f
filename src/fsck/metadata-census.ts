/**
 * Counts the metadata at one commit: what each inode is and how many names it has, and how many extents name each chunk. Filled from a
 * snapshot, so it is consistent in itself whatever is committed meanwhile. About 100 bytes of memory per inode and per chunk.
 */
import type { MetaPosition } from '../meta/meta-store.js';
import type { ChunkId, ExtentRow, Ino, RowChange } from '../meta/rows.js';

export class InodeFacts {
  exists = false;
  mode = 0;
  nlink = 0;
  sizeBytes = 0;
  /** Names that call it a directory, and names that do not. */
  directoryNames = 0;
  fileNames = 0;
  /** Entries of it that are directories, and that are not. */
  subdirectories = 0;
  entries = 0;
  /** A directory with an entry of it. */
  parent: Ino | undefined;
  extents = 0;
  /** Where the extents met so far end. */
  extentsEnd = 0;
  badExtents = 0;
  overlaps = false;
  hasXattrs = false;
}

export interface ChunkFacts {
  readonly chunkBytes: number;
  /** Extents that name it. */
  references: number;
  /** Extents do not agree about its length. */
  contradicted: boolean;
}

export class MetadataCensus {
  readonly position: MetaPosition;
  readonly inodes = new Map<Ino, InodeFacts>();
  readonly chunks = new Map<ChunkId, ChunkFacts>();
  names = 0;
  extents = 0;
  lastIno: Ino = 0;

  constructor(position: MetaPosition) {
    this.position = position;
  }

  add(change: RowChange): void {
    switch (change.kind) {
      case 'inode': {
        const { ino, mode, nlink, sizeBytes } = change.row;
        Object.assign(this.#facts(ino), { exists: true, mode, nlink, sizeBytes });
        this.lastIno = Math.max(this.lastIno, ino);
        break;
      }
      case 'dentry': {
        const { parent, ino, isDirectory } = change.row;
        const child = this.#facts(ino);
        const directory = this.#facts(parent);
        child.parent = parent;
        if (isDirectory) {
          child.directoryNames++;
          directory.subdirectories++;
        } else child.fileNames++;
        directory.entries++;
        this.names++;
        break;
      }
      case 'extents':
        for (const extent of change.extents) this.#addExtent(this.#facts(change.ino), extent);
        break;
      case 'xattr':
        this.#facts(change.row.ino).hasXattrs = true;
        break;
      case 'chunk':
        this.#chunk(change.chunk, change.chunkBytes);
        break;
      default:
        break;
    }
  }

  #addExtent(file: InodeFacts, { offset, length, chunk, chunkOffset, chunkBytes }: ExtentRow): void {
    this.extents++;
    file.extents++;
    if (offset < file.extentsEnd) file.overlaps = true;
    if (length < 1 || chunkOffset < 0 || chunkOffset + length > chunkBytes) file.badExtents++;
    file.extentsEnd = Math.max(file.extentsEnd, offset + length);
    const facts = this.#chunk(chunk, chunkBytes);
    facts.references++;
    if (facts.chunkBytes !== chunkBytes) facts.contradicted = true;
  }

  #chunk(chunk: ChunkId, chunkBytes: number): ChunkFacts {
    let facts = this.chunks.get(chunk);
    if (facts === undefined) {
      facts = { chunkBytes, references: 0, contradicted: false };
      this.chunks.set(chunk, facts);
    }
    return facts;
  }

  #facts(ino: Ino): InodeFacts {
    let facts = this.inodes.get(ino);
    if (facts === undefined) {
      facts = new InodeFacts();
      this.inodes.set(ino, facts);
    }
    return facts;
  }
}
