/**
 * A read-only mount, and files on it that the kernel reads by itself (FUSE passthrough) from whole copies in the cache: every trap of it, against the real kernel. What has
 * a file open or mapped is another program. That nobody asks the daemon for bytes is seen by its count of reads, after the pages of the mount's own file were dropped.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFile,
  chmod,
  copyFile,
  link,
  mkdir,
  open,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { ControlClient } from '../../src/http/control-client.js';
import { NodeFileIo } from '../../src/io/node-file-io.js';
import { newUser, saveUsers } from '../../src/s3/users.js';
import { SigningClient } from '../unit/s3/signing-client.js';
import { contentOf } from './content.js';
import { cannotMount, cannotMountImages, MountHarness } from './mount-harness.js';

const MIB = 1024 * 1024;
const FILE_BYTES = 6 * MIB;

/** One JSON line in, one out. Reading drops the pages that the kernel has kept of the file. */
const PROGRAM = `
import ctypes, fcntl, hashlib, json, mmap, os, struct, sys
things = []
def keep(thing):
    things.append(thing)
    return len(things) - 1
def read(at, length):
    os.posix_fadvise(things[at], 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(things[at], length, 0)
def remount(path, flags):
    if ctypes.CDLL(None, use_errno=True).mount(None, path.encode(), None, flags, None): raise OSError(ctypes.get_errno(), 'mount')
def drop(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
def shutdown(path):
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))
    os.close(fd)
def write_mapping(at):
    mmap.mmap(things[at], 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
calls = {
    'open': lambda path: keep(os.open(path, os.O_RDONLY)),
    'close': lambda at: os.close(things[at]),
    'read': lambda at, length: hashlib.sha256(read(at, length)).hexdigest(),
    'map': lambda at: keep(mmap.mmap(things[at], 0, prot=mmap.PROT_READ)),
    'mapped': lambda at: hashlib.sha256(things[at]).hexdigest(),
    'unmap': lambda at: things[at].close(),
    'write_mapping': write_mapping,
    'fsync': lambda at: os.fsync(things[at]),
    'fdatasync': lambda at: os.fdatasync(things[at]),
    'fchmod': lambda at: os.fchmod(things[at], 0o600),
    'size': lambda at: os.fstat(things[at]).st_size,
    'is_read_only': lambda path: os.statvfs(path).f_flag & os.ST_RDONLY != 0,
    'tmpfile': lambda path: os.open(path, os.O_TMPFILE | os.O_RDWR),
    'mknod': lambda path: os.mkfifo(path),
    'setxattr': lambda path: os.setxattr(path, 'user.a', b'x'),
    'removexattr': lambda path: os.removexattr(path, 'user.kept'),
    'remount': remount, 'drop': drop, 'shutdown': shutdown,
}
for line in sys.stdin:
    name, *values = json.loads(line)
    try: print(json.dumps({'value': calls[name](*values)}), flush=True)
    except OSError as error: print(json.dumps({'errno': error.errno}), flush=True)
`;

const EROFS = 30;
const EIO = 5;

class Reader {
  readonly #child = spawn('python3', ['-c', PROGRAM], { stdio: ['pipe', 'pipe', 'inherit'] });
  readonly #lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();

  constructor(t: Test) {
    t.teardown(() => void this.#child.kill('SIGKILL'));
  }

  async ask(name: string, ...values: (string | number)[]): Promise<{ value?: unknown; errno?: number }> {
    this.#child.stdin.write(`${JSON.stringify([name, ...values])}\n`);
    const { value } = await this.#lines.next();
    return JSON.parse(value ?? '{"errno": -1}') as { value?: unknown; errno?: number };
  }

  /** As `ask`, of what must work. */
  async must<T>(name: string, ...values: (string | number)[]): Promise<T> {
    const { value, errno } = await this.ask(name, ...values);
    if (errno !== undefined) throw new Error(`${name} ${values.join(' ')} failed with errno ${errno}`);
    return value as T;
  }
}

const sumOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const content = (name: string) => contentOf(name, FILE_BYTES);

t.test('a read-only mount', { skip: cannotMount() }, async (t) => {
  const isRoot = process.getuid?.() === 0;
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  const { mountpoint, pool, cache } = harness;
  const hasImage = cannotMountImages() === false;
  if (hasImage) await harness.mountImage(cache, 160 * MIB, join(harness.directory, 'cache.image'));
  if (hasImage) await rm(join(cache, 'lost+found'), { recursive: true });
  await harness.init();
  await harness.configure((toml) =>
    toml
      .replace(/^# size_bytes = .*$/m, `size_bytes = ${32 * MIB}`)
      .replace(/^# \[s3\]\n.*$/m, '[s3]\naddress = "127.0.0.1:0"'),
  );
  const user = newUser('test');
  await saveUsers(new NodeFileIo(), pool, [user]);
  const at = (...names: string[]) => join(mountpoint, ...names);

  await harness.mount();
  const endpoints = async () => [
    ...(await readFile(join(pool, 'daemon.log'), 'utf8')).matchAll(/"endpoint":"([^"]+)"/g),
  ];
  const writer = new SigningClient((await endpoints()).at(-1)?.[1] ?? '', user);
  t.equal((await writer.send('PUT', 'box')).status, 200);
  for (const name of ['one', 'two', 'three']) await writeFile(at('box', name), content(name));
  await writeFile(at('box', 'small'), 'small');
  await symlink('one', at('box', 'link'));
  await mkdir(at('box', 'dir'));
  const reader = new Reader(t);
  if (isRoot) await harness.must('setfattr', '-n', 'user.kept', '-v', 'x', at('box', 'small')).catch(() => {});
  // As old as can be: relatime would move it.
  for (const path of [at('box', 'one'), at('box', 'small')]) await utimes(path, 1, 1000);
  await harness.unmount();
  await harness.mount('--read-only');
  const s3 = new SigningClient((await endpoints()).at(-1)?.[1] ?? '', user);

  await t.test('every change is refused, by the kernel and by the daemon itself', async (t) => {
    t.equal(await reader.must('is_read_only', mountpoint), true, 'ST_RDONLY');
    const [small, fresh] = [at('box', 'small'), at('box', 'fresh')];
    const changes: Record<string, () => Promise<unknown>> = {
      write: () => writeFile(small, 'x'),
      append: () => appendFile(small, 'x'),
      create: () => writeFile(fresh, ''),
      copy: () => copyFile(small, fresh),
      truncate: () => truncate(small, 1),
      mkdir: () => mkdir(fresh),
      symlink: () => symlink('a', fresh),
      link: () => link(small, fresh),
      unlink: () => rm(small),
      rmdir: () => rm(at('box', 'dir'), { recursive: true }),
      rename: () => rename(small, fresh),
      chmod: () => chmod(small, 0o600),
      utimes: () => utimes(small, 5, 5),
    };
    const refused = async (by: string) => {
      for (const [what, change] of Object.entries(changes))
        await t.rejects(change(), { code: 'EROFS' }, `${what}: ${by}`);
      for (const [call, path] of [
        ['mknod', fresh],
        ['setxattr', small],
        ['removexattr', small],
        ['tmpfile', at('box')],
      ] as const)
        t.match(await reader.ask(call, path), { errno: EROFS }, `${call}: ${by}`);
    };
    await refused('the kernel');
    const [MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT] = [1, 2, 4, 32];
    if (isRoot) {
      await reader.must('remount', mountpoint, MS_REMOUNT | MS_NOSUID | MS_NODEV);
      t.equal(await reader.must('is_read_only', mountpoint), false);
      await refused('the daemon');
      await reader.must('remount', mountpoint, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV);
    }
    t.equal(await readFile(small, 'utf8'), 'small');
    t.equal(await readlink(at('box', 'link')), 'one');
    await (await open(small)).close();
    t.equal((await stat(small)).atimeMs, 1000, 'nor does reading move an access time');
    t.match(await harness.status(), { dirtyFiles: 0 });
  });

  const log = await harness.log();
  const control = new ControlClient(pool);
  const reads = async () => (await control.activity()).read.count;
  const isPassedBy = async (handle: number): Promise<boolean> => {
    const before = await reads();
    await reader.must('read', handle, 4096);
    return (await reads()) === before;
  };
  const opened = (name: string) => reader.must<number>('open', at('box', name));
  const isOfPassthrough = async (name: string): Promise<boolean> => {
    const handle = await opened(name);
    const isPassed = await isPassedBy(handle);
    await reader.must('close', handle);
    return isPassed;
  };
  /** Opens it until the kernel reads it by itself; the test's own time limit ends it. */
  const passed = async (name: string): Promise<number> => {
    for (;;) {
      const handle = await opened(name);
      if (await isPassedBy(handle)) return handle;
      await reader.must('close', handle);
    }
  };
  const sum = (handle: number) => reader.must<string>('read', handle, 2 * FILE_BYTES);

  if (!isRoot || log.some((line) => line.includes('no passthrough here'))) {
    const why = isRoot ? 'this kernel does not have it' : 'it needs root';
    t.comment(`passthrough: ${why}; that all is read in the ordinary way is tested`);
    for (let i = 0; i < 4; i++) {
      const handle = await opened('one');
      t.equal(await isPassedBy(handle), false);
      t.equal(await sum(handle), sumOf(content('one')));
      await reader.must('close', handle);
    }
    return;
  }

  await t.test('a file that is opened again is read by the kernel itself, by all who have it open', async (t) => {
    t.equal(await isOfPassthrough('one'), false, 'the first time there is no copy');
    const first = await passed('one');
    const second = await opened('one');
    t.equal(await isPassedBy(second), true);
    for (const handle of [first, second]) t.equal(await sum(handle), sumOf(content('one')));
    t.equal(await isOfPassthrough('small'), false);
    t.equal(await isOfPassthrough('small'), false, 'a small file never');
    t.equal((await stat(at('box', 'one'))).atimeMs, 1000);

    t.match(await reader.ask('fsync', first), { value: null });
    t.match(await reader.ask('fdatasync', first), { value: null });
    t.match(await reader.ask('fchmod', first), { errno: EROFS });
    t.match(await reader.ask('write_mapping', first), { errno: 13 }, 'EACCES');
    t.equal(await reader.must('size', first), FILE_BYTES);
    await reader.must('close', first);
    t.equal(await isPassedBy(second), true, 'the other goes on');
    await reader.must('close', second);
    t.equal(await isOfPassthrough('one'), true, 'and so does who comes later');
  });

  await t.test('beside an ordinary handle, or a mapping that is left of one, all are ordinary', async (t) => {
    const ordinary = await opened('two');
    t.equal(await isPassedBy(ordinary), false);
    const mapping = await reader.must<number>('map', ordinary);
    await reader.must('close', ordinary);
    // It is copied meanwhile, as the next part shows.
    for (let i = 0; i < 5; i++) t.equal(await isOfPassthrough('two'), false, 'no mixing, and no EIO');
    t.equal(await reader.must('mapped', mapping), sumOf(content('two')));
    await reader.must('unmap', mapping);
    await reader.must('close', await passed('two'));
  });

  const replaced = contentOf('replaced', FILE_BYTES + MIB);
  await t.test('S3 replaces a file: who has it open or mapped reads what it was', async (t) => {
    const old = await passed('one');
    const mapping = await reader.must<number>('map', old);
    t.equal((await s3.send('PUT', 'box', { key: 'one', body: replaced })).status, 200);
    t.equal(await sum(old), sumOf(content('one')));
    t.equal(await reader.must('mapped', mapping), sumOf(content('one')));
    const next = await passed('one');
    t.equal(await sum(next), sumOf(replaced), 'the next one has the new content');
    t.equal(await sum(old), sumOf(content('one')));
    await reader.must('close', old);
    t.equal(await reader.must('mapped', mapping), sumOf(content('one')), 'a mapping outlives its handle, and the file');
    await reader.must('unmap', mapping);
    await reader.must('close', next);
  });

  await t.test('a copy that is mapped or open is not given up for another', async (t) => {
    const two = await passed('two');
    const mapping = await reader.must<number>('map', two);
    await reader.must('close', two);
    const one = await passed('one');
    // 6 MiB and 7 MiB of the 16 MiB that copies may have.
    for (let i = 0; i < 5; i++) t.equal(await isOfPassthrough('three'), false);
    t.equal(await reader.must('mapped', mapping), sumOf(content('two')));
    t.equal(await sum(one), sumOf(replaced));
    await reader.must('unmap', mapping);
    const three = await passed('three');
    t.equal(await sum(three), sumOf(content('three')), 'nobody uses the copy of two any more');
    t.equal(await sum(one), sumOf(replaced));
    for (const handle of [one, three]) await reader.must('close', handle);
  });

  await t.test(
    'an error of the device is an error, never the end of the file',
    { skip: cannotMountImages() },
    async (t) => {
      const three = await passed('three');
      const { pid } = await harness.status();
      const copies = (await harness.must('find', `/proc/${pid}/fd`, '-lname', '*/backing (deleted)'))
        .trim()
        .split('\n');
      t.ok(copies.length >= 1);
      for (const copy of copies) await reader.must('drop', copy);
      await reader.must('shutdown', cache);
      t.match(await reader.ask('read', three, 4096), { errno: EIO });
      await reader.must('close', three);
    },
  );
});

t.test(
  'read_only in cairn.toml; a cache on an overlay, of which the kernel takes no files',
  { skip: cannotMount() },
  async (t) => {
    const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
    const { cache, mountpoint } = harness;
    const at = (name: string) => join(harness.directory, name);
    for (const name of ['lower', 'upper', 'work']) await mkdir(at(name));
    const options = `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`;
    const overlaid = (await harness.exec('mount', ['-t', 'overlay', 'overlay', '-o', options, cache])).code === 0;
    await harness.init();
    await harness.mount();
    await writeFile(join(mountpoint, 'a'), content('a'));
    await harness.unmount();
    await harness.configure((toml) => toml.replace(/^# \[mount\]\n# read_only = true$/m, '[mount]\nread_only = true'));
    await harness.mount();
    await t.rejects(writeFile(join(mountpoint, 'a'), ''), { code: 'EROFS' });
    const isRefused = async () => (await harness.log()).some((line) => line.includes('no passthrough here'));
    do t.ok((await readFile(join(mountpoint, 'a'))).equals(content('a')));
    while (overlaid && !(await isRefused()));
    t.ok((await readFile(join(mountpoint, 'a'))).equals(content('a')), 'in the ordinary way');
    await harness.unmount();
  },
);
