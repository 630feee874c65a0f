/**
 * Carries out what lifecycle rules have due: passes over the buckets that have rules, key by key, with a key's versions in memory at most. What is to go
 * is checked once more in the very change that takes it: it must be what was judged, and no lock may hold it. Parts of uploads that are gone
 * (completed, aborted, or a crash between) are collected on the way.
 */
import type { Clock, Timer } from '../io/clock.js';
import type { Bucket } from './bucket-config.js';
import { keyOf, keyText } from './key-path.js';
import { type KeyVersion, type LifecycleAction, LifecycleCalendar } from './lifecycle-due.js';
import { checkRemoval } from './lock-documents.js';
import { lifecycleOf } from './object-end.js';
import type { ObjectStore, StoredObject } from './object-store.js';
import type { ObjectWrites } from './object-writes.js';
import { S3Error } from './s3-error.js';
import type { Uploads } from './uploads.js';
import { VersionWalk } from './version-walk.js';
import { type Versions, versionOf } from './versions.js';

const DAY_MS = 24 * 3600 * 1000;
const FIRST_PASS_MS = 60_000;
const PASSES_PER_DAY = 24;
const PAGE = 1000;
/** An upload to which nothing has come for so long is abandoned. */
const ABANDONED_DAYS = 14;

export interface LifecycleParts {
  readonly store: ObjectStore;
  readonly versions: Versions;
  readonly writes: ObjectWrites;
  readonly uploads: Uploads;
  readonly clock: Clock;
  readonly onFailure: (what: string, error: unknown) => void;
}

/** What a pass has done. */
export interface LifecycleReport {
  expired: number;
  removedVersions: number;
  abortedUploads: number;
}

export class Lifecycle {
  readonly #parts: LifecycleParts;
  readonly #dayMs: number;
  #timer: Timer | undefined;
  #pass: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  /** `dayMs`: another length of a day, for tests. */
  constructor(parts: LifecycleParts, dayMs = DAY_MS) {
    this.#parts = parts;
    this.#dayMs = dayMs;
  }

  /** Passes from now on, until `close`. */
  start(): void {
    this.#schedule(Math.min(FIRST_PASS_MS, this.#dayMs / PASSES_PER_DAY));
  }

  #schedule(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer = this.#parts.clock.after(delayMs, () => {
      this.#pass = this.run(this.#parts.clock.nowMs())
        .catch((error: unknown) => this.#parts.onFailure('S3 lifecycle', error))
        .then(() => this.#schedule(this.#dayMs / PASSES_PER_DAY));
    });
  }

  /** Resolves when a pass that is under way has come to its next key. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#pass;
  }

  /** One pass: everything that is due at `nowMs`. A bucket that fails is reported, and the others go on. */
  async run(nowMs: number): Promise<LifecycleReport> {
    const report: LifecycleReport = { expired: 0, removedVersions: 0, abortedUploads: 0 };
    for await (const bucket of this.#parts.store.buckets()) {
      if (this.#isClosed) break;
      try {
        await this.#bucket(bucket, nowMs, report);
      } catch (error) {
        this.#parts.onFailure(`S3 lifecycle of bucket ${bucket.name}`, error);
      }
    }
    return report;
  }

  async #bucket(bucket: Bucket, nowMs: number, report: LifecycleReport): Promise<void> {
    await this.#parts.uploads.sweep(bucket);
    await this.#giveUp(bucket, nowMs, report);
    const rules = lifecycleOf(bucket);
    if (rules === undefined) return;
    const calendar = new LifecycleCalendar(rules, this.#dayMs);
    for await (const upload of this.#parts.uploads.all(bucket)) {
      if (this.#isClosed) return;
      const end = calendar.uploadEndOf(keyText(upload.key), upload.initiatedMs);
      if (end !== undefined && end.atMs <= nowMs && (await this.#parts.uploads.abort(upload)))
        report.abortedUploads += 1;
    }
    const heads = await this.#parts.versions.heads(bucket, false);
    for (const text of calendar.prefixes) {
      const walk = new VersionWalk(this.#parts, bucket, heads, { prefix: keyOf(text), after: '', page: PAGE });
      for (let found = await walk.next(); found !== undefined; found = await walk.next()) {
        if (this.#isClosed) return;
        const objects: StoredObject[] = [];
        for await (const object of walk.versionsOf(found)) objects.push(object);
        const due = calendar.dueOfKey(keyText(found.key), objects.map(versionFor), nowMs);
        for (const action of due) await this.#carryOut(bucket, found.key, action, objects, nowMs, report);
      }
    }
  }

  /** Uploads that nobody goes on with, also where no rule says so: their parts take room, and no list of objects shows them. */
  async #giveUp(bucket: Bucket, nowMs: number, report: LifecycleReport): Promise<void> {
    const { uploads } = this.#parts;
    const beforeMs = nowMs - ABANDONED_DAYS * this.#dayMs;
    for await (const upload of uploads.all(bucket)) {
      if (this.#isClosed) return;
      let lastMs = upload.initiatedMs;
      if (lastMs < beforeMs)
        for await (const { object } of uploads.parts(upload, 0))
          lastMs = Math.max(lastMs, object.node.mtime.sec * 1000);
      if (lastMs < beforeMs && (await uploads.abort(upload))) report.abortedUploads += 1;
    }
  }

  async #carryOut(
    bucket: Bucket,
    key: string,
    action: LifecycleAction,
    objects: readonly StoredObject[],
    nowMs: number,
    report: LifecycleReport,
  ): Promise<void> {
    const { writes } = this.#parts;
    try {
      if (action.kind === 'expire') {
        // Where there are versions, none goes: the key gets a delete marker.
        await writes.remove(bucket, key, (present) => checkSame(objects[0], present));
        report.expired += 1;
        return;
      }
      const judged = objects.find((object) => versionOf(object) === action.versionId);
      await writes.removeVersion(bucket, key, action.versionId, (present) => {
        checkSame(judged, present);
        checkRemoval(present?.own ?? {}, false, nowMs);
      });
      report.removedVersions += 1;
    } catch (error) {
      // Another has changed it, or it is locked: the next pass judges anew.
      if (!(error instanceof S3Error) || error.status >= 500) throw error;
    }
  }
}

/** OperationAborted if it is not what was judged, or has changed since. */
function checkSame(judged: StoredObject | undefined, present: StoredObject | undefined): void {
  const isSame =
    judged !== undefined &&
    present?.node.ino === judged.node.ino &&
    present.node.ctime.sec === judged.node.ctime.sec &&
    present.node.ctime.nsec === judged.node.ctime.nsec;
  if (!isSame) throw new S3Error('OperationAborted', 'The object has been changed meanwhile.');
}

function versionFor({ node, own, ...object }: StoredObject): KeyVersion {
  return {
    versionId: versionOf({ own, ...object }),
    isMarker: own?.isMarker === true,
    modifiedMs: node.mtime.sec * 1000 + Math.floor(node.mtime.nsec / 1e6),
    sizeBytes: node.sizeBytes,
    tags: own?.tags ?? [],
  };
}
