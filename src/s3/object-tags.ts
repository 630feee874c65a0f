/** Tags of objects and buckets: read from header and XML, checked, and written. */
import { S3Error } from './s3-error.js';
import { document, element, type XmlElement } from './xml.js';

export type Tags = [name: string, value: string][];

const NAME_MAX = 128;
const VALUE_MAX = 256;

/** InvalidTag. */
function checkTags(tags: Tags, limit: number): Tags {
  if (tags.length > limit) throw new S3Error('BadRequest', `Object tags cannot be greater than ${limit}`);
  const names = new Set<string>();
  for (const [name, value] of tags) {
    if (name === '' || [...name].length > NAME_MAX)
      throw new S3Error('InvalidTag', 'The TagKey you have provided is invalid');
    if ([...value].length > VALUE_MAX) throw new S3Error('InvalidTag', 'The TagValue you have provided is invalid');
    if (names.has(name)) throw new S3Error('InvalidTag', 'Cannot provide multiple Tags with the same key');
    names.add(name);
  }
  return tags;
}

export const OBJECT_TAGS_MAX = 10;
export const BUCKET_TAGS_MAX = 50;

/** x-amz-tagging: as a query. InvalidArgument, InvalidTag. */
export function tagsFromHeader(header: string | undefined): Tags {
  if (header === undefined || header === '') return [];
  try {
    const tags = header.split('&').map((part): [string, string] => {
      const equals = part.indexOf('=');
      const decode = (text: string) => decodeURIComponent(text.replaceAll('+', ' '));
      return equals < 0 ? [decode(part), ''] : [decode(part.slice(0, equals)), decode(part.slice(equals + 1))];
    });
    return checkTags(tags, OBJECT_TAGS_MAX);
  } catch (error) {
    if (error instanceof S3Error) throw error;
    throw new S3Error(
      'InvalidArgument',
      "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
    );
  }
}

/** A Tagging document. */
export function tagsFromXml(root: XmlElement, limit: number): Tags {
  const tags = root
    .need('TagSet')
    .all('Tag')
    .map((tag): [string, string] => [tag.need('Key').text, tag.need('Value').text]);
  return checkTags(tags, limit);
}

export function tagsXml(tags: readonly (readonly [string, string])[]): string {
  return document(
    'Tagging',
    `<TagSet>${tags.map(([name, value]) => `<Tag>${element('Key', name)}${element('Value', value)}</Tag>`).join('')}</TagSet>`,
  );
}
