import t from 'tap';
import { readPolicy } from '../../../src/s3/policy-document.js';
import { evaluatePolicy, isPublicPolicy, type PolicyRequest } from '../../../src/s3/policy-evaluation.js';
import { expectCode, xml } from './expect-code.js';

const ALICE = { id: 'a11ce', name: 'alice' };
const BOB = { id: 'b0b', name: 'bob' };

interface Given {
  [field: string]: unknown;
}
const statement = (more: Given = {}): Given => ({
  Effect: 'Allow',
  Principal: { AWS: '*' },
  Action: 's3:GetObject',
  Resource: 'arn:aws:s3:::box/*',
  ...more,
});
const text = (...statements: Given[]) => xml(JSON.stringify({ Version: '2012-10-17', Statement: statements }));
const policy = (...statements: Given[]) => readPolicy(text(...statements), 'box');

function ask(
  document: ReturnType<typeof policy>,
  { values = {}, ...more }: Partial<Omit<PolicyRequest, 'values'>> & { values?: Record<string, string[]> } = {},
) {
  return evaluatePolicy(document, {
    user: ALICE,
    action: 's3:GetObject',
    resource: 'box/key',
    values: (key) => values[key],
    ...more,
  });
}

t.test('deny comes first, whatever the order', async (t) => {
  const deny = statement({ Effect: 'Deny', Resource: 'arn:aws:s3:::box/secret/*' });
  for (const document of [policy(statement(), deny), policy(deny, statement())]) {
    t.equal(ask(document), 'allow');
    t.equal(ask(document, { resource: 'box/secret/x' }), 'deny');
    t.equal(ask(document, { action: 's3:PutObject' }), undefined);
    t.equal(ask(document, { resource: 'box' }), undefined, 'the bucket is not one of its keys');
  }
});

t.test('principals', async (t) => {
  const forOnly = (Principal: unknown) => policy(statement({ Principal }));
  for (const principal of ['*', { AWS: '*' }, { AWS: ['x', '*'] }]) {
    t.equal(ask(forOnly(principal)), 'allow');
    t.equal(ask(forOnly(principal), { user: undefined }), 'allow', 'also the anonymous');
  }
  for (const principal of [
    { AWS: 'a11ce' },
    { CanonicalUser: 'a11ce' },
    { AWS: 'arn:aws:iam:::user/alice' },
    { AWS: 'arn:aws:iam:::user/a11ce' },
    { AWS: 'arn:aws:iam::a11ce:root' },
    { AWS: ['arn:aws:iam::a11ce:user/alice', 'other'] },
  ]) {
    t.equal(ask(forOnly(principal)), 'allow', JSON.stringify(principal));
    t.equal(ask(forOnly(principal), { user: BOB }), undefined);
    t.equal(ask(forOnly(principal), { user: undefined }), undefined);
  }
  for (const principal of [
    { AWS: 'arn:aws:iam::123456789012:user/alice' },
    { AWS: 'arn:aws:iam::s3tenant1:root' },
    { AWS: 'alice' },
    { Service: 'a11ce' },
    { CanonicalUser: ['*', 'b0b'] },
  ])
    t.equal(ask(forOnly(principal)), undefined, `another's: ${JSON.stringify(principal)}`);
  const not = policy({ ...statement({ Effect: 'Deny', NotPrincipal: { AWS: 'a11ce' } }), Principal: undefined });
  t.equal(ask(not), undefined);
  t.equal(ask(not, { user: BOB }), 'deny');
});

t.test('actions and resources with wildcards, and their opposites', async (t) => {
  t.equal(ask(policy(statement({ Action: 's3:Get*' }))), 'allow');
  t.equal(ask(policy(statement({ Action: 'S3:getobject' }))), 'allow', 'actions have no case');
  t.equal(ask(policy(statement({ Action: '*' }))), 'allow');
  t.equal(ask(policy(statement({ Action: ['s3:PutObject', 's3:GetObjec?'] }))), 'allow');
  t.equal(ask(policy(statement({ Action: 's3:GetObjectAcl' }))), undefined);
  const not = policy({ ...statement({ NotAction: 's3:DeleteObject' }), Action: undefined });
  t.equal(ask(not), 'allow');
  t.equal(ask(not, { action: 's3:DeleteObject' }), undefined);
  const resource = (Resource: unknown) => policy(statement({ Resource }));
  t.equal(ask(resource('arn:aws:s3:::*/*')), 'allow');
  t.equal(ask(resource('arn:aws:s3:::bo?/k*y')), 'allow');
  t.equal(ask(resource('arn:aws:s3:::box*')), 'allow');
  t.equal(ask(resource('arn:aws:s3:::box/KEY')), undefined);
  const notKey = policy({ ...statement({ NotResource: 'arn:aws:s3:::box/key' }), Resource: undefined });
  t.equal(ask(notKey), undefined);
  t.equal(ask(notKey, { resource: 'box/other' }), 'allow');
});

t.test('conditions', async (t) => {
  const when = (Condition: Given, values: Record<string, string[]>) =>
    ask(policy(statement({ Condition })), { values }) === 'allow';
  const tag = { 's3:ExistingObjectTag/security': 'public' };
  t.ok(when({ StringEquals: tag }, { 's3:existingobjecttag/security': ['public'] }));
  t.notOk(when({ StringEquals: tag }, { 's3:existingobjecttag/security': ['private'] }));
  t.notOk(when({ StringEquals: tag }, {}));
  t.ok(when({ StringNotEquals: tag }, {}), 'a negated operator holds without the key');
  t.ok(when({ StringEqualsIfExists: tag }, {}));
  t.notOk(when({ StringNotEquals: { 's3:x-amz-acl': ['a', 'b'] } }, { 's3:x-amz-acl': ['b'] }), 'none of the values');
  t.ok(
    when(
      { StringLike: { 'aws:Referer': 'http://www.example.com/*' } },
      { 'aws:referer': ['http://www.example.com/x'] },
    ),
  );
  t.notOk(when({ StringNotLike: { 's3:prefix': 'a*' } }, { 's3:prefix': ['ab'] }));
  t.ok(when({ StringEqualsIgnoreCase: { 'aws:username': 'ALICE' } }, { 'aws:username': ['alice'] }));
  t.ok(when({ Bool: { 'aws:SecureTransport': true } }, { 'aws:securetransport': ['true'] }), 'a JSON boolean');
  t.notOk(when({ Bool: { 'aws:SecureTransport': 'true' } }, { 'aws:securetransport': ['false'] }));
  t.ok(when({ NumericLessThanEquals: { 's3:max-keys': 10 } }, { 's3:max-keys': ['10'] }));
  t.notOk(when({ NumericLessThan: { 's3:max-keys': '10' } }, { 's3:max-keys': ['10'] }));
  t.notOk(when({ NumericGreaterThan: { 's3:max-keys': '10' } }, { 's3:max-keys': ['many'] }));
  t.ok(
    when(
      { DateLessThan: { 'aws:CurrentTime': '2030-01-01T00:00:00Z' } },
      { 'aws:currenttime': ['2026-11-28T11:00:00.000Z'] },
    ),
  );
  t.notOk(when({ DateGreaterThan: { 'aws:EpochTime': '2030-01-01T00:00:00Z' } }, { 'aws:epochtime': ['1796000000'] }));
  t.ok(when({ Null: { 's3:x-amz-acl': 'true' } }, {}));
  t.notOk(when({ Null: { 's3:x-amz-acl': 'false' } }, {}));
  t.notOk(
    when({ StringEquals: { 's3:prefix': 'a' }, Bool: { 'aws:SecureTransport': 'true' } }, { 's3:prefix': ['a'] }),
    'all must hold',
  );
  const keys = { 's3:RequestObjectTagKeys': ['a', 'b'] };
  t.ok(when({ 'ForAllValues:StringEquals': keys }, { 's3:requestobjecttagkeys': ['a'] }));
  t.notOk(when({ 'ForAllValues:StringEquals': keys }, { 's3:requestobjecttagkeys': ['a', 'c'] }));
  t.ok(when({ 'ForAllValues:StringEquals': keys }, {}));
  t.ok(when({ 'ForAnyValue:StringEquals': keys }, { 's3:requestobjecttagkeys': ['a', 'c'] }));
  t.notOk(when({ 'ForAnyValue:StringEquals': keys }, {}));
  t.ok(when({ 'ForAnyValue:StringNotEquals': keys }, { 's3:requestobjecttagkeys': ['a', 'c'] }));
});

t.test('addresses', async (t) => {
  const from = (address: string, range: unknown, operator = 'IpAddress') =>
    ask(policy(statement({ Condition: { [operator]: { 'aws:SourceIp': range } } })), {
      values: { 'aws:sourceip': [address] },
    }) === 'allow';
  t.ok(from('10.1.2.3', '10.0.0.0/8'));
  t.ok(from('::ffff:10.1.2.3', '10.0.0.0/8'), 'as a socket for both families says it');
  t.notOk(from('11.1.2.3', ['10.0.0.0/8', '192.168.0.1']));
  t.ok(from('192.168.0.1', ['10.0.0.0/8', '192.168.0.1']));
  t.ok(from('2001:db8::5', '2001:db8::/32'));
  t.notOk(from('2001:db9::5', '2001:db8::/32'));
  t.notOk(from('nonsense', '0.0.0.0/0'));
  t.notOk(from('10.1.2.3', '10.0.0.0/8', 'NotIpAddress'));
});

const variable = (name: string) => `\${${name}}`;

t.test('variables stand for values, never for patterns', async (t) => {
  const home = policy(statement({ Resource: `arn:aws:s3:::box/home/${variable('aws:username')}/*` }));
  const as = (name: string | undefined, resource: string) =>
    ask(home, { resource, values: name === undefined ? {} : { 'aws:username': [name] } });
  t.equal(as('alice', 'box/home/alice/x'), 'allow');
  t.equal(as('alice', 'box/home/bob/x'), undefined);
  t.equal(as('*', 'box/home/bob/x'), undefined);
  t.equal(as('*', 'box/home/*/x'), 'allow');
  t.equal(as(undefined, 'box/home//x'), undefined);
  const star = policy(statement({ Resource: `arn:aws:s3:::box/${variable('*')}` }));
  t.equal(ask(star, { resource: 'box/anything' }), undefined, 'a literal star is only itself');
  t.equal(ask(star, { resource: 'box/*' }), 'allow');
  const old = readPolicy(
    xml(JSON.stringify({ Statement: [statement({ Resource: `arn:aws:s3:::box/${variable('aws:username')}` })] })),
    'box',
  );
  t.equal(
    ask(old, { resource: 'box/alice', values: { 'aws:username': ['alice'] } }),
    undefined,
    'not in the old version',
  );
});

t.test('public or not', async (t) => {
  t.equal(isPublicPolicy(policy(statement())), true);
  t.equal(isPublicPolicy(policy(statement({ Principal: { AWS: 'arn:aws:iam::s3tenant1:root' } }))), false);
  t.equal(isPublicPolicy(policy(statement({ Effect: 'Deny' }))), false);
  const when = (Condition: Given) => isPublicPolicy(policy(statement({ Condition })));
  t.equal(when({ IpAddress: { 'aws:SourceIp': '10.0.0.0/32' } }), false);
  t.equal(when({ IpAddress: { 'aws:SourceIp': '0.0.0.0/0' } }), true);
  t.equal(when({ StringEquals: { 'aws:userid': 'a11ce' } }), false);
  t.equal(when({ StringLike: { 'aws:userid': '*' } }), true);
  t.equal(when({ StringEquals: { 's3:prefix': 'a' } }), true, 'it says what, not who');
});

t.test('documents that are refused', async (t) => {
  const refuse = (bytes: Uint8Array, name: string) =>
    expectCode(t, 'MalformedPolicy', () => readPolicy(bytes, 'box'), name);
  for (const bad of [
    '',
    'null',
    '[]',
    '"x"',
    '{',
    '{"Statement":[]}',
    '{"Version":"2012-10-17"}',
    '{"Statement":[1]}',
    '\ufeff{}',
  ])
    refuse(xml(bad), bad);
  refuse(xml('{"Version":"2020-01-01","Statement":[]}'), 'version');
  refuse(xml('{"__proto__":{},"Statement":[]}'), 'prototype');
  refuse(xml(`{"Statement":${'['.repeat(5000)}${']'.repeat(5000)}}`), 'depth');
  refuse(xml(`{"Id":"${'x'.repeat(20_480)}","Statement":[]}`), 'size');
  const bad: [string, Given][] = [
    ['effect', { Effect: 'allow' }],
    ['no effect', { Effect: undefined }],
    ['NotPrincipal with Allow', { Principal: undefined, NotPrincipal: { AWS: 'x' } }],
    ['both principals', { Effect: 'Deny', NotPrincipal: '*' }],
    ['no principal', { Principal: undefined }],
    ['principal', { Principal: 'alice' }],
    ['kind of principal', { Principal: { Other: 'x' } }],
    ['wildcard in a principal', { Principal: { AWS: 'arn:aws:iam:::user/*' } }],
    ['action', { Action: 's3:GetObjekt' }],
    ['service', { Action: 'ec2:RunInstances' }],
    ['no action', { Action: undefined }],
    ['empty actions', { Action: [] }],
    ['resource', { Resource: 'arn:aws:s3:::other/*' }],
    ['resource that is longer', { Resource: 'arn:aws:s3:::boxes/*' }],
    ['resource without ARN', { Resource: 'box/*' }],
    ['operator', { Condition: { StringSame: { 's3:prefix': 'a' } } }],
    ['inherited operator', { Condition: { constructor: { 's3:prefix': 'a' } } }],
    ['key', { Condition: { StringEquals: { 'aws:Moon': 'full' } } }],
    ['value', { Condition: { StringEquals: { 's3:prefix': { a: 1 } } } }],
    ['no values', { Condition: { StringEquals: { 's3:prefix': [] } } }],
    ['address', { Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/33' } } }],
    ['number', { Condition: { NumericEquals: { 's3:max-keys': 'ten' } } }],
    ['date', { Condition: { DateLessThan: { 'aws:CurrentTime': 'soon' } } }],
    ['field', { Sidd: 'x' }],
  ];
  for (const [name, more] of bad) refuse(text(statement(more)), name);
});
