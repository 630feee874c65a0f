/**
 * Who may use the S3 face: `s3-users.json` in the pool directory, for its owner alone. A secret is in it as it is, since a signature can only be checked
 * with it. `cairn user` changes the file; the daemon reads it again when it has changed.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import * as v from 'valibot';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import type { FileIo } from '../io/file-io.js';

const USERS_NAME = 's3-users.json';
/** A change of the file counts after so long. */
const LOOK_EVERY_MS = 500;

const Access = v.picklist(['none', 'read', 'write'], 'must be "none", "read" or "write"');
const User = v.strictObject({
  /** Canonical id: who owns buckets and objects. */
  id: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,128}$/, 'must be 1 to 128 printable characters')),
  name: v.pipe(v.string(), v.regex(/^[^\p{Cc}]{1,128}$/u, 'must be 1 to 128 characters')),
  accessKey: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.-]{3,128}$/, 'must be 3 to 128 letters and digits')),
  secretKey: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{8,256}$/, 'must be 8 to 256 printable characters')),
  email: v.optional(v.string()),
  /** What it may do in buckets that are not its own, by name; `*` for all others. Without it: what owners grant. */
  buckets: v.optional(v.record(v.string(), Access)),
});
const Users = v.strictObject({ format: v.literal(1), users: v.array(User) });

export type S3User = v.InferOutput<typeof User>;

/** CORRUPT if the text is not a list of users. */
function parseUsers(text: string): readonly S3User[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new CairnError('CONFIG', `${USERS_NAME} is not JSON`, {
      hint: 'correct the file, or remove it and add the users again',
      cause,
    });
  }
  const parsed = v.safeParse(Users, json);
  if (!parsed.success)
    throw new CairnError('CONFIG', `${USERS_NAME}: ${parsed.issues[0].message}`, { hint: 'correct the file' });
  const keys = new Set<string>();
  for (const { accessKey } of parsed.output.users) {
    if (keys.has(accessKey)) throw new CairnError('CONFIG', `${USERS_NAME} has the access key ${accessKey} twice`);
    keys.add(accessKey);
  }
  return parsed.output.users;
}

export function newUser(name: string): S3User {
  return {
    id: randomBytes(32).toString('hex'),
    name,
    ...newKeys(),
  };
}

export function newKeys(): { readonly accessKey: string; readonly secretKey: string } {
  return {
    accessKey: `CAIRN${randomBytes(10).toString('hex').toUpperCase().slice(0, 15)}`,
    secretKey: randomBytes(30).toString('base64url'),
  };
}

/** Empty if there is no file. CONFIG. */
export async function loadUsers(io: Pick<FileIo, 'readFile'>, poolDirectory: string): Promise<readonly S3User[]> {
  try {
    return parseUsers((await io.readFile(join(poolDirectory, USERS_NAME))).toString('utf8'));
  } catch (error) {
    const code = systemCode(error);
    if (code === 'NOT_FOUND' || code === 'ENOENT') return [];
    throw error;
  }
}

export async function saveUsers(
  io: Pick<FileIo, 'replaceFile'>,
  poolDirectory: string,
  users: readonly S3User[],
): Promise<void> {
  const text = `${JSON.stringify({ format: 1, users }, undefined, 2)}\n`;
  await io.replaceFile(join(poolDirectory, USERS_NAME), Buffer.from(text, 'utf8'));
}

/** The users of a running server. */
export class UserTable {
  readonly #load: () => Promise<readonly S3User[]>;
  readonly #clock: Clock;
  readonly #onFailure: (error: unknown) => void;
  #byKey = new Map<string, S3User>();
  #byId = new Map<string, S3User>();
  #list: readonly S3User[] = [];
  #lookedMs = Number.NEGATIVE_INFINITY;

  /** `onFailure`: the file could not be read; the users stay those that were read last. */
  constructor(load: () => Promise<readonly S3User[]>, clock: Clock, onFailure: (error: unknown) => void) {
    this.#load = load;
    this.#clock = clock;
    this.#onFailure = onFailure;
  }

  async refresh(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#lookedMs < LOOK_EVERY_MS) return;
    this.#lookedMs = nowMs;
    try {
      const users = await this.#load();
      this.#list = users;
      this.#byKey = new Map(users.map((user) => [user.accessKey, user]));
      this.#byId = new Map(users.map((user) => [user.id, user]));
    } catch (error) {
      this.#onFailure(error);
    }
  }

  byAccessKey(accessKey: string): S3User | undefined {
    return this.#byKey.get(accessKey);
  }

  byId(id: string): S3User | undefined {
    return this.#byId.get(id);
  }

  byEmail(email: string): S3User | undefined {
    return this.#list.find((user) => user.email === email);
  }

  /** Who owns what nobody says to own: the first one. */
  get first(): S3User | undefined {
    return this.#list[0];
  }
}
