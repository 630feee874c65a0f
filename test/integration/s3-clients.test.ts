/**
 * S3 clients that are not this project's, against `cairn start`: what each does, seen through the mount as well. A client that is not installed is skipped,
 * and where none is, nothing is started.
 */
import { accessSync, constants } from 'node:fs';
import { mkdir, readdir, readFile, unlink, utimes, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { contentOf } from './content.js';
import { cannotMount, MountHarness } from './mount-harness.js';

const MIB = 1024 * 1024;
const CLIENTS = ['aws', 'python3', 'rclone', 's3cmd', 'restic', 's3fs'] as const;
const found = CLIENTS.filter((program) =>
  (process.env['PATH'] ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  }),
);
const without = (program: (typeof CLIENTS)[number]) => !found.includes(program) && `${program} is not installed`;
const none = found.every((program) => program === 'python3') && 'no S3 client is installed';

t.test('S3 clients', { skip: cannotMount() || none }, async (t) => {
  const harness = await MountHarness.create(t);
  const { directory } = harness;
  const at = (...names: string[]) => join(directory, ...names);
  const mount = at('mnt');
  const cairn = harness.startCairn('start');
  await cairn.until((lines) => lines.some((line) => line.startsWith('Three things')));
  const word = (name: string) => new RegExp(`^ +${name}:? +(\\S+)`, 'm').exec(cairn.lines.join('\n'))?.[1] ?? '';
  const [endpoint, access, secret] = [word('S3'), word('access key'), word('secret key')];
  /** A client with the keys in its environment, and nothing of the machine's own settings. Its stdout. */
  const client = (...command: string[]) =>
    harness.must(
      'env',
      ...['AWS_CA_BUNDLE', 'AWS_PROFILE', 'AWS_SESSION_TOKEN', 'http_proxy', 'HTTP_PROXY'].flatMap((name) => [
        '-u',
        name,
      ]),
      `AWS_ACCESS_KEY_ID=${access}`,
      `AWS_SECRET_ACCESS_KEY=${secret}`,
      'AWS_DEFAULT_REGION=us-east-1',
      `AWS_CONFIG_FILE=${at('none')}`,
      `AWS_SHARED_CREDENTIALS_FILE=${at('none')}`,
      `RCLONE_CONFIG=${at('none')}`,
      'RESTIC_PASSWORD=test',
      `RESTIC_REPOSITORY=s3:${endpoint}/restic`,
      `RESTIC_CACHE_DIR=${at('restic-cache')}`,
      ...command,
    );

  // A file of several parts, small ones, and names that want escaping.
  await mkdir(at('tree', 'sub'), { recursive: true });
  await writeFile(at('tree', 'large'), contentOf('large', 17 * MIB));
  for (const name of ['a', 'b', 'ä ö+%&.txt']) await writeFile(at('tree', 'sub', name), contentOf(name, 3000));
  await writeFile(at('tree', 'empty'), '');
  await mkdir(join(mount, 'shared'));

  await t.test(
    'aws-cli: what it copies is a file of the mount, and the other way round',
    { skip: without('aws') },
    async (t) => {
      const aws = (...args: string[]) => client('aws', '--endpoint-url', endpoint, ...args);
      const names = () => readdir(join(mount, 'shared'));
      // Twice: from then on the kernel answers from what it keeps.
      t.same([await names(), await names()], [[], []]);
      await aws('s3', 'cp', '--quiet', '--metadata', 'color=blue', at('tree', 'large'), 's3://shared/by-aws');
      // The kernel is told beside the answer.
      while (!(await names()).includes('by-aws')) await setTimeout(2);
      t.ok((await readFile(join(mount, 'shared', 'by-aws'))).equals(contentOf('large', 17 * MIB)));
      t.same([await names(), await names()], [['by-aws'], ['by-aws']]);
      await aws('s3', 'rm', '--quiet', 's3://shared/by-aws');
      while ((await names()).length > 0) await setTimeout(2);
      await aws('s3', 'cp', '--quiet', '--metadata', 'color=blue', at('tree', 'large'), 's3://shared/by-aws');
      const script = `import os, sys
os.setxattr(sys.argv[1], 'user.s3.meta.shape', b'round')
print(os.getxattr(sys.argv[2], 'user.s3.meta.color').decode(), end='')`;
      await harness.must('cp', at('tree', 'large'), join(mount, 'shared', 'by-cp'));
      const mounted = ['by-cp', 'by-aws'].map((name) => join(mount, 'shared', name));
      t.equal(await harness.must('python3', '-c', script, ...mounted), 'blue');
      await aws('s3', 'cp', '--quiet', 's3://shared/by-cp', at('back'));
      t.ok((await readFile(at('back'))).equals(contentOf('large', 17 * MIB)));
      const head = JSON.parse(await aws('s3api', 'head-object', '--bucket', 'shared', '--key', 'by-cp')) as object;
      t.match(head, { ContentLength: 17 * MIB, Metadata: { shape: 'round' } });
      await aws('s3', 'sync', '--quiet', at('tree'), 's3://shared/synced');
      await harness.must('diff', '-r', at('tree'), join(mount, 'shared', 'synced'));
    },
  );

  await t.test(
    'boto3: checksums, an upload in parts, and a listing in the order of bytes',
    { skip: without('python3') },
    async (t) => {
      if ((await harness.exec('python3', ['-c', 'import boto3'])).code !== 0) {
        t.comment('boto3 is not installed');
        return;
      }
      const keys = ['a', 'a-b', 'a.b', 'a/b', 'a0', 'ä', '~'];
      const script = `import boto3, io, json, os, sys
s3 = boto3.client('s3', endpoint_url=sys.argv[1])
s3.create_bucket(Bucket='boto')
for name in ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256']:
    try:
        s3.put_object(Bucket='boto', Key='sum', Body=b'hello', Metadata={'a': 'b'}, ChecksumAlgorithm=name)
    except Exception as error:
        # Some need a package that boto3 does not bring.
        if 'awscrt' not in str(error) and 'Missing' not in str(error): raise
        continue
    answer = s3.get_object(Bucket='boto', Key='sum', ChecksumMode='ENABLED')
    assert answer['Body'].read() == b'hello' and answer['Metadata'] == {'a': 'b'}
    assert 'Checksum' + name in answer
s3.delete_object(Bucket='boto', Key='sum')
body = os.urandom(17 << 20)
s3.upload_fileobj(io.BytesIO(body), 'boto', 'parts')
assert s3.get_object(Bucket='boto', Key='parts', Range='bytes=8000000-9000000')['Body'].read() == body[8000000:9000001]
s3.delete_object(Bucket='boto', Key='parts')
for key in json.loads(sys.argv[2]): s3.put_object(Bucket='boto', Key=key, Body=key.encode())
pages = s3.get_paginator('list_objects_v2').paginate(Bucket='boto', PaginationConfig={'PageSize': 3})
print(json.dumps([one['Key'] for page in pages for one in page['Contents']]))`;
      const listed = JSON.parse(await client('python3', '-c', script, endpoint, JSON.stringify(keys))) as string[];
      t.same(
        listed,
        keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
      );
    },
  );

  await t.test('rclone: sync, check, and sync of what has changed', { skip: without('rclone') }, async () => {
    const remote = `:s3,provider=Other,env_auth=true,endpoint='${endpoint}':rclone/tree`;
    const rclone = (...args: string[]) => client('rclone', ...args);
    await rclone('sync', at('tree'), remote);
    await rclone('check', '--download', at('tree'), remote);
    await harness.must('diff', '-r', at('tree'), join(mount, 'rclone', 'tree'));
    await utimes(at('tree', 'sub', 'a'), 1_000_000_000, 1_000_000_000);
    await unlink(at('tree', 'sub', 'b'));
    await rclone('sync', at('tree'), remote);
    await rclone('check', at('tree'), remote);
    await harness.must('diff', '-r', at('tree'), join(mount, 'rclone', 'tree'));
  });

  await t.test('s3cmd: put, get, sync, delete', { skip: without('s3cmd') }, async (t) => {
    const { host } = new URL(endpoint);
    const settings = [`access_key = ${access}`, `secret_key = ${secret}`, `host_base = ${host}`];
    settings.push(`host_bucket = ${host}/%(bucket)`, 'use_https = False');
    await writeFile(at('s3cfg'), `[default]\n${settings.join('\n')}\n`);
    const s3cmd = (...args: string[]) => client('s3cmd', '-q', '-c', at('s3cfg'), ...args);
    await s3cmd('mb', 's3://s3cmd');
    await s3cmd('sync', `${at('tree')}/`, 's3://s3cmd/tree/');
    await harness.must('diff', '-r', at('tree'), join(mount, 's3cmd', 'tree'));
    await s3cmd('get', '--force', 's3://s3cmd/tree/large', at('got'));
    t.ok((await readFile(at('got'))).equals(contentOf('large', 17 * MIB)));
    await s3cmd('del', '-r', '-f', 's3://s3cmd');
    await s3cmd('rb', 's3://s3cmd');
    await t.rejects(readFile(join(mount, 's3cmd', 'tree', 'large')), { code: 'ENOENT' });
  });

  await t.test('restic: init, backup, check of all data, restore', { skip: without('restic') }, async () => {
    await client('restic', '-q', 'init');
    await client('restic', '-q', 'backup', at('tree'));
    await client('restic', '-q', 'check', '--read-data');
    await client('restic', '-q', 'restore', 'latest', '--target', at('restored'), '--include', 'tree');
    // Where the tree is restored depends on restic's version: below the whole path, or beside it.
    const restored = (await harness.must('find', at('restored'), '-name', 'tree')).trim();
    await harness.must('diff', '-r', at('tree'), restored);
  });

  await t.test('s3fs: a mount of the bucket beside the mount of the pool', { skip: without('s3fs') }, async (t) => {
    await writeFile(at('passwd'), `${access}:${secret}\n`, { mode: 0o600 });
    await mkdir(at('s3fs'));
    const options = [`passwd_file=${at('passwd')}`, `url=${endpoint}`, 'use_path_request_style', 'endpoint=us-east-1'];
    await client('s3fs', 'shared', at('s3fs'), ...options.flatMap((option) => ['-o', option]));
    const pairs = ['s3fs', 'mnt/shared'];
    for (const [from, to] of [pairs, pairs.toReversed()] as [string, string][]) {
      const name = from.replace('/', '-');
      await harness.must('cp', at('tree', 'large'), at(from, name));
      await harness.must('cmp', at('tree', 'large'), at(to, name));
    }
    await harness.must('mv', at('s3fs', 's3fs'), at('s3fs', 'moved'));
    t.ok((await readFile(join(mount, 'shared', 'moved'))).equals(contentOf('large', 17 * MIB)));
    await harness.must('umount', at('s3fs'));
  });

  cairn.signal('SIGINT');
  t.match(await cairn.ended, { code: 0 }, 'it ends by itself');
  t.match(await harness.run('fsck', at('.cairn')), { code: 0 });
});
