/**
 * The conditions of policy statements: operators over the values of a request's keys. A condition holds if each of its keys matches one of the values
 * (for the negated operators: none of them). What cannot be evaluated is refused when the policy is set, since a Deny with a condition that never
 * holds denies nothing.
 */
import { BlockList, isIP, isIPv6 } from 'node:net';
import { literal, matchesWildcard } from './wildcard.js';

/** Values of a condition key in one request; undefined if the request has none. Keys are lower-case. */
export type ConditionValues = (key: string) => readonly string[] | undefined;

export interface Condition {
  readonly operator: Operator;
  readonly ifExists: boolean;
  /** How a key with several values in the request is taken. */
  readonly set: 'all' | 'any' | 'one';
  /** Lower-case. */
  readonly key: string;
  readonly values: readonly string[];
}

type Operator = keyof typeof OPERATORS;
type Test = (value: string, expected: string) => boolean;

const numbers = (compare: (a: number, b: number) => boolean): Test => {
  return (value, expected) => {
    const [a, b] = [Number(value), Number(expected)];
    return value.trim() !== '' && !Number.isNaN(a) && !Number.isNaN(b) && compare(a, b);
  };
};
const dates = (compare: (a: number, b: number) => boolean): Test => {
  return (value, expected) => {
    const [a, b] = [timeOf(value), timeOf(expected)];
    return !Number.isNaN(a) && !Number.isNaN(b) && compare(a, b);
  };
};
const equals: Test = (value, expected) => literal(value) === literal(expected);
const like: Test = (value, expected) => matchesWildcard(expected, literal(value), true);
const equalsAnyCase: Test = (value, expected) => equals(value.toLowerCase(), expected.toLowerCase());

const OPERATORS = {
  StringEquals: { test: equals, isNegated: false, kind: 'text' },
  StringNotEquals: { test: equals, isNegated: true, kind: 'text' },
  StringEqualsIgnoreCase: { test: equalsAnyCase, isNegated: false, kind: 'text' },
  StringNotEqualsIgnoreCase: { test: equalsAnyCase, isNegated: true, kind: 'text' },
  StringLike: { test: like, isNegated: false, kind: 'text' },
  StringNotLike: { test: like, isNegated: true, kind: 'text' },
  ArnEquals: { test: like, isNegated: false, kind: 'text' },
  ArnLike: { test: like, isNegated: false, kind: 'text' },
  ArnNotEquals: { test: like, isNegated: true, kind: 'text' },
  ArnNotLike: { test: like, isNegated: true, kind: 'text' },
  NumericEquals: { test: numbers((a, b) => a === b), isNegated: false, kind: 'number' },
  NumericNotEquals: { test: numbers((a, b) => a === b), isNegated: true, kind: 'number' },
  NumericLessThan: { test: numbers((a, b) => a < b), isNegated: false, kind: 'number' },
  NumericLessThanEquals: { test: numbers((a, b) => a <= b), isNegated: false, kind: 'number' },
  NumericGreaterThan: { test: numbers((a, b) => a > b), isNegated: false, kind: 'number' },
  NumericGreaterThanEquals: { test: numbers((a, b) => a >= b), isNegated: false, kind: 'number' },
  DateEquals: { test: dates((a, b) => a === b), isNegated: false, kind: 'date' },
  DateNotEquals: { test: dates((a, b) => a === b), isNegated: true, kind: 'date' },
  DateLessThan: { test: dates((a, b) => a < b), isNegated: false, kind: 'date' },
  DateLessThanEquals: { test: dates((a, b) => a <= b), isNegated: false, kind: 'date' },
  DateGreaterThan: { test: dates((a, b) => a > b), isNegated: false, kind: 'date' },
  DateGreaterThanEquals: { test: dates((a, b) => a >= b), isNegated: false, kind: 'date' },
  Bool: { test: equalsAnyCase, isNegated: false, kind: 'bool' },
  BinaryEquals: { test: equals, isNegated: false, kind: 'text' },
  IpAddress: { test: isInRange, isNegated: false, kind: 'address' },
  NotIpAddress: { test: isInRange, isNegated: true, kind: 'address' },
  Null: { test: equals, isNegated: false, kind: 'bool' },
} as const satisfies Record<string, { test: Test; isNegated: boolean; kind: string }>;

/** Keys whose values a request has, beside those with a name of their own behind the slash and the request's x-amz- headers. */
const KEYS: ReadonlySet<string> = new Set(
  `aws:CurrentTime aws:EpochTime aws:PrincipalArn aws:PrincipalType aws:Referer aws:SecureTransport aws:SourceIp aws:UserAgent
  aws:userid aws:username s3:authType s3:delimiter s3:if-match s3:if-none-match s3:max-keys
  s3:object-lock-legal-hold s3:object-lock-mode s3:object-lock-remaining-retention-days s3:object-lock-retain-until-date s3:prefix
  s3:RequestObjectTagKeys s3:signatureversion s3:TlsVersion s3:VersionId`
    .split(/\s+/)
    .map((key) => key.toLowerCase()),
);

export function isConditionKey(key: string): boolean {
  const lower = key.toLowerCase();
  return (
    KEYS.has(lower) ||
    /^s3:(existingobjecttag|requestobjecttag)\/.{1,128}$/.test(lower) ||
    /^s3:x-amz-[a-z0-9-]{1,64}$/.test(lower)
  );
}

/** `StringEquals`, `ForAnyValue:StringLikeIfExists` and the like; undefined if there is no such operator. */
export function parseOperator(text: string): Pick<Condition, 'operator' | 'ifExists' | 'set'> | undefined {
  const match = /^(?:ForA(ll|ny)Values?:)?([A-Za-z]+?)(IfExists)?$/.exec(text);
  const name = match?.[2];
  if (match === null || name === undefined || !Object.hasOwn(OPERATORS, name)) return undefined;
  const operator = name as Operator;
  const ifExists = match[3] !== undefined;
  if (operator === 'Null' && ifExists) return undefined;
  const set = match[1] === undefined ? 'one' : match[1] === 'll' ? 'all' : 'any';
  return { operator, ifExists, set };
}

/** True if a request's value can be compared with it. */
export function isConditionValue(operator: Operator, value: string): boolean {
  switch (OPERATORS[operator].kind) {
    case 'number':
      return /^[+-]?\d{1,18}(\.\d{1,9})?$/.test(value);
    case 'date':
      return !Number.isNaN(timeOf(value));
    case 'bool':
      return /^(true|false)$/i.test(value);
    case 'address':
      return rangeOf(value) !== undefined;
    default:
      return true;
  }
}

/** `expand` puts the request's values into the text of the policy. */
export function holds(condition: Condition, values: ConditionValues, expand: (text: string) => string): boolean {
  const { operator, ifExists, set, key } = condition;
  const given = values(key);
  if (operator === 'Null')
    return condition.values.some((value) => (given === undefined) === (value.toLowerCase() === 'true'));
  const { test, isNegated, kind } = OPERATORS[operator];
  if (given === undefined || given.length === 0) return ifExists || set === 'all' || (isNegated && set === 'one');
  const expected = kind === 'text' ? condition.values.map(expand) : condition.values;
  const fits = (value: string) => expected.some((one) => test(value, one)) !== isNegated;
  return set === 'all' || (set === 'one' && isNegated) ? given.every(fits) : given.some(fits);
}

function timeOf(text: string): number {
  if (/^\d{1,12}$/.test(text)) return Number(text) * 1000;
  return /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?$/.test(text)
    ? Date.parse(text)
    : Number.NaN;
}

const ranges = new Map<string, BlockList>();
const RANGES_KEPT = 1000;

function isInRange(address: string, range: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
  if (isIP(mapped) === 0) return false;
  return rangeOf(range)?.check(mapped, isIPv6(mapped) ? 'ipv6' : 'ipv4') ?? false;
}

/** `10.0.0.0/8`, `2001:db8::/32` or one address. */
function rangeOf(text: string): BlockList | undefined {
  let list = ranges.get(text);
  if (list !== undefined) return list;
  const [address = '', bits, ...more] = text.split('/');
  const version = isIP(address);
  const most = version === 6 ? 128 : 32;
  if (version === 0 || more.length > 0 || (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= most)))
    return undefined;
  list = new BlockList();
  list.addSubnet(address, bits === undefined ? most : Number(bits), version === 6 ? 'ipv6' : 'ipv4');
  if (ranges.size >= RANGES_KEPT) ranges.clear();
  ranges.set(text, list);
  return list;
}
