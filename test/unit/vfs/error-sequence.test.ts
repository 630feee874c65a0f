import t from 'tap';
import { ErrorSequence } from '../../../src/vfs/error-sequence.js';

/** One handle: asks as an fsync does. */
class Asker {
  #since: number;

  constructor(readonly errors: ErrorSequence) {
    this.#since = errors.sample();
  }

  ask(): unknown {
    const { error, number } = this.errors.check(this.#since);
    this.#since = number;
    return error;
  }
}

t.test('every handle that was open is told once, whoever asks first', (t) => {
  const errors = new ErrorSequence();
  const [a, b] = [new Asker(errors), new Asker(errors)];
  t.equal(a.ask(), undefined);
  errors.record('one', false);
  t.ok(errors.isUnseen);
  t.equal(a.ask(), 'one');
  t.notOk(errors.isUnseen);
  t.equal(a.ask(), undefined);
  t.equal(b.ask(), 'one');
  t.equal(b.ask(), undefined);
  errors.record('two', false);
  t.equal(b.ask(), 'two');
  t.equal(a.ask(), 'two');
  t.end();
});

t.test('who opens later is told only what nobody has been told', (t) => {
  const errors = new ErrorSequence();
  errors.record('one', false);
  const late = new Asker(errors);
  t.equal(late.ask(), 'one');
  const later = new Asker(errors);
  t.equal(later.ask(), undefined);
  t.end();
});

t.test('two errors between which nobody asked are told as one', (t) => {
  const errors = new ErrorSequence();
  const asker = new Asker(errors);
  errors.record('one', false);
  errors.record('two', false);
  t.equal(asker.ask(), 'two');
  t.equal(asker.ask(), undefined);
  t.end();
});

t.test('what was made good need not be told; what was lost must be', (t) => {
  const errors = new ErrorSequence();
  const [a, b] = [new Asker(errors), new Asker(errors)];
  errors.record('commit failed', true);
  t.equal(a.ask(), 'commit failed');
  errors.withdraw();
  t.equal(b.ask(), undefined);
  errors.record('lost', false);
  errors.record('commit failed', true);
  errors.withdraw();
  t.equal(a.ask(), 'lost');
  t.equal(b.ask(), 'lost');
  errors.record('commit failed', true);
  errors.record('lost', false);
  errors.withdraw();
  t.equal(a.ask(), 'lost');
  t.end();
});
