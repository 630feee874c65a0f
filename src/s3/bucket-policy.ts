/**
 * Bucket policies: the common subset of the language, checked when they are set, evaluated deny-first. What a policy says that is not understood here
 * is refused when it is set, so that no condition is silently taken as met.
 */
import { BlockList, isIP } from 'node:net';
import { type Bucket, readSubject } from './bucket-config.js';
import { keyText } from './key-path.js';
import { S3Error } from './s3-error.js';
import type { S3User } from './users.js';

interface PolicyStatement {
  readonly effect: 'Allow' | 'Deny';
  /** User ids, or `*`. */
  readonly principals: readonly string[];
  readonly notPrincipals: boolean;
  readonly actions: readonly string[];
  readonly notActions: boolean;
  readonly resources: readonly string[];
  readonly notResources: boolean;
  readonly conditions: readonly {
    readonly operator: string;
    readonly key: string;
    readonly values: readonly string[];
  }[];
}

export interface Policy {
  /** As it was set. */
  readonly text: string;
  readonly statements: readonly PolicyStatement[];
}

const RESOURCE = 'arn:aws:s3:::';
const TEXT_BYTES_MAX = 20 * 1024;

export function policyOf(bucket: Bucket): Policy | undefined {
  return readSubject(bucket.attributes, 'policy') as Policy | undefined;
}

/** MalformedPolicy. */
export function parsePolicy(text: string, bucketName: string): Policy {
  if (text.length > TEXT_BYTES_MAX) throw refuse('Policy exceeds the maximum allowed document size.');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw refuse("Policies must be valid JSON and the first byte must be '{'");
  }
  if (!isRecord(json)) throw refuse("Policies must be valid JSON and the first byte must be '{'");
  const statements = json['Statement'];
  const list = Array.isArray(statements) ? statements : [statements];
  if (statements === undefined || list.length === 0) throw refuse('Missing required field Statement');
  return { text, statements: list.map((one) => parseStatement(one, bucketName)) };
}

function parseStatement(json: unknown, bucketName: string): PolicyStatement {
  if (!isRecord(json)) throw refuse('A statement must be an object');
  const effect = json['Effect'];
  if (effect !== 'Allow' && effect !== 'Deny') throw refuse(`Invalid effect: ${String(effect).slice(0, 50)}`);
  const notPrincipals = json['NotPrincipal'] !== undefined;
  const principals = parsePrincipals(json['NotPrincipal'] ?? json['Principal']);
  const notActions = json['NotAction'] !== undefined;
  const actions = texts(json['NotAction'] ?? json['Action'], 'Action');
  for (const action of actions)
    if (action !== '*' && !/^s3:[A-Za-z*?]+$/.test(action)) throw refuse('Policy has invalid action');
  const notResources = json['NotResource'] !== undefined;
  const resources = texts(json['NotResource'] ?? json['Resource'], 'Resource').map((resource) => {
    const ofBucket = resource.slice(RESOURCE.length);
    const own = ofBucket === bucketName || ofBucket.startsWith(`${bucketName}/`) || ofBucket.includes('*');
    if (resource !== '*' && (!resource.startsWith(RESOURCE) || !own)) throw refuse('Policy has invalid resource');
    return resource;
  });
  return {
    effect,
    principals,
    notPrincipals,
    actions,
    notActions,
    resources,
    notResources,
    conditions: parseConditions(json['Condition']),
  };
}

function parsePrincipals(json: unknown): string[] {
  if (json === '*') return ['*'];
  if (!isRecord(json)) throw refuse('Invalid principal in policy');
  return texts(json['AWS'] ?? json['CanonicalUser'], 'Principal').map((principal) => {
    if (principal === '*') return '*';
    // arn:aws:iam::<account>:user/<id>, or :root of an account, which here is one user.
    const match = /^arn:aws:iam::([^:]*):(?:user\/(.+)|root)$/.exec(principal);
    return match === null ? principal : (match[2] ?? match[1] ?? '');
  });
}

const OPERATORS =
  /^(?:ForAnyValue:|ForAllValues:)?(?:String(?:Not)?(?:Equals|Like|EqualsIgnoreCase)|Numeric(?:Not)?Equals|Numeric(?:Less|Greater)Than(?:Equals)?|Date(?:Less|Greater)Than(?:Equals)?|Bool|(?:Not)?IpAddress|Null|Arn(?:Not)?(?:Equals|Like))(?:IfExists)?$/;

function parseConditions(json: unknown): PolicyStatement['conditions'] {
  if (json === undefined) return [];
  if (!isRecord(json)) throw refuse('Condition must be an object');
  return Object.entries(json).flatMap(([operator, keys]) => {
    if (!OPERATORS.test(operator)) throw refuse(`Invalid Condition type : ${operator.slice(0, 50)}`);
    if (!isRecord(keys)) throw refuse('Condition must be an object');
    return Object.entries(keys).map(([key, values]) => ({
      operator,
      key: key.toLowerCase().startsWith('s3:existingobjecttag/')
        ? `s3:ExistingObjectTag/${key.slice(21)}`.toLowerCase()
        : key.toLowerCase(),
      values: (Array.isArray(values) ? values : [values]).map(String),
    }));
  });
}

function texts(json: unknown, what: string): string[] {
  const list = Array.isArray(json) ? json : [json];
  if (json === undefined || list.length === 0 || !list.every((one) => typeof one === 'string'))
    throw refuse(`Missing required field ${what}`);
  return list as string[];
}

function isRecord(json: unknown): json is Record<string, unknown> {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

function refuse(message: string): S3Error {
  return new S3Error('MalformedPolicy', message);
}

export interface PolicyQuestion {
  readonly user: S3User | undefined;
  readonly action: string;
  readonly bucket: string;
  readonly key: string | undefined;
  readonly conditions: ReadonlyMap<string, readonly string[]>;
}

export function evaluatePolicy(policy: Policy, question: PolicyQuestion): 'allow' | 'deny' | 'neutral' {
  const resource = `${RESOURCE}${question.bucket}${question.key === undefined ? '' : `/${keyText(question.key)}`}`;
  let isAllowed = false;
  for (const statement of policy.statements) {
    if (!matchesPrincipal(statement, question.user)) continue;
    if (
      statement.actions.some((action) => like(action.toLowerCase(), question.action.toLowerCase())) ===
      statement.notActions
    )
      continue;
    if (statement.resources.some((pattern) => like(pattern, resource)) === statement.notResources) continue;
    if (!statement.conditions.every((condition) => isMet(condition, question.conditions))) continue;
    if (statement.effect === 'Deny') return 'deny';
    isAllowed = true;
  }
  return isAllowed ? 'allow' : 'neutral';
}

function matchesPrincipal({ principals, notPrincipals }: PolicyStatement, user: S3User | undefined): boolean {
  const isNamed = principals.some(
    (principal) => principal === '*' || (user !== undefined && (principal === user.id || principal === user.name)),
  );
  return isNamed !== notPrincipals;
}

/** `*` and `?` as in shells; nothing else is special. Linear in the text for every `*`. */
export function like(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let mark = 0;
  while (t < text.length) {
    if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[t]) && pattern[p] !== '*') {
      p += 1;
      t += 1;
    } else if (pattern[p] === '*') {
      star = p;
      p += 1;
      mark = t;
    } else if (star >= 0) {
      p = star + 1;
      mark += 1;
      t = mark;
    } else return false;
  }
  while (pattern[p] === '*') p += 1;
  return p === pattern.length;
}

function isMet(
  condition: PolicyStatement['conditions'][number],
  given: ReadonlyMap<string, readonly string[]>,
): boolean {
  const ifExists = condition.operator.endsWith('IfExists');
  let operator = condition.operator.replace(/IfExists$/, '');
  const isAll = operator.startsWith('ForAllValues:');
  operator = operator.replace(/^For(Any|All)Values?s?:/, '');
  const values = given.get(condition.key);
  if (operator === 'Null') return (values === undefined) === (condition.values[0] === 'true');
  const isNegative = operator.includes('Not');
  if (values === undefined || values.length === 0) return ifExists || isAll || isNegative;
  const positive = operator.replace('Not', '');
  const one = (value: string): boolean => condition.values.some((wanted) => compares(positive, value, wanted));
  const result = isAll ? values.every(one) : values.some(one);
  return result !== isNegative;
}

function compares(operator: string, value: string, wanted: string): boolean {
  switch (operator) {
    case 'StringEquals':
    case 'ArnEquals':
      return value === wanted;
    case 'StringEqualsIgnoreCase':
    case 'Bool':
      return value.toLowerCase() === wanted.toLowerCase();
    case 'StringLike':
    case 'ArnLike':
      return like(wanted, value);
    case 'IpAddress':
      return isInRange(value, wanted);
  }
  const isDate = operator.startsWith('Date');
  const a = isDate ? Date.parse(value) : Number(value);
  const b = isDate ? Date.parse(wanted) : Number(wanted);
  if (operator.endsWith('LessThan')) return a < b;
  if (operator.endsWith('LessThanEquals')) return a <= b;
  if (operator.endsWith('GreaterThan')) return a > b;
  if (operator.endsWith('GreaterThanEquals')) return a >= b;
  return a === b;
}

function isInRange(address: string, range: string): boolean {
  const [base, bits] = range.split('/');
  const family = isIP(base ?? '');
  if (family === 0 || isIP(address) !== family) return false;
  const type = family === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  try {
    list.addSubnet(base!, Number(bits ?? (family === 4 ? 32 : 128)), type);
  } catch {
    return false;
  }
  return list.check(address, type);
}

/** True if it lets everybody in without a condition that narrows who that is. */
export function isPublic({ statements }: Policy): boolean {
  return statements.some(
    ({ effect, principals, notPrincipals, conditions }) =>
      effect === 'Allow' &&
      (principals.includes('*') || notPrincipals) &&
      !conditions.some(({ key }) =>
        ['aws:sourceip', 'aws:userid', 'aws:username', 'aws:sourcevpc', 'aws:principalarn', 'aws:sourcearn'].includes(
          key,
        ),
      ),
  );
}
