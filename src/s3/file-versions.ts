/** The versions that are kept of a file, by its path in the tree, for people: the present one first, then the others, newest first. */
import { isBucketName } from './bucket-config.js';
import { ESCAPE } from './key-path.js';
import type { ObjectStore, StoredObject } from './object-store.js';
import { type Versions, versionOf } from './versions.js';

/** More are not shown. */
const VERSIONS_MAX = 200;

interface FileVersion {
  readonly id: string;
  readonly isCurrent: boolean;
  readonly isDeleteMarker: boolean;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

/** Empty where there is no such object; `path` begins with `/`. A name with an escape of S3's own in it is no key that a person would look for. */
export async function versionsOf(
  { store, versions }: { readonly store: ObjectStore; readonly versions: Versions },
  path: string,
): Promise<FileVersion[]> {
  const [, name = '', ...components] = path.split('/').map((part) => Buffer.from(part, 'utf8').toString('latin1'));
  const key = components.join('/');
  if (key === '' || !isBucketName(name) || components.some((one) => one.startsWith(ESCAPE))) return [];
  const there = await store.tree.child(store.tree.root, name);
  if (there === undefined || !there.isDirectory) return [];
  const bucket = await store.bucket(name);
  const found: FileVersion[] = [];
  const present = await store.find(bucket, key);
  if (present !== undefined) found.push(shown(present, true));
  for await (const version of await versions.others(bucket, key)) {
    if (found.length >= VERSIONS_MAX) break;
    // Without an object of that name a delete marker is what is there now.
    found.push(shown(version, found.length === 0));
  }
  return found;
}

function shown(object: StoredObject, isCurrent: boolean): FileVersion {
  const { node, own } = object;
  return {
    id: versionOf(object),
    isCurrent,
    isDeleteMarker: own?.isMarker === true,
    sizeBytes: node.sizeBytes,
    modifiedMs: node.mtime.sec * 1000 + Math.floor(node.mtime.nsec / 1e6),
  };
}
