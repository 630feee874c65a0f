import t from 'tap';
import { ROOT_INO } from '../../../src/meta/rows.js';
import { Directory } from '../../../src/vfs/directory.js';
import { Listings } from '../../../src/vfs/listing.js';
import type { Caller, Handle, Ino, Vfs } from '../../../src/vfs/vfs.js';
import { SeededRandom } from '../../sim/seeded-random.js';
import { PoolFixture } from './pool-fixture.js';

const CALLER: Caller = { uid: 0, gid: 0, pid: 1 };
const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

interface Listed {
  readonly name: string;
  readonly cookie: number;
}

async function read(vfs: Vfs, handle: Handle, cookie: number, atMost = Number.POSITIVE_INFINITY): Promise<Listed[]> {
  const listed: Listed[] = [];
  await vfs.readdir(handle, cookie, false, ({ name, cookie }) => {
    if (listed.length >= atMost) return false;
    listed.push({ name, cookie });
    return true;
  });
  return listed;
}

async function opened<T>(vfs: Vfs, ino: Ino, use: (handle: Handle) => T | Promise<T>): Promise<T> {
  const handle = await vfs.opendir(ino);
  try {
    return await use(handle);
  } finally {
    await vfs.releasedir(handle);
  }
}

t.test('passes over a directory that changes, by any of its handles', async (t) => {
  const random = new SeededRandom(seed);
  const { vfs } = await PoolFixture.create(t, { commitDelayMs: 1 });
  const { ino } = await vfs.mkdir(ROOT_INO, 'd', 0o755, CALLER);
  const names = Array.from({ length: 60 }, (_, i) => `${'x'.repeat(i % 7)}${i}`);
  const present = new Set<string>();
  const change = async (name: string) => {
    if (present.delete(name)) await (name.length % 2 === 0 ? vfs.rmdir(ino, name) : vfs.unlink(ino, name));
    else {
      present.add(name);
      if (name.length % 2 === 0) await vfs.mkdir(ino, name, 0o755, CALLER);
      else await vfs.mknod(ino, name, 0o100644, 0, CALLER);
    }
  };
  for (const name of names) if (random.below(2) === 0) await change(name);
  const handles = [await vfs.opendir(ino), await vfs.opendir(ino)];
  const passes = Array.from({ length: 4 }, () => ({
    cookie: 0,
    /** Of a part that may be read once more. */
    last: [] as Listed[],
    seen: [] as string[],
    always: new Set(present),
    ever: new Set(present),
  }));
  for (let step = 0; step < 600; step++) {
    if (random.below(4) === 0) {
      const name = names[random.below(names.length)]!;
      await change(name);
      for (const pass of passes) {
        if (present.has(name)) pass.ever.add(name);
        else pass.always.delete(name);
      }
    }
    const which = random.below(handles.length);
    if (random.below(10) === 0) {
      const fresh = await vfs.opendir(ino);
      await vfs.releasedir(handles[which]!);
      handles[which] = fresh;
    }
    const pass = passes[random.below(passes.length)]!;
    if (pass.last.length > 1 && random.below(3) === 0) {
      // The program's buffer was smaller than the kernel's: the rest is read again.
      const kept = 1 + random.below(pass.last.length - 1);
      pass.seen.length -= pass.last.length - kept;
      pass.cookie = pass.last[kept - 1]!.cookie;
    }
    pass.last = await read(vfs, handles[which]!, pass.cookie, 1 + random.below(20));
    pass.seen.push(...pass.last.map(({ name }) => name));
    if (pass.last.length > 0) pass.cookie = pass.last.at(-1)!.cookie;
    else {
      const seen = new Set(pass.seen);
      const told = `SEED=${seed} step ${step}`;
      if (seen.size !== pass.seen.length) t.fail(`${told}: a name came twice: ${pass.seen.join(' ')}`);
      for (const name of ['.', '..', ...pass.always]) if (!seen.delete(name)) t.fail(`${told}: ${name} is missing`);
      for (const name of seen) if (!pass.ever.has(name)) t.fail(`${told}: ${name} was not there`);
      Object.assign(pass, { cookie: 0, seen: [], always: new Set(present), ever: new Set(present) });
    }
  }
  for (const handle of handles) await vfs.releasedir(handle);
  t.pass('every pass had each name once');
});

t.test('a listing stands until something changes in it', async (t) => {
  const { vfs } = await PoolFixture.create(t, { commitDelayMs: 86_400_000 });
  const { ino } = await vfs.mkdir(ROOT_INO, 'd', 0o755, CALLER);
  for (const name of ['a', 'b', 'c']) await vfs.mknod(ino, name, 0o100644, 0, CALLER);
  const stands = () => opened(vfs, ino, (handle) => vfs.listingStands(handle));
  const list = () => opened(vfs, ino, (handle) => read(vfs, handle, 0));
  t.equal(await stands(), false, 'nobody has listed it');
  await opened(vfs, ino, (handle) => read(vfs, handle, 0, 3));
  t.equal(await stands(), false, 'nobody has listed it to its end');
  const before = await list();
  t.equal(await stands(), true);
  t.same(await list(), before, 'and another pass gives the same positions');
  const second = before[2]!;
  t.same(
    (await opened(vfs, ino, (handle) => read(vfs, handle, second.cookie))).map(({ name }) => name),
    ['b', 'c'],
    'which are good for a later handle',
  );
  const changes: Record<string, () => unknown> = {
    'a new name': () => vfs.mknod(ino, 'd', 0o100644, 0, CALLER),
    'a name that goes': () => vfs.unlink(ino, 'a'),
    'a name that is moved': () => vfs.rename(ino, 'b', ino, 'e', {}),
    'a name that stands for something else': () => vfs.rename(ino, 'c', ino, 'd', {}),
    'another parent, which is ..': async () => {
      await vfs.mkdir(ROOT_INO, 'p', 0o755, CALLER);
      await vfs.rename(ROOT_INO, 'd', (await vfs.lookup(ROOT_INO, 'p'))!.ino, 'd', {});
    },
  };
  for (const [what, change] of Object.entries(changes)) {
    await list();
    t.equal(await stands(), true);
    await change();
    t.equal(await stands(), false, what);
  }
  await opened(vfs, ino, async (handle) => {
    const start = await read(vfs, handle, 0, 3);
    await vfs.unlink(ino, 'e');
    t.same((await read(vfs, handle, start[2]!.cookie)).length, 0);
  });
  t.equal(await stands(), false, 'a change during the pass');
});

t.test('what nobody has open is forgotten where there is no room, the oldest first', async (t) => {
  const listings = new Listings(20);
  const directories = [1, 2, 3].map((ino) => new Directory(ino, undefined as never, undefined as never, true));
  const cookies = directories.map((directory) => {
    listings.opened(directory);
    const listing = listings.begin(directory, ROOT_INO);
    for (let i = 0; i < 8; i++) listing.returned(i, `key ${i}`);
    listings.ended(directory, listing);
    listings.closed(directory);
    return listing.cookie(4);
  });
  for (const directory of directories) listings.opened(directory);
  const [first, second, third] = directories as [Directory, Directory, Directory];
  t.throws(() => listings.find(first, cookies[0]!), { code: 'INVALID' });
  t.equal(listings.stands(first, ROOT_INO), false);
  for (const [i, directory] of [second, third].entries()) {
    t.equal(listings.stands(directory, ROOT_INO), true);
    const { listing, number } = listings.find(directory, cookies[i + 1]!);
    t.same(listing.place(number - 2), { key: 'key 2', skip: 0 });
  }
});

t.test('a directory that is listed and changed all the time takes a bounded number of keys', async (t) => {
  const listings = new Listings();
  const directory = new Directory(1, undefined as never, undefined as never, true);
  listings.opened(directory);
  const slow = listings.begin(directory, ROOT_INO);
  slow.users += 1;
  slow.returned(0, 'a');
  const begun = Array.from({ length: 500 }, () => {
    directory.changes += 1;
    const listing = listings.begin(directory, ROOT_INO);
    listing.returned(0, 'a');
    return listing;
  });
  t.equal(listings.find(directory, slow.cookie(2)).listing, slow, 'what a handle reads from stays');
  const kept = begun.filter((listing) => {
    try {
      return listings.find(directory, listing.cookie(2)).listing === listing;
    } catch {
      return false;
    }
  });
  t.ok(kept.length < 65, `${kept.length} are kept`);
  t.ok(kept.includes(begun.at(-1)!), 'the newest among them');
});

t.test('positions fit what a 32-bit program can take', async (t) => {
  const listings = new Listings();
  const directory = new Directory(1, undefined as never, undefined as never, true);
  listings.opened(directory);
  const large = listings.begin(directory, ROOT_INO);
  let index = 0;
  while (large.takes(index, 'key')) large.returned(index++, 'key');
  t.ok(index > 1_000_000, 'a listing of a million names');
  const highest = Array.from({ length: 5000 }, () => listings.beginAfter(directory, ROOT_INO, '').cookie(index + 1));
  t.ok(Math.max(...highest) < 2 ** 31, `${Math.max(...highest)}`);
});
