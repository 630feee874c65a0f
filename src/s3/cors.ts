/** Cross-origin rules of buckets: set, matched, and answered to browsers. */
import { like } from './bucket-policy.js';
import { S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';
import { document, element, malformed, type XmlElement } from './xml.js';

const METHODS = ['GET', 'PUT', 'POST', 'DELETE', 'HEAD'];
const RULES_MAX = 100;

export interface CorsRule {
  readonly id?: string;
  readonly origins: readonly string[];
  readonly methods: readonly string[];
  readonly headers: readonly string[];
  readonly exposed: readonly string[];
  readonly maxAgeSeconds?: number;
}

export function corsFromXml(root: XmlElement): CorsRule[] {
  const rules = root.all('CORSRule').map((rule): CorsRule => {
    const texts = (name: string) => rule.all(name).map(({ text }) => text.trim());
    const methods = texts('AllowedMethod');
    const origins = texts('AllowedOrigin');
    if (methods.length === 0 || origins.length === 0) throw malformed('A rule needs a method and an origin.');
    for (const method of methods)
      if (!METHODS.includes(method))
        throw new S3Error(
          'InvalidRequest',
          `Found unsupported HTTP method in CORS config. Unsupported method is ${method.slice(0, 20)}`,
        );
    for (const origin of origins)
      if (origin.split('*').length > 2)
        throw new S3Error(
          'InvalidRequest',
          `AllowedOrigin "${origin.slice(0, 100)}" can not have more than one wildcard.`,
        );
    const age = rule.textOf('MaxAgeSeconds')?.trim();
    const id = rule.textOf('ID')?.trim();
    return {
      ...(id !== undefined && { id }),
      origins,
      methods,
      headers: texts('AllowedHeader'),
      exposed: texts('ExposeHeader'),
      ...(age !== undefined && { maxAgeSeconds: Number(age) }),
    };
  });
  if (rules.length === 0 || rules.length > RULES_MAX) throw malformed(`There must be 1 to ${RULES_MAX} rules.`);
  return rules;
}

export function corsXml(rules: readonly CorsRule[]): string {
  const all = (name: string, values: readonly string[]) => values.map((value) => element(name, value)).join('');
  return document(
    'CORSConfiguration',
    rules
      .map(
        ({ id, origins, methods, headers, exposed, maxAgeSeconds }) =>
          `<CORSRule>${element('ID', id)}${all('AllowedMethod', methods)}${all('AllowedOrigin', origins)}${all('AllowedHeader', headers)}${all('ExposeHeader', exposed)}${element('MaxAgeSeconds', maxAgeSeconds)}</CORSRule>`,
      )
      .join(''),
  );
}

/** Headers for the browser of a request from another origin; undefined if no rule allows it. */
export function corsHeaders(rules: readonly CorsRule[], request: S3Request): Record<string, string> | undefined {
  const origin = request.header('origin');
  if (origin === undefined) return undefined;
  const isPreflight = request.method === 'OPTIONS';
  const method = isPreflight ? request.header('access-control-request-method') : request.method;
  const asked = (isPreflight ? (request.header('access-control-request-headers') ?? '') : '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
  const rule = rules.find(
    ({ origins, methods, headers }) =>
      method !== undefined &&
      methods.includes(method) &&
      origins.some((allowed) => like(allowed, origin)) &&
      asked.every((name) => headers.some((allowed) => like(allowed.toLowerCase(), name))),
  );
  if (rule === undefined) return undefined;
  const isAny = rule.origins.includes('*');
  return {
    'access-control-allow-origin': isAny ? '*' : origin,
    'access-control-allow-methods': isPreflight ? rule.methods.join(', ') : method!,
    ...(isAny ? {} : { 'access-control-allow-credentials': 'true' }),
    ...(asked.length > 0 && { 'access-control-allow-headers': asked.join(', ') }),
    ...(rule.exposed.length > 0 && { 'access-control-expose-headers': rule.exposed.join(', ') }),
    ...(isPreflight && rule.maxAgeSeconds !== undefined && { 'access-control-max-age': String(rule.maxAgeSeconds) }),
    vary: 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method',
  };
}
