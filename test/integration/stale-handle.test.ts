/**
 * A program that has files open while the daemon is killed and the pool mounted again at the same place: nothing that it does with its old handles
 * succeeds, so nothing that was lost is ever acknowledged. In both modes; with a mapping of the file too.
 */
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { cannotMount, MountHarness } from './mount-harness.js';

/** Opens a file, writes, maps it, and says `ready`; when the second path is there, it tries what it had not tried, one line `what errno` each (0: it succeeded). */
const HOLDER = `
import errno, mmap, os, sys, time
path, go = sys.argv[1:3]
fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
directory = os.open(os.path.dirname(path), os.O_RDONLY)
os.write(fd, b'a' * 300000)
os.fsync(fd)
mapping = mmap.mmap(fd, 300000)
mapping[0:5] = b'dirty'
os.pwrite(fd, b'never synced', 100000)
print('ready', flush=True)
while not os.path.exists(go):
    time.sleep(0.02)
def attempt(what, call):
    try:
        call()
        print(what, 0, flush=True)
    except OSError as error:
        print(what, errno.errorcode[error.errno], flush=True)
attempt('fsync', lambda: os.fsync(fd))
attempt('fdatasync', lambda: os.fdatasync(fd))
attempt('msync', mapping.flush)
attempt('fsync of the directory', lambda: os.fsync(directory))
attempt('write', lambda: os.pwrite(fd, b'x', 0))
attempt('fsync again', lambda: os.fsync(fd))
print('done', flush=True)
`;

/** `make`: handles of two paths, in hex. `use`: looks through them; what the file has, what the directory and its parent hold, and where the directory is. */
const BY_HANDLE = `
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
what, mountpoint, *rest = sys.argv[1:]
if what == 'make':
    for path in rest:
        handle = ctypes.create_string_buffer(struct.pack('Ii', 128, 0) + bytes(128))
        mount = ctypes.c_int()
        if libc.name_to_handle_at(-100, path.encode(), handle, ctypes.byref(mount), 0) != 0:
            sys.exit(os.strerror(ctypes.get_errno()))
        print(handle.raw.hex())
else:
    root = os.open(mountpoint, os.O_RDONLY)
    def opened(text):
        handle = ctypes.create_string_buffer(bytes.fromhex(text))
        fd = libc.open_by_handle_at(root, handle, os.O_RDONLY)
        if fd < 0:
            sys.exit(os.strerror(ctypes.get_errno()))
        return fd
    file, directory = map(opened, rest)
    print(os.read(file, 100).decode())
    print(','.join(os.listdir(directory)))
    print(','.join(os.listdir(os.open('..', os.O_RDONLY, dir_fd=directory))))
    print(os.readlink('/proc/self/fd/%d' % directory)[len(mountpoint):])
`;

const skip = cannotMount();

t.test(
  'handles of files and directories, as an NFS server keeps them, are good after a remount',
  { skip },
  async (t) => {
    if (process.getuid?.() !== 0) {
      t.comment('open_by_handle_at needs root: not tested');
      return;
    }
    const harness = await MountHarness.create(t);
    await harness.init();
    await harness.mount();
    const deep = join(harness.mountpoint, 'a', 'b', 'c');
    await mkdir(deep, { recursive: true });
    const file = join(deep, 'file');
    await writeFile(file, 'content');
    const byHandle = (what: string, ...rest: string[]) =>
      harness.must('python3', '-c', BY_HANDLE, what, harness.mountpoint, ...rest);
    const handles = (await byHandle('make', file, deep)).trim().split('\n');
    await harness.unmount();
    await harness.mount();
    t.equal(await byHandle('use', ...handles), 'content\nfile\nc\n/a/b/c\n');
    await rename(join(harness.mountpoint, 'a', 'b'), join(harness.mountpoint, 'moved'));
    await harness.unmount();
    await harness.mount();
    t.equal(await byHandle('use', ...handles), 'content\nfile\nc\n/moved/c\n', 'wherever they have been moved');
    await rm(join(harness.mountpoint, 'moved'), { recursive: true });
    const { code, stderr } = await harness.exec('python3', ['-c', BY_HANDLE, 'use', harness.mountpoint, ...handles]);
    t.match({ code, stderr }, { code: 1, stderr: /Stale/ });
    await harness.unmount();
  },
);

for (const mode of ['default', 'strong'] as const) {
  t.test(`${mode} mode: no handle from before a kill can sync anything afterwards`, { skip }, async (t) => {
    const harness = await MountHarness.create(t);
    if ((await harness.exec('python3', ['-c', 'import mmap'])).code !== 0) {
      t.comment('python3 is not installed: not tested');
      return;
    }
    await harness.init();
    const flags = mode === 'strong' ? ['--strong'] : [];
    await harness.mount(...flags);
    const go = join(harness.directory, 'go');
    const holder = harness.start('python3', '-c', HOLDER, join(harness.mountpoint, 'file'), go);
    await holder.until((lines) => lines.includes('ready'));
    await harness.kill();
    await harness.mount(...flags);
    await writeFile(go, '');
    await holder.until((lines) => lines.includes('done'));
    const answers = holder.lines.filter((line) => line !== 'ready' && line !== 'done');
    t.equal(answers.length, 6);
    for (const answer of answers) t.match(answer, / (ENOTCONN|ECONNABORTED|EIO|ESTALE)$/);
    await holder.ended;
    // A handle of the daemon that runs works.
    await harness.must(
      'python3',
      '-c',
      'import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDWR))',
      join(harness.mountpoint, 'file'),
    );
    await harness.unmount();
  });
}
