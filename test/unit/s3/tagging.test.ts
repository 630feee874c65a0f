import t from 'tap';
import {
  BUCKET_TAGS_MAX,
  OBJECT_TAGS_MAX,
  parseTagHeader,
  readTagging,
  type Tag,
  writeTagging,
} from '../../../src/s3/tagging.js';
import { expectCode, xml } from './expect-code.js';

const documentOf = (tags: readonly Tag[]) => xml(`<Tagging>${writeTagging(tags)}</Tagging>`);
const many = (count: number) => Array.from({ length: count }, (_, i): Tag => [String(i).padStart(2, '0'), String(i)]);

t.test('documents', async (t) => {
  const tags: Tag[] = [
    ['Key+1 ä/@', 'a & <b>'.replace(/[&<>]/g, '-')],
    ['empty', ''],
  ];
  t.same(readTagging(documentOf(tags), OBJECT_TAGS_MAX), tags);
  t.same(readTagging(documentOf(many(10)), OBJECT_TAGS_MAX), many(10));
  t.same(readTagging(documentOf(many(50)), BUCKET_TAGS_MAX), many(50));
  t.same(readTagging(documentOf([...many(3)].reverse()), OBJECT_TAGS_MAX), many(3), 'in the order of their keys');
  for (const text of [
    '<Tagging/>',
    '<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>',
    '<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key><Value/></Tag></TagSet></Tagging>',
    '<Tagging><TagSet><Other/></TagSet></Tagging>',
    '<TagSet/>',
  ])
    expectCode(t, 'MalformedXML', () => readTagging(xml(text), OBJECT_TAGS_MAX), text);
});

t.test('limits', async (t) => {
  t.same(readTagging(documentOf([['k'.repeat(128), 'v'.repeat(256)]]), 10).length, 1);
  const refused: Tag[][] = [
    many(11),
    [['k'.repeat(129), '']],
    [['k', 'v'.repeat(257)]],
    [['', 'v']],
    [['aws:x', 'v']],
    [['a*', 'v']],
    [['a', 'v\u0007'.replace('\u0007', '%')]],
    [
      ['a', '1'],
      ['a', '2'],
    ],
  ];
  for (const tags of refused) expectCode(t, 'InvalidTag', () => readTagging(documentOf(tags), OBJECT_TAGS_MAX));
});

t.test('header', async (t) => {
  t.same(parseTagHeader('foo=bar&bar'), [
    ['bar', ''],
    ['foo', 'bar'],
  ]);
  t.same(parseTagHeader('a%20b=c+d%C3%A4&&'), [['a b', 'c dä']]);
  t.same(parseTagHeader('a=b=c'), [['a', 'b=c']]);
  t.same(parseTagHeader(''), []);
  expectCode(t, 'InvalidArgument', () => parseTagHeader('a=%zz'));
  expectCode(t, 'InvalidArgument', () => parseTagHeader('a=%ff'));
  expectCode(t, 'InvalidTag', () => parseTagHeader('a=1&a=2'));
  expectCode(t, 'InvalidTag', () => parseTagHeader('=1'));
});
