import t from 'tap';
import {
  checkRemoval,
  checkRetentionChange,
  lockFromHeaders,
  lockHeaders,
  readLegalHold,
  readLockConfiguration,
  readRetention,
  retentionFrom,
  writeLegalHold,
  writeLockConfiguration,
  writeRetention,
} from '../../../src/s3/lock-documents.js';
import { expectCode, xml } from './expect-code.js';

const NOW = Date.parse('2026-11-28T12:00:00Z');
const configuration = (retention: string, enabled = 'Enabled') =>
  xml(
    `<ObjectLockConfiguration><ObjectLockEnabled>${enabled}</ObjectLockEnabled><Rule><DefaultRetention>${retention}</DefaultRetention></Rule></ObjectLockConfiguration>`,
  );

t.test('configuration', async (t) => {
  const rule = readLockConfiguration(configuration('<Mode>GOVERNANCE</Mode><Days>1</Days>'));
  t.same(rule, { mode: 'GOVERNANCE', unit: 'Days', count: 1 });
  const bare = '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>';
  t.equal(readLockConfiguration(xml(bare)), undefined);
  for (const one of [rule, undefined])
    t.same(
      readLockConfiguration(xml(`<ObjectLockConfiguration>${writeLockConfiguration(one)}</ObjectLockConfiguration>`)),
      one,
    );
  t.same(retentionFrom(rule!, NOW), { mode: 'GOVERNANCE', until: '2026-11-29T12:00:00.000Z' });
  t.same(retentionFrom({ mode: 'COMPLIANCE', unit: 'Years', count: 2 }, NOW).until, '2028-11-28T12:00:00.000Z');
  for (const bad of [
    '<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>',
    '<Mode>GOVERNANCE</Mode>',
    '<Mode>governance</Mode><Days>1</Days>',
    '<Mode>abc</Mode><Years>1</Years>',
    '<Days>1</Days>',
    '<Mode>GOVERNANCE</Mode><Days>1.5</Days>',
  ])
    expectCode(t, 'MalformedXML', () => readLockConfiguration(configuration(bad)), bad);
  expectCode(t, 'MalformedXML', () =>
    readLockConfiguration(configuration('<Mode>GOVERNANCE</Mode><Days>1</Days>', 'Disabled')),
  );
  for (const bad of ['<Days>0</Days>', '<Years>-1</Years>', '<Years>101</Years>', '<Days>36501</Days>'])
    expectCode(
      t,
      'InvalidRetentionPeriod',
      () => readLockConfiguration(configuration(`<Mode>GOVERNANCE</Mode>${bad}`)),
      bad,
    );
});

t.test('retention and legal hold documents', async (t) => {
  const document = (body: string) => xml(`<Retention>${body}</Retention>`);
  const read = readRetention(
    document('<Mode>COMPLIANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>'),
    NOW,
  );
  t.same(read, { mode: 'COMPLIANCE', until: '2030-01-01T00:00:00.000Z' });
  t.same(readRetention(document(writeRetention(read!)), NOW), read);
  t.equal(readRetention(document(''), NOW), undefined);
  for (const bad of [
    '<Mode>abc</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>',
    '<Mode>governance</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>',
    '<Mode>GOVERNANCE</Mode>',
    '<RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>',
    '<Mode>GOVERNANCE</Mode><RetainUntilDate>soon</RetainUntilDate>',
  ])
    expectCode(t, 'MalformedXML', () => readRetention(document(bad), NOW), bad);
  const past = document('<Mode>GOVERNANCE</Mode><RetainUntilDate>2026-11-28T12:00:00Z</RetainUntilDate>');
  expectCode(t, 'InvalidArgument', () => readRetention(past, NOW));
  for (const isOn of [true, false]) t.equal(readLegalHold(xml(`<LegalHold>${writeLegalHold(isOn)}</LegalHold>`)), isOn);
  for (const bad of [
    '<LegalHold><Status>abc</Status></LegalHold>',
    '<LegalHold/>',
    '<LegalHold><Status>on</Status></LegalHold>',
  ])
    expectCode(t, 'MalformedXML', () => readLegalHold(xml(bad)), bad);
});

t.test('headers', async (t) => {
  const read = (headers: Record<string, string>) =>
    lockFromHeaders((name) => headers[name.replace('x-amz-object-lock-', '')], NOW);
  const lock = read({ mode: 'GOVERNANCE', 'retain-until-date': '2030-01-01T00:00:00', 'legal-hold': 'ON' });
  t.same(lock, { retention: { mode: 'GOVERNANCE', until: '2030-01-01T00:00:00.000Z' }, hasLegalHold: true });
  t.same(lockHeaders(lock), {
    'x-amz-object-lock-mode': 'GOVERNANCE',
    'x-amz-object-lock-retain-until-date': '2030-01-01T00:00:00.000Z',
    'x-amz-object-lock-legal-hold': 'ON',
  });
  t.same(lockHeaders(read({})), {});
  for (const bad of [
    { mode: 'GOVERNANCE' },
    { 'retain-until-date': '2030-01-01T00:00:00Z' },
    { mode: 'abc', 'retain-until-date': '2030-01-01T00:00:00Z' },
    { mode: 'GOVERNANCE', 'retain-until-date': '20300101' },
    { mode: 'GOVERNANCE', 'retain-until-date': '2020-01-01T00:00:00Z' },
    { 'legal-hold': 'yes' },
  ])
    expectCode(t, 'InvalidArgument', () => read(bad as Record<string, string>), JSON.stringify(bad));
});

t.test('a retention gives way only as its mode says', async (t) => {
  const at = (mode: 'GOVERNANCE' | 'COMPLIANCE', day: number) => ({ mode, until: `2030-01-0${day}T00:00:00.000Z` });
  const change =
    (from: ReturnType<typeof at>, to: ReturnType<typeof at> | undefined, bypass = false) =>
    () =>
      checkRetentionChange(from, to, bypass, NOW);
  t.doesNotThrow(change(at('GOVERNANCE', 1), at('GOVERNANCE', 3)));
  t.doesNotThrow(change(at('COMPLIANCE', 1), at('COMPLIANCE', 3)));
  t.doesNotThrow(change(at('GOVERNANCE', 3), at('GOVERNANCE', 1), true));
  t.doesNotThrow(change(at('GOVERNANCE', 3), at('COMPLIANCE', 3), true));
  t.doesNotThrow(change(at('GOVERNANCE', 3), undefined, true));
  for (const refused of [
    change(at('GOVERNANCE', 3), at('GOVERNANCE', 1)),
    change(at('GOVERNANCE', 3), at('COMPLIANCE', 3)),
    change(at('GOVERNANCE', 3), undefined),
    change(at('COMPLIANCE', 3), at('COMPLIANCE', 1), true),
    change(at('COMPLIANCE', 3), at('GOVERNANCE', 4), true),
    change(at('COMPLIANCE', 3), undefined, true),
  ])
    expectCode(t, 'AccessDenied', refused);
  const later = Date.parse('2031-01-01T00:00:00Z');
  t.doesNotThrow(() => checkRetentionChange(at('COMPLIANCE', 3), undefined, false, later));
});

t.test('removal', async (t) => {
  const until = '2030-01-01T00:00:00.000Z';
  const later = Date.parse(until);
  const governed = { retention: { mode: 'GOVERNANCE', until } } as const;
  const complying = { retention: { mode: 'COMPLIANCE', until } } as const;
  t.doesNotThrow(() => checkRemoval({}, false, NOW));
  t.doesNotThrow(() => checkRemoval({ hasLegalHold: false }, false, NOW));
  t.doesNotThrow(() => checkRemoval(governed, true, NOW));
  t.doesNotThrow(() => checkRemoval(governed, false, later));
  t.doesNotThrow(() => checkRemoval(complying, false, later));
  expectCode(t, 'AccessDenied', () => checkRemoval(governed, false, NOW));
  expectCode(t, 'AccessDenied', () => checkRemoval(complying, true, NOW));
  expectCode(t, 'AccessDenied', () => checkRemoval(complying, true, later - 1));
  expectCode(t, 'AccessDenied', () => checkRemoval({ ...governed, hasLegalHold: true }, true, NOW));
  expectCode(t, 'AccessDenied', () => checkRemoval({ hasLegalHold: true }, true, later));
});
