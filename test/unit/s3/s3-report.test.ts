import t from 'tap';
import { conformanceReport, countOf, markersOf, parseOutcome } from '../../conformance/s3-report.js';

const RUN = {
  date: '2026-11-28',
  suite: 'a'.repeat(40),
  cairn: 'b'.repeat(40),
  outside: ['encryption'],
  markers: new Map([['test_secret', ['test_s3', 'encryption']]]),
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

t.test('markers are read from the decorators before a test', async (t) => {
  const source = `@pytest.mark.encryption
@pytest.mark.parametrize("a", [1, 2])
def test_secret(a):
    def inner():
        pass

def test_plain():
    pass
`;
  const markers = markersOf(source, 'test_s3');
  t.same(markers.get('test_secret'), ['test_s3', 'encryption', 'parametrize']);
  t.same(markers.get('test_plain'), ['test_s3']);
  t.equal(countOf('SKIPPED [12] test_s3.py:9: reason'), 12);
  t.equal(countOf('PASSED test_s3.py::test_a'), 1);
});

t.test('the report counts, gives each failure its reason, and says where none is known', async (t) => {
  const outcomes = (...lines: string[]) => lines.map((line) => parseOutcome(line)!);
  const report = conformanceReport(
    [
      {
        title: 'gate',
        outcomes: outcomes('PASSED x::test_a', 'FAILED x::test_get_object_torrent - 501 | x', 'ERROR x::test_odd - E'),
      },
      {
        title: 'rest',
        outcomes: outcomes(
          'FAILED x::test_secret[1] - assert 501 == 400',
          'FAILED x::test_other - E: An error occurred (NotImplemented) when calling the X operation: Sums is not offered by it.',
          'SKIPPED [1] x.py:12: no storage class',
        ),
      },
    ],
    RUN,
  );
  t.match(report, '| gate | 1 | 2 | 0 | 0 |');
  t.match(report, '| rest | 0 | 0 | 2 | 1 |');
  t.match(report, 'Torrents are not offered');
  t.match(report, '501 \\| x', 'a bar does not end the cell');
  t.match(report, '`test_odd` | E | Open:');
  t.match(report, '| 1 | `test_secret[1]` |', 'by its marker');
  t.match(report, '| Sums | 1 | `test_other` |', 'by what the server has said');
  t.match(report, '| no storage class | 1 |');
});
