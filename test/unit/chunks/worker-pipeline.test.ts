import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { contentHash } from '../../../src/chunks/content-hash.js';
import { WorkerPipeline } from '../../../src/chunks/worker-pipeline.js';
import { findCollector } from '../../../src/io/collector.js';
import { content, fromBytes, nothing } from './fixture.js';

t.test('a thread that dies fails its jobs, with the reason, and is replaced', async (t) => {
  const program = join(t.testdir(), 'worker.mjs');
  writeFileSync(
    program,
    `import { parentPort } from 'node:worker_threads';
     parentPort.on('message', ({ job, bytes }) => {
       if (bytes.length === 13) throw new Error('thirteen');
       if (bytes.length < 100) parentPort.postMessage({ kind: 'hashed', job, chunk: 'ab'.repeat(32) });
     });`,
  );
  const pipeline = new WorkerPipeline({ workers: 1, program: pathToFileURL(program) });
  t.teardown(() => pipeline.close());
  const held = await pipeline.take(fromBytes(content(50)), nothing);
  const silent = pipeline.take(fromBytes(content(1000)), nothing);
  const results = await Promise.allSettled([silent, pipeline.take(fromBytes(content(13)), nothing)]);
  for (const result of results) {
    t.match(result, { status: 'rejected', reason: { code: 'IO', message: /ended unexpectedly: thirteen/ } });
  }
  await t.rejects(held.write({ erasure: false, k: 1, m: 0 }, []), { code: 'IO', message: /ended unexpectedly/ });
  held.end();
  const jobs = await Promise.all([1, 2, 3, 4].map((length) => pipeline.take(fromBytes(content(length)), nothing)));
  t.equal(jobs.length, 4, 'all slots are free, and a new thread answers');
  for (const job of jobs) job.end();
});

t.test('a slot is waited for, and the wait can be cancelled', async (t) => {
  const pipeline = new WorkerPipeline({ workers: 1 });
  t.teardown(() => pipeline.close());
  const jobs = await Promise.all([1, 2, 3, 4].map((length) => pipeline.take(fromBytes(content(length)), nothing)));
  const abort = new AbortController();
  const cancelled = pipeline.take(fromBytes(content(5)), nothing, abort.signal);
  const waiting = pipeline.take(fromBytes(content(6)), nothing);
  abort.abort();
  await t.rejects(cancelled, { code: 'ABORTED' });
  jobs[0]!.end();
  jobs[0]!.end();
  const job = await waiting;
  t.equal(job.chunk, contentHash(content(6)));
  const refused = t.rejects(pipeline.take(fromBytes(content(7)), nothing), { code: 'CLOSED' });
  await pipeline.close();
  await refused;
  await t.rejects(job.write({ erasure: false, k: 1, m: 0 }, []), { code: 'CLOSED' });
});

t.test('idle threads do not keep the process alive, and jobs under way do', async (t) => {
  const module = new URL('../../../src/chunks/worker-pipeline.js', import.meta.url);
  const script = `
    const { WorkerPipeline } = await import(${JSON.stringify(module.href)});
    const pipeline = new WorkerPipeline({ workers: 1 });
    const job = await pipeline.take({ kind: 'bytes', bytes: Buffer.alloc(1000) }, () => {});
    console.log(job.chunkBytes);`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  t.same([status, stdout, stderr], [0, '1000\n', '']);
});

t.test('memory that all have let go of is given back, though a thread has seen it', async (t) => {
  const SPACE_BYTES = 4 * 1024 * 1024;
  const SPACES = 24;
  const collect = findCollector();
  const pipeline = new WorkerPipeline({ workers: 1 });
  t.teardown(() => pipeline.close());
  const scheme = { erasure: false, k: 1, m: 1 };
  const layout = { scheme, chunkBytes: 1000, compression: undefined, shardBytes: 1000, there: [0], make: [] };
  const arrayBytes = () => process.memoryUsage().arrayBuffers;
  const before = arrayBytes();
  let spaces = Array.from({ length: SPACES }, (_, id) => ({
    id,
    bytes: Buffer.from(new SharedArrayBuffer(SPACE_BYTES)),
  }));
  // Used so often that they have become old in the thread's heap, where only a whole collection sees that they are garbage.
  const name = contentHash(Buffer.alloc(layout.chunkBytes));
  for (let turns = 0; turns < 100; turns++) {
    const names = await Promise.all(spaces.map((space) => pipeline.complete(space, layout)));
    if (names.some((found) => found !== name)) t.fail('a chunk has another name');
  }
  for (const space of spaces) pipeline.forget(space);
  spaces = [];
  // The thread may keep a few until the next ones are let go of, and frees what it frees in its own time; an idle one collects by itself after 8 s.
  const left = () => (arrayBytes() - before) / SPACE_BYTES;
  for (let tries = 0; left() > SPACES / 2 && tries < 200; tries++) {
    collect();
    await delay(10);
  }
  t.ok(left() <= SPACES / 2, `${left()} spaces are left of ${SPACES}`);
});
