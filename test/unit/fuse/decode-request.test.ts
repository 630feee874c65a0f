import t from 'tap';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { MalformedRequest, Request } from '../../../src/fuse/decode-request.js';
import { Errno, errnoOf } from '../../../src/fuse/errno.js';
import { In, Opcode } from '../../../src/fuse/protocol.js';
import { ByteReader } from '../../../src/io/byte-reader.js';
import { ByteWriter } from '../../../src/io/byte-writer.js';
import { readTime, writeTime } from '../../../src/meta/row-fields.js';
import { requestMessage } from './fake-channel.js';

// biome-ignore format: one field a line
const MKNOD = Buffer.from([
  0x38, 0x00, 0x00, 0x00, // length: 56
  0x08, 0x00, 0x00, 0x00, // opcode: MKNOD
  0x0d, 0xf0, 0xad, 0xba, 0xef, 0xbe, 0xad, 0xde, // unique
  0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x02, 0x00, // nodeid
  0x0d, 0xd0, 0x01, 0xc0, // uid
  0x0d, 0xd0, 0x02, 0xc0, // gid
  0x5e, 0xba, 0xde, 0xc0, // pid
  0x00, 0x00, // total_extlen
  0x00, 0x00, // padding
  0xa4, 0x81, 0x00, 0x00, // mode: 0100644
  0x01, 0x05, 0x00, 0x00, // rdev: 5,1
  0x12, 0x00, 0x00, 0x00, // umask: 022
  0x00, 0x00, 0x00, 0x00, // padding
]);
const NAME = Buffer.from([0x66, 0x6f, 0xff, 0x6f, 0x00]); // "fo\xffo"

function requestOf(message: Uint8Array): Request {
  const buffer = new Uint8Array(8192).fill(0x41);
  buffer.set(message);
  const request = new Request(buffer);
  t.ok(request.begin(message.length));
  return request;
}

/** The errno that the kernel is told of what `read` throws; undefined if it does not. */
function refusal(read: () => unknown): number | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    if (error instanceof MalformedRequest) return error.errno;
    if (error instanceof CairnError) return errnoOf(error);
    throw error;
  }
}

/** MKNOD with the name, its length field set right. */
function mknodMessage(): Buffer {
  const message = Buffer.concat([MKNOD, NAME]);
  message.writeUInt32LE(message.length, 0);
  return message;
}

t.test('header, body and name of a request', async (t) => {
  const request = requestOf(mknodMessage());
  t.equal(request.opcode, Opcode.MKNOD);
  t.equal(request.unique, 0xdeadbeefbaadf00dn);
  t.equal(request.nodeid, 0x2334455667788);
  t.same(request.caller(), { uid: 0xc001d00d, gid: 0xc002d00d, pid: 0xc0deba5e, umask: 0 });
  request.body(In.MKNOD.BYTES);
  t.equal(request.u32(In.MKNOD.MODE), 0o100644);
  t.equal(request.u32(In.MKNOD.RDEV), 0x0501);
  t.equal(request.name(), 'fo\xffo', 'a name is its bytes, valid UTF-8 or not');
  t.equal(
    refusal(() => request.name()),
    Errno.EIO,
    'and there is only one',
  );
});

t.test('every truncation is refused, and nothing beyond the message is read', async (t) => {
  const whole = mknodMessage();
  for (let length = 0; length < whole.length; length++) {
    const buffer = new Uint8Array(8192).fill(0x00);
    buffer.set(whole.subarray(0, length));
    // The length field agrees, as a kernel's would: only the contents are short.
    if (length >= 4) new DataView(buffer.buffer).setUint32(0, length, true);
    const request = new Request(buffer);
    if (length < 40) {
      t.notOk(request.begin(length), `${length} bytes hold no header`);
      continue;
    }
    t.ok(request.begin(length));
    const readAll = () => {
      request.body(In.MKNOD.BYTES);
      request.name();
    };
    t.equal(refusal(readAll), Errno.EIO, `${length} bytes`);
  }
});

t.test('a length field that lies', async (t) => {
  const message = mknodMessage();
  message.writeUInt32LE(message.length + 1, 0);
  const buffer = new Uint8Array(8192);
  buffer.set(message);
  const request = new Request(buffer);
  t.equal(
    refusal(() => request.begin(message.length)),
    Errno.EIO,
  );
  t.equal(request.unique, 0xdeadbeefbaadf00dn, 'known, so that it can be answered');
  t.notOk(request.begin(9000), 'a message longer than the buffer');
});

t.test('extensions after the arguments are not part of them', async (t) => {
  const message = Buffer.concat([mknodMessage().subarray(0, 56), Buffer.from('abc\0'), Buffer.alloc(8, 0x7a)]);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(1, 36);
  const request = requestOf(message);
  request.body(In.MKNOD.BYTES);
  t.equal(request.name(), 'abc');
  t.equal(
    refusal(() => request.bytes(1)),
    Errno.EIO,
  );
  message.writeUInt16LE(100, 36);
  const buffer = new Uint8Array(8192);
  buffer.set(message);
  t.equal(
    refusal(() => new Request(buffer).begin(message.length)),
    Errno.EIO,
  );
});

t.test('names and texts', async (t) => {
  const named = (name: string) =>
    requestOf(requestMessage({ opcode: Opcode.LOOKUP }, Buffer.from(`${name}\0`, 'latin1')));
  t.equal(named('x'.repeat(255)).name().length, 255);
  t.equal(
    refusal(() => named('x'.repeat(256)).name()),
    Errno.ENAMETOOLONG,
  );
  t.equal(
    refusal(() => named('').name()),
    Errno.EINVAL,
  );
  t.equal(
    refusal(() => named('a/b').name()),
    Errno.EINVAL,
  );
  t.equal(named('a/b').text(10), 'a/b');
});

t.test('times are signed, and their nanoseconds bounded', async (t) => {
  const body = Buffer.alloc(20);
  body.writeBigInt64LE(-631_151_999n, 0);
  body.writeUInt32LE(678_901_234, 8);
  body.writeUInt32LE(1_000_000_000, 12);
  const request = requestOf(requestMessage({ opcode: Opcode.SETATTR }, body));
  t.same(request.time(40, 48), { sec: -631_151_999, nsec: 678_901_234 });
  t.equal(
    refusal(() => request.time(40, 52)),
    Errno.EINVAL,
  );
  for (const [sec, kept] of [
    [2n ** 63n - 1n, 2 ** 52 - 1],
    [-(2n ** 63n), -(2 ** 52)],
    [2n ** 52n - 1n, 2 ** 52 - 1],
  ] as const) {
    body.writeBigInt64LE(sec, 0);
    const { sec: cut } = requestOf(requestMessage({ opcode: Opcode.SETATTR }, body)).time(40, 48);
    t.equal(cut, kept, 'cut to what a record holds');
    const writer = new ByteWriter();
    writeTime(writer, { sec: cut, nsec: 1 });
    t.same(readTime(new ByteReader(writer.finish(), 'a time')), { sec: cut, nsec: 1 });
  }
});

t.test('64-bit numbers', async (t) => {
  const body = Buffer.alloc(16);
  body.writeBigUInt64LE(2n ** 53n - 1n, 0);
  body.writeBigUInt64LE(2n ** 64n - 1n, 8);
  const request = requestOf(requestMessage({ opcode: Opcode.READ }, body));
  t.equal(request.u64(40), Number.MAX_SAFE_INTEGER);
  t.notOk(Number.isSafeInteger(request.u64(48)));
});
