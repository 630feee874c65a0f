import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { isBeingKilled } from '../../../src/fuse/killed-process.js';

t.test('signals that a process may handle do not count, nor processes that are not there', async (t) => {
  t.equal(isBeingKilled(process.pid), false);
  t.equal(isBeingKilled(0), false);
  // Stopped, so that what it is sent stays pending.
  const child = spawn('sleep', ['1000']);
  t.teardown(() => child.kill('SIGKILL'));
  await once(child, 'spawn');
  child.kill('SIGSTOP');
  child.kill('SIGUSR1');
  child.kill('SIGTERM');
  t.equal(isBeingKilled(child.pid!), false);
  child.kill('SIGKILL');
  await once(child, 'exit');
  t.equal(isBeingKilled(child.pid!), false);
});
