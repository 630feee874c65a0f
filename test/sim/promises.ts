/**
 * What a pool has promised, and every state that its tree really had. The model knows POSIX's rules for names and bytes and nothing of staging,
 * commits or logs. Stamps count the machine's events: a crash at event e may know what began at e or before, and must know what was
 * acknowledged at e or before.
 *
 * What is checked after a recovery (docs/testing.md):
 * - names, modes and attributes are one state that the tree really had, at or after the last one promised;
 * - a file's bytes, where only the pool is left, are one state that the file really had, at or after the last one promised (while it was appended to,
 *   also such a state cut at a multiple of the chunk size);
 * - where the cache is left too, each byte is that of some state at or after the promised one, and the size too, or after a power cut one between
 *   these: later writes that nothing has made durable may be there or not, each on its own, as on any file system.
 */

/** What a promise survives: `kill` a kill of the daemon, `local` a power cut while the cache device lives, `pool` also the loss of that and of as many disks as may be lost. */
export type Level = 'kill' | 'local' | 'pool';

export interface FileState {
  readonly stamp: number;
  readonly bytes: Buffer;
}

export class Node {
  ino: number | undefined;
  readonly isDirectory: boolean;
  readonly states: FileState[];
  /** Open without a name, or with one: its bytes as they are. */
  get bytes(): Buffer {
    return this.states.at(-1)!.bytes;
  }

  constructor(isDirectory: boolean, stamp: number) {
    this.isDirectory = isDirectory;
    this.states = [{ stamp, bytes: Buffer.alloc(0) }];
  }
}

export interface NameEntry {
  readonly node: Node;
  readonly mode: number;
  /** The value of the one extended attribute that histories use. */
  readonly xattr: string;
}

export type Names = ReadonlyMap<string, NameEntry>;

interface NameState {
  readonly began: number;
  readonly names: Names;
}

interface Promised {
  readonly at: number;
  readonly level: Level;
  /** Index of the state of names. */
  readonly names: number;
  /** Index of the state of bytes. */
  readonly files: ReadonlyMap<Node, number>;
}

/** Where everything stands at one moment: to be promised when an operation that began there is acknowledged. */
export interface Mark {
  readonly names: number;
  readonly files: ReadonlyMap<Node, number>;
}

/** What a recovered pool says. */
export interface Found {
  readonly names: ReadonlyMap<
    string,
    { readonly ino: number; readonly mode: number; readonly isDirectory: boolean; readonly xattr: string }
  >;
  readonly bytes: ReadonlyMap<number, Buffer>;
}

export interface Loss {
  readonly stop: 'power' | 'kill';
  /** The cache device is gone. */
  readonly cache: boolean;
}

export class Promises {
  /** Every state of names, in order; the last is the present one. */
  states: NameState[] = [{ began: 0, names: new Map() }];
  promised: Promised[] = [];
  readonly chunkBytes: number;

  constructor(chunkBytes: number) {
    this.chunkBytes = chunkBytes;
  }

  get names(): Names {
    return this.states.at(-1)!.names;
  }

  /** A change of names begins. */
  change(stamp: number, edit: (names: Map<string, NameEntry>) => void): NameState {
    const names = new Map(this.names);
    edit(names);
    const state: NameState = { began: stamp, names };
    this.states.push(state);
    return state;
  }

  /** The last change of names did not happen. */
  undo(state: NameState): void {
    const at = this.states.lastIndexOf(state);
    if (at >= 0) this.states.splice(at, 1);
  }

  mark(nodes: Iterable<Node>): Mark {
    return { names: this.states.length - 1, files: new Map([...nodes].map((node) => [node, node.states.length - 1])) };
  }

  /** Every file that has a name. */
  nodes(): Set<Node> {
    const nodes = new Set<Node>();
    for (const { node } of this.names.values()) if (!node.isDirectory) nodes.add(node);
    return nodes;
  }

  acknowledge(at: number, level: Level, mark: Mark): void {
    this.promised.push({ at, level, names: mark.names, files: mark.files });
  }

  /** Throws an Error that says what was promised and is not there, or is there and never was. Returns the index of the state of names. */
  check(found: Found, stamp: number, loss: Loss): number {
    const holding = this.promised.filter(({ at, level }) => at <= stamp && holds(level, loss));
    let least = 0;
    for (const { names } of holding) least = Math.max(least, names);
    const at = this.#stateOf(found, least, stamp);
    for (const node of new Set([...this.states[at]!.names.values()].map((entry) => entry.node))) {
      if (node.isDirectory) continue;
      let from = 0;
      for (const { files } of holding) from = Math.max(from, files.get(node) ?? 0);
      const bytes = found.bytes.get(node.ino!);
      if (bytes === undefined) throw new Error(`inode ${node.ino} could not be read`);
      this.#checkBytes(node, bytes, from, stamp, loss);
    }
    return at;
  }

  #stateOf(found: Found, least: number, stamp: number): number {
    const differences: string[] = [];
    for (let i = this.states.length - 1; i >= 0; i--) {
      const { began, names } = this.states[i]!;
      if (began > stamp) continue;
      const difference = differenceOf(names, found);
      if (difference === undefined) {
        if (i >= least) return i;
        throw new Error(
          `names are those of state ${i}, but state ${least} was promised: ${differenceOf(this.states[least]!.names, found)}`,
        );
      }
      differences.push(`${i}: ${difference}`);
    }
    throw new Error(
      `names are in no state that they ever had (promised: ${least}; ${differences.slice(0, 8).join('; ')})`,
    );
  }

  #checkBytes(node: Node, found: Buffer, from: number, stamp: number, loss: Loss): void {
    const states = this.#withCuts(
      node.states.filter((state, i) => i >= from && (i === from || state.stamp <= stamp)).map(({ bytes }) => bytes),
    );
    if (states.some((bytes) => bytes.equals(found))) return;
    const name = this.#nameOf(node);
    const sizes = states.map(({ length }) => length);
    if (loss.cache) {
      throw new Error(
        `${name} is in no state that it had since the promised one: ${found.length} bytes, sizes were ${sizes.join(', ')}; ${firstDifference(found, states[0]!)}`,
      );
    }
    // Power may take the end of what was written and not synced: the file then ends before it.
    const least = loss.stop === 'power' ? Math.min(...sizes) : Number.POSITIVE_INFINITY;
    if (!sizes.includes(found.length) && (found.length < least || found.length > Math.max(...sizes)))
      throw new Error(`${name} has ${found.length} bytes, sizes since the promised state were ${sizes.join(', ')}`);
    for (let i = 0; i < found.length; i++) {
      if (states.some((bytes) => (i < bytes.length ? bytes[i] : 0) === found[i])) continue;
      throw new Error(
        `${name}: byte ${i} of ${found.length} is ${found[i]}, which it never was since the promised state: ${states.map((bytes) => bytes[i] ?? '-').join(', ')}`,
      );
    }
  }

  /** While a file is appended to, a commit may take its whole chunks first. */
  #withCuts(states: readonly Buffer[]): readonly Buffer[] {
    const all = [...states];
    const least = states[0]!.length;
    for (const bytes of states.slice(1))
      for (let cut = this.chunkBytes; cut < bytes.length; cut += this.chunkBytes)
        if (cut >= least) all.push(bytes.subarray(0, cut));
    return all;
  }

  #nameOf(node: Node): string {
    for (const { names } of [...this.states].reverse())
      for (const [path, entry] of names) if (entry.node === node) return path;
    return `inode ${node.ino}`;
  }

  /** The machine stopped at `stamp`: what began or was acknowledged later never did. */
  cut(stamp: number): void {
    this.states = this.states.filter(({ began }) => began <= stamp);
    this.promised = this.promised.filter(({ at }) => at <= stamp);
    for (const node of this.#allNodes()) {
      const kept = node.states.filter((state, i) => i === 0 || state.stamp <= stamp);
      node.states.splice(0, node.states.length, ...kept);
    }
  }

  /** After a recovery: what was found is how things are, and states of names that it went back behind are gone for good. */
  rebase(found: Found, at: number, stamp: number, loss: Loss): void {
    this.states = this.states.slice(0, at + 1);
    for (const node of this.nodes()) {
      const bytes = found.bytes.get(node.ino!);
      if (bytes !== undefined && !bytes.equals(node.bytes)) node.states.push({ stamp, bytes });
    }
    this.promised = this.promised
      .filter(({ level }) => level === 'pool' || !loss.cache)
      .map((promise) => (promise.names > at ? { ...promise, names: at } : promise));
  }

  #allNodes(): Set<Node> {
    const nodes = new Set<Node>();
    for (const { names } of this.states) for (const { node } of names.values()) nodes.add(node);
    return nodes;
  }
}

function holds(level: Level, { stop, cache }: Loss): boolean {
  return level === 'pool' || (!cache && (level === 'local' || stop === 'kill'));
}

/** undefined: the same. */
function differenceOf(names: Names, found: Found): string | undefined {
  for (const [path, { node, mode, xattr }] of names) {
    const other = found.names.get(path);
    if (other === undefined) return `${path} is missing`;
    if (node.ino !== undefined && other.ino !== node.ino) return `${path} is inode ${other.ino}, not ${node.ino}`;
    if (other.isDirectory !== node.isDirectory) return `${path} is of another kind`;
    if (other.mode !== mode) return `${path} has mode ${other.mode.toString(8)}, not ${mode.toString(8)}`;
    if (other.xattr !== xattr) return `${path} has attribute '${other.xattr}', not '${xattr}'`;
  }
  for (const path of found.names.keys()) if (!names.has(path)) return `${path} should not be there`;
  return undefined;
}

function firstDifference(found: Buffer, wanted: Buffer): string {
  const at = found.findIndex((byte, i) => byte !== wanted[i]);
  return at < 0
    ? `as promised up to ${found.length} of ${wanted.length} bytes`
    : `byte ${at} is ${found[at]}, promised was ${wanted[at]}`;
}
