/** What a run of ceph/s3-tests gave, as docs/s3-conformance.md. A failure has the reason that is known here, or says that none is. */

export interface Outcome {
  readonly test: string;
  readonly result: 'passed' | 'failed' | 'error' | 'skipped';
  readonly message: string;
}

export interface Run {
  readonly date: string;
  /** Commits. */
  readonly suite: string;
  readonly cairn: string;
  /** Markers of the suite whose tests are not run. */
  readonly notOffered: readonly string[];
  /** Failures of the server's own, one line each. */
  readonly failures: readonly string[];
}

const TENANTS = 'Tenants of Ceph (`tenant:bucket`) are not offered: one pool has one space of names.';
const SIGNED =
  'What reaches the server is right: botocore signs after the test has changed the headers, and puts them back (seen on the wire). The suite marks it `fails_on_rgw`.';

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
};
const UNKNOWN = 'Open: the cause has not been found yet.';

/** A line of pytest's summary (-rA); undefined for any other. */
export function parseOutcome(line: string): Outcome | undefined {
  const match = /^(PASSED|FAILED|ERROR|SKIPPED) (?:\[\d+\] )?(\S+?)(?::\d+:| - |$)(.*)$/.exec(line);
  if (match === null) return undefined;
  return {
    result: match[1]!.toLowerCase() as Outcome['result'],
    test: match[2]!.replace(/^.*::/, ''),
    message: match[3]!.trim(),
  };
}

/** A document in Markdown. */
export function conformanceReport(outcomes: readonly Outcome[], run: Run): string {
  const count = (result: Outcome['result']) => outcomes.filter((one) => one.result === result).length;
  const failed = outcomes.filter(({ result }) => result === 'failed' || result === 'error');
  const cell = (text: string) => text.replaceAll('|', '\\|').slice(0, 160);
  const rows = failed.map(({ test, message }) => `| \`${test}\` | ${cell(message)} | ${REASONS[test] ?? UNKNOWN} |`);
  return `# S3 conformance

ceph/s3-tests at \`${run.suite}\`, run on ${run.date} against Cairn \`${run.cairn}\` by \`npm run s3-tests\`. No assertion of the suite is changed.

| passed | failed | errors | skipped |
| ------ | ------ | ------ | ------- |
| ${count('passed')} | ${count('failed')} | ${count('error')} | ${count('skipped')} |

Not offered, and not run: the tests marked ${run.notOffered.map((marker) => `\`${marker}\``).join(', ')}.

## Failures

${failed.length === 0 ? 'None.' : ['| test | what pytest says | reason |', '| --- | --- | --- |', ...rows].join('\n')}

Failures of the server's own (500): ${run.failures.length === 0 ? 'none' : run.failures.map((line) => `\n- ${line}`).join('')}
`;
}
