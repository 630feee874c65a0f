/**
 * The kernel's mount table, as far as cairn's own mounts go: which pool is mounted where, and which mount a path is in.
 * A cairn mount has the type `fuse.cairn` and the pool's directory as its source, as a line for it in fstab has: so mount(8) and systemd know one from the other.
 * Format: proc(5), /proc/[pid]/mountinfo.
 */
import { readFileSync } from 'node:fs';

const TYPE = 'fuse.cairn';

export interface Mount {
  readonly mountpoint: string;
  /** The directory of the mounted file system that is seen at the mount point: `/`, or another for a bind mount. */
  readonly root: string;
  /** Of the mount, not of the file system: `rw`, `nosuid`, `relatime`, … */
  readonly options: readonly string[];
  readonly type: string;
  readonly source: string;
}

/** The pool directory behind a mount; undefined if it is not one of cairn's. */
export function poolOf(mount: Mount): string | undefined {
  return mount.type === TYPE && mount.source.startsWith('/') ? mount.source : undefined;
}

export class MountTable {
  readonly #mounts: readonly Mount[];

  static read(): MountTable {
    return new MountTable(readFileSync('/proc/self/mountinfo', 'latin1'));
  }

  /** `text` as the kernel gives it, one character per byte. Lines that it does not understand are skipped. */
  constructor(text: string) {
    this.#mounts = text.split('\n').flatMap((line) => parseLine(line) ?? []);
  }

  /** What is mounted at exactly this path; of several, the topmost. */
  at(mountpoint: string): Mount | undefined {
    return this.#mounts.findLast((mount) => mount.mountpoint === mountpoint);
  }

  /** The mount that an absolute path without symbolic links lies in. */
  of(path: string): Mount | undefined {
    let best: Mount | undefined;
    for (const mount of this.#mounts) {
      if (!isInside(path, mount.mountpoint)) continue;
      if (best === undefined || mount.mountpoint.length >= best.mountpoint.length) best = mount;
    }
    return best;
  }

  /** Everything mounted at or below a directory, innermost first. */
  inside(directory: string): Mount[] {
    return this.#mounts.filter((mount) => isInside(mount.mountpoint, directory)).reverse();
  }

  /** All mounts of cairn's. */
  cairn(): Mount[] {
    return this.#mounts.filter((mount) => poolOf(mount) !== undefined);
  }
}

/** True if `path` is `directory` or below it. Both absolute and normalised. */
export function isInside(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory.endsWith('/') ? directory : `${directory}/`);
}

/** The path inside the pool of a path that lies in this mount. */
export function insidePath(path: string, mount: Mount): string {
  const below = path.slice(mount.mountpoint === '/' ? 0 : mount.mountpoint.length);
  const root = mount.root === '/' ? '' : mount.root;
  return `${root}${below}` || '/';
}

function parseLine(line: string): Mount | undefined {
  const fields = line.split(' ');
  // Optional fields, of any number, end with a single dash.
  const dash = fields.indexOf('-', 6);
  const [root, mountpoint, options] = [fields[3], fields[4], fields[5]?.split(',')];
  const [type, source] = [fields[dash + 1], fields[dash + 2]];
  if (dash < 0 || root === undefined || mountpoint === undefined || options === undefined) return undefined;
  if (type === undefined || source === undefined) return undefined;
  return {
    mountpoint: unescapeField(mountpoint),
    root: unescapeField(root),
    options,
    type,
    source: unescapeField(source),
  };
}

/** Space, tab, newline and backslash are written as three octal digits. */
function unescapeField(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
