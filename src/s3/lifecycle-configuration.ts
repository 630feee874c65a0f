/**
 * A bucket's lifecycle: the rules as S3's document writes them. What S3 has and Cairn has not (transitions to other storage classes) is refused by name
 * after it has been checked, so that nobody believes in a rule that does nothing. What is due when: lifecycle-due.ts.
 */
import { notImplemented, S3Error } from './s3-error.js';
import { checkedTags, OBJECT_TAGS_MAX, readTag, type Tag, writeTag } from './tagging.js';
import { element, malformed, readXml, type XmlElement } from './xml.js';

const RULES_MAX = 1000;
const ID_MAX = 255;
const DAYS_MAX = 2 ** 31 - 1;
const DAY_MS = 24 * 3600 * 1000;

/** What a rule is for. All that is given must hold. */
export interface LifecycleFilter {
  readonly prefix: string;
  readonly tags: readonly Tag[];
  readonly biggerThanBytes: number | undefined;
  readonly smallerThanBytes: number | undefined;
}

export interface LifecycleRule {
  readonly id: string;
  readonly isEnabled: boolean;
  readonly filter: LifecycleFilter;
  /** The prefix stood in the rule itself, as older clients write it: it is answered in the same way. */
  readonly isOldForm: boolean;
  readonly expireDays: number | undefined;
  /** A midnight, UTC. */
  readonly expireDateMs: number | undefined;
  readonly removesExpiredMarkers: boolean;
  readonly noncurrentDays: number | undefined;
  /** So many noncurrent versions are kept however old. */
  readonly newerVersionsKept: number | undefined;
  readonly abortUploadDays: number | undefined;
}

/** Reads a LifecycleConfiguration. `newId` names the rules that have none. MalformedXML, InvalidArgument, InvalidRequest, NotImplemented. */
export function readLifecycle(bytes: Uint8Array, newId: () => string): LifecycleRule[] {
  const root = readXml(bytes, 'LifecycleConfiguration');
  checkChildren(root, ['Rule']);
  if (root.children.length === 0 || root.children.length > RULES_MAX)
    throw malformed(`There must be 1 to ${RULES_MAX} rules.`);
  const rules = root.children.map((rule) => readRule(rule, newId));
  const ids = new Set<string>();
  for (const { id } of rules) {
    if (ids.has(id)) throw invalid('Rule ID must be unique. Found same ID for one or more rules', 'ID', id);
    ids.add(id);
  }
  return rules;
}

function readRule(rule: XmlElement, newId: () => string): LifecycleRule {
  checkChildren(rule, [
    'ID',
    'Status',
    'Prefix',
    'Filter',
    'Expiration',
    'NoncurrentVersionExpiration',
    'AbortIncompleteMultipartUpload',
    'Transition',
    'NoncurrentVersionTransition',
  ]);
  const id = rule.textOf('ID');
  if (id !== undefined && id.length > ID_MAX)
    throw invalid(`ID length should not exceed allowed limit of ${ID_MAX}`, 'ID', id);
  const status = rule.need('Status').text;
  if (status !== 'Enabled' && status !== 'Disabled') throw malformed('Status must be Enabled or Disabled.');
  const prefix = rule.textOf('Prefix');
  const filter = rule.one('Filter');
  if ((prefix === undefined) === (filter === undefined)) throw malformed('A rule needs a Filter or a Prefix.');
  const made: LifecycleRule = {
    id: id === undefined || id === '' ? newId() : id,
    isEnabled: status === 'Enabled',
    filter: readFilter(filter, prefix),
    isOldForm: filter === undefined,
    ...readExpiration(rule.one('Expiration')),
    ...readNoncurrent(rule.one('NoncurrentVersionExpiration')),
    abortUploadDays: readAbort(rule.one('AbortIncompleteMultipartUpload')),
  };
  checkActions(made, rule);
  return made;
}

function checkActions(made: LifecycleRule, rule: XmlElement): void {
  for (const transition of rule.all('Transition')) {
    const date = transition.textOf('Date');
    if (date !== undefined) readMidnight(date);
    readDays(transition, 'Days', 0);
  }
  for (const name of ['Transition', 'NoncurrentVersionTransition'])
    if (rule.all(name).length > 0) throw notImplemented(`The lifecycle action ${name}`);
  const { filter } = made;
  const isTagged = filter.tags.length > 0;
  if (isTagged && made.abortUploadDays !== undefined)
    throw new S3Error('InvalidRequest', 'AbortIncompleteMultipartUpload cannot be specified with Tags.');
  if (isTagged && made.removesExpiredMarkers)
    throw new S3Error('InvalidRequest', 'ExpiredObjectDeleteMarker cannot be specified with Tags.');
  const hasAction =
    made.expireDays !== undefined ||
    made.expireDateMs !== undefined ||
    made.removesExpiredMarkers ||
    made.noncurrentDays !== undefined ||
    made.abortUploadDays !== undefined;
  if (!hasAction) throw new S3Error('InvalidRequest', 'At least one action needs to be specified in a rule');
}

/** S3 wants several conditions in an And; where they stand side by side they are taken as meant, all of them. */
function readFilter(filter: XmlElement | undefined, oldPrefix: string | undefined): LifecycleFilter {
  if (filter === undefined)
    return { prefix: oldPrefix ?? '', tags: [], biggerThanBytes: undefined, smallerThanBytes: undefined };
  const conditions = ['Prefix', 'Tag', 'ObjectSizeGreaterThan', 'ObjectSizeLessThan'];
  checkChildren(filter, [...conditions, 'And']);
  const and = filter.one('And');
  if (and !== undefined) checkChildren(and, conditions);
  const sources = and === undefined ? [filter] : [filter, and];
  const prefixes = sources.map((source) => source.textOf('Prefix')).filter((prefix) => prefix !== undefined);
  const [first = '', second = ''] = prefixes;
  const prefix = first.length >= second.length ? first : second;
  if (!prefix.startsWith(first) || !prefix.startsWith(second))
    throw malformed('The prefixes of a Filter exclude each other.');
  const sizes = (name: string) =>
    sources
      .map((source) => source.textOf(name))
      .filter((text) => text !== undefined)
      .map((text) => {
        if (!/^\d{1,15}$/.test(text)) throw malformed(`${name} must be a number of bytes.`);
        return Number(text);
      });
  const bigger = sizes('ObjectSizeGreaterThan');
  const smaller = sizes('ObjectSizeLessThan');
  const biggerThanBytes = bigger.length === 0 ? undefined : Math.max(...bigger);
  const smallerThanBytes = smaller.length === 0 ? undefined : Math.min(...smaller);
  if (biggerThanBytes !== undefined && smallerThanBytes !== undefined && biggerThanBytes >= smallerThanBytes)
    throw new S3Error('InvalidRequest', "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'");
  const tags = sources.flatMap((source) => source.all('Tag').map(readTag));
  return { prefix, tags: checkedTags(tags, OBJECT_TAGS_MAX), biggerThanBytes, smallerThanBytes };
}

function readExpiration(
  expiration: XmlElement | undefined,
): Pick<LifecycleRule, 'expireDays' | 'expireDateMs' | 'removesExpiredMarkers'> {
  if (expiration === undefined) return { expireDays: undefined, expireDateMs: undefined, removesExpiredMarkers: false };
  checkChildren(expiration, ['Days', 'Date', 'ExpiredObjectDeleteMarker']);
  if (expiration.children.length !== 1)
    throw malformed('An Expiration needs one of Days, Date and ExpiredObjectDeleteMarker.');
  const expireDays = readDays(expiration, 'Days', 1);
  const date = expiration.textOf('Date');
  const marker = expiration.textOf('ExpiredObjectDeleteMarker');
  if (marker !== undefined && marker !== 'true' && marker !== 'false')
    throw malformed('ExpiredObjectDeleteMarker must be true or false.');
  return {
    expireDays,
    expireDateMs: date === undefined ? undefined : readMidnight(date),
    removesExpiredMarkers: marker === 'true',
  };
}

function readNoncurrent(
  noncurrent: XmlElement | undefined,
): Pick<LifecycleRule, 'noncurrentDays' | 'newerVersionsKept'> {
  if (noncurrent === undefined) return { noncurrentDays: undefined, newerVersionsKept: undefined };
  checkChildren(noncurrent, ['NoncurrentDays', 'NewerNoncurrentVersions']);
  noncurrent.need('NoncurrentDays');
  const kept = readDays(noncurrent, 'NewerNoncurrentVersions', 1);
  if (kept !== undefined && kept > 100)
    throw invalid("'NewerNoncurrentVersions' must be at most 100", 'NewerNoncurrentVersions', String(kept));
  return { noncurrentDays: readDays(noncurrent, 'NoncurrentDays', 1), newerVersionsKept: kept };
}

function readAbort(abort: XmlElement | undefined): number | undefined {
  if (abort === undefined) return undefined;
  checkChildren(abort, ['DaysAfterInitiation']);
  abort.need('DaysAfterInitiation');
  return readDays(abort, 'DaysAfterInitiation', 1);
}

function readDays(parent: XmlElement, name: string, least: number): number | undefined {
  const text = parent.textOf(name);
  if (text === undefined) return undefined;
  if (!/^[+-]?\d{1,15}$/.test(text.trim())) throw malformed(`${name} must be a whole number.`);
  const days = Number(text);
  if (days < least || days > DAYS_MAX)
    throw invalid(
      `'${name}' for ${parent.name} action must be a ${least > 0 ? 'positive' : 'nonnegative'} integer`,
      name,
      text,
    );
  return days;
}

function readMidnight(text: string): number {
  const match = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d:\d\d(?:\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?$/.exec(text);
  // What has no zone is UTC, whatever the server's own zone is.
  const ms = match === null ? Number.NaN : Date.parse(`${match[1]}${match[2] ?? 'T00:00:00'}${match[3] ?? 'Z'}`);
  if (Number.isNaN(ms)) throw malformed('A Date is not in ISO 8601 form.');
  if (ms % DAY_MS !== 0) throw invalid("'Date' must be at midnight GMT", 'Date', text);
  return ms;
}

function checkChildren(parent: XmlElement, names: readonly string[]): void {
  for (const { name } of parent.children)
    if (!names.includes(name)) throw malformed(`${parent.name} cannot have ${name.slice(0, 100)}.`);
}

export function writeLifecycle(rules: readonly LifecycleRule[]): string {
  return rules.map(writeRule).join('');
}

function writeRule(rule: LifecycleRule): string {
  const date = rule.expireDateMs === undefined ? undefined : new Date(rule.expireDateMs).toISOString();
  const wrap = (name: string, body: string) => (body === '' ? '' : `<${name}>${body}</${name}>`);
  const expiration =
    element('Days', rule.expireDays) +
    element('Date', date) +
    element('ExpiredObjectDeleteMarker', rule.removesExpiredMarkers ? true : undefined);
  const noncurrent =
    element('NoncurrentDays', rule.noncurrentDays) + element('NewerNoncurrentVersions', rule.newerVersionsKept);
  return `<Rule>${element('ID', rule.id)}${rule.isOldForm ? element('Prefix', rule.filter.prefix) : writeFilter(rule.filter)}${element('Status', rule.isEnabled ? 'Enabled' : 'Disabled')}${wrap('Expiration', expiration)}${wrap('NoncurrentVersionExpiration', noncurrent)}${wrap('AbortIncompleteMultipartUpload', element('DaysAfterInitiation', rule.abortUploadDays))}</Rule>`;
}

function writeFilter({ prefix, tags, biggerThanBytes, smallerThanBytes }: LifecycleFilter): string {
  const conditions = [
    ...(prefix === '' ? [] : [element('Prefix', prefix)]),
    ...tags.map(writeTag),
    ...(biggerThanBytes === undefined ? [] : [element('ObjectSizeGreaterThan', biggerThanBytes)]),
    ...(smallerThanBytes === undefined ? [] : [element('ObjectSizeLessThan', smallerThanBytes)]),
  ];
  if (conditions.length === 0) return '<Filter><Prefix></Prefix></Filter>';
  const body = conditions.join('');
  return `<Filter>${conditions.length > 1 ? `<And>${body}</And>` : body}</Filter>`;
}

function invalid(message: string, name: string, value: string): S3Error {
  return new S3Error('InvalidArgument', message, {
    fields: { ArgumentName: name, ArgumentValue: value.slice(0, ID_MAX) },
  });
}
