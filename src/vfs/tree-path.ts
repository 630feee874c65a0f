/** Paths as people write them (`/photos/2024`, UTF-8) to inodes. */
import { CairnError } from '../errors/cairn-error.js';
import { type Ino, type Name, ROOT_INO } from '../meta/rows.js';
import type { Attr, Vfs } from './vfs.js';

/** The names of a path, as binary strings. `.` and empty names are skipped; `..` is refused (INVALID). */
export function namesOf(path: string): Name[] {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..')) throw new CairnError('INVALID', `the path ${path} must not contain ..`);
  return names.map((name) => Buffer.from(name, 'utf8').toString('latin1'));
}

/** A binary name as text for people. */
export function textOf(name: Name): string {
  return Buffer.from(name, 'latin1').toString('utf8');
}

/** The inode at a path; links are not followed. NOT_FOUND, NOT_DIRECTORY. */
export async function resolvePath(vfs: Vfs, path: string): Promise<Attr> {
  let at = await vfs.getattr(ROOT_INO);
  for (const name of namesOf(path)) {
    const next = await vfs.lookup(at.ino, name);
    if (next === undefined) throw new CairnError('NOT_FOUND', `there is no ${path} in the pool`);
    at = next;
  }
  return at;
}

/** The directory of a path and the last name in it. INVALID for the root. */
export async function resolveParent(vfs: Vfs, path: string): Promise<{ parent: Ino; name: Name }> {
  const names = namesOf(path);
  const name = names.pop();
  if (name === undefined) throw new CairnError('INVALID', 'the root directory has no name');
  let at: Ino = ROOT_INO;
  for (const step of names) {
    const next = await vfs.lookup(at, step);
    if (next === undefined) throw new CairnError('NOT_FOUND', `there is no directory for ${path} in the pool`);
    at = next.ino;
  }
  return { parent: at, name };
}
