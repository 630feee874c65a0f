/** Tags of objects and buckets: the document, the header x-amz-tagging, and their limits. Always in the order of their keys. */
import { S3Error } from './s3-error.js';
import { element, malformed, readXml, type XmlElement } from './xml.js';

export type Tag = [key: string, value: string];

export const OBJECT_TAGS_MAX = 10;
export const BUCKET_TAGS_MAX = 50;
const KEY_MAX = 128;
const VALUE_MAX = 256;
const TEXT = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

/** Reads a Tagging document. MalformedXML, InvalidTag. */
export function readTagging(bytes: Uint8Array, countMax: number): Tag[] {
  return checkedTags(readTagSet(readXml(bytes, 'Tagging').need('TagSet')), countMax);
}

/** The Tag elements of a parent, unchecked. MalformedXML. */
function readTagSet(parent: XmlElement): Tag[] {
  for (const { name } of parent.children) if (name !== 'Tag') throw malformed(`${parent.name} cannot have ${name}.`);
  return parent.children.map(readTag);
}

/** MalformedXML. */
export function readTag(tag: XmlElement): Tag {
  return [tag.need('Key').text, tag.need('Value').text];
}

/** The header x-amz-tagging: `key=value&key`, both parts percent-encoded. InvalidArgument, InvalidTag. */
export function parseTagHeader(text: string | undefined): Tag[] {
  const tags = (text ?? '')
    .split('&')
    .filter((part) => part !== '')
    .map((part): Tag => {
      const equals = part.indexOf('=');
      return equals < 0 ? [decoded(part), ''] : [decoded(part.slice(0, equals)), decoded(part.slice(equals + 1))];
    });
  return checkedTags(tags, OBJECT_TAGS_MAX);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch (cause) {
    throw new S3Error(
      'InvalidArgument',
      "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
      { fields: { ArgumentName: 'x-amz-tagging' }, cause },
    );
  }
}

export function writeTagging(tags: readonly Tag[]): string {
  return `<TagSet>${tags.map(writeTag).join('')}</TagSet>`;
}

export function writeTag([key, value]: Tag): string {
  return `<Tag>${element('Key', key)}${element('Value', value)}</Tag>`;
}

/** InvalidTag: too many, too long, with other characters, the same key twice, or a key that is the system's. */
export function checkedTags(tags: readonly Tag[], countMax: number): Tag[] {
  if (tags.length > countMax) throw new S3Error('InvalidTag', `There can be no more than ${countMax} tags.`);
  const keys = new Set<string>();
  for (const [key, value] of tags) {
    if (key.length === 0 || key.length > KEY_MAX || !TEXT.test(key))
      throw invalidTag('The TagKey you have provided is invalid', 'TagKey', key);
    if (value.length > VALUE_MAX || !TEXT.test(value))
      throw invalidTag('The TagValue you have provided is invalid', 'TagValue', value);
    if (/^aws:/i.test(key)) throw invalidTag('System tags cannot be added/updated by requester', 'TagKey', key);
    if (keys.has(key)) throw invalidTag('Cannot provide multiple Tags with the same key', 'TagKey', key);
    keys.add(key);
  }
  return [...tags].sort(([a], [b]) => (a < b ? -1 : 1));
}

function invalidTag(message: string, field: string, text: string): S3Error {
  return new S3Error('InvalidTag', message, { fields: { [field]: text.slice(0, KEY_MAX) } });
}
