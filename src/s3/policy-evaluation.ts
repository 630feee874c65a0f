/**
 * What a bucket's policy says of a request, deny-first: one Deny that applies settles it, else one Allow; a policy that says nothing leaves the question
 * to owner and access control list.
 *
 * Principals are `*`, a user's canonical id, `arn:aws:iam:::user/NAME` (or the user's id for NAME), and `arn:aws:iam::ID:root`. Others are kept,
 * and are nobody here.
 */
import { matchesAction } from './policy-actions.js';
import { type Condition, type ConditionValues, holds } from './policy-conditions.js';
import { type PolicyDocument, type PolicyStatement, RESOURCE_ARN } from './policy-document.js';
import { literal, matchesWildcard, NO_TEXT } from './wildcard.js';

export interface PolicyRequest {
  /** Undefined: anonymous. */
  readonly user: { readonly id: string; readonly name: string } | undefined;
  /** `s3:GetObject` */
  readonly action: string;
  /** `bucket` or `bucket/key`, as text. */
  readonly resource: string;
  readonly values: ConditionValues;
}

/** Undefined: the policy says nothing of it. */
export function evaluatePolicy(
  { statements, hasVariables }: PolicyDocument,
  request: PolicyRequest,
): 'allow' | 'deny' | undefined {
  let isAllowed = false;
  for (const statement of statements) {
    if (isAllowed && !statement.isDeny) continue;
    if (!applies(statement, request, hasVariables)) continue;
    if (statement.isDeny) return 'deny';
    isAllowed = true;
  }
  return isAllowed ? 'allow' : undefined;
}

/** True if a statement allows something to everybody, without a condition that says from where or by whom. */
export function isPublicPolicy({ statements }: PolicyDocument): boolean {
  return statements.some(
    ({ isDeny, principals, conditions }) =>
      !isDeny && (principals.isNegated || principals.patterns.includes('*')) && !conditions.some(narrows),
  );
}

function applies(statement: PolicyStatement, request: PolicyRequest, hasVariables: boolean): boolean {
  const { principals, actions, resources, conditions } = statement;
  const { user, action, resource, values } = request;
  const expand = (text: string) => (hasVariables ? expandVariables(text, values) : text);
  const arn = literal(RESOURCE_ARN + resource);
  return (
    principals.patterns.some((pattern) => isPrincipal(pattern, user)) !== principals.isNegated &&
    actions.patterns.some((pattern) => matchesAction(pattern, action)) !== actions.isNegated &&
    resources.patterns.some((pattern) => matchesWildcard(expand(pattern), arn, true)) !== resources.isNegated &&
    conditions.every((condition) => holds(condition, values, expand))
  );
}

function isPrincipal(pattern: string, user: PolicyRequest['user']): boolean {
  if (pattern === '*') return true;
  if (user === undefined) return false;
  if (pattern === user.id) return true;
  const match = /^arn:aws:iam::([^:]*):(root|user\/(.+))$/.exec(pattern);
  if (match === null) return false;
  const [, account, kind, name] = match;
  if (kind === 'root') return account === user.id;
  return (account === '' || account === user.id) && (name === user.id || name === user.name);
}

/** What a variable stands for is never a pattern. */
function expandVariables(text: string, values: ConditionValues): string {
  return text.replace(/\$\{([^}]{1,200})\}/g, (_whole, name: string) => {
    if (name === '*' || name === '?' || name === '$') return literal(name);
    const [value] = values(name.toLowerCase()) ?? [];
    return value === undefined ? NO_TEXT : literal(value);
  });
}

const NARROWING: ReadonlySet<string> = new Set([
  'aws:sourceip',
  'aws:principalarn',
  'aws:userid',
  'aws:username',
  'aws:principaltype',
]);

function narrows({ operator, ifExists, key, values }: Condition): boolean {
  if (ifExists || !NARROWING.has(key)) return false;
  if (operator === 'IpAddress') return !values.some((value) => /\/0$/.test(value));
  return (
    /^(String|Arn)(Equals|Like|EqualsIgnoreCase)$/.test(operator) && !values.some((value) => /[*?]|\$\{/.test(value))
  );
}
