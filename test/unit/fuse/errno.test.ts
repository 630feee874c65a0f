import t from 'tap';
import { CairnError, type ErrorCode } from '../../../src/errors/cairn-error.js';
import { errnoOf, isExpected } from '../../../src/fuse/errno.js';

t.test('codes that POSIX knows keep their meaning', async (t) => {
  const expected: [ErrorCode, number][] = [
    ['NOT_FOUND', 2],
    ['EXISTS', 17],
    ['NOT_EMPTY', 39],
    ['NO_SPACE', 28],
    ['NO_DATA', 61],
    ['NO_EXTENT', 6],
    ['STALE', 116],
    ['NOT_SUPPORTED', 95],
    ['TOO_BIG', 27],
    ['BAD_HANDLE', 9],
    ['RANGE', 34],
  ];
  for (const [code, errno] of expected) {
    t.equal(errnoOf(new CairnError(code, code)), errno, code);
    t.ok(isExpected(new CairnError(code, code)));
  }
});

t.test('what only Cairn knows is EIO, and so is what nobody foresaw', async (t) => {
  for (const code of ['CORRUPT', 'UNREADABLE', 'DISK_FAILED', 'DISK_MISSING', 'CONFLICT', 'CLOSED'] as const) {
    t.equal(errnoOf(new CairnError(code, code)), 5, code);
    t.notOk(isExpected(new CairnError(code, code)), `${code} is worth a line in the log`);
  }
  t.equal(errnoOf(new TypeError('a defect')), 5);
  t.equal(errnoOf('not even an error'), 5);
  t.equal(errnoOf(Object.assign(new Error('no'), { code: 'ENOENT' })), 5, 'a system error is not an answer');
});
