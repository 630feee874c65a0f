/** What several tables of a cairn.toml have in common: kinds of values, each with what it says to whoever wrote something else. */
import { isAbsolute, relative } from 'node:path';
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
