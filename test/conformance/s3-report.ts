/**
 * What a run of ceph/s3-tests gave, as docs/s3-conformance.md. A test that did not pass has the reason that is known here, or says that none is. What is
 * not offered is told from what fails by what the server has answered (NotImplemented) or by the feature that the suite's markers say a test is of.
 */

export interface Outcome {
  readonly test: string;
  readonly result: 'passed' | 'failed' | 'error' | 'skipped';
  readonly message: string;
}

/** Tests that were run together. */
export interface Group {
  readonly title: string;
  readonly outcomes: readonly Outcome[];
}

export interface Run {
  readonly date: string;
  /** Commits. */
  readonly suite: string;
  readonly cairn: string;
  /** Markers of each test, by its name. */
  readonly markers: ReadonlyMap<string, readonly string[]>;
  /** Markers of the suite whose tests are not in the gate. */
  readonly outside: readonly string[];
  /** Failures of the server's own, one line each. */
  readonly failures: readonly string[];
}

const TENANTS = 'Tenants of Ceph (`tenant:bucket`) are not offered: one pool has one space of names.';
const SIGNED =
  'What reaches the server is right: botocore signs after the test has changed the headers, and puts them back (seen on the wire). The suite marks it `fails_on_rgw`.';
const USAGE = "An extension of Ceph's (`x-rgw-` headers, `?usage`), which AWS has not.";
const UNORDERED = "An extension of Ceph's (`allow-unordered`), which AWS has not: lists are always in order here.";

/** Why a test fails, where somebody has looked. */
const REASONS: Readonly<Record<string, string>> = {
  test_object_set_get_unicode_metadata:
    'boto3 sends UTF-8 and reads the answer as Latin-1. The bytes come back as they were sent, as from MinIO; AWS would answer in RFC 2047, which boto3 does not decode either. `fails_on_rgw`.',
  test_bucket_policy_different_tenant: TENANTS,
  test_bucket_policy_tenanted_bucket: TENANTS,
  test_object_read_unreadable: 'Every key of UTF-8 text is a key: an absent one is a 404. `fails_on_rgw`.',
  test_get_object_torrent: 'Torrents are not offered: NotImplemented, where the test takes only a torrent or a 404.',
  test_bucket_policy_put_obj_request_obj_tag:
    'The test sets the tag on a client that it does not send with; without the tag the policy does not allow the PUT. `fails_on_rgw`.',
  test_bucket_policy_set_condition_operator_end_with_IfExists:
    'The sender that is to be refused owns the bucket; a policy that allows something to others takes nothing from the owner. `fails_on_rgw`.',
  test_object_create_bad_contentlength_none: SIGNED,
  test_object_create_bad_authorization_empty: SIGNED,
  test_object_create_bad_authorization_none: SIGNED,
  test_bucket_create_bad_authorization_empty: SIGNED,
  test_bucket_create_bad_authorization_none: SIGNED,
  test_object_create_bad_authorization_incorrect_aws2: SIGNED,
  test_object_create_bad_authorization_invalid_aws2: SIGNED,
  test_object_create_bad_date_none_aws2: SIGNED,
  test_bucket_create_bad_authorization_invalid_aws2: SIGNED,
  test_bucket_create_bad_date_none_aws2: SIGNED,
  test_account_usage: USAGE,
  test_head_bucket_usage: USAGE,
  test_bucket_head_extended: USAGE,
  test_bucket_list_unordered: UNORDERED,
  test_bucket_listv2_unordered: UNORDERED,
  test_list_buckets_anonymous:
    'Ceph answers anonymous senders with an empty list of buckets; here, as on AWS, they are told nothing (AccessDenied).',
};
const UNKNOWN = 'Open: the cause has not been found yet.';

/** Features that are not offered, by the suite's marker or by the file of a service of its own. */
const NOT_OFFERED: Readonly<Record<string, string>> = {
  encryption: 'Server-side encryption (SSE-C, SSE-KMS)',
  sse_s3: 'Server-side encryption with keys of the server (SSE-S3), default encryption of buckets',
  bucket_logging: 'Logs of a bucket delivered into another (`?logging`, and policies for its service)',
  cloud_transition: 'Storage classes and moving to them',
  cloud_restore: 'Storage classes and moving to them',
  lifecycle_transition: 'Storage classes and moving to them',
  iam_account: 'Accounts (IAM)',
  test_iam: 'IAM: users, groups, roles and their policies',
  test_sts: 'STS: temporary keys and federation',
  test_sns: 'SNS: topics',
  test_s3select: 'S3 Select (`?select`)',
};

/** A line of pytest's summary (-rA); undefined for any other. A test's name has its file in front where that is a service of its own. */
export function parseOutcome(line: string): Outcome | undefined {
  const match = /^(PASSED|FAILED|ERROR|SKIPPED) (?:\[(\d+)\] )?(\S+?)(?::\d+:| - |$)(.*)$/.exec(line);
  if (match === null) return undefined;
  return {
    result: match[1]!.toLowerCase() as Outcome['result'],
    test: match[3]!.replace(/^.*::/, ''),
    message: match[4]!.trim(),
  };
}

/** The line stands for so many tests: pytest counts those that are skipped for one reason in one place. */
export function countOf(line: string): number {
  return Number(/^SKIPPED \[(\d+)\] /.exec(line)?.[1] ?? 1);
}

/** The markers of the tests of a file of the suite, as its decorators say. */
export function markersOf(source: string, file: string): Map<string, string[]> {
  const markers = new Map<string, string[]>();
  let found: string[] = [file];
  for (const line of source.split('\n')) {
    const marker = /^\s*@pytest\.mark\.(\w+)/.exec(line)?.[1];
    const test = /^\s*def (\w+)\(/.exec(line)?.[1];
    if (marker !== undefined) found.push(marker);
    if (test === undefined) continue;
    markers.set(test, found);
    found = [file];
  }
  return markers;
}

interface Told {
  readonly kind: 'failed' | 'not offered';
  readonly reason: string;
}

function reasonOf({ test, message }: Outcome, { markers }: Run): Told {
  const name = test.replace(/\[.*$/, '');
  const known = REASONS[name];
  if (known !== undefined) return { kind: 'failed', reason: known };
  for (const marker of markers.get(name) ?? []) {
    const feature = NOT_OFFERED[marker];
    if (feature !== undefined) return { kind: 'not offered', reason: feature };
  }
  const refused = /\(NotImplemented\).*?: (.+ is not offered)/.exec(message)?.[1];
  if (refused !== undefined) return { kind: 'not offered', reason: refused.replace(/ is not offered$/, '') };
  return { kind: 'failed', reason: UNKNOWN };
}

/** A document in Markdown. */
export function conformanceReport(groups: readonly Group[], run: Run): string {
  const rows: string[] = [];
  const failed: string[] = [];
  const features = new Map<string, string[]>();
  const skips = new Map<string, number>();
  const cell = (text: string) => text.replaceAll('|', '\\|').slice(0, 160);
  for (const { title, outcomes } of groups) {
    const counts = { passed: 0, failed: 0, 'not offered': 0, skipped: 0 };
    for (const outcome of outcomes) {
      if (outcome.result === 'passed' || outcome.result === 'skipped') counts[outcome.result] += 1;
      if (outcome.result === 'skipped') skips.set(outcome.message, (skips.get(outcome.message) ?? 0) + 1);
      if (outcome.result !== 'failed' && outcome.result !== 'error') continue;
      const { kind, reason } = reasonOf(outcome, run);
      counts[kind] += 1;
      if (kind === 'failed') failed.push(`| \`${outcome.test}\` | ${cell(outcome.message)} | ${reason} |`);
      else features.set(reason, [...(features.get(reason) ?? []), outcome.test]);
    }
    const { passed, failed: broken, skipped } = counts;
    rows.push(`| ${title} | ${passed} | ${broken} | ${counts['not offered']} | ${skipped} |`);
  }
  const offered = [...features]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([feature, tests]) => `| ${cell(feature)} | ${tests.length} | ${tests.map((test) => `\`${test}\``).join(', ')} |`,
    );
  const skipped = [...skips].map(([reason, count]) => `| ${cell(reason)} | ${count} |`);
  const table = (head: string, lines: readonly string[]) =>
    lines.length === 0 ? 'None.' : [head, head.replace(/[^|]+/g, ' --- '), ...lines].join('\n');
  return `# S3 conformance

ceph/s3-tests at \`${run.suite}\`, run on ${run.date} against Cairn \`${run.cairn}\` by \`npm run s3-tests\`. No assertion of the suite is changed.

${table('| tests | passed | failed | not offered | skipped |', rows)}

The gate is what the suite has for S3 as AWS offers it, without the tests marked ${run.outside.map((marker) => `\`${marker}\``).join(', ')}. Those were run as
well: what passes of them, fails, or is refused by name is in the second row. The other services have files of their own in the suite.

## Failures

${table('| test | what pytest says | reason |', failed)}

Failures of the server's own (500): ${run.failures.length === 0 ? 'none' : run.failures.map((line) => `\n- ${line}`).join('')}

## Not offered

What is asked for is refused: NotImplemented with the name of the feature, for the other services also by what their clients' signatures are for.

${table('| feature | tests | which |', offered)}

## Skipped by the suite itself

${table('| reason | tests |', skipped)}
`;
}
