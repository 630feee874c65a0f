/** Paths of files for findings. The names themselves are not kept in memory: they are looked up, for the few files that a finding shows. */
import type { MetaStore } from '../meta/meta-store.js';
import { type ChunkId, type Ino, ROOT_INO } from '../meta/rows.js';
import type { NamedFiles } from './check-run.js';

/** Files that one finding names. */
const NAMED_MAX = 20;
/** Files of one chunk that are looked at. */
const USERS_MAX = 1000;
const PAGE = 1000;
/** A tree that is deeper has a cycle. */
const DEPTH_MAX = 10_000;

export class FileNames {
  readonly #meta: MetaStore;
  readonly #parentOf: (ino: Ino) => Ino | undefined;

  /** `parentOf`: a directory that has an entry of the inode. */
  constructor(meta: MetaStore, parentOf: (ino: Ino) => Ino | undefined) {
    this.#meta = meta;
    this.#parentOf = parentOf;
  }

  async of(inos: Iterable<Ino>): Promise<NamedFiles> {
    const all = [...new Set(inos)];
    const names: string[] = [];
    for (const ino of all.slice(0, NAMED_MAX)) names.push(await this.pathOf(ino));
    return { names: names.sort(), more: Math.max(0, all.length - NAMED_MAX) };
  }

  /** Files that use any of the chunks. */
  async using(chunks: Iterable<ChunkId>): Promise<NamedFiles> {
    const inos = new Set<Ino>();
    for (const chunk of chunks) for (const ino of await this.#meta.listChunkUsers(chunk, USERS_MAX)) inos.add(ino);
    return this.of(inos);
  }

  async pathOf(ino: Ino): Promise<string> {
    const names: string[] = [];
    let at = ino;
    for (let depth = 0; at !== ROOT_INO; depth++) {
      const parent = this.#parentOf(at);
      const name = parent === undefined || depth > DEPTH_MAX ? undefined : await this.#nameIn(parent, at);
      if (parent === undefined || name === undefined) return `inode ${ino}`;
      names.unshift(name);
      at = parent;
    }
    return `/${names.join('/')}`;
  }

  async #nameIn(parent: Ino, ino: Ino): Promise<string | undefined> {
    for (let after = ''; ; ) {
      const page = await this.#meta.listDentries(parent, after, PAGE);
      const found = page.find((row) => row.ino === ino);
      if (found !== undefined) return Buffer.from(found.name, 'latin1').toString('utf8');
      const last = page.at(-1);
      if (last === undefined) return undefined;
      after = last.isDirectory ? `${last.name}/` : last.name;
    }
  }
}
