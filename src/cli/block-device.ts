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
  const node = await sysNode(dev);
  // tmpfs, btrfs, overlay and network file systems have no block device of their own.
  if (node === undefined) return [['device', `none of its own (${numbersOf(dev).join(':')})`]];
  const device = (await isPartition(node)) ? dirname(node) : node;
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

/** `/dev/sdb`, the disk that can say how it is: not a partition of it, nor a volume on it. Undefined if the directory is not there, or its file system has no device of its own. */
export async function deviceOf(directory: string): Promise<string | undefined> {
  const found = await stat(directory).catch(() => undefined);
  const node = found && (await sysNode(found.dev));
  return node && `/dev/${basename(await wholeDevice(node))}`;
}

/** Its directory in sysfs; undefined if it is no block device. */
async function sysNode(dev: number): Promise<string | undefined> {
  const [major, minor] = numbersOf(dev);
  return await realpath(`/sys/dev/block/${major}:${minor}`).catch(() => undefined);
}

function numbersOf(dev: number): [major: number, minor: number] {
  return [(dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xfff00)];
}

/** From a directory in sysfs to that of the device below: of a partition, and of a volume (LVM, encryption) that lies on one device only. */
export async function wholeDevice(node: string): Promise<string> {
  if (await isPartition(node)) return wholeDevice(dirname(node));
  const [below, ...others] = await readdir(join(node, 'slaves')).catch(() => []);
  if (below === undefined || others.length > 0) return node;
  const device = await realpath(join(node, 'slaves', below)).catch(() => undefined);
  return device === undefined ? node : wholeDevice(device);
}

/** A partition's directory lies in that of its device. */
function isPartition(node: string): Promise<boolean> {
  return stat(join(node, 'partition')).then(
    () => true,
    () => false,
  );
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
