/**
 * Which policy holds where: a directory's own keys over those of the directories above it.
 *
 * Every request that syncs or stages asks, so the answer is kept with each directory in memory and is good for one `age`: setting a policy and moving a
 * directory begin a new one, and whoever asks next walks up as far as the first directory that has been asked since. A pool in which no policy was ever
 * set answers without looking.
 *
 * **A file follows its directory**: the one in which its name was seen last (looked up, made, moved, linked). Where that is not known (memory has forgotten the way,
 * or the file has several names) it gets the strongest mode and the most redundant scheme that any directory of the pool has asked for: too much is safe, too little would break a
 * promise. What has been asked for is kept in words in a hidden attribute of the root directory (`cairn.policies`: `strong copies:3`); words are never taken
 * away, because chunks of such a scheme may lie on the disks for as long as the pool lives. It is not compressed: nothing is promised by that.
 */
import type { ChunkScheme } from '../chunks/chunk-store.js';
import { zstdRefusal } from '../chunks/zstd.js';
import { CairnError } from '../errors/cairn-error.js';
import { ROOT_INO } from '../meta/rows.js';
import type { Inode } from './inode.js';
import type { InodeTable } from './inode-table.js';
import {
  formatDelay,
  NO_POLICY,
  POLICY_KEYS,
  type Policy,
  type PolicyKey,
  type PolicyTexts,
  type PoolPolicy,
  parsePolicy,
  policyAttribute,
  policyKeyOf,
} from './policy.js';
import { chain } from './result.js';
import type { Caller, Result } from './vfs.js';
import type { Xattrs } from './xattrs.js';

const ASKED = 'cairn.policies';
const STRONG = 'strong';

/** How schemes are read and judged: what disks and map can do is known below. */
export interface SchemeRules {
  /** INVALID. */
  parse(text: string): ChunkScheme | 'auto';
  format(scheme: ChunkScheme): string;
  /** How many disks may be lost. */
  survives(scheme: ChunkScheme): number;
  /** Why the pool's disks cannot keep chunks so, or should not; undefined if they can. */
  refusal(scheme: ChunkScheme): string | undefined;
  /** Chunks may be kept so from now on. */
  onAsked(schemes: readonly ChunkScheme[]): void;
}

export class PolicyTree {
  readonly #table: InodeTable;
  readonly #xattrs: Xattrs;
  readonly #schemes: SchemeRules;
  /** Policies are as they were since it was given out. */
  #age = 1;
  /** Words of `cairn.policies`. */
  readonly #asked = new Set<string>();
  #unknown: Policy = NO_POLICY;

  constructor(parts: { table: InodeTable; xattrs: Xattrs; schemes: SchemeRules }) {
    this.#table = parts.table;
    this.#xattrs = parts.xattrs;
    this.#schemes = parts.schemes;
  }

  /** Reads what has been asked for in this pool. */
  async open(): Promise<void> {
    const root = await this.#table.find(ROOT_INO);
    const value = root === undefined ? undefined : (await this.#xattrs.all(root)).get(ASKED);
    if (value !== undefined) this.#learn(textOf(value).split(' '));
  }

  /** Some directory has, or had, a policy. */
  get isUsed(): boolean {
    return this.#asked.size > 0;
  }

  /** What holds for the inode; for a directory also what it says itself. A promise only where the way up is not in memory. */
  of(inode: Inode): Result<Policy> {
    if (!this.isUsed) return NO_POLICY;
    if (inode.directory !== undefined) return this.#ofDirectory(inode);
    if (inode.parent === 0 || inode.nlink > 1 || inode.isAstray) return this.#unknown;
    const parent = this.#table.peek(inode.parent);
    if (parent !== undefined) return this.#ofDirectory(parent);
    return chain(this.#table.find(inode.parent), (found) =>
      found === undefined ? this.#unknown : this.#ofDirectory(found),
    );
  }

  /** As `of`, for who cannot wait: what is not in memory counts as not known. */
  now(inode: Inode): Policy {
    const policy = this.of(inode);
    if (!(policy instanceof Promise)) return policy;
    // Whoever can wait asks again and is told.
    policy.catch(() => undefined);
    return this.#unknown;
  }

  #ofDirectory(dir: Inode): Result<Policy> {
    if (dir.policyAge === this.#age) return dir.policy;
    const age = this.#age;
    return chain(this.own(dir), (own) =>
      chain(this.#above(dir), (above) => {
        const policy = Object.keys(own).length === 0 ? above : { ...above, ...own };
        // Something has changed while it was read: what was found then may be a mixture.
        if (age !== this.#age) return this.#ofDirectory(dir);
        dir.policy = policy;
        dir.policyAge = age;
        return policy;
      }),
    );
  }

  #above(dir: Inode): Result<Policy> {
    if (dir.ino === ROOT_INO) return NO_POLICY;
    if (dir.parent === 0) return this.#unknown;
    return chain(this.#table.find(dir.parent), (parent) =>
      parent?.directory === undefined ? this.#unknown : this.#ofDirectory(parent),
    );
  }

  /** What the directory says itself. A value that this version cannot read says nothing. */
  own(dir: Inode): Result<Policy> {
    return chain(this.texts(dir), (texts) => {
      let policy = NO_POLICY;
      for (const [key, text] of Object.entries(texts) as [PolicyKey, string][]) {
        const one = this.#read(key, text);
        if (one !== undefined) policy = { ...policy, ...one };
      }
      return policy;
    });
  }

  #read(key: PolicyKey, text: string): Policy | undefined {
    try {
      return parsePolicy(key, text, (scheme) => this.#schemes.parse(scheme));
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      return undefined;
    }
  }

  /** The values that the directory has, as they were set. */
  texts(dir: Inode): Result<PolicyTexts> {
    return chain(this.#xattrs.all(dir), (all) => {
      const texts: { [K in PolicyKey]?: string } = {};
      for (const key of POLICY_KEYS) {
        const value = all.get(policyAttribute(key));
        if (value !== undefined) texts[key] = textOf(value);
      }
      return texts;
    });
  }

  /** What a policy comes to, by key, as it could be set. */
  effective(policy: Policy, pool: PoolPolicy): Required<PolicyTexts> {
    const { scheme = 'auto' } = policy;
    return {
      mode: policy.mode ?? pool.mode,
      scheme: scheme === 'auto' ? scheme : this.#schemes.format(scheme),
      compression: policy.compression ?? 'off',
      commit_delay: formatDelay(policy.commitDelayMs ?? pool.commitDelayMs),
    };
  }

  /**
   * What the attribute would say, once it may be set (undefined: removed). INVALID for a wrong value, NOT_DIRECTORY, NOT_PERMITTED unless the caller (undefined: the daemon itself) owns the
   * directory or is root.
   */
  check(inode: Inode, name: string, value: Uint8Array | undefined, caller: Caller | undefined): Policy {
    const key = policyKeyOf(name);
    if (inode.directory === undefined)
      throw new CairnError('NOT_DIRECTORY', 'only a directory has a policy', {
        hint: 'set it on the directory that the file is in',
      });
    if (caller !== undefined && caller.uid !== 0 && caller.uid !== inode.uid)
      throw new CairnError('NOT_PERMITTED', 'only its owner or root may set the policy of a directory');
    if (value === undefined) return NO_POLICY;
    const policy = parsePolicy(key, textOf(value), (scheme) => this.#schemes.parse(scheme));
    const refusal =
      policy.scheme === undefined || policy.scheme === 'auto' ? undefined : this.#schemes.refusal(policy.scheme);
    const reason = policy.compression === 'zstd' ? zstdRefusal() : refusal;
    if (reason !== undefined) throw new CairnError('INVALID', reason);
    return policy;
  }

  /** Attributes of policies have been set or removed. */
  changed(policies: readonly Policy[]): Result<void> {
    const words: string[] = [];
    for (const { mode, scheme, ...rest } of policies) {
      if (mode !== undefined) words.push(mode);
      if (scheme !== undefined) words.push(scheme === 'auto' ? scheme : this.#schemes.format(scheme));
      words.push(...Object.keys(rest));
    }
    const isNew = words.some((word) => !this.#asked.has(word));
    this.#learn(words);
    this.#age += 1;
    if (!isNew) return undefined;
    return chain(this.#table.get(ROOT_INO), (root) =>
      this.#xattrs.put(root, new Map([[ASKED, Buffer.from([...this.#asked].join(' '), 'latin1')]])),
    );
  }

  /** A directory has another place: what it and everything below it gets from above may be something else. */
  moved(): void {
    this.#age += 1;
  }

  #learn(words: readonly string[]): void {
    for (const word of words) this.#asked.add(word);
    const schemes: ChunkScheme[] = [];
    for (const word of this.#asked) {
      const scheme = this.#read('scheme', word)?.scheme;
      if (scheme !== undefined && scheme !== 'auto') schemes.push(scheme);
    }
    let strongest: ChunkScheme | undefined;
    for (const scheme of schemes)
      if (strongest === undefined || this.#schemes.survives(scheme) > this.#schemes.survives(strongest))
        strongest = scheme;
    this.#unknown = {
      ...(this.#asked.has(STRONG) && { mode: STRONG }),
      ...(strongest !== undefined && { scheme: strongest }),
    };
    if (this.isUsed) this.#table.places.keepMany();
    this.#schemes.onAsked(schemes);
  }
}

function textOf(value: Uint8Array): string {
  return Buffer.from(value).toString('latin1');
}
