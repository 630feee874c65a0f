import t from 'tap';
import { corsHeaders, preflight, readCors, writeCors } from '../../../src/s3/cors.js';
import { expectCode, xml } from './expect-code.js';

const rule = (origins: string[], methods: string[], more = '') =>
  `<CORSRule>${origins.map((one) => `<AllowedOrigin>${one}</AllowedOrigin>`).join('')}${methods.map((one) => `<AllowedMethod>${one}</AllowedMethod>`).join('')}${more}</CORSRule>`;
const read = (...rules: string[]) => readCors(xml(`<CORSConfiguration>${rules.join('')}</CORSConfiguration>`));

const RULES = read(
  rule(['*suffix'], ['GET']),
  rule(['start*end'], ['GET']),
  rule(['prefix*'], ['GET']),
  rule(['*.put'], ['PUT']),
);

t.test('a real request gets the headers of the first rule that is for it', async (t) => {
  const ask = (origin: string | undefined, method: string) => {
    const headers = corsHeaders(RULES, { origin, method, headers: undefined });
    return [headers['access-control-allow-origin'], headers['access-control-allow-methods']];
  };
  for (const origin of ['foo.suffix', 'startend', 'start1end', 'start12end', 'prefix', 'prefix.suffix'])
    t.same(ask(origin, 'GET'), [origin, 'GET'], origin);
  for (const origin of [undefined, 'foo.bar', 'foo.suffix.get', '0start12end', 'bla.prefix', 'starend'])
    t.same(ask(origin, 'GET'), [undefined, undefined], String(origin));
  t.same(ask('foo.put', 'PUT'), ['foo.put', 'PUT']);
  t.same(ask('foo.put', 'GET'), [undefined, undefined]);
});

t.test('everybody: the star itself, and no credentials', async (t) => {
  const rules = read(
    rule(['*'], ['GET', 'HEAD'], '<ExposeHeader>x-amz-meta-a</ExposeHeader><MaxAgeSeconds>30</MaxAgeSeconds>'),
  );
  t.same(corsHeaders(rules, { origin: 'http://a', method: 'GET', headers: undefined }), {
    'access-control-allow-origin': '*',
    'access-control-allow-methods': 'GET, HEAD',
    'access-control-expose-headers': 'x-amz-meta-a',
    'access-control-max-age': '30',
    vary: 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method',
  });
  const one = corsHeaders(RULES, { origin: 'a.suffix', method: 'GET', headers: undefined });
  t.equal(one['access-control-allow-credentials'], 'true');
});

t.test('preflight', async (t) => {
  const rules = read(
    rule(['http://a'], ['PUT'], '<AllowedHeader>X-Amz-*</AllowedHeader><AllowedHeader>content-type</AllowedHeader>'),
  );
  const answer = preflight(rules, { origin: 'http://a', method: 'PUT', headers: 'X-AMZ-Date, Content-Type' });
  t.equal(answer['access-control-allow-origin'], 'http://a');
  t.equal(answer['access-control-allow-headers'], 'x-amz-date, content-type');
  const refuse = (code: string, request: { origin?: string; method?: string; headers?: string }, given = rules) =>
    expectCode(t, code, () =>
      preflight(given, { origin: undefined, method: undefined, headers: undefined, ...request }),
    );
  refuse('BadRequest', {});
  refuse('BadRequest', { origin: 'http://a' });
  refuse('BadRequest', { origin: 'http://a', method: 'PATCH' });
  refuse('AccessForbidden', { origin: 'http://b', method: 'PUT' });
  refuse('AccessForbidden', { origin: 'http://a', method: 'GET' });
  refuse('AccessForbidden', { origin: 'http://a', method: 'PUT', headers: 'authorization' });
  refuse('AccessForbidden', { origin: 'http://A', method: 'PUT' });
  expectCode(t, 'AccessForbidden', () => preflight(undefined, { origin: 'a', method: 'GET', headers: undefined }));
});

t.test('configurations', async (t) => {
  const text = rule(
    ['http://a', '*'],
    ['GET'],
    '<AllowedHeader>*</AllowedHeader><ExposeHeader>etag</ExposeHeader><MaxAgeSeconds>5</MaxAgeSeconds>',
  );
  t.same(read(writeCors(read(text))), read(text), 'what is written is read back');
  const [first] = read(
    `<CORSRule><ID>one</ID><AllowedOrigin>a</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>`,
  );
  t.equal(first?.id, 'one');
  for (const bad of [
    '',
    rule([], ['GET']),
    rule(['a'], []),
    rule(['a'], ['GET'], '<MaxAgeSeconds>-1</MaxAgeSeconds>'),
    '<Other/>',
    rule(['a'], ['GET']).repeat(101),
  ])
    expectCode(t, 'MalformedXML', () => read(bad), bad.slice(0, 50));
  for (const bad of [
    rule(['a'], ['OPTIONS']),
    rule(['a'], ['get']),
    rule(['*a*'], ['GET']),
    rule(['a'], ['GET'], '<AllowedHeader>*-*</AllowedHeader>'),
    rule(['a'], ['GET'], '<ExposeHeader>x-*</ExposeHeader>'),
    rule(['a'], ['GET'], '<ExposeHeader>a b</ExposeHeader>'),
  ])
    expectCode(t, 'InvalidRequest', () => read(bad), bad.slice(0, 100));
});
