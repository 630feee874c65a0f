/**
 * An application that keeps accounts in SQLite on a strong mount, and goes on while a disk is pulled out from under it.
 *
 *     cairn mount --strong POOL MOUNT
 *     node examples/sqlite-disk-pulled.mjs MOUNT [DISK-DIRECTORY]
 *
 * Each transfer is one transaction: when `commit` returns, it is on the disks, and survives the loss of any one of them. Given the directory of a disk, the
 * program moves that away in the middle (as if somebody had pulled the disk) and puts it back at the end.
 */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';

const [mount, disk] = process.argv.slice(2);
if (mount === undefined) {
  console.error('usage: node sqlite-disk-pulled.mjs MOUNT [DISK-DIRECTORY]');
  process.exit(2);
}
const ACCOUNTS = 10;
const START = 1000;
const TRANSFERS = 40;

const file = join(mount, 'accounts.db');
const database = new Database(file);
database.pragma('journal_mode = WAL');
// FULL: a transaction is on the disks when it is over. NORMAL would promise less, on any file system.
database.pragma('synchronous = FULL');
database.exec(
  'CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0))',
);
const fill = database.prepare('INSERT OR IGNORE INTO account VALUES (?, ?)');
for (let id = 0; id < ACCOUNTS; id++) fill.run(id, START);

const take = database.prepare('UPDATE account SET balance = balance - ? WHERE id = ?');
const give = database.prepare('UPDATE account SET balance = balance + ? WHERE id = ?');
const transfer = database.transaction((from, to, amount) => {
  take.run(amount, from);
  give.run(amount, to);
});

for (let i = 0; i < TRANSFERS; i++) {
  if (disk !== undefined && i === TRANSFERS / 2) {
    await rename(disk, `${disk}.pulled`);
    console.log(`pulled ${disk} after ${i} transfers`);
  }
  transfer(i % ACCOUNTS, (i * 7 + 3) % ACCOUNTS, 1 + (i % 50));
}
database.close();

// Read again from the pool, in which a disk is missing.
const again = new Database(file, { readonly: true });
const [{ integrity_check: integrity }] = again.pragma('integrity_check');
const { total } = again.prepare('SELECT sum(balance) AS total FROM account').get();
again.close();
if (disk !== undefined) await rename(`${disk}.pulled`, disk);
console.log(`${TRANSFERS} transfers, integrity ${integrity}, ${total} of ${ACCOUNTS * START} there`);
process.exit(integrity === 'ok' && total === ACCOUNTS * START ? 0 : 1);
