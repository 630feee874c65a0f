/**
 * Programs that write to a mount until it dies: two that work on files (work-log.ts) and two SQLite databases, one per journal
 * mode. What they were told is durable is kept here, outside the mount: the manifest.
 */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { MountHarness } from '../integration/mount-harness.js';
import type { RunningProgram } from '../integration/running-program.js';
import { findLostTransactions } from '../integration/transactions.js';
import { WorkLog } from '../integration/work-log.js';
import type { Dice } from './dice.js';

const WRITERS = ['work a', 'work b'];
const JOURNALS = ['wal', 'delete'] as const;

/**
 * The weakest `synchronous` (transactions.ts) with which no acknowledged transaction may be lost. The removal of a journal survives a kill as it is,
 * but not a power cut, nor a kill after which the cache is wiped, as it may be on strong mounts.
 */
function synchronousOf(journal: 'wal' | 'delete', crash: Crash, strong: boolean): string {
  return journal === 'delete' && (crash === 'power cut' || strong) ? 'EXTRA+' : 'FULL';
}

export type Crash = 'kill' | 'power cut';

interface MemberManifest {
  readonly kind: 'work' | 'sqlite';
  readonly name: string;
  /** How many operations or transactions were acknowledged. */
  readonly acknowledged: number;
  /** How many of them the pool has promised, also without the cache. */
  readonly pool: number;
  /** What it said when it ended. */
  readonly last: string;
}

export interface LoadManifest {
  readonly name: string;
  readonly salt: string;
  readonly strong: boolean;
  readonly members: readonly MemberManifest[];
}

interface Member {
  readonly kind: 'work' | 'sqlite';
  readonly name: string;
  readonly program: RunningProgram;
  pool: number;
  last: string;
}

export class MixedLoad {
  readonly #name: string;
  readonly #salt: string;
  readonly #strong: boolean;
  readonly #members: Member[];

  /** Starts them all in a directory of this name; it is durable before they begin. */
  constructor(harness: MountHarness, name: string, salt: string, { strong, crash }: { strong: boolean; crash: Crash }) {
    this.#name = name;
    this.#salt = salt;
    this.#strong = strong;
    const directory = join(harness.mountpoint, name);
    mkdirSync(directory);
    for (const writer of WRITERS) mkdirSync(join(directory, writer));
    for (const path of [directory, harness.mountpoint]) {
      const fd = openSync(path, 'r');
      fsyncSync(fd);
      closeSync(fd);
    }
    const work = WRITERS.map((writer): Member => {
      const program = harness.script('work-writer', join(directory, writer), `${salt} ${writer}`);
      return { kind: 'work', name: writer, program, pool: 0, last: '' };
    });
    const databases = JOURNALS.map((journal): Member => {
      const path = join(directory, `${journal}.sqlite`);
      const synchronous = synchronousOf(journal, crash, this.#strong);
      const program = harness.script('sqlite-writer', path, journal, '1', '1000000', synchronous);
      return { kind: 'sqlite', name: `${journal}.sqlite`, program, pool: 0, last: '' };
    });
    this.#members = [...work, ...databases];
  }

  /** Until one of them, chosen by the dice, has had so many acknowledgements. Rejects if it ends before. */
  async until(dice: Dice, least: number, most: number): Promise<void> {
    const { program } = this.#members[dice.between(0, this.#members.length - 1)]!;
    const enough = dice.between(least, most);
    await program.until((lines) => lines.length >= enough);
  }

  /** Until every one of them has had an acknowledgement. */
  async begun(): Promise<void> {
    for (const { program } of this.#members) await program.until((lines) => lines.length > 0);
  }

  /** What is acknowledged when this is called is the pool's promise as soon as `commit` has resolved. */
  async commit(commit: () => Promise<unknown>): Promise<void> {
    const before = this.#members.map(({ program }) => program.lines.length);
    await commit();
    for (const [index, member] of this.#members.entries()) member.pool = before[index]!;
  }

  async ended(): Promise<void> {
    for (const member of this.#members) member.last = (await member.program.ended).stderr.trim();
  }

  manifest(): LoadManifest {
    const members = this.#members.map(({ kind, name, program, pool, last }): MemberManifest => {
      const acknowledged = program.lines.length;
      return { kind, name, acknowledged, pool: this.#strong ? acknowledged : pool, last };
    });
    return { name: this.#name, salt: this.#salt, strong: this.#strong, members };
  }
}

/** All that it has written is in the pool, and nobody writes any more. */
export function committed(load: LoadManifest): LoadManifest {
  const members = load.members.map((member) => ({ ...member, pool: member.acknowledged }));
  return { ...load, members };
}

export function acknowledgedBy(load: LoadManifest): number {
  return load.members.reduce((sum, { acknowledged }) => sum + acknowledged, 0);
}

export function promisedByPool(load: LoadManifest): number {
  return load.members.reduce((sum, { pool }) => sum + pool, 0);
}

/**
 * What is missing or wrong of a load, a sentence each. `closed`: a close is a promise. `cacheLost`: only what the pool has promised must be
 * there, and of databases that were written beyond that nothing is known, since their files may be of different moments.
 */
export function findLoadLoss(
  mountpoint: string,
  load: LoadManifest,
  { closed, cacheLost }: { closed: boolean; cacheLost: boolean },
): string[] {
  const problems: string[] = [];
  for (const { kind, name, acknowledged, pool } of load.members) {
    const path = join(mountpoint, load.name, name);
    const promised = cacheLost ? pool : acknowledged;
    // Not even its directory need be there.
    if (promised === 0 && cacheLost && !existsSync(path)) continue;
    const found =
      kind === 'work'
        ? new WorkLog(`${load.salt} ${name}`).findLoss(path, { promised, done: acknowledged, closed })
        : promised < acknowledged
          ? []
          : findLostTransactions(path, acknowledged);
    problems.push(...found.map((problem) => `${load.name}/${name}: ${problem}`));
  }
  return problems;
}
