/** A metadata store that refuses what is durable on the disks: what people see, and how it ends. */
import t from 'tap';
import { CairnError } from '../../../src/errors/cairn-error.js';
import type { MetaStore } from '../../../src/meta/meta-store.js';
import { SystemMachine } from '../../../src/pool/machine.js';
import type { PoolLog } from '../../../src/pool/pool-log.js';
import { PoolFixture } from '../vfs/pool-fixture.js';

/** Its metadata store refuses commits as long as `refusal` is set, and cannot be read while `unreadable` is. */
class RefusingMachine extends SystemMachine {
  refusal: CairnError | undefined;
  unreadable: CairnError | undefined;

  override async openMeta(directory: string, pool: string, log: PoolLog): Promise<MetaStore> {
    const store = await super.openMeta(directory, pool, log);
    const apply = store.apply.bind(store);
    store.apply = async (commit) => {
      if (this.refusal !== undefined) throw this.refusal;
      await apply(commit);
    };
    const statistics = store.statistics.bind(store);
    store.statistics = async () => {
      if (this.unreadable !== undefined) throw this.unreadable;
      return statistics();
    };
    return store;
  }
}

t.test('a store that cannot be read is said in the status, beside all that is known without it', async (t) => {
  const machine = new RefusingMachine();
  const fixture = await PoolFixture.create(t, { machine });
  const { files, disks } = await fixture.pool.control.status();
  machine.unreadable = new CairnError('CORRUPT', 'the store says nothing');
  const status = await fixture.pool.control.status();
  t.equal(status.health, 'failed');
  t.match(status.findings, [
    /names and files cannot be read: the store says nothing; unmount the pool and mount it again/,
  ]);
  t.match(status, { files, disks: { length: disks.length } });
});

for (const { code, isAnew } of [
  { code: 'CONFLICT', isAnew: true },
  { code: 'CORRUPT', isAnew: true },
  { code: 'NO_SPACE', isAnew: false },
] as const) {
  t.test(
    `refused with ${code}: said plainly, nothing is lost, and ${isAnew ? 'the store is made anew' : 'taken later'}`,
    async (t) => {
      const machine = new RefusingMachine();
      const fixture = await PoolFixture.create(t, { machine, mode: 'strong', commitDelayMs: 86_400_000 });
      const write = async (name: string): Promise<void> => {
        const file = await fixture.pool.openFile(`/${name}`, 'w');
        await file.write(0, Buffer.from(name));
        await file.close();
      };
      await write('before');
      // The answer comes before the store is told.
      await fixture.pool.commit();
      machine.refusal = new CairnError(code, 'the store says no');
      await write('promised');
      await t.rejects(write('later'), { code }, 'nothing new is committed before');
      const { findings, health } = await fixture.pool.control.status();
      t.match(findings.join(), /does not take commits \(the store says no\): what is committed is safe on the disks/);
      t.equal(health, 'degraded');
      t.equal(
        fixture.lines.filter((line) => /did not take a commit/.test(line)).length,
        1,
        'logged once, not with every try',
      );
      await t.rejects(fixture.pool.close(), { code });
      machine.refusal = undefined;
      await fixture.open();
      t.equal(
        fixture.lines.some((line) => /rebuilt from the disks/.test(line)),
        isAnew,
      );
      for (const name of ['before', 'promised', 'later']) {
        const file = await fixture.pool.openFile(`/${name}`);
        t.equal((await file.read(0, 100)).toString(), name);
        await file.close();
      }
      t.strictSame((await fixture.pool.control.status()).findings, []);
    },
  );
}
