/** The tables of a cairn.toml that are about who a mounted pool is for: `[mount]`, `[s3]`, `[web]`, the status page, and `[notify]`, who is told of what happens. */
import * as v from 'valibot';
import { isLoopback } from '../io/loopback.js';
import {
  address,
  addressLine,
  addressOf,
  filePath,
  given,
  hostName,
  line,
  objectMessage,
  one,
  refuse,
  type TlsFiles,
  tlsLines,
  tlsOf,
  whole,
} from './config-values.js';

/** The mount itself. */
export interface MountConfig {
  /** Nothing can be changed through it; other faces go on. */
  readonly readOnly: boolean;
  /** Whether the kernel may read whole cached files by itself, where it can and where the mount is read-only. */
  readonly passthrough: 'auto' | 'off';
  /** The kernel keeps what is written for about a second. Not with `readOnly`. */
  readonly writeback: boolean;
}

/** The S3 face of a mounted pool. */
export interface S3Config {
  readonly host: string;
  readonly port: number;
  readonly region: string;
  /** Hosts that end in it name a bucket in front; undefined: buckets are named in paths only. */
  readonly domain: string | undefined;
  /** Undefined: no TLS. */
  readonly tls: TlsFiles | undefined;
  /** What one user may ask for in the long run; undefined: no limit. */
  readonly requestsPerSecond?: number | undefined;
}

/** The status page of a mounted pool. */
export interface WebConfig {
  readonly host: string;
  readonly port: number;
  /** A scrypt hash, as `cairn web password` prints it; undefined: `cairn web` shows a link with a key. */
  readonly password: string | undefined;
  /** Further names that it is called by. */
  readonly names: readonly string[];
  /** Undefined: no TLS. */
  readonly tls: TlsFiles | undefined;
}

const TOPICS = ['degraded', 'healed', 'scrub', 'full', 'jobs'] as const;

export interface NotifyConfig {
  readonly on: readonly (typeof TOPICS)[number][];
  /** In percent of the room. */
  readonly fullPercent: number;
  readonly webhook: string | undefined;
  readonly ntfy: string | undefined;
  readonly ntfyToken: string | undefined;
  readonly mailTo: string | undefined;
  readonly mailFrom: string | undefined;
  readonly mailCommand: readonly string[];
}

export const DEFAULT_WEB: WebConfig = { host: '127.0.0.1', port: 8090, password: undefined, names: [], tls: undefined };
const DEFAULT_TOPICS = ['degraded', 'healed', 'scrub', 'full'] as const;
export const DEFAULT_FULL_PERCENT = 90;
const DEFAULT_MAIL_COMMAND = ['sendmail', '-t', '-i'];

const url = v.pipe(
  v.string('must be an address'),
  v.check((text) => URL.canParse(text) && /^https?:\/\//.test(text), 'must begin with http:// or https://'),
);
/** A header's value: nothing that could begin another one. */
const mailAddress = v.pipe(
  v.string('must be a mail address'),
  v.regex(/^[^\s<>,;]{1,200}@[^\s<>,;@]{1,200}$/, 'must be a mail address'),
);

export const MountTable = v.strictObject(
  {
    read_only: v.optional(v.boolean('must be true or false'), false),
    passthrough: v.optional(v.picklist(['auto', 'off'], one('auto', 'off')), 'auto'),
    writeback: v.optional(v.boolean('must be true or false'), false),
  },
  objectMessage('[mount]'),
);

export const S3Table = v.strictObject(
  {
    address: v.optional(address, '127.0.0.1:9000'),
    region: v.optional(
      v.pipe(
        v.string('must be a region'),
        v.regex(/^[a-z0-9-]{1,64}$/, 'must be lower-case letters, digits and hyphens'),
      ),
      'us-east-1',
    ),
    domain: v.optional(hostName),
    certificate: v.optional(filePath),
    key: v.optional(filePath),
    requests_per_second: v.optional(whole(1, 1_000_000)),
  },
  objectMessage('[s3]'),
);

export const WebTable = v.strictObject(
  {
    address: v.optional(address, '127.0.0.1:8090'),
    password: v.optional(
      v.pipe(
        v.string('must be a hash'),
        v.regex(/^scrypt\$/, 'must be a hash that `cairn web password` prints, never the password itself'),
      ),
    ),
    names: v.optional(v.array(hostName, 'must be a list of host names'), []),
    certificate: v.optional(filePath),
    key: v.optional(filePath),
  },
  objectMessage('[web]'),
);

export const NotifyTable = v.strictObject(
  {
    on: v.optional(v.array(v.picklist(TOPICS, one(...TOPICS)), 'must be a list'), [...DEFAULT_TOPICS]),
    full_percent: v.optional(whole(1, 100), DEFAULT_FULL_PERCENT),
    webhook: v.optional(url),
    ntfy: v.optional(url),
    ntfy_token: v.optional(v.pipe(v.string('must be a token'), v.regex(/^[\x21-\x7e]{1,500}$/, 'must be a token'))),
    mail_to: v.optional(mailAddress),
    mail_from: v.optional(mailAddress),
    mail_command: v.optional(
      v.pipe(v.array(v.string('must be a list of a program and its arguments')), v.minLength(1, 'must name a program')),
      DEFAULT_MAIL_COMMAND,
    ),
  },
  objectMessage('[notify]'),
);

export function mountOf({ read_only, passthrough, writeback }: v.InferOutput<typeof MountTable>): MountConfig {
  if (read_only && writeback)
    throw refuse(
      'mount.read_only and mount.writeback exclude each other: nothing is written through a read-only mount',
    );
  return { readOnly: read_only, passthrough, writeback };
}

export function s3Of(toml: v.InferOutput<typeof S3Table>, poolDirectory: string): S3Config {
  const { region, domain, requests_per_second: requestsPerSecond } = toml;
  const tls = tlsOf('s3', toml, poolDirectory);
  return { ...addressOf(toml.address)!, region, domain: domain?.toLowerCase(), tls, requestsPerSecond };
}

export function webOf(toml: v.InferOutput<typeof WebTable>, poolDirectory: string): WebConfig {
  const { password, names } = toml;
  const tls = tlsOf('web', toml, poolDirectory);
  const place = addressOf(toml.address)!;
  if (!isLoopback(place.host) && (tls === undefined || password === undefined))
    throw refuse(
      `web.address ${toml.address} can be reached from elsewhere, so [web] needs password, certificate and key`,
    );
  return { ...place, password, names, tls };
}

export function notifyOf(toml: v.InferOutput<typeof NotifyTable>): NotifyConfig {
  if (toml.webhook === undefined && toml.ntfy === undefined && toml.mail_to === undefined)
    throw refuse('[notify] must say how: webhook, ntfy or mail_to');
  return {
    on: toml.on,
    fullPercent: toml.full_percent,
    webhook: toml.webhook,
    ntfy: toml.ntfy,
    ntfyToken: toml.ntfy_token,
    mailTo: toml.mail_to,
    mailFrom: toml.mail_from,
    mailCommand: toml.mail_command,
  };
}

export function formatMount(mount: MountConfig | undefined): string {
  return `# read_only = true: every change through the mount is refused, as with \`cairn mount --read-only\`; other faces (S3) go on. passthrough has a meaning only then:
# "auto": the kernel reads large files that are opened again by itself, from whole copies in the cache, where it can (Linux 6.9, root). "off": never.
# writeback = true: the kernel keeps what programs write for about a second, as with \`cairn mount --writeback\`: many small writes to open files cost far less, small new files more.
${
  mount === undefined
    ? '# [mount]\n# read_only = true\n# passthrough = "auto"\n# writeback = false'
    : `[mount]\n${line('read_only', mount.readOnly)}\n${line('passthrough', mount.passthrough)}\n${line('writeback', mount.writeback)}`
}`;
}

export function formatS3(s3: S3Config | undefined, poolDirectory: string): string {
  const about = `# With it, a mounted pool is served as S3 as well: its top directories are buckets. \`cairn user add\` makes keys.`;
  if (s3 === undefined) return `${about}\n# [s3]\n# address = "127.0.0.1:9000"`;
  return [
    about,
    '[s3]',
    addressLine(s3),
    line('region', s3.region),
    ...given('domain', s3.domain),
    ...tlsLines(s3.tls, poolDirectory),
    ...given('requests_per_second', s3.requestsPerSecond),
  ].join('\n');
}

export function formatWeb(web: WebConfig | undefined, poolDirectory: string): string {
  const about = `# With it, a mounted pool has a status page; \`cairn web\` shows how to open it. An address beyond this machine needs a password
# (\`cairn web password\`) and TLS.`;
  if (web === undefined) return `${about}\n# [web]\n# address = "127.0.0.1:8090"`;
  const { password, names, tls } = web;
  return [
    about,
    '[web]',
    addressLine(web),
    ...given('password', password),
    ...(names.length === 0 ? [] : [line('names', names)]),
    ...tlsLines(tls, poolDirectory),
  ].join('\n');
}

export function formatNotify(notify: NotifyConfig | undefined): string {
  const about =
    '# Who is told when the pool is degraded or healed, when a scrub finds something, when it is nearly full.';
  if (notify === undefined)
    return `${about}\n# [notify]\n# ntfy = "https://ntfy.sh/my-topic"\n# webhook = "https://example.org/hook"\n# mail_to = "me@example.org"`;
  const command =
    JSON.stringify(notify.mailCommand) === JSON.stringify(DEFAULT_MAIL_COMMAND)
      ? []
      : [line('mail_command', notify.mailCommand)];
  return [
    about,
    '[notify]',
    line('on', notify.on),
    line('full_percent', notify.fullPercent),
    ...given('webhook', notify.webhook),
    ...given('ntfy', notify.ntfy),
    ...given('ntfy_token', notify.ntfyToken),
    ...given('mail_to', notify.mailTo),
    ...given('mail_from', notify.mailFrom),
    ...command,
  ].join('\n');
}
