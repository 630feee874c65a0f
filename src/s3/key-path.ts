/**
 * Where an object key lies in the tree. A key is a path below its bucket's directory, component by component, and never normalised: what no file can
 * be named (`.`, `..`, nothing, more than 255 bytes, NUL) has a reversible escape, and so has a name that looks like one.
 *
 *     .cairn-key-<hex>       the file of the component with these bytes; also of an object beside a directory of its name
 *     .cairn-dir-<hex>       the directory of the component
 *     .cairn-longkey-<hash>  as the first two, where hex would be too long: 32 hex digits of the SHA-256 of the component, which is
 *     .cairn-longdir-<hash>  in full in the attribute cairn.s3.name
 *
 * Keys and components are binary strings here (one character per byte), so comparing them compares bytes. The other way round, a file name that is
 * not UTF-8 has an S3 component that is: `.cairn-hex-<hex>`.
 */
import { createHash } from 'node:crypto';
import type { Name } from '../vfs/vfs.js';

const NAME_BYTES_MAX = 255;
export const ESCAPE = '.cairn-';
const FILE = `${ESCAPE}key-`;
const DIRECTORY = `${ESCAPE}dir-`;
const LONG_FILE = `${ESCAPE}longkey-`;
const LONG_DIRECTORY = `${ESCAPE}longdir-`;
const NOT_TEXT = `${ESCAPE}hex-`;
/** Sorts after every name that begins with ESCAPE, and before all others that follow. */
export const AFTER_ESCAPES = '.cairn.';

export interface KeyParts {
  /** Components that are directories. */
  readonly directories: readonly string[];
  /** The last component: '' for a key that ends in `/`. */
  readonly last: string;
}

export function splitKey(key: string): KeyParts {
  const directories = key.split('/');
  const last = directories.pop() ?? '';
  return { directories, last };
}

function isPlain(component: string): boolean {
  return (
    component !== '' &&
    component !== '.' &&
    component !== '..' &&
    component.length <= NAME_BYTES_MAX &&
    !component.includes('\0') &&
    !component.startsWith(ESCAPE)
  );
}

/** The name of a component's file or directory. */
export function nameOf(component: string, isDirectory: boolean): Name {
  return isPlain(component) ? component : escapedName(component, isDirectory);
}

/** The name of an object whose component is taken by a directory. */
export function escapedName(component: string, isDirectory: boolean): Name {
  const hex = Buffer.from(component, 'latin1').toString('hex');
  const short = (isDirectory ? DIRECTORY : FILE) + hex;
  if (short.length <= NAME_BYTES_MAX) return short;
  const hash = createHash('sha256').update(component, 'latin1').digest('hex').slice(0, 32);
  return (isDirectory ? LONG_DIRECTORY : LONG_FILE) + hash;
}

/** True if the component can only be told from an attribute of the inode. */
export function isLongName(name: Name): boolean {
  return name.startsWith(LONG_FILE) || name.startsWith(LONG_DIRECTORY);
}

/** The component of a name; undefined for a name that begins with ESCAPE and is none of ours. `long`: the attribute of a long one. */
export function componentOf(name: Name, isDirectory: boolean, long: string | undefined): string | undefined {
  if (!name.startsWith(ESCAPE)) return name;
  if (isLongName(name)) return long !== undefined && escapedName(long, isDirectory) === name ? long : undefined;
  const prefix = isDirectory ? DIRECTORY : FILE;
  if (!name.startsWith(prefix)) return undefined;
  const component = Buffer.from(name.slice(prefix.length), 'hex').toString('latin1');
  return escapedName(component, isDirectory) === name ? component : undefined;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are all of ASCII
const ASCII = /^[\x00-\x7f]*$/;

/** The key as text for clients: components that are not UTF-8 are escaped. */
export function keyText(key: string): string {
  if (ASCII.test(key)) return key;
  const text = utf8(key);
  if (text !== undefined) return text;
  return key
    .split('/')
    .map((component) => utf8(component) ?? NOT_TEXT + Buffer.from(component, 'latin1').toString('hex'))
    .join('/');
}

/** The key of a text as `keyText` gives it. */
export function keyOf(text: string): string {
  const key = ASCII.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1');
  if (!key.includes(NOT_TEXT)) return key;
  return key
    .split('/')
    .map((component) => {
      if (!component.startsWith(NOT_TEXT)) return component;
      const raw = Buffer.from(component.slice(NOT_TEXT.length), 'hex').toString('latin1');
      const isOurs = utf8(raw) === undefined && NOT_TEXT + Buffer.from(raw, 'latin1').toString('hex') === component;
      return isOurs ? raw : component;
    })
    .join('/');
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function utf8(binary: string): string | undefined {
  try {
    return decoder.decode(Buffer.from(binary, 'latin1'));
  } catch {
    return undefined;
  }
}
