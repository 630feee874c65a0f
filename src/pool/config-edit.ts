/**
 * Changes the list of disks in a cairn.toml that people have edited, and nothing else of it: comments, order and what they have set stay as they are.
 *
 * A `[[disk]]` table goes with the comment right above it; a new one comes after the last. The text that comes out is read again and must say exactly what is
 * wanted. Where it does not (a list of disks written in some other way), or where the file cannot be read at all, the file is written anew, and the
 * old one is kept beside it as `cairn.toml.before`: nothing that somebody wrote is lost.
 */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { systemCode } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import { type DiskConfig, formatConfig, formatDisk, type PoolConfig, parseConfig, saveConfig } from './config.js';
import { CONFIG_NAME } from './config-limits.js';

const KEPT_NAME = `${CONFIG_NAME}.before`;
const HEADER = /^\s*\[/;
const DISK_HEADER = /^\s*\[\[\s*disk\s*\]\]\s*(#.*)?$/;
const UUID = /^\s*uuid\s*=\s*["']([0-9a-f]{32})["']/;

/** Makes the disks of `config` those in the file, durably. `config` is what the pool works with: it is written whole where the file is not to be understood. */
export async function saveDisks(
  io: Pick<FileIo, 'readFile' | 'replaceFile'>,
  poolDirectory: string,
  config: PoolConfig,
): Promise<void> {
  const path = join(poolDirectory, CONFIG_NAME);
  const before = await io.readFile(path).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT' && systemCode(error) !== 'NOT_FOUND') throw error;
    return undefined;
  });
  if (before === undefined) return saveConfig(io, poolDirectory, config);
  const text = before.toString('utf8');
  const edited = withDisks(text, poolDirectory, config.disks);
  if (edited !== undefined) {
    if (edited !== text) await io.replaceFile(path, Buffer.from(edited, 'utf8'));
    return;
  }
  await io.replaceFile(join(poolDirectory, KEPT_NAME), before);
  await io.replaceFile(path, Buffer.from(formatConfig(config, poolDirectory), 'utf8'));
}

/** The text with these disks instead of its own; undefined if that cannot be done by adding and taking away tables. */
export function withDisks(text: string, poolDirectory: string, disks: readonly DiskConfig[]): string | undefined {
  const old = parsed(text, poolDirectory);
  if (old === undefined) return undefined;
  const wanted = new Map(disks.map((disk) => [disk.uuid, disk]));
  const lines = text.split('\n');
  const kept: string[] = [];
  let afterLast = 0;
  let from = 0;
  for (const table of diskTables(lines)) {
    kept.push(...lines.slice(from, table.from));
    from = table.to;
    if (!wanted.delete(table.uuid)) continue;
    kept.push(...lines.slice(table.from, table.to));
    afterLast = kept.length;
  }
  kept.push(...lines.slice(from));
  const added = [...wanted.values()].flatMap((disk) => ['', ...formatDisk(disk, poolDirectory).split('\n')]);
  const rest = kept.slice(afterLast);
  const edited = [...kept.slice(0, afterLast), ...added, ...rest].join('\n');
  const result = parsed(edited, poolDirectory);
  const isAsWanted = result !== undefined && isDeepStrictEqual(sorted(result), sorted({ ...old, disks }));
  return isAsWanted ? edited : undefined;
}

/** The lines of each `[[disk]]` table, `to` behind its last line that says something. */
function diskTables(lines: readonly string[]): { from: number; to: number; uuid: string }[] {
  const tables: { from: number; to: number; uuid: string }[] = [];
  lines.forEach((line, index) => {
    if (!DISK_HEADER.test(line)) return;
    let from = index;
    const floor = tables.at(-1)?.to ?? 0;
    while (from > floor && /^\s*#/.test(lines[from - 1]!)) from -= 1;
    // The empty line above goes with it.
    if (from > floor && lines[from - 1]!.trim() === '') from -= 1;
    let end = index + 1;
    while (end < lines.length && !HEADER.test(lines[end]!)) end += 1;
    let to = index + 1;
    for (let at = index + 1; at < end; at++) if (/^\s*[^#\s]/.test(lines[at]!)) to = at + 1;
    const uuid = lines.slice(index, to).flatMap((each) => UUID.exec(each)?.[1] ?? []);
    tables.push({ from, to, uuid: uuid[0] ?? '' });
  });
  return tables;
}

function parsed(text: string, poolDirectory: string): PoolConfig | undefined {
  try {
    return parseConfig(text, poolDirectory);
  } catch {
    return undefined;
  }
}

/** In which order disks are listed means nothing. */
function sorted(config: PoolConfig): PoolConfig {
  return { ...config, disks: [...config.disks].sort((a, b) => (a.uuid < b.uuid ? -1 : 1)) };
}
