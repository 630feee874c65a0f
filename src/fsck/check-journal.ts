/**
 * The journal over all disks: from the newest metadata snapshot that can be read, every commit up to the present one is there, on enough disks, and
 * the same on all of them. What is older than that snapshot is about to be given back and of no account.
 */
import type { CommitEntry, Disk } from '../disks/disk.js';
import { CairnError, hasCode, messageOf } from '../errors/cairn-error.js';
import { decodeChanges, decodeCommit } from '../meta/row-codec.js';
import { decodeSnapshotPosition } from '../meta/snapshot-position.js';
import { FIX_ORDER, type FindingInput, type Fix, type PoolRun } from './check-run.js';
import { counted, listed, nameOf } from './words.js';

/** As the journal's own: COMMIT records go to every live disk, but to no more than this many. */
const COMMIT_COPIES_MAX = 5;
const TRIES = 3;
/** What reading one commit from all disks and comparing it costs, and noting an entry, in bytes that could be read instead. */
const COMMIT_WORK = 16 * 1024;
const ENTRY_WORK = 256;

export async function checkJournal(run: PoolRun): Promise<void> {
  let findings: FindingInput[] = [];
  // A snapshot that is taken meanwhile moves what counts: what is found must be found once more.
  for (let attempt = 0; attempt < (run.live ? TRIES : 1); attempt++) {
    const before = await newestSequences(run);
    const check = new JournalCheck(run);
    await check.snapshots();
    await check.commits();
    findings = check.findings;
    if (findings.length === 0) break;
    if (attempt + 1 < TRIES && run.live) await run.quietly(async () => undefined);
    if (before === (await newestSequences(run)) && attempt > 0) break;
  }
  for (const finding of findings) run.report(finding);
}

async function newestSequences(run: PoolRun): Promise<string> {
  return run.pool.disks.opened.map((disk) => disk.snapshots().at(-1)?.sequence ?? 0).join();
}

interface Link {
  readonly entry: CommitEntry;
  readonly holders: { readonly disk: Disk; readonly entry: CommitEntry }[];
}

class JournalCheck {
  readonly findings: FindingInput[] = [];
  readonly #run: PoolRun;
  readonly #fresh: Fix;
  /** The newest snapshot that can be read from at least one disk. */
  #base = { sequence: 0, epoch: 0 };

  constructor(run: PoolRun) {
    this.#run = run;
    this.#fresh = freshSnapshot(run);
  }

  async snapshots(): Promise<void> {
    const { disks } = this.#run.pool;
    const data = disks.opened.filter(({ identity, state }) => identity.role === 'data' && state !== 'offline');
    const complete = data.flatMap((disk) => disk.snapshots().filter((snapshot) => snapshot.complete));
    this.#run.begin('checking the metadata snapshots', complete.length, 'items');
    const good = new Map<string, { sequence: number; epoch: number; disks: Disk[] }>();
    const damaged: { disk: Disk; sequence: number; why: string }[] = [];
    for (const disk of data) {
      for (const { sequence, epoch, parts, complete: isComplete } of disk.snapshots()) {
        if (!isComplete) continue;
        const why = await this.#snapshotFault(disk, sequence, epoch, parts);
        await this.#run.advance(1, 0);
        if (why === 'gone') continue;
        if (why !== undefined) {
          damaged.push({ disk, sequence, why });
          continue;
        }
        const key = `${sequence}/${epoch}`;
        const known = good.get(key);
        if (known === undefined) good.set(key, { sequence, epoch, disks: [disk] });
        else known.disks.push(disk);
      }
    }
    const newest = [...good.values()].sort((a, b) => b.sequence - a.sequence || b.epoch - a.epoch)[0];
    if (newest !== undefined) this.#base = { sequence: newest.sequence, epoch: newest.epoch };
    for (const { disk, sequence, why } of damaged) {
      // An older one is of no use any more.
      if (sequence < this.#base.sequence) continue;
      this.findings.push({
        severity: 'damage',
        code: 'snapshot-damaged',
        message: `the metadata snapshot at commit ${sequence} on ${nameOf(disk)} is damaged (${why}): the metadata can be rebuilt from other copies only`,
        fix: this.#fresh,
      });
    }
    const holders = newest?.disks ?? [];
    const lacking = data.filter((disk) => disk.state === 'online' && !holders.includes(disk));
    const told = new Set(damaged.map(({ disk }) => disk));
    const silent = lacking.filter((disk) => !told.has(disk));
    if (newest === undefined || silent.length === 0) return;
    const few = holders.length <= disks.tolerance && data.length > disks.tolerance;
    this.findings.push({
      severity: few ? 'damage' : 'note',
      code: 'snapshot-copies',
      message: `the metadata snapshot at commit ${newest.sequence} is not on ${listed(silent.map(nameOf))}${
        few ? ': the loss of a disk could take the last copy' : ', as after a disk was away; enough others have it'
      }`,
      fix: this.#fresh,
    });
  }

  /** Why the snapshot cannot be used; undefined if it can; `gone` if it has been given back meanwhile. */
  async #snapshotFault(disk: Disk, sequence: number, epoch: number, parts: number): Promise<string | undefined> {
    try {
      const position = decodeSnapshotPosition(await disk.readSnapshotPart(sequence, 0));
      if (position.sequence !== sequence || position.epoch !== epoch)
        return `it says that it is at ${position.sequence}`;
      for (let part = 1; part < parts; part++) {
        const payload = await disk.readSnapshotPart(sequence, part);
        decodeChanges(payload);
        await this.#run.advance(0, payload.length);
      }
      return undefined;
    } catch (error) {
      if (!hasCode(error, 'CORRUPT', 'IO', 'NOT_FOUND')) throw error;
      const still = disk.snapshots().some((one) => one.sequence === sequence && one.epoch === epoch && one.complete);
      return still ? messageOf(error) : 'gone';
    }
  }

  async commits(): Promise<void> {
    const { disks, meta } = this.#run.pool;
    const position = await this.#run.quietly(async () => meta.position());
    const links = await this.#links(position.sequence);
    this.#run.begin('checking the journal', links.length, 'items');
    const damaged = new Map<Disk, number[]>();
    const differing: { sequence: number; disks: Disk[] }[] = [];
    const lacking = new Map<Disk, { sequences: number[]; rare: boolean }>();
    const copies: { to: Disk; from: Disk; entry: CommitEntry }[] = [];
    const targets = this.#targets();
    let gap: number | undefined;
    let expected = this.#base.sequence + 1;
    for (const link of links) {
      const { sequence } = link.entry;
      const { good, bad, differ } = await this.#compare(link);
      this.#run.counts.commits++;
      await this.#run.advance(1, COMMIT_WORK);
      if (sequence !== expected || good.length === 0) gap ??= expected;
      expected = sequence + 1;
      if (differ) differing.push({ sequence, disks: link.holders.map(({ disk }) => disk) });
      for (const disk of bad) put(damaged, disk, sequence);
      const holders = new Set(good.map(({ disk }) => disk));
      const wanted = targets.filter((disk) => !holders.has(disk)).slice(0, Math.max(0, targets.length - holders.size));
      const source = good[0];
      for (const disk of wanted) {
        if (source !== undefined) copies.push({ to: disk, from: source.disk, entry: source.entry });
        if (bad.has(disk)) continue;
        const one = lacking.get(disk) ?? { sequences: [], rare: false };
        one.sequences.push(sequence);
        one.rare ||= holders.size <= disks.tolerance;
        lacking.set(disk, one);
      }
    }
    if (expected <= position.sequence) gap ??= expected;
    const copy: Fix = { order: FIX_ORDER.journal, run: () => this.#copy(copies) };
    for (const [disk, sequences] of damaged) {
      this.findings.push({
        severity: 'damage',
        code: 'commit-damaged',
        message: `${counted(sequences.length, 'commit record')} on ${nameOf(disk)} ${sequences.length === 1 ? 'is' : 'are'} damaged (${range(sequences)}): the metadata could be rebuilt from other copies only`,
        fix: gap === undefined ? copy : this.#fresh,
      });
    }
    for (const { sequence, disks: holders } of differing) {
      this.findings.push({
        severity: 'damage',
        code: 'commit-differs',
        message: `commit ${sequence} is not the same on ${listed(holders.map(nameOf))}, though each copy is whole: one of them is of another history`,
        advice:
          'run `cairn fsck --repair`: it writes a metadata snapshot beyond it. Keep a copy of these disks if you do not know why',
        fix: this.#fresh,
      });
    }
    for (const [disk, { sequences, rare }] of lacking) {
      this.findings.push({
        severity: rare ? 'damage' : 'note',
        code: 'commit-copies',
        message: `${nameOf(disk)} lacks ${counted(sequences.length, 'commit record')} (${range(sequences)})${
          rare ? ': the loss of a disk could take the last copy' : ', as after it was away; enough others have them'
        }`,
        fix: copy,
      });
    }
    if (gap !== undefined) {
      this.findings.push({
        severity: 'damage',
        code: 'journal-gap',
        message: `commit ${gap} cannot be read from any disk: if the metadata directory were lost now, the pool could not be opened`,
        fix: this.#fresh,
      });
    }
  }

  /** Of each sequence beyond the base the record of the highest epoch, ascending. */
  async #links(through: number): Promise<Link[]> {
    const all = new Map<number, Link[]>();
    for (const disk of this.#run.pool.disks.opened) {
      if (disk.state === 'offline') continue;
      for (const entry of disk.commits(this.#base.sequence)) {
        if (entry.sequence > through) continue;
        const links = all.get(entry.sequence);
        const link = links?.find((one) => one.entry.epoch === entry.epoch);
        if (link !== undefined) link.holders.push({ disk, entry });
        else if (links !== undefined) links.push({ entry, holders: [{ disk, entry }] });
        else all.set(entry.sequence, [{ entry, holders: [{ disk, entry }] }]);
        await this.#run.advance(0, ENTRY_WORK);
      }
    }
    const newest = [...all.values()].map((links) => links.reduce((a, b) => (b.entry.epoch > a.entry.epoch ? b : a)));
    return newest.sort((a, b) => a.entry.sequence - b.entry.sequence);
  }

  /** A disk is `bad` only if none of its copies can be read. */
  async #compare({ holders }: Link) {
    const good: { disk: Disk; entry: CommitEntry }[] = [];
    const bad = new Set<Disk>();
    let first: Buffer | undefined;
    let differ = false;
    for (const holder of holders) {
      const { disk, entry } = holder;
      try {
        const payload = await disk.readCommit(entry);
        // The same bytes say the same: what costs is to read the rows.
        if (first?.equals(payload) !== true) {
          const commit = decodeCommit(payload);
          if (commit.sequence !== entry.sequence || commit.epoch !== entry.epoch)
            throw new CairnError('CORRUPT', `the record says that it is commit ${commit.sequence}`);
          if (first === undefined) first = payload;
          else differ = true;
        }
        good.push(holder);
      } catch (error) {
        if (!hasCode(error, 'CORRUPT', 'IO')) throw error;
        bad.add(disk);
      }
    }
    for (const { disk } of good) bad.delete(disk);
    return { good, bad, differ };
  }

  #targets(): readonly Disk[] {
    const { disks } = this.#run.pool;
    const journal = disks.journal();
    if (journal.length > disks.tolerance) return journal;
    const data = disks.data();
    return data.length > COMMIT_COPIES_MAX ? data.slice(0, COMMIT_COPIES_MAX) : data;
  }

  async #copy(copies: readonly { to: Disk; from: Disk; entry: CommitEntry }[]): Promise<void> {
    for (const { to, from, entry } of copies) {
      const payload = await from.readCommit(entry);
      const { sequence, epoch, acknowledged } = entry;
      await to.append('journal', [{ kind: 'commit', sequence, epoch, acknowledged, payload: [payload] }], {
        sync: false,
      });
      await this.#run.advance(1, payload.length);
    }
    for (const to of new Set(copies.map((one) => one.to))) await to.sync();
  }
}

const fresh = new WeakMap<PoolRun, Fix>();

/** One snapshot cures whatever is wrong with the journal before it. */
export function freshSnapshot(run: PoolRun): Fix {
  let fix = fresh.get(run);
  if (fix === undefined) {
    fix = { order: FIX_ORDER.snapshot, run: () => run.pool.takeSnapshot() };
    fresh.set(run, fix);
  }
  return fix;
}

function put(map: Map<Disk, number[]>, disk: Disk, sequence: number): void {
  const list = map.get(disk);
  if (list === undefined) map.set(disk, [sequence]);
  else list.push(sequence);
}

function range(sequences: readonly number[]): string {
  const [first, last] = [sequences[0], sequences.at(-1)];
  return first === last ? `${first}` : `from ${first} to ${last}`;
}
