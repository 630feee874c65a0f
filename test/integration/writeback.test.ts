/**
 * A mount with the kernel's writeback cache: what programs have written is in the kernel's pages, and everything that is asked about it, promised for it or done beside it has to
 * know of that. How such a mount behaves for programs is in `posix`. The test holds files open itself: their pages are handed over by the daemon, or not at all.
 */
import { type FileHandle, mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { NodeFileIo } from '../../src/io/node-file-io.js';
import { newUser, saveUsers } from '../../src/s3/users.js';
import { SigningClient } from '../unit/s3/signing-client.js';
import { contentOf } from './content.js';
import { cannotMount, MountHarness } from './mount-harness.js';

const MIB = 1024 * 1024;
const NEVER_MS = 3_600_000;

/** Beyond what a file of a pool can have, which only the daemon knows. */
const LATE_FAILURES = `
import errno, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
def told(call, *values):
    try: call(fd, *values)
    except OSError as error: return errno.errorcode[error.errno]
    return 'ok'
print(told(os.pwrite, b'x', 2**53), told(os.fsync), told(os.fsync), told(os.pwrite, b'x', 2**53), told(os.close))`;

t.test('a mount with the writeback cache of the kernel', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'] });
  const { mountpoint, pool } = harness;
  await harness.init();
  await harness.configure((toml) =>
    toml
      .replace(/^delay_ms = .*$/m, `delay_ms = ${NEVER_MS}`)
      .replace(/^# \[mount\]\n(# .*\n)+/m, '[mount]\nwriteback = true\n')
      .replace(/^# \[s3\]\n.*$/m, '[s3]\naddress = "127.0.0.1:0"'),
  );
  const user = newUser('test');
  await saveUsers(new NodeFileIo(), pool, [user]);
  const at = (...names: string[]) => join(mountpoint, ...names);
  const opened = new Set<FileHandle>();
  t.teardown(() => Promise.allSettled([...opened].map((handle) => handle.close())));
  const opening = async (path: string, flags: string): Promise<FileHandle> => {
    const handle = await open(path, flags);
    opened.add(handle);
    return handle;
  };
  const close = async (handle: FileHandle): Promise<void> => {
    opened.delete(handle);
    await handle.close();
  };

  await harness.mount();
  t.match(await harness.status(), { writeback: true, readOnly: false, passthrough: false });
  const client = async () => {
    const log = await readFile(join(pool, 'daemon.log'), 'utf8');
    return new SigningClient([...log.matchAll(/"endpoint":"([^"]+)"/g)].at(-1)?.[1] ?? '', user);
  };

  await t.test('state, an S3 GET and a commit know what is written, though nobody has closed the file', async (t) => {
    const s3 = await client();
    t.equal((await s3.send('PUT', 'box')).status, 200);
    const bytes = contentOf('open', 5 * MIB);
    const file = await opening(at('box', 'open'), 'w');
    await file.write(bytes.subarray(0, 1000));
    t.match(await harness.state(at('box', 'open')), { sizeBytes: 1000, stagedBytes: 1000, state: 'staged' });
    await file.write(bytes.subarray(1000, 2 * MIB));
    const got = await s3.send('GET', 'box', { key: 'open' });
    t.ok(got.body.equals(bytes.subarray(0, 2 * MIB)), 'GET');
    await file.write(bytes.subarray(2 * MIB));
    t.equal((await s3.send('HEAD', 'box', { key: 'open' })).headers['content-length'], String(5 * MIB), 'HEAD');
    await file.write(Buffer.from('end'));
    await harness.commit();
    await harness.kill();
    await close(file).catch(() => {});
    await harness.loseCache();
    await harness.mount();
    t.ok((await readFile(at('box', 'open'))).equals(Buffer.concat([bytes, Buffer.from('end')])), 'without the cache');
  });

  await t.test('what nobody has synced is with the daemon soon; what was synced survives its end', async (t) => {
    const [synced, unsynced] = [await opening(at('synced'), 'w'), await opening(at('unsynced'), 'w')];
    await synced.write(contentOf('synced', 70_000));
    await synced.sync();
    const { dirtyBytes } = await harness.status();
    await unsynced.write(contentOf('unsynced', 50_000));
    // The status does not ask for it. The test's own time limit ends it.
    while ((await harness.status()).dirtyBytes < dirtyBytes + 50_000);
    // The stage log has it a moment later.
    await writeFile(at('closed'), 'closed');
    await harness.kill();
    for (const file of [synced, unsynced]) await close(file).catch(() => {});
    await harness.mount();
    t.ok((await readFile(at('synced'))).equals(contentOf('synced', 70_000)));
    t.ok((await readFile(at('unsynced'))).equals(contentOf('unsynced', 50_000)));
    t.equal(await readFile(at('closed'), 'utf8'), 'closed', 'what was closed is there too');
  });

  await t.test('no hole is told where the kernel has bytes', async (t) => {
    const file = await opening(at('sparse'), 'w+');
    await file.truncate(8 * MIB);
    for (const position of [MIB, 5 * MIB, 9 * MIB]) {
      await file.write(contentOf('sparse', 5000), 0, 5000, position);
      const copy = join(harness.directory, 'copy');
      await harness.must('cp', '--sparse=auto', at('sparse'), copy);
      await harness.must('cmp', at('sparse'), copy);
      await harness.must('sh', '-c', `tar -cSf - -C '${mountpoint}' sparse | tar -xOf - | cmp - '${copy}'`);
    }
    await close(file);
    t.ok((await stat(at('sparse'))).blocks * 512 <= MIB, 'and the file is sparse');
  });

  await t.test('times go forward, and stay as they were told', async (t) => {
    const times = async () => {
      const { mtimeNs, ctimeNs } = await stat(at('timed'), { bigint: true });
      return [mtimeNs, ctimeNs];
    };
    const file = await opening(at('timed'), 'w');
    const made = await times();
    await file.write('first');
    const written = await times();
    t.ok(
      written.every((time, i) => time >= made[i]!),
      'a write is not before the creation',
      { made, written },
    );
    await harness.state(at('timed'));
    t.same(await times(), written, 'handing over is no change');
    await close(file);
    t.same(await times(), written, 'nor is closing');
    await harness.unmount();
    await harness.mount();
    t.same(await times(), written, 'nor another mount');
  });

  await t.test('what S3 puts over a file that is open goes its own way', async (t) => {
    const s3 = await client();
    await s3.send('PUT', 'box', { key: 'replaced', body: Buffer.from('first') });
    const file = await opening(at('box', 'replaced'), 'r+');
    await file.write(Buffer.from('FIRST and more'), 0, 14, 0);
    t.equal((await s3.send('PUT', 'box', { key: 'replaced', body: Buffer.from('second one') })).status, 200);
    t.equal(await readFile(at('box', 'replaced'), 'utf8'), 'second one', 'a file of its own, with its own size');
    await file.write(Buffer.from('!'), 0, 1, 14);
    t.match(await file.read(Buffer.alloc(20), 0, 20, 0), { bytesRead: 15 });
    await close(file);
    t.equal(await readFile(at('box', 'replaced'), 'utf8'), 'second one');
    t.match((await s3.send('GET', 'box', { key: 'replaced' })).body.toString(), 'second one');

    // A write waits until the version that it changes is kept; who asks for the write must not wait for that.
    const versioning = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
    t.equal((await s3.send('PUT', 'kept')).status, 200);
    t.equal((await s3.send('PUT', 'kept', { query: [['versioning', '']], body: Buffer.from(versioning) })).status, 200);
    const put = await s3.send('PUT', 'kept', { key: 'a', body: Buffer.from('first') });
    const kept = await opening(at('kept', 'a'), 'r+');
    await kept.write(Buffer.from('FIRST'), 0, 5, 0);
    t.equal((await s3.send('GET', 'kept', { key: 'a' })).body.toString(), 'FIRST');
    const versionId = String(put.headers['x-amz-version-id']);
    t.equal((await s3.send('GET', 'kept', { key: 'a', query: [['versionId', versionId]] })).body.toString(), 'first');
    await close(kept);
  });

  await t.test('a write that fails later is told once, by fsync or by close, and in status', async (t) => {
    const said = await harness.must('python3', '-c', LATE_FAILURES, at('failing'));
    t.equal(said.trim(), 'ok EFBIG ok ok EIO', 'write, fsync, fsync, write, close: close knows ENOSPC and EIO');
    const { findings } = await harness.status();
    t.match(findings.join('\n'), /could not be stored .*fsync or close/);
    t.match((await harness.log()).join('\n'), /could not be stored/);
    await rm(at('failing'));
  });

  await t.test('strong: close and fsync give the pool promise', async (t) => {
    await harness.unmount();
    await harness.mount('--strong');
    await mkdir(at('strong'));
    await writeFile(at('strong', 'closed'), contentOf('closed', 300_000));
    const file = await opening(at('strong', 'synced'), 'w');
    const other = await opening(at('strong', 'synced'), 'r+');
    await file.write(contentOf('synced', 5000));
    await file.datasync();
    await file.write(Buffer.from('end'), 0, 3, 5000);
    await close(file);
    t.match(await harness.status(), { dirtyBytes: 0 });
    await harness.kill();
    await close(other).catch(() => {});
    await harness.loseCache();
    await harness.mount();
    t.ok((await readFile(at('strong', 'closed'))).equals(contentOf('closed', 300_000)));
    const found = await readFile(at('strong', 'synced'));
    t.ok(found.equals(Buffer.concat([contentOf('synced', 5000), Buffer.from('end')])));
    await harness.unmount();
  });
});
