/** The policies of directories, for people: what holds for a path and which directory says so, and the changing of it. */
import type { InodeTable } from '../vfs/inode-table.js';
import { NO_POLICY, POLICY_KEYS, type Policy, policyAttribute } from '../vfs/policy.js';
import type { PolicyTree } from '../vfs/policy-tree.js';
import type { PolicyChange, PolicyReport, PolicyValue } from '../vfs/reports.js';
import { resolvePath } from '../vfs/tree-path.js';
import type { Volume } from '../vfs/volume.js';
import { formatScheme } from './scheme-choice.js';

export interface PolicyParts {
  readonly vfs: Volume;
  readonly table: InodeTable;
  readonly policies: PolicyTree;
}

/** By the path: a file with several names has what holds for this one. NOT_FOUND. */
export async function policyAt(path: string, { vfs, table, policies }: PolicyParts): Promise<PolicyReport> {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  const pool = vfs.poolPolicy;
  const report = {
    path,
    isDirectory: true,
    mode: ofPool(pool.mode),
    scheme: ofPool('auto'),
    compression: ofPool<'off' | 'zstd'>('off'),
    commitDelayMs: ofPool(pool.commitDelayMs),
  };
  for (let depth = 0; depth <= names.length; depth++) {
    const from = `/${names.slice(0, depth).join('/')}`;
    const inode = await table.get((await resolvePath(vfs, from)).ino);
    report.isDirectory = inode.directory !== undefined;
    const own: Policy = report.isDirectory ? await policies.own(inode) : NO_POLICY;
    if (own.mode !== undefined) report.mode = { value: own.mode, from };
    if (own.scheme !== undefined) report.scheme = { value: formatScheme(own.scheme), from };
    if (own.compression !== undefined) report.compression = { value: own.compression, from };
    if (own.commitDelayMs !== undefined) report.commitDelayMs = { value: own.commitDelayMs, from };
  }
  return report;
}

function ofPool<T>(value: T): PolicyValue<T> {
  return { value, from: null };
}

/** All of the change, or none of it. NOT_FOUND, NOT_DIRECTORY, INVALID. */
export async function changePolicy(path: string, change: PolicyChange, parts: PolicyParts): Promise<PolicyReport> {
  const { ino } = await resolvePath(parts.vfs, path);
  await parts.vfs.setPolicies(ino, attributesOf(change));
  return policyAt(path, parts);
}

function attributesOf(change: PolicyChange): Map<string, Uint8Array | undefined> {
  const texts = {
    mode: change.mode,
    scheme: change.scheme,
    compression: change.compression,
    commit_delay: change.commitDelay,
  };
  const values = new Map<string, Uint8Array | undefined>();
  for (const key of POLICY_KEYS) {
    const text = texts[key];
    if (text !== undefined) values.set(policyAttribute(key), text === null ? undefined : Buffer.from(text, 'utf8'));
  }
  return values;
}
