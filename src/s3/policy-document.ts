/**
 * A bucket's policy as it is set: JSON statements of who may do what, read into plain data. Nothing of a document is ignored: what cannot be evaluated
 * is refused, since a Deny that is never found to apply denies nothing.
 */
import { isActionPattern } from './policy-actions.js';
import { type Condition, isConditionKey, isConditionValue, parseOperator } from './policy-conditions.js';
import { S3Error } from './s3-error.js';
import { matchesWildcard } from './wildcard.js';

const POLICY_BYTES_MAX = 20 * 1024;
export const RESOURCE_ARN = 'arn:aws:s3:::';

interface PolicyList {
  /** All but these. */
  readonly isNegated: boolean;
  readonly patterns: readonly string[];
}

export interface PolicyStatement {
  readonly isDeny: boolean;
  readonly principals: PolicyList;
  readonly actions: PolicyList;
  readonly resources: PolicyList;
  readonly conditions: readonly Condition[];
}

export interface PolicyDocument {
  readonly statements: readonly PolicyStatement[];
  /** Texts may have variables such as `${aws:username}`. */
  readonly hasVariables: boolean;
}

/** Reads the policy of a bucket; undefined: of whichever. MalformedPolicy. */
export function readPolicy(bytes: Uint8Array, bucket: string | undefined): PolicyDocument {
  if (bytes.length > POLICY_BYTES_MAX) throw malformed('Policy exceeds the maximum allowed document size.');
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes), noProto);
  } catch (cause) {
    throw malformed("Policies must be valid JSON and the first byte must be '{'", cause);
  }
  const document = objectOf(json, "Policies must be valid JSON and the first byte must be '{'");
  onlyFields(document, ['Version', 'Id', 'Statement']);
  const version = document['Version'] ?? '2008-10-17';
  if (version !== '2012-10-17' && version !== '2008-10-17')
    throw malformed('The policy must contain a valid version string');
  if (document['Id'] !== undefined && typeof document['Id'] !== 'string') throw malformed('Invalid policy syntax.');
  const given = document['Statement'];
  if (given === undefined) throw malformed('Missing required field Statement');
  const list = Array.isArray(given) ? given : [given];
  if (list.length === 0) throw malformed('Could not parse the policy: Statement is empty!');
  return {
    statements: list.map((statement) => readStatement(objectOf(statement, 'Invalid policy syntax.'), bucket)),
    hasVariables: version === '2012-10-17',
  };
}

/** A name that would set an object's prototype is no field of a policy. */
function noProto(this: unknown, key: string, value: unknown): unknown {
  if (key === '__proto__') throw new SyntaxError('not a field of a policy');
  return value;
}

function readStatement(statement: Record<string, unknown>, bucket: string | undefined): PolicyStatement {
  onlyFields(statement, [
    'Sid',
    'Effect',
    'Principal',
    'NotPrincipal',
    'Action',
    'NotAction',
    'Resource',
    'NotResource',
    'Condition',
  ]);
  const sid = statement['Sid'];
  if (sid !== undefined && typeof sid !== 'string') throw malformed('Invalid policy syntax.');
  const effect = statement['Effect'];
  if (effect === undefined) throw malformed('Missing required field Effect');
  if (effect !== 'Allow' && effect !== 'Deny') throw malformed(`Invalid effect: ${String(effect).slice(0, 100)}`);
  const isDeny = effect === 'Deny';
  if (!isDeny && statement['NotPrincipal'] !== undefined) throw malformed('Allow with NotPrincipal is not allowed.');
  const actions = either(statement, 'Action', textsOf);
  for (const action of actions.patterns) if (!isActionPattern(action)) throw malformed('Policy has invalid action');
  const resources = either(statement, 'Resource', textsOf);
  for (const resource of resources.patterns) checkResource(resource, bucket);
  return {
    isDeny,
    principals: either(statement, 'Principal', readPrincipals),
    actions,
    resources,
    conditions: readConditions(statement['Condition']),
  };
}

/** The field of this name or that with Not in front. */
function either(
  statement: Record<string, unknown>,
  name: string,
  read: (value: unknown, name: string) => string[],
): PolicyList {
  const own = statement[name];
  const not = statement[`Not${name}`];
  if ((own === undefined) === (not === undefined))
    throw malformed(own === undefined ? `Missing required field ${name}` : 'Invalid policy syntax.');
  const patterns = read(own ?? not, name);
  if (patterns.length === 0) throw malformed(`Missing required field ${name} cannot be empty!`);
  return { isNegated: own === undefined, patterns };
}

function readPrincipals(value: unknown): string[] {
  if (value === '*') return ['*'];
  const kinds = objectOf(value, 'Invalid principal in policy');
  return Object.entries(kinds).flatMap(([kind, names]) => {
    if (!['AWS', 'CanonicalUser', 'Service', 'Federated'].includes(kind))
      throw malformed('Invalid principal in policy');
    const texts = textsOf(names, 'Principal');
    if (texts.some((text) => text === '' || text.length > 2048)) throw malformed('Invalid principal in policy');
    if (kind === 'AWS') {
      for (const text of texts) if (text !== '*' && /[*?]/.test(text)) throw malformed('Invalid principal in policy');
      return texts;
    }
    // Only AWS has an everybody; services and identity providers do not sign requests to this server.
    return kind === 'CanonicalUser' ? texts.filter((text) => text !== '*') : texts.map((text) => `${kind}:${text}`);
  });
}

function checkResource(resource: string, bucket: string | undefined): void {
  if (!resource.startsWith(RESOURCE_ARN)) {
    if (resource === '*') return;
    throw malformed('Policy has invalid resource');
  }
  if (bucket === undefined) return;
  const path = resource.slice(RESOURCE_ARN.length);
  const slash = path.indexOf('/');
  const name = slash < 0 ? path : path.slice(0, slash);
  // `bucket*` stands for the bucket and its keys; so the bucket's name, or its name and a slash, must be a beginning of what it matches.
  if (!matchesWildcard(name, bucket, true) && !matchesWildcard(name, `${bucket}/`, true))
    throw malformed('Policy has invalid resource');
}

function readConditions(value: unknown): Condition[] {
  if (value === undefined) return [];
  return Object.entries(objectOf(value, 'Invalid policy syntax.')).flatMap(([text, keys]) => {
    const operator = parseOperator(text);
    if (operator === undefined) throw malformed(`Invalid Condition type : ${text.slice(0, 100)}`);
    return Object.entries(objectOf(keys, 'Invalid policy syntax.')).map(([key, given]): Condition => {
      if (!isConditionKey(key)) throw malformed(`Policy has an invalid condition key - ${key.slice(0, 100)}`);
      const list = Array.isArray(given) ? given : [given];
      const values = list.map((one: unknown) => {
        if (typeof one !== 'string' && typeof one !== 'number' && typeof one !== 'boolean')
          throw malformed('Invalid policy syntax.');
        return String(one);
      });
      if (values.length === 0 || !values.every((one) => isConditionValue(operator.operator, one)))
        throw malformed(`Invalid value for the condition ${text}: ${key.slice(0, 100)}`);
      return { ...operator, key: key.toLowerCase(), values };
    });
  });
}

function textsOf(value: unknown, name: string): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.map((text) => {
    if (typeof text !== 'string' || text === '') throw malformed(`Missing required field ${name} cannot be empty!`);
    return text;
  });
}

function objectOf(value: unknown, otherwise: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(otherwise);
  return value as Record<string, unknown>;
}

function onlyFields(object: Record<string, unknown>, names: readonly string[]): void {
  for (const name of Object.keys(object))
    if (!names.includes(name)) throw malformed(`Unknown field ${name.slice(0, 100)}`);
}

function malformed(message: string, cause?: unknown): S3Error {
  return new S3Error('MalformedPolicy', message, cause === undefined ? {} : { cause });
}
