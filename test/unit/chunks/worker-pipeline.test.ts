import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { contentHash } from '../../../src/chunks/content-hash.js';
import { WorkerPipeline } from '../../../src/chunks/worker-pipeline.js';
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
