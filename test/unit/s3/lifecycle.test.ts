import t from 'tap';
import { type LifecycleRule, readLifecycle, writeLifecycle } from '../../../src/s3/lifecycle-configuration.js';
import { expirationHeader, type KeyVersion, LifecycleCalendar } from '../../../src/s3/lifecycle-due.js';
import { expectCode, xml } from './expect-code.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.parse('2026-11-01T10:00:00Z');

let ids = 0;
const read = (...rules: string[]): LifecycleRule[] =>
  readLifecycle(xml(`<LifecycleConfiguration>${rules.join('')}</LifecycleConfiguration>`), () => `made-${++ids}`);
const rule = (body: string, filter = '<Prefix></Prefix>', status = 'Enabled') =>
  `<Rule><ID>r${++ids}</ID><Filter>${filter}</Filter><Status>${status}</Status>${body}</Rule>`;
const expire = (days: number) => `<Expiration><Days>${days}</Days></Expiration>`;
const noncurrent = (days: number, kept?: number) =>
  `<NoncurrentVersionExpiration><NoncurrentDays>${days}</NoncurrentDays>${kept === undefined ? '' : `<NewerNoncurrentVersions>${kept}</NewerNoncurrentVersions>`}</NoncurrentVersionExpiration>`;
const MARKERS = '<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>';
const abort = (days: number) =>
  `<AbortIncompleteMultipartUpload><DaysAfterInitiation>${days}</DaysAfterInitiation></AbortIncompleteMultipartUpload>`;

const version = (versionId: string, modifiedMs: number, more: Partial<KeyVersion> = {}): KeyVersion => ({
  versionId,
  isMarker: false,
  modifiedMs,
  sizeBytes: 1000,
  tags: [],
  ...more,
});

t.test('what is written is read back', async (t) => {
  const rules = read(
    '<Rule><ID>old</ID><Prefix>test1/</Prefix><Status>Enabled</Status><Expiration><Days>31</Days></Expiration></Rule>',
    rule('<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration>', '<Tag><Key>a</Key><Value>b</Value></Tag>'),
    rule(noncurrent(3, 5) + MARKERS, '<Prefix>x</Prefix>', 'Disabled'),
    rule(
      expire(1),
      '<And><Prefix>p</Prefix><Tag><Key>a</Key><Value>b</Value></Tag><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And>',
    ),
    rule(abort(7), ''),
  );
  t.same(read(writeLifecycle(rules)), rules);
  t.match(writeLifecycle(rules), /<ID>old<\/ID><Prefix>test1\/<\/Prefix>/, 'a rule of the old form is answered so');
  const [unnamed] = read(
    '<Rule><Prefix>a</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>',
  );
  t.match(unnamed?.id, /^made-/);
});

t.test('what is refused', async (t) => {
  const cases: [string, string][] = [
    ['MalformedXML', ''],
    ['MalformedXML', rule(expire(1), '', 'enabled')],
    ['MalformedXML', rule(expire(1), '', 'invalid')],
    ['MalformedXML', '<Rule><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>'],
    ['MalformedXML', rule('<Expiration><Days>1</Days><Date>2030-01-01T00:00:00Z</Date></Expiration>')],
    ['MalformedXML', rule('<Expiration/>')],
    ['MalformedXML', rule('<Expiration><Days>many</Days></Expiration>')],
    ['MalformedXML', rule('<Expiration><Date>tomorrow</Date></Expiration>')],
    ['MalformedXML', rule(expire(1), '<Other/>')],
    ['MalformedXML', rule(`${expire(1)}<Other/>`)],
    ['MalformedXML', rule('<NoncurrentVersionExpiration/>')],
    ['MalformedXML', rule(expire(1), '<ObjectSizeLessThan>x</ObjectSizeLessThan>')],
    ['MalformedXML', rule(expire(1), '<Prefix>a</Prefix><And><Prefix>b</Prefix></And>')],
    ['MalformedXML', rule(expire(1)).repeat(1001)],
    ['InvalidArgument', rule(expire(0))],
    ['InvalidArgument', rule(expire(-1))],
    ['InvalidArgument', rule(noncurrent(0))],
    ['InvalidArgument', rule(noncurrent(1, 101))],
    ['InvalidArgument', rule(abort(0))],
    ['InvalidArgument', rule('<Expiration><Date>1970-08-22T19:08:21Z</Date></Expiration>')],
    ['InvalidArgument', `<Rule><ID>${'a'.repeat(256)}</ID><Prefix/><Status>Enabled</Status>${expire(1)}</Rule>`],
    ['InvalidArgument', `<Rule><ID>a</ID><Prefix/><Status>Enabled</Status>${expire(1)}</Rule>`.repeat(2)],
    [
      'InvalidArgument',
      rule(
        `${expire(1)}<Transition><Date>1970-08-22T19:08:21Z</Date><StorageClass>GLACIER</StorageClass></Transition>`,
      ),
    ],
    ['NotImplemented', rule('<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>')],
    ['InvalidRequest', rule('')],
    ['InvalidRequest', rule(abort(1), '<Tag><Key>a</Key><Value>b</Value></Tag>')],
    ['InvalidRequest', rule(MARKERS, '<Tag><Key>a</Key><Value>b</Value></Tag>')],
    [
      'InvalidRequest',
      rule(expire(1), '<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>5</ObjectSizeLessThan>'),
    ],
    ['InvalidTag', rule(expire(1), '<Tag><Key></Key><Value>b</Value></Tag>')],
  ];
  for (const [code, body] of cases) expectCode(t, code, () => read(body), `${code} ${body.slice(0, 120)}`);
});

const kinds = (calendar: LifecycleCalendar, key: string, versions: KeyVersion[], nowMs: number) =>
  calendar.dueOfKey(key, versions, nowMs).map((action) => (action.kind === 'expire' ? 'expire' : action.versionId));

t.test('a day ends at midnight', async (t) => {
  const calendar = new LifecycleCalendar(read(rule(expire(1), '<Prefix>a/</Prefix>')));
  const one = [version('null', START)];
  const end = Date.parse('2026-11-03T00:00:00Z');
  t.same(kinds(calendar, 'a/x', one, end - 1), []);
  t.same(kinds(calendar, 'a/x', one, end), ['expire']);
  t.same(kinds(calendar, 'b/x', one, end + 99 * DAY), [], 'another prefix');
  const found = calendar.expiryOf('a/x', one[0]!);
  t.equal(found?.atMs, end);
  t.match(expirationHeader(found!), /^expiry-date="Tue, 03 Nov 2026 00:00:00 GMT", rule-id="r\d+"$/);
  const midnight = Date.parse('2026-11-01T00:00:00Z');
  t.same(
    kinds(calendar, 'a/x', [version('null', midnight)], midnight + DAY),
    ['expire'],
    'exactly a day after midnight',
  );
});

t.test('dates, disabled rules, and the earliest of several', async (t) => {
  const past = '<Expiration><Date>2026-11-02T00:00:00Z</Date></Expiration>';
  const calendar = new LifecycleCalendar(
    read(rule(expire(9)), rule(past, '<Prefix>p</Prefix>'), rule(expire(1), '', 'Disabled')),
  );
  const one = [version('null', START)];
  t.same(kinds(calendar, 'p', one, START + DAY), ['expire']);
  t.same(kinds(calendar, 'q', one, START + 5 * DAY), []);
  t.same(kinds(calendar, 'q', one, START + 11 * DAY), ['expire']);
});

t.test('filters: tags and sizes', async (t) => {
  const tag = (key: string, value: string) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`;
  const both = new LifecycleCalendar(read(rule(expire(1), `<And>${tag('a', '1')}${tag('b', '2')}</And>`)));
  const late = START + 9 * DAY;
  t.same(
    kinds(
      both,
      'k',
      [
        version('null', START, {
          tags: [
            ['a', '1'],
            ['b', '2'],
            ['c', '3'],
          ],
        }),
      ],
      late,
    ),
    ['expire'],
  );
  t.same(kinds(both, 'k', [version('null', START, { tags: [['a', '1']] })], late), []);
  t.same(
    kinds(
      both,
      'k',
      [
        version('null', START, {
          tags: [
            ['a', '1'],
            ['b', '3'],
          ],
        }),
      ],
      late,
    ),
    [],
  );
  const sized = new LifecycleCalendar(read(rule(expire(1), '<ObjectSizeGreaterThan>1000</ObjectSizeGreaterThan>')));
  t.same(kinds(sized, 'k', [version('null', START)], late), [], 'not greater');
  t.same(kinds(sized, 'k', [version('null', START, { sizeBytes: 1001 })], late), ['expire']);
  const small = new LifecycleCalendar(read(rule(expire(1), '<ObjectSizeLessThan>1000</ObjectSizeLessThan>')));
  t.same(kinds(small, 'k', [version('null', START)], late), []);
  t.same(kinds(small, 'k', [version('null', START, { sizeBytes: 0 })], late), ['expire']);
});

t.test('noncurrent versions count from when they were replaced, and the newest are kept', async (t) => {
  const versions = [5, 4, 3, 2, 1, 0].map((day) => version(`v${day}`, START + day * DAY));
  const calendar = new LifecycleCalendar(read(rule(noncurrent(2))));
  // v0 was replaced on day 1, so it goes at the midnight that ends day 3.
  t.same(kinds(calendar, 'k', versions, START + 3 * DAY), []);
  t.same(kinds(calendar, 'k', versions, START + 4 * DAY), ['v0']);
  t.same(kinds(calendar, 'k', versions, START + 99 * DAY), ['v4', 'v3', 'v2', 'v1', 'v0']);
  const keeping = new LifecycleCalendar(read(rule(noncurrent(1, 3))));
  t.same(kinds(keeping, 'k', versions, START + 99 * DAY), ['v1', 'v0']);
});

t.test('delete markers with nothing behind them', async (t) => {
  const marker = version('m', START, { isMarker: true, sizeBytes: 0 });
  const cleaning = new LifecycleCalendar(read(rule(MARKERS)));
  t.same(kinds(cleaning, 'k', [marker], START), ['m']);
  t.same(
    kinds(cleaning, 'k', [marker, version('v', START - DAY)], START + 99 * DAY),
    [],
    'there is something behind it',
  );
  const aging = new LifecycleCalendar(read(rule(expire(5))));
  t.same(kinds(aging, 'k', [marker], START + 4 * DAY), []);
  t.same(kinds(aging, 'k', [marker], START + 6 * DAY), ['m']);
  t.same(kinds(aging, 'k', [marker, version('v', START - DAY)], START + 99 * DAY), [], 'a marker is not expired again');
  const sized = new LifecycleCalendar(read(rule(expire(1), '<ObjectSizeLessThan>9</ObjectSizeLessThan>')));
  t.same(kinds(sized, 'k', [marker], START + 99 * DAY), [], 'it has no size');
});

t.test('uploads, prefixes, and another length of a day', async (t) => {
  const rules = read(rule(abort(2), '<Prefix>test1/</Prefix>'), rule(abort(1), '<Prefix>test1/a</Prefix>'));
  const calendar = new LifecycleCalendar(rules, 10_000);
  t.equal(calendar.uploadEndOf('test1/b', START)?.atMs, START + 20_000);
  t.equal(calendar.uploadEndOf('test1/a', START)?.atMs, START + 10_000, 'the first');
  t.equal(calendar.uploadEndOf('test2/', START), undefined);
  t.same(calendar.prefixes, ['test1/'], 'one that begins with another is covered');
  t.same(new LifecycleCalendar([]).prefixes, []);
});
