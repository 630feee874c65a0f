/**
 * A short work on a mount in steps, each of which is durable when it has been acknowledged and needs only such ones, and what a tree may look like after any beginning
 * of it. Used by the program that does the work (fault-writer.ts) and by the test that checks what is left.
 *
 * What is checked: a path that only acknowledged steps have touched is as the last one left it, byte for byte. One that a step has touched which was not
 * acknowledged may be as it was before or after it; a file's bytes may also be a mixture of both and zeros, if the step wrote to it in place. Nothing else
 * is ever there.
 */
import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { contentOf } from './content.js';

/** Paths relative to the root: the bytes of a file, or null for a directory. */
export type Tree = ReadonlyMap<string, Buffer | null>;

interface Step {
  readonly name: string;
  /** Paths that it touches. */
  readonly paths: readonly string[];
  /** Steps without which it makes no sense. */
  readonly needs: readonly string[];
  /** Every path is as before or as after it. */
  readonly isAtomic: boolean;
  /** On a mount; returns when it is durable. */
  run(root: string): void;
  /** What it makes of the tree. */
  apply(tree: Map<string, Buffer | null>): void;
}

/** One line of the manifest. `pool`: everything acknowledged before has the pool promise. */
export type ManifestLine =
  | { readonly begin: string }
  | { readonly ok: string }
  | { readonly failed: string; readonly code: string }
  | { readonly pool: true };

const KIB = 1024;

function syncPath(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Opens, does, syncs and closes: an error of any of these is one of the step. */
function onFile(path: string, flags: string, change: (fd: number) => void): void {
  const fd = openSync(path, flags);
  try {
    change(fd);
    fsyncSync(fd);
  } catch (error) {
    try {
      closeSync(fd);
    } catch {
      // The first error is the one that counts.
    }
    throw error;
  }
  closeSync(fd);
}

function writeAll(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}

function makeDirectory(path: string, needs: string[] = []): Step {
  return {
    name: `mkdir ${path}`,
    paths: [path],
    needs,
    isAtomic: true,
    run: (root) => {
      mkdirSync(join(root, path));
      syncPath(join(root, path, '..'));
    },
    apply: (tree) => void tree.set(path, null),
  };
}

function create(path: string, sizeBytes: number): Step {
  return {
    name: `create ${path}`,
    paths: [path],
    needs: ['mkdir d'],
    isAtomic: false,
    run: (root) => onFile(join(root, path), 'wx', (fd) => writeAll(fd, contentOf(path, sizeBytes), 0)),
    apply: (tree) => void tree.set(path, contentOf(path, sizeBytes)),
  };
}

function overwrite(path: string, position: number, sizeBytes: number): Step {
  const bytes = contentOf(`over ${path}`, sizeBytes);
  return {
    name: `overwrite ${path}`,
    paths: [path],
    needs: [`create ${path}`],
    isAtomic: false,
    run: (root) => onFile(join(root, path), 'r+', (fd) => writeAll(fd, bytes, position)),
    apply: (tree) => {
      const after = Buffer.from(tree.get(path) ?? []);
      bytes.copy(after, position);
      tree.set(path, after);
    },
  };
}

function truncate(path: string, sizeBytes: number): Step {
  return {
    name: `truncate ${path}`,
    paths: [path],
    needs: [`overwrite ${path}`],
    isAtomic: false,
    run: (root) => onFile(join(root, path), 'r+', (fd) => ftruncateSync(fd, sizeBytes)),
    apply: (tree) => void tree.set(path, (tree.get(path) ?? Buffer.alloc(0)).subarray(0, sizeBytes)),
  };
}

function rename(from: string, to: string, needs: string[]): Step {
  return {
    name: `rename ${from}`,
    paths: [from, to],
    needs,
    isAtomic: true,
    run: (root) => {
      renameSync(join(root, from), join(root, to));
      syncPath(join(root, 'd'));
    },
    apply: (tree) => {
      tree.set(to, tree.get(from) ?? null);
      tree.delete(from);
    },
  };
}

function remove(path: string): Step {
  return {
    name: `unlink ${path}`,
    paths: [path],
    needs: [`create ${path}`],
    isAtomic: true,
    run: (root) => {
      unlinkSync(join(root, path));
      syncPath(join(root, 'd'));
    },
    apply: (tree) => void tree.delete(path),
  };
}

/** Where the work asks for a commit of the whole pool. */
export const COMMIT = 'commit';

export const STEPS: readonly (Step | typeof COMMIT)[] = [
  makeDirectory('d'),
  create('d/small', 3000),
  create('d/middle', 100 * KIB),
  create('d/large', 400 * KIB),
  overwrite('d/middle', 50_000, 4096),
  rename('d/small', 'd/renamed', ['create d/small']),
  COMMIT,
  create('d/new', 5000),
  rename('d/new', 'd/large', ['create d/new', 'create d/large']),
  remove('d/middle'),
  create('d/last', 2048 * KIB),
  overwrite('d/last', 1024 * KIB - 100, 200),
  truncate('d/last', 1500 * KIB),
];

interface Told {
  readonly step: Step;
  readonly isAcknowledged: boolean;
}

/** Steps as the manifest tells them, in order, and how many of them the pool promise covers. */
function readManifest(lines: readonly ManifestLine[], isStrong: boolean): { told: Told[]; promised: number } {
  const told: Told[] = [];
  let promised = 0;
  for (const line of lines) {
    if ('begin' in line) {
      const step = STEPS.find((one): one is Step => one !== COMMIT && one.name === line.begin);
      if (step === undefined) throw new Error(`there is no step ${line.begin}`);
      told.push({ step, isAcknowledged: false });
    } else if ('ok' in line) told.push({ step: told.pop()!.step, isAcknowledged: true });
    if (isStrong || 'pool' in line) promised = told.length;
  }
  return { told, promised };
}

/** What contradicts the promises, as sentences. `level`: what is left is all (`local`), or only the disks (`pool`). */
export function findProblems(
  found: Tree,
  lines: readonly ManifestLine[],
  level: 'local' | 'pool',
  isStrong: boolean,
): string[] {
  const { told, promised } = readManifest(lines, isStrong);
  const tree = new Map<string, Buffer | null>();
  /** Every state of a path that may be found. */
  const states = new Map<string, { all: (Buffer | null | undefined)[]; isAtomic: boolean }>();
  const problems: string[] = [];
  told.forEach(({ step, isAcknowledged }, index) => {
    const before = new Map(tree);
    step.apply(tree);
    const isSure = isAcknowledged && (level === 'local' || index < promised);
    const [from, to] = step.paths;
    const stood = states.get(from!)?.all.every((one) => one instanceof Buffer) ?? false;
    // A rename leaves at least one of its names.
    if (to !== undefined && stood && !isSure && !found.has(from!) && !found.has(to))
      problems.push(`${from} and ${to} are both gone`);
    for (const path of step.paths) {
      const known = states.get(path);
      if (isSure) states.set(path, { all: [tree.get(path)], isAtomic: true });
      else
        states.set(path, {
          all: [...(known?.all ?? [before.get(path)]), tree.get(path)],
          isAtomic: step.isAtomic && (known?.isAtomic ?? true),
        });
    }
  });
  for (const [path, { all, isAtomic }] of states) {
    const there = found.has(path) ? found.get(path) : undefined;
    if (!isOneOf(there, all) && (isAtomic || !isMixture(there, all)))
      problems.push(`${path}: ${describe(there)} instead of ${all.map(describe).join(' or ')}`);
  }
  for (const path of found.keys()) if (!states.has(path)) problems.push(`${path} was never made`);
  return problems;
}

function isOneOf(there: Buffer | null | undefined, all: readonly (Buffer | null | undefined)[]): boolean {
  return all.some((one) => (one instanceof Buffer && there instanceof Buffer ? one.equals(there) : one === there));
}

/** Between two syncs a file may be any part of the way: each byte old, new, or not written yet; it is there only if one of its states is. */
function isMixture(there: Buffer | null | undefined, all: readonly (Buffer | null | undefined)[]): boolean {
  if (!(there instanceof Buffer)) return false;
  const files = all.filter((one): one is Buffer => one instanceof Buffer);
  if (there.length > Math.max(...files.map(({ length }) => length))) return false;
  for (let i = 0; i < there.length; i++)
    if (there[i] !== 0 && !files.some((file) => file[i] === there[i])) return false;
  return true;
}

function describe(state: Buffer | null | undefined): string {
  if (state === undefined) return 'nothing';
  return state === null ? 'a directory' : `${state.length} bytes (${state.subarray(0, 4).toString('hex')}…)`;
}
