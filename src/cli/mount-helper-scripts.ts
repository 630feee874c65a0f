/**
 * The helpers that mount(8) and umount(8) look for by the type of a file system: two scripts that name node and cairn by their whole paths. Links would not do: mount(8)
 * takes PATH out of the environment, so that `env node` finds only what is in /usr/bin.
 */
/** What the script for umount(8) calls: no command for a person. */
export const UNMOUNT_HELPER = 'unmount-helper';

export const HELPER_DIRECTORY = '/sbin';
export const FSTAB_LINE = '/srv/pool  /mnt/pool  fuse.cairn  noatime,nofail  0  0';

/** Names with texts. `program`: what starts cairn. */
export function mountHelperScripts(program: readonly string[]): ReadonlyMap<string, string> {
  const script = (...words: string[]) =>
    `#!/bin/sh\n# Written by \`cairn service fstab\`.\nexec ${[...program, ...words].map(quoted).join(' ')} "$@"\n`;
  return new Map([
    ['mount.fuse.cairn', script()],
    ['umount.fuse.cairn', script(UNMOUNT_HELPER)],
  ]);
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
