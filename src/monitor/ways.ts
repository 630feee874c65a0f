/** The ways of `[notify]`: a webhook (JSON), ntfy (ntfy.sh or one's own), and mail by the system's sendmail or any command that takes a message. */
import { spawn } from 'node:child_process';
import { CairnError } from '../errors/cairn-error.js';
import type { Message, Way } from './notifier.js';

export interface WayOptions {
  readonly webhook?: string | undefined;
  readonly ntfy?: string | undefined;
  readonly ntfyToken?: string | undefined;
  readonly mailTo?: string | undefined;
  readonly mailFrom?: string | undefined;
  /** Program and arguments; it is given the whole message, headers first, on its standard input. */
  readonly mailCommand: readonly string[];
}

const ERROR_BYTES_MAX = 300;
const PRIORITIES = { good: '3', note: '3', warning: '4', alarm: '5' } as const;
const TAGS = {
  good: 'white_check_mark',
  note: 'information_source',
  warning: 'warning',
  alarm: 'rotating_light',
} as const;

export function waysOf(options: WayOptions): Way[] {
  const { webhook, ntfy, mailTo } = options;
  return [
    ...(webhook === undefined ? [] : [webhookWay(webhook)]),
    ...(ntfy === undefined ? [] : [ntfyWay(ntfy, options.ntfyToken)]),
    ...(mailTo === undefined ? [] : [mailWay(mailTo, options.mailFrom, options.mailCommand)]),
  ];
}

function titleOf({ host, event }: Message): string {
  const word = { good: 'good news', note: 'note', warning: 'warning', alarm: 'ALARM' }[event.severity];
  return `Cairn on ${host}: ${word}`;
}

function textOf({ pool, event }: Message): string {
  const advice = event.advice === '' ? '' : `\n\n${event.advice}`;
  return `${event.message}${advice}\n\npool ${pool}, ${new Date(event.atMs).toISOString()}`;
}

function webhookWay(url: string): Way {
  return {
    name: 'webhook',
    send: async (message, signal) => {
      const body = JSON.stringify({ format: 1, title: titleOf(message), ...message });
      await post(url, body, { 'content-type': 'application/json' }, signal);
    },
  };
}

function ntfyWay(url: string, token: string | undefined): Way {
  return {
    name: 'ntfy',
    send: async (message, signal) => {
      const { severity } = message.event;
      // Headers are Latin-1: a host's name is, and so is the title.
      const headers = { title: titleOf(message), priority: PRIORITIES[severity], tags: TAGS[severity] };
      await post(
        url,
        textOf(message),
        token === undefined ? headers : { ...headers, authorization: `Bearer ${token}` },
        signal,
      );
    },
  };
}

async function post(url: string, body: string, headers: Record<string, string>, signal: AbortSignal): Promise<void> {
  const response = await fetch(url, { method: 'POST', body, headers, signal });
  await response.body?.cancel();
  if (!response.ok) throw new CairnError('IO', `the other end answers ${response.status} ${response.statusText}`);
}

function mailWay(to: string, from: string | undefined, [program = 'sendmail', ...args]: readonly string[]): Way {
  return {
    name: 'mail',
    send: (message, signal) =>
      new Promise((resolve, reject) => {
        const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'], signal, killSignal: 'SIGKILL' });
        let complaint = '';
        child.stderr.on('data', (bytes: Buffer) => {
          if (complaint.length < ERROR_BYTES_MAX) complaint += bytes.toString('utf8');
        });
        child.once('error', (cause) =>
          reject(new CairnError('IO', `${program} could not be run: ${cause.message}`, { cause })),
        );
        child.once('close', (code) => {
          if (code === 0) resolve();
          else
            reject(
              new CairnError('IO', `${program} ended with ${code}: ${complaint.trim().slice(0, ERROR_BYTES_MAX)}`),
            );
        });
        // A program that ends without reading says by its exit code what is wrong.
        child.stdin.on('error', () => {});
        child.stdin.end(mailOf(message, to, from));
      }),
  };
}

function mailOf(message: Message, to: string, from: string | undefined): string {
  const headers = [
    ...(from === undefined ? [] : [`From: ${from}`]),
    `To: ${to}`,
    `Subject: ${titleOf(message)}`,
    `Date: ${new Date(message.event.atMs).toUTCString()}`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Auto-Submitted: auto-generated',
  ];
  return `${headers.join('\n')}\n\n${textOf(message)}\n`;
}
