/** Another face that is told of changes: it is waited for, but not for ever. */
import t from 'tap';
import { ObjectTree } from '../../../src/vfs/object-tree.js';
import { ManualClock } from '../cache/manual-clock.js';

type Parts = ConstructorParameters<typeof ObjectTree>[0];

t.test('who made a change waits until the other face knows, as long as that face is not late', async (t) => {
  const clock = new ManualClock();
  const tree = new ObjectTree({ clock } as unknown as Parts);
  t.equal(tree.told(), undefined, 'no other face');
  let pending: Pending | undefined;
  tree.watcher = {
    entryChanged: () => undefined,
    nodeChanged: () => undefined,
    told: () => pending?.promise,
  };
  t.equal(tree.told(), undefined, 'it knows all');

  const isOver = async (waiting: Promise<void> | undefined) => {
    let over = waiting === undefined;
    void waiting?.then(() => {
      over = true;
    });
    await new Promise(setImmediate);
    return over;
  };
  pending = newPending();
  const inTime = tree.told();
  t.notOk(await isOver(inTime));
  pending.resolve();
  t.ok(await isOver(inTime));
  t.equal(clock.waiting, 0, 'nothing is left behind');

  pending = newPending();
  const late = tree.told();
  clock.advance(4999);
  t.notOk(await isOver(late));
  clock.advance(1);
  t.ok(await isOver(late), 'it is late');
  t.ok(await isOver(tree.told()), 'and nobody else waits for it');
  pending.resolve();
  await new Promise(setImmediate);
  pending = newPending();
  t.notOk(await isOver(tree.told()), 'until it has come');
  pending.resolve();
});

interface Pending {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

function newPending(): Pending {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
