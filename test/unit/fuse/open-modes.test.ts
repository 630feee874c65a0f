import fc from 'fast-check';
import t from 'tap';
import { OpenModes } from '../../../src/fuse/open-modes.js';
import { OpenReply } from '../../../src/fuse/protocol.js';

t.test('writers go direct, others are cached, and the first open decides', async (t) => {
  const modes = new OpenModes();
  t.equal(modes.opened(2, 1, false, true), OpenReply.KEEP_CACHE, 'not where the kernel cannot map direct handles');
  modes.released(1);
  modes.allowDirect = true;
  t.equal(modes.opened(2, 2, false, true), OpenReply.DIRECT_IO);
  t.equal(modes.mayBeMapped(2), false);
  t.equal(modes.opened(2, 3, true, false), OpenReply.DIRECT_IO | OpenReply.NOFLUSH, 'a reader beside a direct writer');
  t.equal(modes.mayBeMapped(2), true);
  modes.released(2);
  t.equal(modes.isDirect(3), true);
  modes.released(3);
  t.equal(modes.opened(2, 4, true, true), OpenReply.KEEP_CACHE, 'who reads and writes is cached');
  t.equal(modes.opened(2, 5, false, true), OpenReply.KEEP_CACHE, 'a writer beside a cached handle');
  t.equal(modes.opened(3, 6, false, true), OpenReply.DIRECT_IO, 'another inode');
});

t.test('no inode is open both ways', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 0, max: 5 }))), (steps) => {
      const modes = new OpenModes();
      modes.allowDirect = true;
      const open = new Map<number, { ino: number; direct: boolean }>();
      let next = 1;
      for (const [ino, action] of steps) {
        if (action < 3) {
          const flags = modes.opened(ino, next, action !== 1, action !== 0);
          open.set(next++, { ino, direct: (flags & OpenReply.DIRECT_IO) !== 0 });
        } else {
          const handle = [...open.keys()][action - 3];
          if (handle !== undefined) {
            modes.released(handle);
            open.delete(handle);
          }
        }
        const ways = new Set([...open.values()].filter((one) => one.ino === ino).map(({ direct }) => direct));
        if (ways.size > 1) return false;
      }
      return true;
    }),
  );
  t.pass();
});
