import t from 'tap';
import { conformanceReport, parseOutcome } from '../../conformance/s3-report.js';

const RUN = {
  date: '2026-11-28',
  suite: 'a'.repeat(40),
  cairn: 'b'.repeat(40),
  notOffered: ['encryption'],
  failures: [],
};

t.test('the summary of pytest is read, and nothing else', async (t) => {
  const file = 's3tests/functional/test_s3.py';
  t.same(parseOutcome(`PASSED ${file}::test_a`), { result: 'passed', test: 'test_a', message: '' });
  t.same(parseOutcome(`FAILED ${file}::test_b - assert 1 == 2`), {
    result: 'failed',
    test: 'test_b',
    message: 'assert 1 == 2',
  });
  t.equal(parseOutcome(`ERROR ${file}::test_c - KeyError`)?.result, 'error');
  t.equal(parseOutcome(`SKIPPED [1] ${file}:12: no storage class`)?.message, 'no storage class');
  t.equal(parseOutcome('1 failed, 2 passed in 3s'), undefined);
});

t.test('the report counts, gives each failure its reason, and says where none is known', async (t) => {
  const outcomes = ['PASSED x::test_a', 'FAILED x::test_get_object_torrent - 501 | x', 'ERROR x::test_odd - E'];
  const report = conformanceReport(
    outcomes.map((line) => parseOutcome(line)!),
    RUN,
  );
  t.match(report, '| 1 | 1 | 1 | 0 |');
  t.match(report, 'Torrents are not offered');
  t.match(report, '501 \\| x', 'a bar does not end the cell');
  t.match(report, '`test_odd` | E | Open:');
});
