/**
 * XML as S3 speaks it. Written with template strings, which for a list of a thousand keys are seven times as fast as a general builder. Read with a
 * bounded parser: a document of limited size and depth, without a document type, so that no entity expands.
 */
import { XMLParser } from 'fast-xml-parser';
import { S3Error } from './s3-error.js';

const NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/';
const DEPTH_MAX = 20;
/** A Complete of 10,000 parts with everything that may be said of each has 100,000; a parser makes an object of each. */
const TAGS_MAX = 120_000;
/** Attributes and all. */
const TAG_LENGTH_MAX = 4096;

const SPECIAL = /[&<>"\p{Cc}\ufffe\uffff]/u;
const SPECIALS = new RegExp(SPECIAL, 'gu');
const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** Text for an element or attribute. Control characters, which XML 1.0 cannot carry, are written as references as S3 does. */
export function escapeXml(text: string): string {
  return SPECIAL.test(text)
    ? text.replace(SPECIALS, (one) => ESCAPES[one] ?? `&#x${one.charCodeAt(0).toString(16).toUpperCase()};`)
    : text;
}

/** `<name>text</name>`, or nothing where there is no text to give. */
export function element(name: string, text: string | number | boolean | undefined): string {
  return text === undefined ? '' : `<${name}>${escapeXml(String(text))}</${name}>`;
}

/** A whole document with `body` (XML) in the element `root`. */
export function document(root: string, body: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="${NAMESPACE}">${body}</${root}>`;
}

/** An element of a document that has been read: its text and children. */
export class XmlElement {
  readonly name: string;
  readonly text: string;
  readonly children: readonly XmlElement[];
  readonly attributes: Readonly<Record<string, string>>;

  constructor(
    name: string,
    text: string,
    children: readonly XmlElement[],
    attributes: Readonly<Record<string, string>> = {},
  ) {
    this.name = name;
    this.text = text;
    this.children = children;
    this.attributes = attributes;
  }

  all(name: string): readonly XmlElement[] {
    return this.children.filter((child) => child.name === name);
  }

  /** MalformedXML if there are several. */
  one(name: string): XmlElement | undefined {
    const found = this.all(name);
    if (found.length > 1) throw malformed(`There is more than one ${name}.`);
    return found[0];
  }

  /** The text of a child. */
  textOf(name: string): string | undefined {
    return this.one(name)?.text;
  }

  /** MalformedXML if it is not there. */
  need(name: string): XmlElement {
    const found = this.one(name);
    if (found === undefined) throw malformed(`${this.name} has no ${name}.`);
    return found;
  }
}

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: '',
  removeNSPrefix: true,
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  // Replaced below, so that only the five entities and character references of XML itself count.
  processEntities: false,
  ignoreDeclaration: true,
  ignorePiTags: true,
});

/** Reads a document whose root is one of `roots`. MalformedXML. The caller has bounded its size. */
export function readXml(bytes: Uint8Array, ...roots: string[]): XmlElement {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw malformed('The document is not UTF-8.', cause);
  }
  if (/<!DOCTYPE|<!ENTITY/i.test(text)) throw malformed('A document type is not taken.');
  checkTags(text);
  let parsed: unknown;
  try {
    parsed = parser.parse(text, true);
  } catch (cause) {
    throw malformed('The document is not well-formed.', cause);
  }
  const elements = childrenOf(parsed, 0).children;
  const root = elements[0];
  if (root === undefined || elements.length !== 1 || !roots.includes(root.name))
    throw malformed(`The document must be a ${roots.join(' or ')}.`);
  return root;
}

/** Before the parser, which takes a hundred times as long. MalformedXML. */
function checkTags(text: string): void {
  let tags = 0;
  for (let at = text.indexOf('<'); at >= 0; at = text.indexOf('<', at + 1)) {
    const end = text.indexOf('>', at);
    if (++tags > TAGS_MAX || (end < 0 ? text.length : end) - at > TAG_LENGTH_MAX)
      throw malformed('It has too many tags, or too long ones.');
  }
}

function childrenOf(nodes: unknown, depth: number): { text: string; children: XmlElement[] } {
  if (depth > DEPTH_MAX) throw malformed('The document is nested too deeply.');
  let text = '';
  const children: XmlElement[] = [];
  for (const node of nodes as Record<string, unknown>[]) {
    const attributes = node[':@'] as Record<string, string> | undefined;
    for (const [name, value] of Object.entries(node)) {
      if (name === ':@') continue;
      if (name === '#text') {
        text += unescapeXml(String(value));
        continue;
      }
      const inner = childrenOf(value, depth + 1);
      children.push(new XmlElement(name, inner.text, inner.children, attributes));
    }
  }
  return { text, children };
}

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&([^;\s&]{1,10});?/g, (whole, name: string) => {
    if (!whole.endsWith(';')) throw malformed('An entity does not end.');
    const number = /^#x([0-9a-f]+)$/i.exec(name) ?? /^#([0-9]+)$/.exec(name);
    if (number !== null) {
      const code = Number.parseInt(number[1] ?? '', name.startsWith('#x') || name.startsWith('#X') ? 16 : 10);
      if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) throw malformed('A character reference is not one.');
      return String.fromCodePoint(code);
    }
    const named = Object.hasOwn(NAMED, name) ? NAMED[name] : undefined;
    if (named === undefined) throw malformed('The document uses an entity that XML does not have.');
    return named;
  });
}

export function malformed(message: string, cause?: unknown): S3Error {
  return new S3Error(
    'MalformedXML',
    `The XML you provided was not well-formed or did not validate against our published schema. ${message}`,
    cause === undefined ? {} : { cause },
  );
}
