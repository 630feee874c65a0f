/**
 * Work on a mount that is interrupted by a crash, and what must be there afterwards. Operation number i is a function of i and the log's
 * salt alone: the program that does it (work-writer.ts) says `i` when it has been acknowledged, the test folds the operations up to
 * there into the states that it may find. Content is known from the salt, the name and the version, so bytes of another file, of another
 * version or of nobody are recognised.
 *
 * Every operation ends with what makes it a promise: fsync, fsync of the directory, O_SYNC, or close, which is none in default mode when the
 * power goes. Only what the operation after the last acknowledged one touches may be in its old or its new state, or in one between
 * them that it really had.
 */
import {
  closeSync,
  constants,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { contentOf } from './content.js';

const PAGE_BYTES = 4096;
const PAGES = 64;
const SIZES = [0, 1, 700, 4096, 9000, 70_000, 300_000, 1_300_000];
const LARGE_BYTES = 5 * 1024 * 1024;
const STEP_BYTES = 777;
/** So many kinds of operation take turns. */
const ROUND = 12;

type Operation =
  | { readonly kind: 'close' | 'fsync' | 'osync'; readonly path: string; readonly sizeBytes: number }
  | { readonly kind: 'replace'; readonly path: string; readonly content: string; readonly sizeBytes: number }
  | { readonly kind: 'page'; readonly path: string; readonly page: number; readonly content: string }
  | { readonly kind: 'append'; readonly path: string; readonly from: number; readonly to: number }
  | { readonly kind: 'truncate'; readonly path: string; readonly before: number; readonly sizeBytes: number }
  | { readonly kind: 'unlink'; readonly path: string }
  | { readonly kind: 'link'; readonly path: string; readonly target: string; readonly sizeBytes: number }
  | { readonly kind: 'move'; readonly from: string; readonly to: string; readonly sizeBytes: number };

/** What a name may stand for: nothing, or the first `least` to `most` bytes of a content. */
type State = { readonly content: string; readonly least: number; readonly most: number } | 'absent';

/** What an operation makes of one name: the states that it passes through, the last one being what is acknowledged. */
interface Effect {
  readonly path: string;
  readonly states: readonly State[];
  /** False: the acknowledgement promises nothing of this. */
  readonly promised: boolean;
}

export interface Found {
  /** Operations 0 to `promised` - 1 are promised. */
  readonly promised: number;
  /** Operations 0 to `done` - 1 were acknowledged, and one more may have been under way. At least `promised`. */
  readonly done: number;
  /** Whether a close is a promise. */
  readonly closed: boolean;
}

export class WorkLog {
  readonly #salt: string;

  /** Logs of different salts have different bytes everywhere, so that no lost chunk is made up for by another's. */
  constructor(salt: string) {
    this.#salt = salt;
  }

  #bytes(content: string, sizeBytes: number): Buffer {
    return contentOf(`${this.#salt} ${content}`, sizeBytes);
  }

  #sizeOf(i: number): number {
    return i % 90 === 45 ? LARGE_BYTES : SIZES[this.#bytes(`size ${i}`, 1)[0]! % SIZES.length]!;
  }

  #operation(i: number): Operation {
    const page = (i * 7) % PAGES;
    const start = i - (i % ROUND);
    const fresh = { path: `file ${i}`, sizeBytes: this.#sizeOf(i) };
    switch (i % ROUND) {
      case 0:
      case 1:
        return { kind: 'close', ...fresh };
      case 2:
        return { kind: 'fsync', ...fresh };
      case 3:
        return { kind: 'replace', path: 'current', content: `current ${i}`, sizeBytes: 3000 + i };
      case 4:
      case 5:
        return { kind: 'page', path: 'pages', page, content: `page ${page} ${i}` };
      case 6: {
        const step = Math.floor(i / ROUND);
        return { kind: 'append', path: 'log', from: step * STEP_BYTES, to: (step + 1) * STEP_BYTES };
      }
      // The first two files of the round before; the first round has none.
      case 7: {
        if (i < ROUND) return { kind: 'close', ...fresh };
        const before = this.#sizeOf(start - ROUND);
        return { kind: 'truncate', path: `file ${start - ROUND}`, before, sizeBytes: Math.floor(before / 2) };
      }
      case 8:
        return i < ROUND ? { kind: 'close', ...fresh } : { kind: 'unlink', path: `file ${start - ROUND + 1}` };
      case 9:
        return i % 24 === 9
          ? { kind: 'link', path: `link ${i}`, target: `file ${i - 7}`, sizeBytes: this.#sizeOf(i - 7) }
          : { ...fresh, kind: 'fsync', path: join(`directory ${i}`, 'in it', 'file') };
      case 10:
        return { kind: 'osync', ...fresh };
      default:
        return i % 24 === 11
          ? { kind: 'osync', ...fresh }
          : { kind: 'move', from: `directory ${i - 2}`, to: `moved ${i}`, sizeBytes: this.#sizeOf(i - 2) };
    }
  }

  /** Does operation `i` in `directory`; when it returns, the operation is acknowledged. Throws what the file system answers. */
  do(directory: string, i: number): void {
    const op = this.#operation(i);
    const at = (path: string) => join(directory, path);
    switch (op.kind) {
      case 'close':
        withFile(at(op.path), 'w', (fd) => writeAll(fd, this.#bytes(op.path, op.sizeBytes)));
        break;
      case 'fsync': {
        mkdirSync(dirname(at(op.path)), { recursive: true });
        const fd = openSync(at(op.path), 'w');
        writeAll(fd, this.#bytes(op.path, op.sizeBytes));
        fsyncSync(fd);
        // Acknowledged before it is closed.
        setImmediate(() => {
          try {
            closeSync(fd);
          } catch {
            // The daemon is dead.
          }
        });
        break;
      }
      case 'osync': {
        const { O_WRONLY, O_CREAT, O_EXCL, O_SYNC } = constants;
        withFile(at(op.path), O_WRONLY | O_CREAT | O_EXCL | O_SYNC, (fd) =>
          writeAll(fd, this.#bytes(op.path, op.sizeBytes)),
        );
        // A file without bytes has no write that could have been the promise.
        if (op.sizeBytes === 0) syncDirectory(directory);
        break;
      }
      case 'replace':
        withFile(at(`${op.path}.new`), 'w', (fd) => {
          writeAll(fd, this.#bytes(op.content, op.sizeBytes));
          fsyncSync(fd);
        });
        renameSync(at(`${op.path}.new`), at(op.path));
        syncDirectory(directory);
        break;
      case 'page':
        withFile(at(op.path), existsSync(at(op.path)) ? 'r+' : 'w', (fd) => {
          writeSync(fd, this.#bytes(op.content, PAGE_BYTES), 0, PAGE_BYTES, op.page * PAGE_BYTES);
          fdatasyncSync(fd);
        });
        break;
      case 'append':
        withFile(at(op.path), 'a', (fd) => {
          writeAll(fd, this.#bytes('log', op.to).subarray(op.from));
          fdatasyncSync(fd);
        });
        break;
      case 'truncate':
        truncateSync(at(op.path), op.sizeBytes);
        withFile(at(op.path), 'r+', (fd) => fsyncSync(fd));
        break;
      case 'unlink':
        unlinkSync(at(op.path));
        syncDirectory(directory);
        break;
      case 'link':
        linkSync(at(op.target), at(op.path));
        syncDirectory(directory);
        break;
      case 'move':
        renameSync(at(op.from), at(op.to));
        syncDirectory(directory);
        break;
    }
  }

  /** `behind`: a name may be there before the bytes of its file, which then is at an earlier size. A name that replaces another never is. */
  #effects(i: number, closed: boolean, behind: boolean): Effect[] {
    const op = this.#operation(i);
    const named = (content: string, sizeBytes: number): State[] =>
      behind ? growing(content, 0, sizeBytes) : [whole(content, sizeBytes)];
    switch (op.kind) {
      case 'close':
        return [{ path: op.path, states: growing(op.path, 0, op.sizeBytes), promised: closed }];
      case 'fsync':
      case 'osync':
        return [{ path: op.path, states: growing(op.path, 0, op.sizeBytes), promised: true }];
      case 'replace':
        return [
          {
            path: `${op.path}.new`,
            states: [...growing(op.content, 0, op.sizeBytes), 'absent'],
            promised: true,
          },
          {
            path: op.path,
            states: i < ROUND ? named(op.content, op.sizeBytes) : [whole(op.content, op.sizeBytes)],
            promised: true,
          },
        ];
      case 'append':
        return [{ path: op.path, states: growing('log', op.from, op.to), promised: true }];
      case 'truncate': {
        const states = [whole(op.path, op.before), whole(op.path, op.sizeBytes)];
        return [{ path: op.path, states, promised: true }];
      }
      case 'unlink':
        return [{ path: op.path, states: ['absent'], promised: true }];
      case 'link':
        return [{ path: op.path, states: named(op.target, op.sizeBytes), promised: true }];
      case 'move': {
        const [before, after] = [join(op.from, 'in it', 'file'), join(op.to, 'in it', 'file')];
        return [
          { path: before, states: ['absent'], promised: true },
          { path: after, states: named(before, op.sizeBytes), promised: true },
        ];
      }
      case 'page':
        return [];
    }
  }

  /** What is wrong in `directory`, a sentence each; empty if all is well. */
  findLoss(directory: string, found: Found): string[] {
    const problems: string[] = [];
    const allowed = this.#allowed(found);
    const there = new Set(filesIn(directory, '', problems));
    for (const path of there) {
      if (!allowed.has(path) && path !== 'pages') problems.push(`${path}: nobody has made this`);
    }
    for (const [path, states] of allowed) {
      const bytes = there.has(path) ? read(join(directory, path), problems) : undefined;
      if (states.some((state) => this.#is(bytes, state))) continue;
      const what = bytes === undefined ? 'is not there' : `has ${bytes.length} bytes${this.#differs(bytes, states)}`;
      problems.push(`${path}: ${what}; it may be ${states.map(describe).join(' or ')}`);
    }
    this.#checkMoves(there, found, problems);
    this.#checkPages(there.has('pages') ? read(join(directory, 'pages'), problems) : undefined, found, problems);
    return problems;
  }

  /** Per name, the states that it may be in: the last promised one, and all that followed. */
  #allowed({ promised, done, closed }: Found): Map<string, State[]> {
    const allowed = new Map<string, State[]>();
    for (let i = 0; i <= done; i++) {
      for (const effect of this.#effects(i, closed, promised < done)) {
        if (i < promised && effect.promised) allowed.set(effect.path, [effect.states.at(-1)!]);
        else {
          const states = allowed.get(effect.path) ?? (['absent'] as State[]);
          states.push(...effect.states);
          allowed.set(effect.path, states);
        }
      }
    }
    return allowed;
  }

  #is(bytes: Buffer | undefined, state: State): boolean {
    if (state === 'absent' || bytes === undefined) return state === 'absent' && bytes === undefined;
    if (bytes.length < state.least || bytes.length > state.most) return false;
    return bytes.equals(this.#bytes(state.content, bytes.length));
  }

  #differs(bytes: Buffer, states: readonly State[]): string {
    for (const state of states) {
      if (state === 'absent') continue;
      const right = this.#bytes(state.content, bytes.length);
      const first = bytes.findIndex((byte, at) => byte !== right[at]);
      if (first < 0) return ` of ${state.content}`;
      if (first > 0 || bytes.subarray(first).every((byte) => byte === 0))
        return `, wrong from ${first} on (${bytes[first] === 0 ? 'zeros' : 'not zeros'})`;
    }
    return ', all wrong';
  }

  /** A directory that was being renamed has exactly one of its names. */
  #checkMoves(there: ReadonlySet<string>, { promised, done }: Found, problems: string[]): void {
    for (let i = promised; i <= done; i++) {
      const op = this.#operation(i);
      if (op.kind !== 'move' || i - 2 >= promised) continue;
      const names = [op.from, op.to].filter((name) => there.has(join(name, 'in it', 'file')));
      if (names.length !== 1) problems.push(`${op.from} became ${op.to}: ${names.length} of the names are there`);
    }
  }

  #checkPages(bytes: Buffer | undefined, { promised, done }: Found, problems: string[]): void {
    const zeros = Buffer.alloc(PAGE_BYTES);
    const allowed: Buffer[][] = Array.from({ length: PAGES }, () => [zeros]);
    let last = -1;
    for (let i = 0; i <= done; i++) {
      const op = this.#operation(i);
      if (op.kind !== 'page') continue;
      const content = this.#bytes(op.content, PAGE_BYTES);
      if (i < promised) allowed[op.page] = [content];
      else allowed[op.page]!.push(content);
      if (i < promised) last = Math.max(last, op.page);
    }
    const length = bytes?.length ?? 0;
    if (length < (last + 1) * PAGE_BYTES || length > PAGES * PAGE_BYTES) problems.push(`pages: has ${length} bytes`);
    for (const [page, contents] of allowed.entries()) {
      const found = Buffer.alloc(PAGE_BYTES);
      bytes?.subarray(page * PAGE_BYTES).copy(found);
      if (!contents.some((content) => content.equals(found)))
        problems.push(`pages: page ${page} is not what was acknowledged${found.equals(zeros) ? ', but zeros' : ''}`);
    }
  }
}

function whole(content: string, sizeBytes: number): State {
  return { content, least: sizeBytes, most: sizeBytes };
}

/** Every beginning on the way, then the whole. */
function growing(content: string, from: number, to: number): State[] {
  return [{ content, least: from, most: to }, whole(content, to)];
}

function describe(state: State): string {
  if (state === 'absent') return 'absent';
  return `${state.least === state.most ? '' : `${state.least} to `}${state.most} bytes of ${state.content}`;
}

function read(path: string, problems: string[]): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    problems.push(`${path}: ${String(error)}`);
    return undefined;
  }
}

/** Names below `directory`, but not of directories. */
function filesIn(directory: string, inside: string, problems: string[]): string[] {
  const files: string[] = [];
  try {
    for (const name of readdirSync(join(directory, inside))) {
      const path = join(inside, name);
      if (lstatSync(join(directory, path)).isDirectory()) files.push(...filesIn(directory, path, problems));
      else files.push(path);
    }
  } catch (error) {
    problems.push(`${inside}: ${String(error)}`);
  }
  return files;
}

function withFile(path: string, flags: string | number, use: (fd: number) => void): void {
  const fd = openSync(path, flags);
  try {
    use(fd);
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, Math.min(131_072, bytes.length - at));
}

function syncDirectory(directory: string): void {
  withFile(directory, 'r', (fd) => fsyncSync(fd));
}
