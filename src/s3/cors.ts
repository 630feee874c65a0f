/**
 * CORS: a bucket's rules for scripts of other origins, which rule a request falls under, and the headers that tell the browser. Nothing here gives access:
 * a request that a rule allows still needs its permission.
 */
import { S3Error } from './s3-error.js';
import { matchesWildcard } from './wildcard.js';
import { element, malformed, readXml, type XmlElement } from './xml.js';

const RULES_MAX = 100;
const METHODS: readonly string[] = ['GET', 'PUT', 'POST', 'DELETE', 'HEAD'];

export interface CorsRule {
  readonly id: string | undefined;
  readonly origins: readonly string[];
  readonly methods: readonly string[];
  readonly allowedHeaders: readonly string[];
  readonly exposedHeaders: readonly string[];
  readonly maxAgeSeconds: number | undefined;
}

/** Reads a CORSConfiguration. MalformedXML, InvalidRequest. */
export function readCors(bytes: Uint8Array): CorsRule[] {
  const root = readXml(bytes, 'CORSConfiguration');
  for (const { name } of root.children)
    if (name !== 'CORSRule') throw malformed(`CORSConfiguration cannot have ${name}.`);
  if (root.children.length === 0 || root.children.length > RULES_MAX)
    throw malformed(`There must be 1 to ${RULES_MAX} rules.`);
  return root.children.map(readRule);
}

function readRule(rule: XmlElement): CorsRule {
  const texts = (name: string) => rule.all(name).map(({ text }) => text);
  const id = rule.textOf('ID');
  if (id !== undefined && id.length > 255) throw malformed('An ID has more than 255 characters.');
  const origins = texts('AllowedOrigin');
  const methods = texts('AllowedMethod');
  if (origins.length === 0 || methods.length === 0)
    throw malformed('A rule needs an AllowedOrigin and an AllowedMethod.');
  for (const method of methods)
    if (!METHODS.includes(method))
      throw refused(`Found unsupported HTTP method in CORS config. Unsupported method is ${method.slice(0, 100)}`);
  const allowedHeaders = texts('AllowedHeader');
  for (const origin of origins) checkWildcards('AllowedOrigin', origin, 1);
  for (const header of allowedHeaders) checkWildcards('AllowedHeader', header, 1);
  const exposedHeaders = texts('ExposeHeader');
  for (const header of exposedHeaders) {
    checkWildcards('ExposeHeader', header, 0);
    if (!/^[!#$%&'*+.^_`|~0-9a-zA-Z-]+$/.test(header))
      throw refused(`ExposeHeader "${header.slice(0, 100)}" is not a header.`);
  }
  const age = rule.textOf('MaxAgeSeconds');
  if (age !== undefined && !/^\d{1,9}$/.test(age)) throw malformed('MaxAgeSeconds must be a number of seconds.');
  return {
    id,
    origins,
    methods,
    allowedHeaders,
    exposedHeaders,
    maxAgeSeconds: age === undefined ? undefined : Number(age),
  };
}

function checkWildcards(name: string, text: string, most: number): void {
  if (text.split('*').length - 1 > most)
    throw refused(`${name} "${text.slice(0, 100)}" can not have ${most === 0 ? 'any' : 'more than one'} wildcard.`);
}

export function writeCors(rules: readonly CorsRule[]): string {
  const many = (name: string, texts: readonly string[]) => texts.map((text) => element(name, text)).join('');
  return rules
    .map(
      (rule) =>
        `<CORSRule>${element('ID', rule.id)}${many('AllowedOrigin', rule.origins)}${many('AllowedMethod', rule.methods)}${many('AllowedHeader', rule.allowedHeaders)}${many('ExposeHeader', rule.exposedHeaders)}${element('MaxAgeSeconds', rule.maxAgeSeconds)}</CORSRule>`,
    )
    .join('');
}

/** What a browser says of a request, from its headers. */
export interface CorsRequest {
  readonly origin: string | undefined;
  /** Access-Control-Request-Method; in a real request without it the request's own method. */
  readonly method: string | undefined;
  /** Access-Control-Request-Headers. */
  readonly headers: string | undefined;
}

/** Headers for the answer to a real request, which is answered in any case. Empty if no rule is for it. */
export function corsHeaders(rules: readonly CorsRule[], request: CorsRequest): Record<string, string> {
  if (request.origin === undefined || request.method === undefined) return {};
  const found = ruleFor(rules, request.origin, request.method, []);
  return found === undefined ? {} : headersFor(found.rule, found.isAny, request.origin, []);
}

/** Headers for the answer to OPTIONS. BadRequest if it does not say what for, AccessForbidden if no rule is for it. `rules`: undefined without a configuration. */
export function preflight(rules: readonly CorsRule[] | undefined, request: CorsRequest): Record<string, string> {
  const { origin, method } = request;
  if (origin === undefined || origin === '')
    throw new S3Error('BadRequest', 'Insufficient information. Origin request header needed.');
  if (method === undefined || !METHODS.includes(method))
    throw new S3Error('BadRequest', `Invalid Access-Control-Request-Method: ${(method ?? 'null').slice(0, 100)}`);
  if (rules === undefined) throw new S3Error('AccessForbidden', 'CORSResponse: CORS is not enabled for this bucket.');
  const wanted = (request.headers ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
  const found = ruleFor(rules, origin, method, wanted);
  if (found === undefined)
    throw new S3Error(
      'AccessForbidden',
      "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
    );
  return headersFor(found.rule, found.isAny, origin, wanted);
}

/** The first rule for it. `isAny`: its origin is everybody. */
function ruleFor(rules: readonly CorsRule[], origin: string, method: string, headers: readonly string[]) {
  for (const rule of rules) {
    const pattern = rule.origins.find((one) => matchesWildcard(one, origin, false));
    if (pattern === undefined || !rule.methods.includes(method)) continue;
    const isAllowed = (header: string) =>
      rule.allowedHeaders.some((one) => matchesWildcard(one.toLowerCase(), header, false));
    if (headers.every(isAllowed)) return { rule, isAny: pattern === '*' };
  }
  return undefined;
}

function headersFor(
  { methods, exposedHeaders, maxAgeSeconds }: CorsRule,
  isAny: boolean,
  origin: string,
  wanted: readonly string[],
): Record<string, string> {
  return {
    'access-control-allow-origin': isAny ? '*' : origin,
    'access-control-allow-methods': methods.join(', '),
    ...(isAny ? {} : { 'access-control-allow-credentials': 'true' }),
    ...(wanted.length === 0 ? {} : { 'access-control-allow-headers': wanted.join(', ') }),
    ...(exposedHeaders.length === 0 ? {} : { 'access-control-expose-headers': exposedHeaders.join(', ') }),
    ...(maxAgeSeconds === undefined ? {} : { 'access-control-max-age': String(maxAgeSeconds) }),
    vary: 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method',
  };
}

function refused(message: string): S3Error {
  return new S3Error('InvalidRequest', message);
}
