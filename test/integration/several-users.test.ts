/**
 * A mount that an ordinary user makes through fusermount3, and who may use it then. The test runs as root, in a mount namespace of its own in which
 * that user may open /dev/fuse and fuse.conf allows allow_other: the machine's own stay as they are. What other users may do on root's mount is
 * posix-access.c's business.
 */

import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { cannotMountDisks } from './mount-harness.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const OWNER = 65534;
const GUEST = 1001;

function cannotRun(): string | false {
  for (const tool of ['/usr/bin/fusermount3', '/usr/bin/setpriv', '/usr/bin/unshare']) {
    try {
      accessSync(tool, constants.X_OK);
    } catch {
      return `there is no ${tool}`;
    }
  }
  return cannotMountDisks();
}

/** In a namespace of its own: whatever it mounts is gone with it. */
function inNamespace(directory: string, script: string): Promise<string> {
  const begin = `
    set -e
    mknod '${directory}/fuse' c 10 229; chmod 666 '${directory}/fuse'; mount --bind '${directory}/fuse' /dev/fuse
    [ ! -e /etc/fuse.conf ] || mount --bind '${directory}/fuse.conf' /etc/fuse.conf
    cd '${directory}/home'
    as() { id=$1; shift; setpriv --reuid=$id --regid=$id --clear-groups -- "$@"; }
    cairn() { as ${OWNER} env HOME='${directory}/home' '${process.execPath}' '${MAIN}' "$@"; }
    trap 'cairn unmount mnt >/dev/null 2>&1 || true' EXIT
  `;
  return new Promise((resolve, reject) => {
    execFile('unshare', ['-m', 'bash', '-c', `${begin}\n${script}`], (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${error.message}\n${stdout}\n${stderr}`));
    });
  });
}

async function home(t: Test): Promise<string> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'cairn-users-')));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  await chmod(directory, 0o755);
  for (const name of ['home', 'home/pool', 'home/mnt', 'home/cache', 'home/d1', 'home/d2', 'home/d3']) {
    await mkdir(join(directory, name), { mode: 0o755 });
    await chown(join(directory, name), OWNER, OWNER);
  }
  return directory;
}

const MAKE = 'cairn init pool --disk d1 d2 d3 --cache cache --bucket-size 64MiB >/dev/null';

t.test('a mount of an ordinary user', { skip: cannotRun() }, async (t) => {
  const directory = await home(t);
  await writeFile(join(directory, 'fuse.conf'), 'user_allow_other\n');
  const output = await inNamespace(
    directory,
    `${MAKE}
    cairn mount pool mnt >/dev/null
    as ${OWNER} sh -c 'echo own > mnt/a; chmod 640 mnt/a; cat mnt/a'
    as ${GUEST} cat mnt/a 2>&1 || true
    cat mnt/a 2>&1 || true
    cairn unmount mnt >/dev/null
    cairn mount --allow-other pool mnt >/dev/null
    as ${GUEST} sh -c 'stat -c %U%G:%a mnt/a' >/dev/null && echo seen
    as ${GUEST} cat mnt/a 2>&1 || true
    as ${OWNER} chmod 644 mnt/a
    as ${GUEST} cat mnt/a
    as ${GUEST} sh -c 'echo x > mnt/b' 2>&1 || true
    as ${OWNER} chmod 1777 mnt
    as ${GUEST} sh -c 'echo guest > mnt/b'; stat -c %u mnt/b
    cairn unmount mnt >/dev/null`,
  );
  const [own, guest, root, seen, refused, read, cannotWrite, owner] = output.trim().split('\n');
  t.equal(own, 'own');
  t.match(guest, /Permission denied/, 'others stay out');
  t.match(root, /Permission denied/, 'root too');
  t.equal(seen, 'seen', 'with --allow-other they come in');
  t.match(refused, /Permission denied/, 'as far as the permissions allow it');
  t.equal(read, 'own');
  t.match(cannotWrite, /Permission denied/);
  t.equal(owner, `${GUEST}`);
});

t.test('--allow-other where fuse.conf does not allow it', { skip: cannotRun() }, async (t) => {
  const directory = await home(t);
  await writeFile(join(directory, 'fuse.conf'), '# nothing\n');
  const output = await inNamespace(directory, `${MAKE}; cairn mount --allow-other pool mnt 2>&1 || true`);
  t.match(output, /user_allow_other in \/etc\/fuse\.conf/, 'says what to do');
  t.notMatch(output, /^mounted/m);
});
