/**
 * cairn.toml: what a pool consists of. Written by `cairn init`, read at every start and after every change, edited by people in between:
 * so every value is checked, and an error names the key and what is allowed there.
 *
 * Directories in the file may be relative to the pool directory; in memory they are always absolute. What lies inside
 * the pool directory is written relative, so that such a pool can be moved as a whole.
 */
import { join, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import * as v from 'valibot';
import type { SchemeChoice } from '../../diskmap/types.js';
import { MAX_CHUNK_BYTES } from '../chunks/chunk-store.js';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import { toCairnError } from '../io/system-error.js';
import type { WhenDegraded } from '../vfs/strong-rule.js';
import { CHUNK_STEP_BYTES, CONFIG_NAME, MAX_BUCKET_BYTES, MIN_BUCKET_BYTES, MIN_CHUNK_BYTES } from './config-limits.js';
import { directory, line, objectMessage, one, refuse, shortened, whole } from './config-values.js';
import {
  formatMount,
  formatNotify,
  formatS3,
  formatWeb,
  type MountConfig,
  MountTable,
  mountOf,
  type NotifyConfig,
  NotifyTable,
  notifyOf,
  type S3Config,
  S3Table,
  s3Of,
  type WebConfig,
  WebTable,
  webOf,
} from './face-config.js';
import { formatScheme, parseScheme, SCHEME_FORMS } from './scheme-choice.js';

const DEFAULT_DELAY_MS = 5000;
const DEFAULT_SCRUB_DAYS = 30;

export interface DiskConfig {
  /** Absolute. */
  readonly directory: string;
  /** 32 hex digits: the disk's own id. A disk with another one in this directory is foreign. */
  readonly uuid: string;
  readonly role: 'data' | 'journal';
  /** The number in the diskmap, 1–65535; 0 for a journal disk. */
  readonly number: number;
}

export interface PoolConfig {
  readonly format: 1;
  /** The pool's id: 32 hex digits. */
  readonly pool: string;
  readonly scheme: SchemeChoice;
  readonly bucketBytes: number;
  readonly chunkBytes: number;
  /** The mode of a mount that does not say `--strong`. */
  readonly mode: 'default' | 'strong';
  /** What a strong fsync answers while a disk is away. */
  readonly whenDegraded: WhenDegraded;
  /** Undefined: the mount may be written to. */
  readonly mount?: MountConfig | undefined;
  /** Absolute. */
  readonly metaDirectory: string;
  /** `sizeBytes` undefined: the cache takes half of what its device has free. Absolute directory. */
  readonly cache: { readonly directory: string; readonly sizeBytes: number | undefined };
  /** Staged bytes are committed this long after they were written, at the latest; 0: at once. */
  readonly commitDelayMs: number;
  /** A scrub begins by itself so many days after the last one; 0: never. */
  readonly scrubDays: number;
  /** Undefined: the tree is not served as S3. */
  readonly s3?: S3Config | undefined;
  /** Undefined: the status page is not served. */
  readonly web?: WebConfig | undefined;
  /** Undefined: nobody is told of what happens to the pool. */
  readonly notify?: NotifyConfig | undefined;
  readonly disks: readonly DiskConfig[];
}

const id = v.pipe(v.string('must be 32 hex digits'), v.regex(/^[0-9a-f]{32}$/, 'must be 32 lowercase hex digits'));
const schemeText = v.pipe(
  v.string(`must be ${SCHEME_FORMS}`),
  v.check((text) => schemeOf(text) !== undefined, `must be ${SCHEME_FORMS}`),
);

const Toml = v.strictObject(
  {
    format: v.literal(1, 'must be 1: this file may be of a newer cairn'),
    pool: id,
    scheme: v.optional(schemeText, 'auto'),
    bucket_bytes: whole(MIN_BUCKET_BYTES, MAX_BUCKET_BYTES),
    chunk_bytes: v.pipe(
      whole(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES),
      v.multipleOf(CHUNK_STEP_BYTES, `must be a multiple of ${CHUNK_STEP_BYTES}`),
    ),
    mode: v.optional(v.picklist(['default', 'strong'], one('default', 'strong')), 'default'),
    strong: v.optional(
      v.strictObject(
        { when_degraded: v.optional(v.picklist(['allow', 'refuse'], one('allow', 'refuse')), 'allow') },
        objectMessage('[strong]'),
      ),
      {},
    ),
    mount: v.optional(MountTable),
    meta: v.strictObject({ directory }, objectMessage('[meta]')),
    cache: v.strictObject(
      { directory, size_bytes: v.optional(whole(MIN_BUCKET_BYTES, Number.MAX_SAFE_INTEGER)) },
      objectMessage('[cache]'),
    ),
    commit: v.optional(
      v.strictObject({ delay_ms: v.optional(whole(0, 86_400_000), DEFAULT_DELAY_MS) }, objectMessage('[commit]')),
      {},
    ),
    scrub: v.optional(
      v.strictObject({ every_days: v.optional(whole(0, 3650), DEFAULT_SCRUB_DAYS) }, objectMessage('[scrub]')),
      {},
    ),
    s3: v.optional(S3Table),
    web: v.optional(WebTable),
    notify: v.optional(NotifyTable),
    disk: v.pipe(
      v.array(
        v.strictObject(
          {
            directory,
            uuid: id,
            role: v.optional(v.picklist(['data', 'journal'], one('data', 'journal')), 'data'),
            number: v.optional(whole(0, 65535), 0),
          },
          objectMessage('[[disk]]'),
        ),
        'must be a list of [[disk]] tables',
      ),
      v.minLength(1, 'must name at least one disk'),
    ),
  },
  objectMessage('the file'),
);

/**
 * Reads the text of a cairn.toml. `poolDirectory` must be absolute. CONFIG, with the key and what is allowed, if a value
 * is impossible, a key unknown, or two disks contradict each other.
 */
export function parseConfig(text: string, poolDirectory: string): PoolConfig {
  const raw = v.safeParse(Toml, parseToml(text), { abortEarly: true });
  if (!raw.success) {
    const [issue] = raw.issues;
    throw refuse(`${keyOf(issue)} ${issue.message}${receivedOf(issue)}`.trim());
  }
  const toml = raw.output;
  const config: PoolConfig = {
    format: 1,
    pool: toml.pool,
    scheme: parseScheme(toml.scheme),
    bucketBytes: toml.bucket_bytes,
    chunkBytes: toml.chunk_bytes,
    mode: toml.mode,
    whenDegraded: toml.strong.when_degraded ?? 'allow',
    metaDirectory: resolve(poolDirectory, toml.meta.directory),
    cache: { directory: resolve(poolDirectory, toml.cache.directory), sizeBytes: toml.cache.size_bytes },
    commitDelayMs: toml.commit.delay_ms ?? DEFAULT_DELAY_MS,
    scrubDays: toml.scrub.every_days ?? DEFAULT_SCRUB_DAYS,
    ...(toml.mount !== undefined && { mount: mountOf(toml.mount) }),
    ...(toml.s3 !== undefined && { s3: s3Of(toml.s3, poolDirectory) }),
    ...(toml.web !== undefined && { web: webOf(toml.web, poolDirectory) }),
    ...(toml.notify !== undefined && { notify: notifyOf(toml.notify) }),
    disks: toml.disk.map((disk) => ({ ...disk, directory: resolve(poolDirectory, disk.directory) })),
  };
  checkTogether(config);
  return config;
}

/** The text that `parseConfig` reads back to the same config, with comments for the person who edits it. */
export function formatConfig(config: PoolConfig, poolDirectory: string): string {
  const place = (path: string) => line('directory', shortened(path, poolDirectory));
  const disks = config.disks.map((disk) => formatDisk(disk, poolDirectory));
  const size =
    config.cache.sizeBytes === undefined
      ? '# size_bytes = 100000000000   # without it: half of what the device has free'
      : line('size_bytes', config.cache.sizeBytes);
  return `# The configuration of this cairn pool, written by \`cairn init\`. A change is used at once where that is possible (commit, scrub, strong, s3),
# else from the next mount on; \`cairn status\` says which, and names what is wrong in a file that cannot be used.
# Directories may be relative to the one this file is in. Sizes are bytes.
${line('format', 1)}

# The pool's id, also in every disk. Never change it, nor the sizes: the data is laid out by them.
${line('pool', config.pool)}
${line('bucket_bytes', config.bucketBytes)}
${line('chunk_bytes', config.chunkBytes)}

# How new groups are protected: ${SCHEME_FORMS}.
${line('scheme', formatScheme(config.scheme))}

# What fsync promises on a mount without --strong. "default": safe as long as the cache device lives, and committed to
# the disks soon after. "strong": safe on the disks before it answers.
${line('mode', config.mode)}

# What fsync answers on a strong mount while a disk is away. "allow": success, with the redundancy that is left. "refuse":
# an error, until everything is as redundant as promised again; what is written is committed all the same.
[strong]
${line('when_degraded', config.whenDegraded)}

${formatMount(config.mount)}

# Metadata for fast access. The disks hold all of it too: it can be rebuilt from them.
[meta]
${place(config.metaDirectory)}

# Staged and recently written bytes; best on an SSD that is none of the disks below.
[cache]
${place(config.cache.directory)}
${size}

# A commit of what is staged begins at most this long after the first change; 0: at once. The end of a large file that
# is still open for writing may wait for 30 seconds.
[commit]
${line('delay_ms', config.commitDelayMs)}

# All that the disks hold is read and held against its checksums so often, in the background; 0: only by \`cairn scrub\`.
[scrub]
${line('every_days', config.scrubDays)}

${formatS3(config.s3, poolDirectory)}

${formatWeb(config.web, poolDirectory)}

${formatNotify(config.notify)}

${disks.join('\n\n')}
`;
}

/** One `[[disk]]` table. */
export function formatDisk(disk: DiskConfig, poolDirectory: string): string {
  return [
    '[[disk]]',
    line('directory', shortened(disk.directory, poolDirectory)),
    '# The id in the disk itself: another disk in its place is refused, not overwritten.',
    line('uuid', disk.uuid),
    line('role', disk.role),
    ...(disk.role === 'data' ? [line('number', disk.number)] : []),
  ].join('\n');
}

/** Reads `<poolDirectory>/cairn.toml`. NOT_FOUND if there is no pool, CONFIG if it is not valid. */
export async function loadConfig(io: Pick<FileIo, 'readFile'>, poolDirectory: string): Promise<PoolConfig> {
  const directory = resolve(poolDirectory);
  let text: string;
  try {
    text = (await io.readFile(join(directory, CONFIG_NAME))).toString('utf8');
  } catch (cause) {
    const code = systemCode(cause);
    if (code !== 'NOT_FOUND' && code !== 'ENOENT' && code !== 'ENOTDIR')
      throw toCairnError(cause, 'read', join(directory, CONFIG_NAME));
    throw new CairnError('NOT_FOUND', `there is no pool in ${directory}: it has no ${CONFIG_NAME}`, {
      hint: `make one with \`cairn init ${directory} --disk DIR … --cache DIR\``,
      cause,
    });
  }
  try {
    return parseConfig(text, directory);
  } catch (cause) {
    if (!(cause instanceof CairnError)) throw cause;
    throw new CairnError(cause.code, `${join(directory, CONFIG_NAME)}: ${cause.message}`, {
      hint: cause.hint ?? 'correct the file and try again',
      cause,
    });
  }
}

/** Writes `<poolDirectory>/cairn.toml` durably: there is always the old or the new one. */
export async function saveConfig(
  io: Pick<FileIo, 'replaceFile'>,
  poolDirectory: string,
  config: PoolConfig,
): Promise<void> {
  const directory = resolve(poolDirectory);
  await io.replaceFile(join(directory, CONFIG_NAME), Buffer.from(formatConfig(config, directory), 'utf8'));
}

function checkTogether(config: PoolConfig): void {
  if (config.chunkBytes > config.bucketBytes) throw refuse('chunk_bytes must not be larger than bucket_bytes');
  if (!config.disks.some((disk) => disk.role === 'data')) throw refuse('disk must have one with role = "data"');
  const places = new Map<string, string>([[config.metaDirectory, 'meta.directory']]);
  const dataPlaces = new Set<string>();
  const claim = (path: string, key: string) => {
    const other = places.get(path);
    if (other !== undefined) throw refuse(`${key} and ${other} are the same directory: ${path}`);
    places.set(path, key);
  };
  claim(config.cache.directory, 'cache.directory');
  const numbers = new Set<number>();
  const uuids = new Set<string>();
  config.disks.forEach((disk, index) => {
    const key = `disk[${index + 1}]`;
    // A data disk that has died, and the one that takes its place where it was mounted: their identities say which of them is there.
    const mayShare = disk.role === 'data' && dataPlaces.has(disk.directory);
    if (!mayShare) claim(disk.directory, `${key}.directory`);
    if (disk.role === 'data') dataPlaces.add(disk.directory);
    if (uuids.has(disk.uuid)) throw refuse(`${key}.uuid is that of another disk`);
    uuids.add(disk.uuid);
    if (disk.role === 'journal') {
      if (disk.number !== 0) throw refuse(`${key}.number must be 0 or left out for a journal disk`);
      return;
    }
    if (disk.number === 0) throw refuse(`${key}.number must be a whole number from 1 to 65535`);
    if (numbers.has(disk.number)) throw refuse(`${key}.number is that of another disk`);
    numbers.add(disk.number);
  });
}

function parseToml(text: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const [what] = cause.message.replace(/^Invalid TOML document: /, '').split('\n');
    throw new CairnError('CONFIG', `line ${cause.line}, column ${cause.column}: ${what}`, { cause });
  }
}

type Issue = v.InferIssue<typeof Toml>;

/** `disk[2].number`, counted from 1 as people do. */
function keyOf(issue: Issue): string {
  let key = '';
  for (const item of issue.path ?? []) {
    key += typeof item.key === 'number' ? `[${item.key + 1}]` : `${key === '' ? '' : '.'}${String(item.key)}`;
  }
  return key;
}

function receivedOf(issue: Issue): string {
  const { input } = issue;
  // Of a key that there is none of, what was received is the key itself.
  if (issue.expected === 'never') return '';
  if (typeof input === 'string') return `, not ${JSON.stringify(input.slice(0, 80))}`;
  return typeof input === 'number' || typeof input === 'boolean' ? `, not ${input}` : '';
}

function schemeOf(text: string): SchemeChoice | undefined {
  try {
    return parseScheme(text);
  } catch {
    return undefined;
  }
}
