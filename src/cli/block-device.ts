/** Which device a directory lies on, as the kernel and the device say: so that a person finds it among others. */
import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Names and facts, in the order in which they are shown; what cannot be found out is left out. */
export async function describeDevice(directory: string): Promise<readonly (readonly [name: string, fact: string])[]> {
  const dev = await stat(directory).then(
    (found) => found.dev,
    () => undefined,
  );
  if (dev === undefined) return [['device', 'not known: the directory is not there']];
  const [major, minor] = [(dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xfff00)];
  const node = await realpath(`/sys/dev/block/${major}:${minor}`).catch(() => undefined);
  // tmpfs, btrfs, overlay and network file systems have no block device of their own.
  if (node === undefined) return [['device', `none of its own (${major}:${minor})`]];
  // A partition's directory lies in that of its device.
  const isPartition = await stat(join(node, 'partition')).then(
    () => true,
    () => false,
  );
  const device = isPartition ? dirname(node) : node;
  const facts: [string, string][] = [['device', `/dev/${basename(node)}`]];
  for (const [name, file] of [
    ['model', 'device/model'],
    ['serial', 'device/serial'],
    ['image', 'loop/backing_file'],
  ] as const) {
    const text = await readFile(join(device, file), 'utf8').catch(() => '');
    if (text.trim() !== '') facts.push([name, text.trim()]);
  }
  const names = await namesOf(basename(device));
  if (names.length > 0) facts.push(['label', names.join(', ')]);
  return facts;
}

/** `/dev/sdb1`; undefined if the directory is not there, or its file system has no device of its own. */
export async function deviceOf(directory: string): Promise<string | undefined> {
  const [, device = ''] = (await describeDevice(directory)).find(([name]) => name === 'device') ?? [];
  return device.startsWith('/dev/') ? device : undefined;
}

/** What udev calls the device: maker, model and serial number in one. */
async function namesOf(device: string): Promise<string[]> {
  const place = '/dev/disk/by-id';
  const names = await readdir(place).catch(() => []);
  const found: string[] = [];
  for (const name of names) {
    const target = await readlink(join(place, name)).catch(() => '');
    if (basename(target) === device && !name.startsWith('wwn-')) found.push(name);
  }
  return found.sort();
}
