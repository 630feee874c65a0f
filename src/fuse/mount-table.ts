/** The kernel's table of mounts, /proc/self/mountinfo (proc(5)): tells what is mounted without touching a mount, which might not answer. */
import { readFile } from 'node:fs/promises';

export interface MountEntry {
  /** `major:minor` of the file system, as in /sys/class/bdi. */
  readonly device: string;
  readonly mountpoint: string;
  /** `fuse.cairn` for ours. */
  readonly type: string;
}

const FIELD = { DEVICE: 2, MOUNTPOINT: 4 } as const;

/** Blanks, tabs, newlines and backslashes in paths are written as \ooo, bytes as they are. */
function unescapePath(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** Parses the table's text (a binary string). Lines that are not of the known form are left out. */
export function parseMountTable(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    // Optional fields end with a lone hyphen; the type follows.
    const [before, after] = line.split(' - ', 2);
    const fields = before?.split(' ') ?? [];
    const device = fields[FIELD.DEVICE];
    const mountpoint = fields[FIELD.MOUNTPOINT];
    const type = after?.split(' ')[0];
    if (device === undefined || mountpoint === undefined || type === undefined) continue;
    entries.push({ device, mountpoint: unescapePath(mountpoint), type });
  }
  return entries;
}

/** The topmost mount at exactly this absolute path, if there is one. */
export async function findMount(mountpoint: string): Promise<MountEntry | undefined> {
  const entries = parseMountTable(await readFile('/proc/self/mountinfo', 'latin1'));
  return entries.findLast((entry) => entry.mountpoint === mountpoint);
}
