/** What several tables of a cairn.toml have in common: kinds of values, each with what it says to whoever wrote something else. */
import { isAbsolute, relative, resolve } from 'node:path';
import { stringify } from 'smol-toml';
import * as v from 'valibot';
import { CairnError } from '../errors/cairn-error.js';

export const whole = (from: number, to: number) => {
  const allowed = `must be a whole number from ${from} to ${to}`;
  return v.pipe(v.number(allowed), v.safeInteger(allowed), v.minValue(from, allowed), v.maxValue(to, allowed));
};
export const directory = v.pipe(
  v.string('must be the path of a directory'),
  v.check((path) => path !== '' && !path.includes('\0'), 'must be the path of a directory'),
);
export const one = (...values: string[]) => `must be ${values.map((value) => `"${value}"`).join(' or ')}`;

export const filePath = v.pipe(v.string('must be the path of a file'), v.minLength(1, 'must be the path of a file'));
export const hostName = v.pipe(
  v.string('must be a host name'),
  v.regex(/^[A-Za-z0-9.-]{1,253}$/, 'must be a host name'),
);
const ADDRESS = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/;
export const address = v.pipe(
  v.string('must be host:port'),
  v.check((text) => addressOf(text) !== undefined, 'must be host:port, as "127.0.0.1:9000" or "[::1]:9000"'),
);

export function addressOf(text: string): { host: string; port: number } | undefined {
  const match = ADDRESS.exec(text);
  const port = Number(match?.[3]);
  return match === null || port > 65_535 ? undefined : { host: match[1] ?? match[2]!, port };
}

/** valibot reports an unknown key, a missing key and a wrong type of a table through one message. */
export function objectMessage(
  table: string,
): (issue: { readonly expected: string | null; readonly input: unknown }) => string {
  return (issue) => {
    if (issue.expected === 'never') return `is not a key of ${table}`;
    return issue.expected === 'Object' ? 'must be a table' : 'is missing';
  };
}

export function shortened(path: string, poolDirectory: string): string {
  const inside = relative(poolDirectory, path);
  return inside === '' || inside === '..' || inside.startsWith('../') || isAbsolute(inside) ? path : inside;
}

export function refuse(message: string): CairnError {
  return new CairnError('CONFIG', message);
}

/** One line of a table. */
export function line(key: string, value: string | number | boolean | readonly string[]): string {
  return stringify({ [key]: value }).trimEnd();
}

/** As `line`; none for what is not set. */
export function given(key: string, value: string | number | undefined): string[] {
  return value === undefined ? [] : [line(key, value)];
}

export function addressLine({ host, port }: { readonly host: string; readonly port: number }): string {
  return line('address', `${host.includes(':') ? `[${host}]` : host}:${port}`);
}

/** PEM files; absolute. */
export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
}

/** Of the table with this name. CONFIG if it has only one of the two. */
export function tlsOf(
  table: string,
  { certificate, key }: { readonly certificate?: string | undefined; readonly key?: string | undefined },
  poolDirectory: string,
): TlsFiles | undefined {
  if ((certificate === undefined) !== (key === undefined))
    throw refuse(`${table}.certificate and ${table}.key must both be given, or neither`);
  if (certificate === undefined || key === undefined) return undefined;
  return { certificate: resolve(poolDirectory, certificate), key: resolve(poolDirectory, key) };
}

export function tlsLines(tls: TlsFiles | undefined, poolDirectory: string): string[] {
  if (tls === undefined) return [];
  return [
    line('certificate', shortened(tls.certificate, poolDirectory)),
    line('key', shortened(tls.key, poolDirectory)),
  ];
}
