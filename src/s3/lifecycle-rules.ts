/** Lifecycle rules of buckets: what is to go when. Read, checked and written here; carried out in lifecycle.ts. */
import { randomBytes } from 'node:crypto';
import { keyOf, keyText } from './key-path.js';
import { notImplemented, S3Error } from './s3-error.js';
import { document, element, malformed, type XmlElement } from './xml.js';

const RULES_MAX = 1000;
const DAY_MS = 24 * 3600 * 1000;

export interface LifecycleRule {
  readonly id: string;
  readonly isEnabled: boolean;
  /** Binary string. */
  readonly prefix: string;
  /** As it was said: with a Filter or, as it once was, without. */
  readonly hasFilter: boolean;
  readonly tags: readonly (readonly [string, string])[];
  readonly sizeAbove?: number;
  readonly sizeBelow?: number;
  readonly days?: number;
  /** ISO time at midnight UTC. */
  readonly date?: string;
  readonly removesMarkers?: boolean;
  readonly noncurrentDays?: number;
  readonly noncurrentKept?: number;
  readonly abortDays?: number;
}

export function lifecycleFromXml(root: XmlElement): LifecycleRule[] {
  const rules = root.all('Rule').map(ruleFrom);
  if (rules.length === 0 || rules.length > RULES_MAX) throw malformed(`There must be 1 to ${RULES_MAX} rules.`);
  if (new Set(rules.map(({ id }) => id)).size < rules.length)
    throw new S3Error('InvalidArgument', 'Rule ID must be unique. Found same ID for more than one rule');
  return rules;
}

function ruleFrom(rule: XmlElement): LifecycleRule {
  const id = rule.textOf('ID') ?? randomBytes(18).toString('base64url');
  if ([...id].length > 255) throw new S3Error('InvalidArgument', 'ID length should not exceed allowed limit of 255');
  const status = rule.textOf('Status')?.trim();
  if (status !== 'Enabled' && status !== 'Disabled') throw malformed('The status is not one.');
  if (rule.one('Transition') !== undefined || rule.one('NoncurrentVersionTransition') !== undefined)
    throw notImplemented('Transition to another storage class');
  const filter = rule.one('Filter');
  const scope = filter?.one('And') ?? filter;
  const number = (text: string | undefined): number | undefined => {
    if (text === undefined) return undefined;
    const value = Number(text.trim());
    if (!Number.isInteger(value)) throw malformed('A number is none.');
    return value;
  };
  const expiration = rule.one('Expiration');
  const days = number(expiration?.textOf('Days'));
  const date = expiration?.textOf('Date')?.trim();
  const markers = expiration?.textOf('ExpiredObjectDeleteMarker')?.trim() === 'true';
  if (days !== undefined && days <= 0)
    throw new S3Error('InvalidArgument', "'Days' for Expiration action must be a positive integer");
  const noncurrent = rule.one('NoncurrentVersionExpiration');
  const noncurrentDays = number(noncurrent?.textOf('NoncurrentDays'));
  const noncurrentKept = number(noncurrent?.textOf('NewerNoncurrentVersions'));
  if (noncurrent !== undefined && !(noncurrentDays !== undefined && noncurrentDays > 0))
    throw new S3Error(
      'InvalidArgument',
      "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer",
    );
  const abortDays = number(rule.one('AbortIncompleteMultipartUpload')?.textOf('DaysAfterInitiation'));
  if (expiration === undefined && noncurrent === undefined && abortDays === undefined)
    throw new S3Error('InvalidRequest', 'At least one action needs to be specified in a rule');
  const sizeAbove = number(scope?.textOf('ObjectSizeGreaterThan'));
  const sizeBelow = number(scope?.textOf('ObjectSizeLessThan'));
  return {
    id,
    isEnabled: status === 'Enabled',
    prefix: keyOf(scope?.textOf('Prefix') ?? rule.textOf('Prefix') ?? ''),
    hasFilter: filter !== undefined,
    tags: (scope?.all('Tag') ?? []).map((tag): [string, string] => [tag.need('Key').text, tag.need('Value').text]),
    ...(sizeAbove !== undefined && { sizeAbove }),
    ...(sizeBelow !== undefined && { sizeBelow }),
    ...(days !== undefined && { days }),
    ...(date !== undefined && { date: midnight(date) }),
    ...(markers && { removesMarkers: true }),
    ...(noncurrentDays !== undefined && { noncurrentDays }),
    ...(noncurrentKept !== undefined && { noncurrentKept }),
    ...(abortDays !== undefined && { abortDays }),
  };
}

function midnight(text: string): string {
  const ms = Date.parse(text);
  if (!Number.isFinite(ms)) throw malformed('The date is none.');
  if (ms % DAY_MS !== 0) throw new S3Error('InvalidArgument', "'Date' must be at midnight GMT");
  return new Date(ms).toISOString();
}

export function lifecycleXml(rules: readonly LifecycleRule[]): string {
  return document('LifecycleConfiguration', rules.map(ruleXml).join(''));
}

function ruleXml(rule: LifecycleRule): string {
  const {
    id,
    isEnabled,
    prefix,
    tags,
    sizeAbove,
    sizeBelow,
    days,
    date,
    removesMarkers,
    noncurrentDays,
    noncurrentKept,
    abortDays,
  } = rule;
  const tagXml = tags.map(([name, value]) => `<Tag>${element('Key', name)}${element('Value', value)}</Tag>`);
  const prefixXml = element('Prefix', prefix === '' && tags.length > 0 ? undefined : keyText(prefix));
  const sizes = element('ObjectSizeGreaterThan', sizeAbove) + element('ObjectSizeLessThan', sizeBelow);
  const parts =
    tags.length + (prefix === '' ? 0 : 1) + (sizeAbove === undefined ? 0 : 1) + (sizeBelow === undefined ? 0 : 1);
  const inner = parts > 0 && prefix === '' ? tagXml.join('') + sizes : prefixXml + tagXml.join('') + sizes;
  const filter = rule.hasFilter
    ? `<Filter>${parts > 1 ? `<And>${inner}</And>` : inner}</Filter>`
    : element('Prefix', keyText(prefix));
  const expiration =
    days === undefined && date === undefined && removesMarkers !== true
      ? ''
      : `<Expiration>${element('Days', days)}${element('Date', date)}${element('ExpiredObjectDeleteMarker', removesMarkers)}</Expiration>`;
  const noncurrent =
    noncurrentDays === undefined
      ? ''
      : `<NoncurrentVersionExpiration>${element('NoncurrentDays', noncurrentDays)}${element('NewerNoncurrentVersions', noncurrentKept)}</NoncurrentVersionExpiration>`;
  const abort =
    abortDays === undefined
      ? ''
      : `<AbortIncompleteMultipartUpload>${element('DaysAfterInitiation', abortDays)}</AbortIncompleteMultipartUpload>`;
  return `<Rule>${element('ID', id)}${filter}${element('Status', isEnabled ? 'Enabled' : 'Disabled')}${expiration}${noncurrent}${abort}</Rule>`;
}
