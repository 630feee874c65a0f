/**
 * Object lock: until when a version may be neither deleted nor overwritten, and legal holds. GOVERNANCE yields to those who may bypass it and say so;
 * COMPLIANCE yields to nobody before its time, and can only be made longer. A hold has no time and lies beside both.
 */
import { S3Error } from './s3-error.js';
import { element, malformed, readXml } from './xml.js';

const DAY_MS = 24 * 3600 * 1000;
const MODES = ['GOVERNANCE', 'COMPLIANCE'] as const;
type LockMode = (typeof MODES)[number];

export interface Retention {
  readonly mode: LockMode;
  /** ISO 8601, UTC. */
  readonly until: string;
}

/** What versions get that are written without a retention of their own. */
export interface DefaultRetention {
  readonly mode: LockMode;
  readonly unit: 'Days' | 'Years';
  readonly count: number;
}

/** Reads an ObjectLockConfiguration; undefined: enabled without a default. MalformedXML, InvalidRetentionPeriod. */
export function readLockConfiguration(bytes: Uint8Array): DefaultRetention | undefined {
  const root = readXml(bytes, 'ObjectLockConfiguration');
  if (root.need('ObjectLockEnabled').text !== 'Enabled') throw malformed('ObjectLockEnabled must be Enabled.');
  const rule = root.one('Rule');
  if (rule === undefined) return undefined;
  const retention = rule.need('DefaultRetention');
  const mode = modeOf(retention.need('Mode').text);
  const days = retention.textOf('Days');
  const years = retention.textOf('Years');
  if (mode === undefined || (days === undefined) === (years === undefined))
    throw malformed('A DefaultRetention needs a Mode, and either Days or Years.');
  const text = (days ?? years)!.trim();
  if (!/^[+-]?\d{1,15}$/.test(text)) throw malformed('A retention period must be a whole number.');
  const count = Number(text);
  if (count <= 0)
    throw new S3Error('InvalidRetentionPeriod', 'Default retention period must be a positive integer value.');
  if (count > (days === undefined ? 100 : 36_500))
    throw new S3Error('InvalidRetentionPeriod', 'Default retention period is too long: at most 100 years.');
  return { mode, unit: days === undefined ? 'Years' : 'Days', count };
}

export function writeLockConfiguration(rule: DefaultRetention | undefined): string {
  const body =
    rule === undefined
      ? ''
      : `<Rule><DefaultRetention>${element('Mode', rule.mode)}${element(rule.unit, rule.count)}</DefaultRetention></Rule>`;
  return `${element('ObjectLockEnabled', 'Enabled')}${body}`;
}

export function retentionFrom({ mode, unit, count }: DefaultRetention, nowMs: number): Retention {
  const until = new Date(nowMs);
  if (unit === 'Years') until.setUTCFullYear(until.getUTCFullYear() + count);
  else until.setTime(nowMs + count * DAY_MS);
  return { mode, until: until.toISOString() };
}

/** Reads a Retention; undefined for an empty one, which takes it away. MalformedXML, InvalidArgument. */
export function readRetention(bytes: Uint8Array, nowMs: number): Retention | undefined {
  const root = readXml(bytes, 'Retention');
  const modeText = root.textOf('Mode');
  const untilText = root.textOf('RetainUntilDate');
  if (modeText === undefined && untilText === undefined) return undefined;
  const mode = modeOf(modeText ?? '');
  const untilMs = dateOf(untilText ?? '');
  if (mode === undefined || untilMs === undefined) throw malformed('A Retention needs a Mode and a RetainUntilDate.');
  return { mode, until: futureDate(untilMs, nowMs) };
}

export function writeRetention({ mode, until }: Retention): string {
  return `${element('Mode', mode)}${element('RetainUntilDate', until)}`;
}

/** Reads a LegalHold: true for ON. MalformedXML. */
export function readLegalHold(bytes: Uint8Array): boolean {
  const status = readXml(bytes, 'LegalHold').need('Status').text;
  if (status !== 'ON' && status !== 'OFF') throw malformed('Status must be ON or OFF.');
  return status === 'ON';
}

export function writeLegalHold(isOn: boolean): string {
  return element('Status', isOn ? 'ON' : 'OFF');
}

export interface Lock {
  readonly retention?: Retention | undefined;
  readonly hasLegalHold?: boolean | undefined;
}

/** What a write asks for in its headers. InvalidArgument. */
export function lockFromHeaders(header: (name: string) => string | undefined, nowMs: number): Lock {
  const modeText = header('x-amz-object-lock-mode');
  const untilText = header('x-amz-object-lock-retain-until-date');
  const hold = header('x-amz-object-lock-legal-hold');
  if (hold !== undefined && hold !== 'ON' && hold !== 'OFF')
    throw invalid('Legal Hold must be either of "ON" or "OFF"', 'x-amz-object-lock-legal-hold', hold);
  const hasLegalHold = hold === undefined ? undefined : hold === 'ON';
  if (modeText === undefined && untilText === undefined) return { retention: undefined, hasLegalHold };
  if (modeText === undefined || untilText === undefined)
    throw new S3Error(
      'InvalidArgument',
      'x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied',
    );
  const mode = modeOf(modeText);
  if (mode === undefined) throw invalid('Unknown wormMode directive', 'x-amz-object-lock-mode', modeText);
  const untilMs = dateOf(untilText);
  if (untilMs === undefined)
    throw invalid(
      'The retain until date must be provided in ISO 8601 format',
      'x-amz-object-lock-retain-until-date',
      untilText,
    );
  return { retention: { mode, until: futureDate(untilMs, nowMs) }, hasLegalHold };
}

/** Headers of an object that is locked. */
export function lockHeaders({ retention, hasLegalHold }: Lock): Record<string, string> {
  return {
    ...(retention === undefined
      ? {}
      : {
          'x-amz-object-lock-mode': retention.mode,
          'x-amz-object-lock-retain-until-date': retention.until,
        }),
    ...(hasLegalHold === undefined ? {} : { 'x-amz-object-lock-legal-hold': hasLegalHold ? 'ON' : 'OFF' }),
  };
}

/** AccessDenied if `next` (undefined: none) may not take the place of `current`. `canBypass`: the sender may, and says so. */
export function checkRetentionChange(
  current: Retention | undefined,
  next: Retention | undefined,
  canBypass: boolean,
  nowMs: number,
): void {
  if (current === undefined || !isActive(current, nowMs)) return;
  const isLonger =
    next !== undefined && next.mode === current.mode && Date.parse(next.until) >= Date.parse(current.until);
  if (isLonger || (current.mode === 'GOVERNANCE' && canBypass)) return;
  throw protectedByLock();
}

/** AccessDenied if the version must stay. */
export function checkRemoval({ retention, hasLegalHold }: Lock, canBypass: boolean, nowMs: number): void {
  if (hasLegalHold === true) throw protectedByLock();
  if (retention === undefined || !isActive(retention, nowMs)) return;
  if (retention.mode === 'GOVERNANCE' && canBypass) return;
  throw protectedByLock();
}

function isActive({ until }: Retention, nowMs: number): boolean {
  return Date.parse(until) > nowMs;
}

function protectedByLock(): S3Error {
  return new S3Error('AccessDenied', 'Access Denied because object protected by object lock.');
}

function modeOf(text: string): LockMode | undefined {
  return MODES.find((mode) => mode === text);
}

function dateOf(text: string): number | undefined {
  const match = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?(Z|[+-]\d\d:?\d\d)?$/.exec(text);
  // What has no zone is UTC, whatever the server's own zone is.
  const ms = match === null ? Number.NaN : Date.parse(`${match[1]}${match[2] ?? 'T00:00'}${match[3] ?? 'Z'}`);
  return Number.isNaN(ms) ? undefined : ms;
}

function futureDate(ms: number, nowMs: number): string {
  if (ms <= nowMs) throw new S3Error('InvalidArgument', 'The retain until date must be in the future!');
  return new Date(ms).toISOString();
}

function invalid(message: string, name: string, value: string): S3Error {
  return new S3Error('InvalidArgument', message, {
    fields: { ArgumentName: name, ArgumentValue: value.slice(0, 100) },
  });
}
