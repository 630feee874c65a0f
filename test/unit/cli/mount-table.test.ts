import fc from 'fast-check';
import t from 'tap';
import { insidePath, isInside, MountTable, poolOf } from '../../../src/cli/mount-table.js';

const TEXT = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/root rw
40 27 0:50 / /mnt/pool rw,nosuid - fuse.cairn /srv/pool rw,user_id=0
41 27 0:51 / /mnt/a\\040b\\134c rw - fuse.cairn /srv/p\\303\\244\\040q rw
42 27 0:50 /photos /home/me/photos rw shared:9 - fuse.cairn /srv/pool rw
43 27 0:60 / /mnt/ssh rw - fuse.sshfs me@host: rw
44 40 0:61 / /mnt/pool/inner rw - tmpfs tmpfs rw
45 27 0:62 / /mnt/fake rw - ext4 /srv/pool rw
nonsense
46 27 0:62 /
`;

t.test('finds the pool of a path', async (t) => {
  const table = new MountTable(TEXT);
  const where = (path: string) => {
    const mount = table.of(path);
    const pool = mount && poolOf(mount);
    return mount && pool ? [pool, insidePath(path, mount)] : undefined;
  };
  t.same(where('/mnt/pool'), ['/srv/pool', '/']);
  t.same(where('/mnt/pool/x/y'), ['/srv/pool', '/x/y']);
  t.same(where('/mnt/a b\\c/f'), ['/srv/pä q', '/f'], 'escapes are undone');
  t.same(where('/home/me/photos/1.jpg'), ['/srv/pool', '/photos/1.jpg'], 'a bind mount shows a part of the pool');
  t.equal(where('/mnt/pool2'), undefined, 'a longer name is another path');
  t.equal(where('/mnt/pool/inner/f'), undefined, 'another file system mounted inside is not the pool');
  t.equal(where('/mnt/ssh/f'), undefined);
  t.equal(where('/mnt/fake/f'), undefined, 'only fuse mounts count');
  t.equal(table.cairn().length, 3);
});

t.test('of two mounts on one point the later is seen', async (t) => {
  const table = new MountTable(`${TEXT}50 40 0:70 / /mnt/pool rw - tmpfs tmpfs rw\n`);
  t.equal(table.at('/mnt/pool')?.type, 'tmpfs');
  t.equal(table.of('/mnt/pool/x')?.type, 'tmpfs');
});

t.test('any path survives the escapes of the kernel', async () => {
  const escaped = (path: string) =>
    [...Buffer.from(path, 'utf8')]
      .map((byte) => (byte <= 32 || byte === 92 ? `\\${byte.toString(8).padStart(3, '0')}` : String.fromCharCode(byte)))
      .join('');
  const segment = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter((s) => !/[/\0]/.test(s));
  fc.assert(
    fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), (segments) => {
      const path = `/${segments.join('/')}`;
      const table = new MountTable(`1 1 0:1 / ${escaped(path)} rw - fuse.cairn ${escaped(path)} rw\n`);
      const mount = table.at(path);
      return mount !== undefined && poolOf(mount) === path && insidePath(`${path}/f`, mount) === '/f';
    }),
  );
});

t.test('inside means at or below', async (t) => {
  t.ok(isInside('/a', '/a'));
  t.ok(isInside('/a/b', '/a'));
  t.ok(isInside('/a', '/'));
  t.notOk(isInside('/ab', '/a'));
  t.notOk(isInside('/', '/a'));
});
