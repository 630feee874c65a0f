import t from 'tap';
import { parseMountTable } from '../../../src/fuse/mount-table.js';

t.test('entries of /proc/self/mountinfo', async (t) => {
  const text = [
    '22 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw',
    '36 22 0:45 / /srv/my\\040photos\\134\\303\\244 rw,nosuid,nodev - fuse.cairn cairn rw,user_id=0',
    'not a line of the table',
    '',
  ].join('\n');
  t.same(parseMountTable(text), [
    { device: '254:0', mountpoint: '/', type: 'ext4' },
    { device: '0:45', mountpoint: '/srv/my photos\\ä', type: 'fuse.cairn' },
  ]);
});
