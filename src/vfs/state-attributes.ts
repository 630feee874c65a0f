/**
 * Extended attributes that say how a file is, for scripts: `getfattr -n user.cairn.state FILE`. They are made when they are asked for, and not listed: a program that copies
 * all attributes would carry them to where they are not true.
 *
 *     user.cairn.state    staged, committing or committed
 *     user.cairn.chunks   how many different chunks its committed bytes are in
 *     user.cairn.scheme   how these are kept, separated by commas: ec:2+1,copies:2; empty where there are none
 *     user.cairn.compressed  bytes of those of them that are compressed, and what of these is stored, separated by a slash: 4194304/1398101; 0/0 if none is
 *     user.cairn.health   healthy, degraded or lost
 */
import { CairnError } from '../errors/cairn-error.js';
import { EFFECTIVE_POLICY, isPolicyAttribute } from './policy.js';
import type { FileState } from './reports.js';

const NAMESPACE = 'user.cairn.';

const VALUES: Readonly<Record<string, (state: Omit<FileState, 'path'>) => string>> = {
  state: ({ state }) => state,
  chunks: ({ chunks }) => String(chunks),
  scheme: ({ schemes }) => schemes.join(','),
  compressed: ({ compressed }) => `${compressed.bytes}/${compressed.storedBytes}`,
  health: ({ health }) => health,
};

export function isStateAttribute(name: string): boolean {
  return name.startsWith(NAMESPACE) && name !== EFFECTIVE_POLICY && !isPolicyAttribute(name);
}

/** NO_DATA for a name that is none of these. */
export async function stateAttribute(
  name: string,
  stateOf: () => Promise<Omit<FileState, 'path'>>,
): Promise<Uint8Array> {
  const word = name.slice(NAMESPACE.length);
  const value = Object.hasOwn(VALUES, word) ? VALUES[word] : undefined;
  if (value === undefined) throw new CairnError('NO_DATA', 'there is no such extended attribute');
  return Buffer.from(value(await stateOf()), 'utf8');
}

export function refuseStateAttribute(): never {
  throw new CairnError('NOT_PERMITTED', 'user.cairn attributes say how a file is: they cannot be set or removed', {
    hint: 'those of user.cairn.policy can, on directories: mode, scheme, compression, commit_delay',
  });
}
