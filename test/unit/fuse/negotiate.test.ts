import t from 'tap';
import { Request } from '../../../src/fuse/decode-request.js';
import { negotiate } from '../../../src/fuse/negotiate.js';
import { Opcode } from '../../../src/fuse/protocol.js';
import { bodyOf, initBody, requestMessage } from './fake-channel.js';

function negotiated(body: Uint8Array, passthrough = false, writeback = false) {
  const message = requestMessage({ opcode: Opcode.INIT, unique: 9n }, body);
  const buffer = new Uint8Array(8192);
  buffer.set(message);
  const request = new Request(buffer);
  request.begin(message.length);
  const out = Buffer.alloc(4096, 0xee);
  const { length, agreed } = negotiate(request, out, { passthrough, writeback });
  return { reply: out.subarray(0, length), agreed };
}

t.test('a newer kernel comes down to our minor version', async (t) => {
  const { reply, agreed } = negotiated(initBody(7, 99));
  t.equal(agreed?.minor, 40);
  // biome-ignore format: one field a line
  const expected = [
    0x50, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, // header: 80 bytes
    7, 0, 0, 0, // major
    40, 0, 0, 0, // minor
    0x00, 0x00, 0x10, 0x00, // max_readahead
    0x79, 0xe0, 0xd4, 0x72, // flags
    64, 0, // max_background
    48, 0, // congestion_threshold
    0x00, 0x00, 0x10, 0x00, // max_write
    1, 0, 0, 0, // time_gran
    0, 1, // max_pages
    0, 0, // map_alignment
    16, 0, 0, 0, // flags2: DIRECT_IO_ALLOW_MMAP
    ...new Array(28).fill(0), // max_stack_depth and unused
  ];
  t.same([...reply], expected);
});

t.test(
  'never taken unless it is asked for: write-back cache; and never: locks, splice, zero-message opens',
  async (t) => {
    const flags = negotiated(initBody()).agreed?.flags ?? -1;
    for (const bit of [1, 7, 8, 9, 10, 16, 17, 24, 31]) t.equal((flags >>> bit) & 1, 0, `bit ${bit}`);
  },
);

t.test(
  'passthrough: only where it is asked for, with a stack depth, and never beside the write-back cache',
  async (t) => {
    const depthAt = 16 + 36;
    const without = negotiated(initBody());
    t.same([without.agreed?.flags2, without.reply.readUInt32LE(depthAt)], [1 << 4, 0]);
    const { agreed, reply } = negotiated(initBody(), true);
    t.equal(agreed?.flags2, (1 << 4) | (1 << 5));
    t.equal(reply.readUInt32LE(16 + 32), agreed?.flags2);
    t.equal(reply.readUInt32LE(depthAt), 1, 'with 0 the kernel would have none');
    t.equal((agreed?.flags ?? 0) & (1 << 16), 0, 'WRITEBACK_CACHE, which switches it off for the whole mount');
    const flags = 1 << 30;
    const older = negotiated(bodyOf(7, 39, 131072, flags, (1 << 4) | (1 << 6), new Uint8Array(44)), true);
    t.same([older.agreed?.flags2, older.reply.readUInt32LE(depthAt)], [1 << 4, 0], 'a kernel that does not have it');
  },
);

t.test('the write-back cache where it is asked for, and where the kernel has it', async (t) => {
  const WRITEBACK_CACHE = 1 << 16;
  const { agreed, reply } = negotiated(initBody(), false, true);
  t.equal((agreed?.flags ?? 0) & WRITEBACK_CACHE, WRITEBACK_CACHE);
  t.equal(reply.readUInt32LE(16 + 12), agreed?.flags);
  const without = negotiated(bodyOf(7, 40, 131072, 1 << 5, 0, new Uint8Array(44)), false, true);
  t.equal((without.agreed?.flags ?? 0) & WRITEBACK_CACHE, 0);
});

t.test('nothing that the kernel does not offer', async (t) => {
  const { agreed } = negotiated(bodyOf(7, 31, 131072, (1 << 5) | (1 << 16), new Uint8Array(0)));
  t.same(agreed, { minor: 31, flags: 1 << 5, flags2: 0 });
});

t.test('a later major version is asked to come down', async (t) => {
  const { reply, agreed } = negotiated(initBody(8, 0));
  t.equal(agreed, undefined);
  t.equal(reply.readUInt32LE(16), 7);
});

t.test('too old, or cut short', async (t) => {
  t.throws(() => negotiated(initBody(7, 30)), /7\.30/);
  t.throws(() => negotiated(initBody(6, 40)), /6\.40/);
  t.throws(() => negotiated(bodyOf(7, 40, 131072)), /bytes/);
});
