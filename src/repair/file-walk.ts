/**
 * Every file of the pool with its committed chunks, depth first over the names, in pages: nothing of the tree is kept in memory, and no transaction
 * is held open meanwhile. Where it stands is a stack of directories, small enough for a cursor. What is renamed meanwhile may be met twice, or not at all.
 */
import * as v from 'valibot';
import type { Json } from '../jobs/job.js';
import { extentPages } from '../meta/extent-pages.js';
import type { MetaStore } from '../meta/meta-store.js';
import { type ChunkId, type Ino, ROOT_INO, sortKey } from '../meta/rows.js';
import { textOf } from '../vfs/tree-path.js';

const PAGE = 256;

/** `name` is a binary string, as in the rows. */
const Frames = v.array(v.strictObject({ ino: v.number(), name: v.string(), after: v.string() }));

interface Frame {
  readonly ino: Ino;
  readonly name: string;
  after: string;
}

export class FileWalk {
  readonly #meta: Pick<MetaStore, 'listDentries' | 'listExtents'>;
  readonly #stack: Frame[];

  /** From a cursor on; from the root if it is none. */
  constructor(meta: Pick<MetaStore, 'listDentries' | 'listExtents'>, cursor: Json | undefined) {
    this.#meta = meta;
    const frames = v.safeParse(Frames, cursor);
    this.#stack = frames.success ? frames.output : [{ ino: ROOT_INO, name: '', after: '' }];
  }

  get cursor(): Json {
    return this.#stack.map(({ ino, name, after }) => ({ ino, name, after }));
  }

  /** The next files, at most a page of them; undefined at the end. */
  async next(): Promise<{ readonly ino: Ino; readonly path: string }[] | undefined> {
    const frame = this.#stack.at(-1);
    if (frame === undefined) return undefined;
    const page = await this.#meta.listDentries(frame.ino, frame.after, PAGE);
    if (page.length === 0) {
      this.#stack.pop();
      return [];
    }
    const files: { ino: Ino; path: string }[] = [];
    for (const { name, ino, isDirectory } of page) {
      frame.after = sortKey(name, isDirectory);
      if (isDirectory) {
        this.#stack.push({ ino, name, after: '' });
        break;
      }
      files.push({ ino, path: this.#pathOf(name, frame) });
    }
    return files;
  }

  #pathOf(name: string, frame: Frame): string {
    const names = this.#stack.slice(1, this.#stack.indexOf(frame) + 1).map((one) => one.name);
    return `/${textOf([...names, name].join('/'))}`;
  }

  async *chunksOf(ino: Ino): AsyncGenerator<{ readonly chunk: ChunkId; readonly chunkBytes: number }> {
    for await (const page of extentPages(this.#meta, ino)) yield* page;
  }
}
