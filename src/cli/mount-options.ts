/**
 * What follows `-o`, as mount(8) and fstab(5) write it, and what it means for a mount of Cairn's. Of two words that say opposite things the last one holds.
 *
 * `dev` and `suid` are taken and not followed: libfuse's mount.fuse puts them into every list without `nodev` and `nosuid`, so nobody need have asked for them.
 */
import { CairnError } from '../errors/cairn-error.js';
import { type AccessRule, type AccessTimes, RELATIVE_ACCESS_TIMES } from '../vfs/access-times.js';

/** How a pool is mounted, as far as the one who mounts it says so. */
export interface MountChoices {
  readonly strong: boolean;
  /** Also for other users than the one who mounts; always so for root. */
  readonly allowOther?: boolean;
  /** Nothing can be changed through the mount; also where cairn.toml says so. */
  readonly readOnly?: boolean;
  /** The kernel keeps what is written; also where cairn.toml says so. */
  readonly writeback?: boolean;
  /** No program in it can be started. */
  readonly noExec?: boolean;
  /** As with relatime where it is not said. */
  readonly accessTimes?: AccessTimes | undefined;
}

export interface ListedOptions extends Required<MountChoices> {
  /** What is mounted already is to change. */
  readonly remount: boolean;
}

type State = { -readonly [Key in keyof Omit<ListedOptions, 'accessTimes'>]: boolean } & {
  access?: AccessRule;
  diratime?: boolean;
};

/** What a word does, where it does something. */
const WORDS: Readonly<Record<string, Partial<State>>> = {
  rw: { readOnly: false },
  ro: { readOnly: true },
  strong: { strong: true },
  writeback: { writeback: true },
  allow_other: { allowOther: true },
  atime: { access: 'relative' },
  relatime: { access: 'relative' },
  noatime: { access: 'never' },
  strictatime: { access: 'always' },
  diratime: { diratime: true },
  nodiratime: { diratime: false },
  exec: { noExec: false },
  noexec: { noExec: true },
  remount: { remount: true },
};

/** True of every mount of Cairn's, or for mount(8) and systemd alone. */
const WITHOUT_EFFECT =
  /^(?:|defaults|async|(?:no)?(?:auto|dev|suid|fail|user)|users|owner|group|_netdev|default_permissions)$/;
const OF_OTHERS = /^(?:[xX]-|comment=|user=)/;
/** What the kernel's own table says of a mount: `mount -o remount` hands it on. */
const OF_THE_TABLE = /^(?:user_id|group_id|rootmode|max_read)=/;

const UNDERSTOOD = Object.keys(WORDS).join(', ');

/** For `--help` and the manual page. */
export const OPTIONS_HELP = `Mount options (-o): ${UNDERSTOOD}. Taken for granted: nosuid, nodev, default_permissions, async. For mount(8) and systemd: nofail, _netdev, auto, noauto, user and what
begins with x-. Access times follow relatime; with strictatime each opening for reading counts.`;

/** INVALID for a word that is not understood, unless `sloppy`. */
export function parseMountOptions(list: string, sloppy = false): ListedOptions {
  const state: State = {
    strong: false,
    allowOther: false,
    readOnly: false,
    writeback: false,
    noExec: false,
    remount: false,
  };
  for (const word of list.split(',')) {
    if (Object.hasOwn(WORDS, word)) Object.assign(state, WORDS[word]);
    else if (!sloppy && ![WITHOUT_EFFECT, OF_OTHERS, OF_THE_TABLE].some((known) => known.test(word)))
      throw new CairnError('INVALID', `the mount option ${word} is not understood`, {
        hint: `understood are ${UNDERSTOOD}; nosuid, nodev and default_permissions always hold`,
      });
  }
  const { access, diratime, ...choices } = state;
  const files = access ?? RELATIVE_ACCESS_TIMES.files;
  const isSaid = access !== undefined || diratime !== undefined;
  return { ...choices, accessTimes: isSaid ? { files, directories: diratime === false ? 'never' : files } : undefined };
}

/** The list that says this, for `parseMountOptions`. */
export function formatMountOptions(choices: MountChoices): string {
  const { strong, allowOther, readOnly, writeback, noExec } = choices;
  const words = [
    readOnly === true ? 'ro' : 'rw',
    ...(strong ? ['strong'] : []),
    ...(writeback === true ? ['writeback'] : []),
    ...(allowOther === true ? ['allow_other'] : []),
    ...(noExec === true ? ['noexec'] : []),
    ...accessWords(choices.accessTimes ?? RELATIVE_ACCESS_TIMES),
  ];
  return words.join(',');
}

/** As mount(8) has them. */
export function accessWords({ files, directories }: AccessTimes): string[] {
  const word = { never: 'noatime', relative: 'relatime', always: 'strictatime' }[files];
  return [word, ...(directories === files ? [] : ['nodiratime'])];
}
