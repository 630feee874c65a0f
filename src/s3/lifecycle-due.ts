/**
 * What a bucket's lifecycle rules have due at a time. Pure: it is told of one key's versions or one upload and says what should go; whoever carries it
 * out asks the object lock, which always wins. A day ends at midnight UTC, as S3 counts: something of ten o'clock that lives one day goes at the
 * second midnight after.
 */
import type { LifecycleFilter, LifecycleRule } from './lifecycle-configuration.js';
import type { Tag } from './tagging.js';

const DAY_MS = 24 * 3600 * 1000;

/** A version of a key, or its only state in a bucket without versions. */
export interface KeyVersion {
  readonly versionId: string;
  readonly isMarker: boolean;
  readonly modifiedMs: number;
  readonly sizeBytes: number;
  readonly tags: readonly Tag[];
}

/** `expire`: delete the key as a client would, which in a bucket with versions adds a delete marker. */
export type LifecycleAction =
  | { readonly kind: 'expire'; readonly rule: string }
  | { readonly kind: 'remove-version'; readonly versionId: string; readonly rule: string };

export class LifecycleCalendar {
  readonly #rules: readonly LifecycleRule[];
  readonly #dayMs: number;

  /** `dayMs`: another length of a day, for tests; days then do not end at midnight. */
  constructor(rules: readonly LifecycleRule[], dayMs = DAY_MS) {
    this.#rules = rules.filter(({ isEnabled }) => isEnabled);
    this.#dayMs = dayMs;
  }

  /** What the keys that rules are about begin with; none is a beginning of another. */
  get prefixes(): string[] {
    const all = [...new Set(this.#rules.map(({ filter }) => filter.prefix))];
    return all.filter((one) => !all.some((other) => other !== one && one.startsWith(other)));
  }

  /** What is due of one key. `versions`: all, newest first. */
  dueOfKey(key: string, versions: readonly KeyVersion[], nowMs: number): LifecycleAction[] {
    const [current] = versions;
    if (current === undefined) return [];
    const actions: LifecycleAction[] = [];
    if (!current.isMarker) {
      const end = this.expiryOf(key, current);
      if (end !== undefined && end.atMs <= nowMs) actions.push({ kind: 'expire', rule: end.rule });
    } else if (versions.length === 1) {
      const rule = this.#rules.find((one) => this.#isMarkerDue(one, key, current, nowMs));
      if (rule !== undefined) actions.push({ kind: 'remove-version', versionId: current.versionId, rule: rule.id });
    }
    for (let index = 1; index < versions.length; index++) {
      const version = versions[index]!;
      // It became noncurrent when the one before it was made.
      const sinceMs = versions[index - 1]!.modifiedMs;
      const rule = this.#rules.find(
        ({ filter, noncurrentDays, newerVersionsKept }) =>
          noncurrentDays !== undefined &&
          index > (newerVersionsKept ?? 0) &&
          applies(filter, key, version) &&
          this.#endOf(sinceMs, noncurrentDays) <= nowMs,
      );
      if (rule !== undefined) actions.push({ kind: 'remove-version', versionId: version.versionId, rule: rule.id });
    }
    return actions;
  }

  /** When the current version of a key expires, by the rule that says so first; undefined if none does. */
  expiryOf(
    key: string,
    current: Omit<KeyVersion, 'versionId' | 'isMarker'>,
  ): { readonly atMs: number; readonly rule: string } | undefined {
    let first: { atMs: number; rule: string } | undefined;
    for (const { id, filter, expireDays, expireDateMs } of this.#rules) {
      if (expireDays === undefined && expireDateMs === undefined) continue;
      if (!applies(filter, key, { ...current, isMarker: false })) continue;
      const atMs = expireDateMs ?? this.#endOf(current.modifiedMs, expireDays!);
      if (first === undefined || atMs < first.atMs) first = { atMs, rule: id };
    }
    return first;
  }

  /** When an upload that is not completed is given up. */
  uploadEndOf(key: string, initiatedMs: number): { readonly atMs: number; readonly rule: string } | undefined {
    let first: { atMs: number; rule: string } | undefined;
    for (const { id, filter, abortUploadDays } of this.#rules) {
      if (abortUploadDays === undefined || !key.startsWith(filter.prefix)) continue;
      const atMs = this.#endOf(initiatedMs, abortUploadDays);
      if (first === undefined || atMs < first.atMs) first = { atMs, rule: id };
    }
    return first;
  }

  /** A delete marker with nothing behind it: by the rule for such, or as old as objects get. */
  #isMarkerDue(rule: LifecycleRule, key: string, marker: KeyVersion, nowMs: number): boolean {
    if (!applies(rule.filter, key, marker)) return false;
    if (rule.removesExpiredMarkers) return true;
    if (rule.expireDateMs !== undefined) return rule.expireDateMs <= nowMs;
    return rule.expireDays !== undefined && this.#endOf(marker.modifiedMs, rule.expireDays) <= nowMs;
  }

  #endOf(fromMs: number, days: number): number {
    const endMs = fromMs + days * this.#dayMs;
    return this.#dayMs === DAY_MS ? Math.ceil(endMs / DAY_MS) * DAY_MS : endMs;
  }
}

/** A delete marker has neither size nor tags, so no rule that asks for them is about it. */
function applies(filter: LifecycleFilter, key: string, version: Omit<KeyVersion, 'versionId' | 'modifiedMs'>): boolean {
  const { prefix, tags, biggerThanBytes, smallerThanBytes } = filter;
  if (!key.startsWith(prefix)) return false;
  if (version.isMarker) return tags.length === 0 && biggerThanBytes === undefined && smallerThanBytes === undefined;
  return (
    (biggerThanBytes === undefined || version.sizeBytes > biggerThanBytes) &&
    (smallerThanBytes === undefined || version.sizeBytes < smallerThanBytes) &&
    tags.every(([name, value]) => version.tags.some(([has, its]) => has === name && its === value))
  );
}

/** The header x-amz-expiration. */
export function expirationHeader({ atMs, rule }: { readonly atMs: number; readonly rule: string }): string {
  return `expiry-date="${new Date(atMs).toUTCString()}", rule-id="${encodeURIComponent(rule)}"`;
}
