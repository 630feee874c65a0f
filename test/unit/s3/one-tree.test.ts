/**
 * One tree of many keys on both faces: made half through S3 and half through the mount's side, it is listed in byte order by both, whole and in pages, with and
 * without a delimiter. 100,000 keys with CAIRN_TEST_SCALE=full TAP_TIMEOUT=3600.
 */
import t from 'tap';
import { KeyWalk } from '../../../src/s3/key-walk.js';
import { type ListedObject, ObjectStore } from '../../../src/s3/object-store.js';
import { uriEncode } from '../../../src/s3/signature-v4.js';
import { S_IFDIR } from '../../../src/vfs/mode.js';
import type { Attr, Vfs } from '../../../src/vfs/vfs.js';
import { SeededRandom } from '../../sim/seeded-random.js';
import { S3Fixture } from './s3-fixture.js';

const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1 };
const KEYS = process.env['CAIRN_TEST_SCALE'] === 'full' ? 100_000 : 400;
const PAGE = KEYS > 1000 ? 1000 : 37;
const AT_ONCE = 16;
/** Components around `/` in byte order, where a tree and a flat list would differ. */
const COMPONENTS = ['a', 'a-b', 'a.b', 'a0', 'a!', 'A', 'é', 'ü', '~', '日本', 'b', 'z'];

function keysOf(count: number, dice: SeededRandom): string[] {
  const keys = new Set<string>();
  while (keys.size < count) {
    const directories = Array.from({ length: dice.below(3) }, () => dice.pick(COMPONENTS));
    const last = `${dice.pick(COMPONENTS)}${dice.below(count)}`;
    // A name is a file's or a directory's: in one tree it cannot be both.
    if (!COMPONENTS.includes(last)) keys.add([...directories, last].join('/'));
  }
  return [...keys];
}

class MountFace {
  readonly #directories = new Map<string, Promise<number>>();

  constructor(
    readonly vfs: Vfs,
    readonly bucket: number,
  ) {}

  async create(key: string): Promise<void> {
    const names = key.split('/').map((name) => Buffer.from(name, 'utf8').toString('latin1'));
    const last = names.pop()!;
    const parent = await this.#directory(names);
    const { handle } = await this.vfs.create(parent, last, 0o644, { read: true, write: true }, CALLER);
    await this.vfs.write(handle, 0, Buffer.from(key));
    await this.vfs.release(handle);
  }

  #directory(names: readonly string[]): Promise<number> {
    if (names.length === 0) return Promise.resolve(this.bucket);
    const path = names.join('/');
    let found = this.#directories.get(path);
    if (found === undefined) {
      found = this.#make(names.slice(0, -1), names.at(-1)!);
      this.#directories.set(path, found);
    }
    return found;
  }

  async #make(parents: readonly string[], name: string): Promise<number> {
    const parent = await this.#directory(parents);
    const there = await this.vfs.lookup(parent, name);
    if (there !== undefined) return there.ino;
    try {
      return (await this.vfs.mkdir(parent, name, 0o755, CALLER)).ino;
    } catch {
      // S3 was faster.
      return ((await this.vfs.lookup(parent, name)) as Attr).ino;
    }
  }

  /** Depth first, each directory as readdir gives it. */
  async *walk(ino = this.bucket, prefix = ''): AsyncGenerator<string> {
    const entries: { name: string; ino: number; isDirectory: boolean }[] = [];
    const handle = await this.vfs.opendir(ino);
    await this.vfs.readdir(handle, 0, false, ({ name, ino: child, mode }) => {
      if (name !== '.' && name !== '..') entries.push({ name, ino: child, isDirectory: (mode & S_IFDIR) !== 0 });
      return true;
    });
    await this.vfs.releasedir(handle);
    for (const { name, ino: child, isDirectory } of entries) {
      const text = prefix + Buffer.from(name, 'latin1').toString('utf8');
      if (isDirectory) yield* this.walk(child, `${text}/`);
      else yield text;
    }
  }
}

const sorted = (keys: readonly string[]): string[] =>
  [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

t.test(`${KEYS} keys on both faces`, { timeout: 3_600_000 }, async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
  t.comment(`SEED=${seed}`);
  const dice = new SeededRandom(seed);
  const s3 = await S3Fixture.create(t);
  await s3.send('PUT', '/tree');
  const bucket = (await s3.pool.vfs.lookup(ROOT, 'tree')) as Attr;
  const mount = new MountFace(s3.pool.vfs, bucket.ino);
  const keys = keysOf(KEYS, dice);
  const todo = keys.map((key, i) => ({ key, byS3: i % 2 === 0 }));
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
        const { key, byS3 } = next;
        if (!byS3) await mount.create(key);
        else if ((await s3.send('PUT', `/tree/${uriEncode(key, true)}`, { body: key })).status !== 200) t.fail(key);
      }
    }),
  );
  const wanted = sorted(keys);
  const walked: string[] = [];
  for await (const key of mount.walk()) walked.push(key);
  t.ok(walked.every((key, i) => key === wanted[i]) && walked.length === wanted.length, 'readdir, depth first');

  const textsOf = (text: string, name: string) =>
    [...text.matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, 'g'))].map(([, value]) => decodeURIComponent(value!));
  const listed: string[] = [];
  for (let token = ''; ; ) {
    const more = token === '' ? '' : `&continuation-token=${token}`;
    const { text } = await s3.send('GET', `/tree?list-type=2&encoding-type=url&max-keys=${PAGE}${more}`);
    const page = textsOf(text, 'Key');
    if (page.length > PAGE) t.fail(`a page of ${page.length}`);
    listed.push(...page);
    token = textsOf(text, 'NextContinuationToken')[0] ?? '';
    if (token === '') break;
  }
  t.ok(listed.every((key, i) => key === wanted[i]) && listed.length === wanted.length, 'S3, in pages');

  const top = new Set(wanted.map((key) => key.replace(/\/.*$/, '/')));
  const grouped: string[] = [];
  for (let marker = ''; ; ) {
    const query = `delimiter=/&encoding-type=url&max-keys=${PAGE}&marker=${encodeURIComponent(marker)}`;
    const { text } = await s3.send('GET', `/tree?${query}`);
    grouped.push(...sorted([...textsOf(text, 'Key'), ...textsOf(text, 'Prefix').slice(1)]));
    if (textsOf(text, 'IsTruncated')[0] === 'false') break;
    marker = textsOf(text, 'NextMarker')[0]!;
  }
  t.same(grouped, sorted([...top]), 'grouped by the first directory');
  t.same(s3.failures, []);

  await t.test('a small object that was read is read anew after either face has changed it', async (t) => {
    const get = async (headers: Record<string, string> = {}) => (await s3.send('GET', '/tree/small', { headers })).text;
    await s3.send('PUT', '/tree/small', { body: 'one' });
    t.equal(await get(), 'one');
    t.equal(await get(), 'one', 'from memory');
    t.equal(await get({ range: 'bytes=1-1' }), 'n', 'a range of it');
    await s3.send('PUT', '/tree/small', { body: 'two' });
    t.equal(await get(), 'two');
    const { vfs } = s3.pool;
    const { ino } = (await vfs.lookup(bucket.ino, 'small')) as Attr;
    const handle = await vfs.open(ino, { read: false, write: true });
    await vfs.write(handle, 0, Buffer.from('x'));
    t.equal(await get(), 'xwo');
    await vfs.write(handle, 3, Buffer.from('!'));
    t.equal(await get(), 'xwo!');
    await vfs.release(handle);
    await s3.send('DELETE', '/tree/small');
    t.match(await s3.send('GET', '/tree/small'), { status: 404, code: 'NoSuchKey' });
    t.same(s3.failures, []);
  });

  await t.test('a change is answered when the mount knows of it', async (t) => {
    s3.pool.vfs.hold(bucket.ino);
    const { objects } = s3.pool.pool;
    const events: string[] = [];
    let asked = (_tell: () => void): void => undefined;
    const asking = new Promise<() => void>((resolve) => {
      asked = resolve;
    });
    objects.watcher = {
      entryChanged: (_parent, name) => events.push(name),
      nodeChanged: () => undefined,
      told: () => new Promise((resolve) => asked(resolve)),
    };
    const answered = s3
      .send('PUT', '/tree/told', { body: 'one' })
      .then(({ status }) => events.push(`answered ${status}`));
    const tell = await Promise.race([asking, answered.then(() => undefined)]);
    events.push('knows');
    tell?.();
    await answered;
    t.same(events, ['told', 'knows', 'answered 200']);
    objects.watcher = undefined;
    await s3.send('DELETE', '/tree/told');
  });

  await t.test('a list tells of each object what asking for it tells, from memory and from the store', async (t) => {
    const inMemory = await told(s3);
    await s3.server.close();
    await s3.pool.reopen();
    const fromStore = await told(s3);
    t.equal(inMemory.length, wanted.length);
    for (const { objects, asked, atOnce } of [inMemory, fromStore].map(summary)) {
      t.strictSame(objects, asked);
      t.ok(atOnce > 0, 'some without being asked for');
    }
    t.strictSame(summary(fromStore).asked, summary(inMemory).asked);
  });
});

interface Told {
  readonly listed: ListedObject | undefined;
  readonly asked: ListedObject | undefined;
  readonly isAtOnce: boolean;
}

/** Each object as the walk of a list finds it, and as it is found when it is asked for. */
async function told({ pool }: S3Fixture): Promise<Told[]> {
  const store = new ObjectStore(pool.pool.objects);
  const bucket = await store.bucket('tree');
  const walk = new KeyWalk(store.tree, bucket.ino, { prefix: '', after: '', page: 5 });
  const all: Told[] = [];
  for (;;) {
    const now = walk.nextNow();
    const found = now ?? (await walk.next());
    if (found === undefined) return all;
    const listed = store.listed(found);
    const isAtOnce = now !== undefined && !(listed instanceof Promise);
    all.push({ listed: await listed, asked: await store.find(bucket, found.key), isAtOnce });
  }
}

function summary(all: readonly Told[]) {
  const figures = (object: ListedObject | undefined) => {
    const { key, etag, isOwnContent, own, node } = object!;
    return { key, etag, isOwnContent, own, size: node.sizeBytes, mtime: node.mtime };
  };
  return {
    objects: all.map(({ listed }) => figures(listed)),
    asked: all.map(({ asked }) => figures(asked)),
    atOnce: all.filter(({ isAtOnce }) => isAtOnce).length,
  };
}

t.test('a PUT below a directory with a policy of its own is kept as that says', async (t) => {
  const s3 = await S3Fixture.create(t);
  await s3.send('PUT', '/safe');
  await s3.pool.pool.control.setPolicy('/safe', { scheme: 'copies:3' });
  const large = Buffer.alloc(200_000, 'by S3');
  for (const [key, body] of [
    ['deep/er/large', large],
    ['small', Buffer.from('small')],
  ] as const)
    t.equal((await s3.send('PUT', `/safe/${key}`, { body })).status, 200, key);
  t.same((await s3.pool.pool.control.state('/safe/deep/er/large')).schemes, ['copies:3']);
  t.same((await s3.pool.pool.control.state('/safe/small')).schemes, ['copies:3']);
  t.same(s3.failures, []);
});
