/**
 * The systemd unit of a pool, as text.
 *
 * - A disk that does not come up must not keep the pool from starting: that is what the other disks are for. So the mounts of disks are wanted and waited for,
 *   not required; only what the pool cannot do without (its own directory, the metadata, the cache) is.
 * - Nothing here gives the service a mount namespace of its own (ProtectSystem, PrivateTmp and their like do): what is mounted in it would be seen by nobody else.
 * - MemoryDenyWriteExecute is not for a program that compiles its own code.
 * - Without root the mount is made by fusermount3, which is set-uid: NoNewPrivileges and bounding sets would break it.
 */
import type { PoolConfig } from '../pool/config.js';
import type { MountTable } from './mount-table.js';

export interface UnitRequest {
  readonly poolDirectory: string;
  readonly mountpoint: string;
  readonly config: PoolConfig;
  readonly strong: boolean;
  readonly allowOther: boolean;
  /** Of the system, run by root; else of one user. */
  readonly isSystem: boolean;
  /** What starts cairn: a program and its first arguments. */
  readonly program: readonly string[];
  readonly mounts: Pick<MountTable, 'of'>;
}

const MARK = '# cairn-service: ';

/** What a unit of ours was asked for. */
export type UnitChoices = Pick<UnitRequest, 'poolDirectory' | 'mountpoint' | 'strong' | 'allowOther'>;

/** Undefined if the unit is not ours. */
export function choicesOf(text: string): UnitChoices | undefined {
  const line = text.split('\n').find((each) => each.startsWith(MARK));
  if (line === undefined) return undefined;
  try {
    return JSON.parse(line.slice(MARK.length)) as UnitChoices;
  } catch {
    return undefined;
  }
}

export function unitText(request: UnitRequest): string {
  const { poolDirectory, mountpoint, strong, allowOther, config, isSystem } = request;
  const choices: UnitChoices = { poolDirectory, mountpoint, strong, allowOther };
  const needed = unique([poolDirectory, config.metaDirectory, config.cache.directory]);
  const diskMounts = unique(config.disks.flatMap(({ directory }) => mountUnitOf(request.mounts, directory) ?? []));
  const flags = [...(strong ? ['--strong'] : []), ...(allowOther ? ['--allow-other'] : [])];
  const command = [...request.program, 'mount', '--foreground', ...flags, '--', poolDirectory, mountpoint];
  return [
    '# Written by `cairn service install`, and written anew by it. Changes of your own: `systemctl edit` of this unit.',
    MARK + JSON.stringify(choices),
    '',
    '[Unit]',
    `Description=Cairn pool ${specifiers(poolDirectory)} at ${specifiers(mountpoint)}`,
    'Documentation=man:cairn(1) man:cairn-mount(1)',
    `RequiresMountsFor=${needed.map(quoted).join(' ')}`,
    ...(diskMounts.length === 0
      ? []
      : [
          '# Of the disks as many may be missing as the pool is protected against: they are waited for, not required.',
          `Wants=${diskMounts.join(' ')}`,
          `After=${diskMounts.join(' ')}`,
        ]),
    'After=local-fs.target network.target',
    'StartLimitIntervalSec=10min',
    'StartLimitBurst=5',
    '',
    '[Service]',
    'Type=notify',
    'NotifyAccess=main',
    'SyslogIdentifier=cairn',
    `ExecStart=${command.map(quoted).join(' ')}`,
    'Environment=UV_THREADPOOL_SIZE=16',
    '# SIGTERM commits what is staged and unmounts. Start and end say themselves when they need longer than this.',
    'TimeoutStartSec=2min',
    'TimeoutStopSec=2min',
    'KillMode=mixed',
    '# A daemon whose event loop has stood still for so long is ended and started again: what it had staged is in the cache.',
    'WatchdogSec=3min',
    'Restart=on-failure',
    'RestartSec=5s',
    'LimitNOFILE=1048576',
    'UMask=0077',
    'LockPersonality=yes',
    'RestrictRealtime=yes',
    'RestrictNamespaces=yes',
    'RestrictSUIDSGID=yes',
    'SystemCallArchitectures=native',
    ...(isSystem ? SYSTEM_HARDENING : []),
    '',
    '[Install]',
    `WantedBy=${isSystem ? 'multi-user.target' : 'default.target'}`,
    '',
  ].join('\n');
}

const SYSTEM_HARDENING = [
  'OOMScoreAdjust=-500',
  'NoNewPrivileges=yes',
  'ProtectClock=yes',
  '# To mount, to keep files of every owner in the pool, and (RAWIO) to ask SATA disks how they are.',
  'CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_CHOWN CAP_FOWNER CAP_FSETID CAP_SYS_RESOURCE CAP_SYS_RAWIO CAP_NET_BIND_SERVICE',
  'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK',
  'SystemCallFilter=@system-service @mount',
  'SystemCallErrorNumber=EPERM',
  'DevicePolicy=closed',
  'DeviceAllow=/dev/fuse rw',
  '# To ask disks how they are.',
  'DeviceAllow=block-* r',
];

/** The unit of the mount that a directory lies on; undefined for the root file system, which is always there. */
function mountUnitOf(mounts: UnitRequest['mounts'], directory: string): string | undefined {
  const mount = mounts.of(directory);
  return mount === undefined || mount.mountpoint === '/' ? undefined : `${escapePath(mount.mountpoint)}.mount`;
}

/** As systemd-escape(1) --path: `/mnt/my disk` is `mnt-my\x20disk`. */
export function escapePath(path: string): string {
  const trimmed = path.replace(/^\/+|\/+$/g, '').replace(/\/+/g, '/');
  if (trimmed === '') return '-';
  let escaped = '';
  for (const byte of Buffer.from(trimmed)) {
    const character = String.fromCharCode(byte);
    if (character === '/') escaped += '-';
    else if (/[A-Za-z0-9:_]/.test(character) || (character === '.' && escaped !== '')) escaped += character;
    else escaped += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return escaped;
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}

/** A word of a unit's line: systemd.syntax(7), systemd.unit(5) "Specifiers". */
function quoted(word: string): string {
  const escaped = specifiers(word).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('$', '$$$$');
  return /^[\w@%+=:,./-]+$/.test(escaped) ? escaped : `"${escaped}"`;
}

function specifiers(text: string): string {
  return text.replaceAll('%', '%%');
}
