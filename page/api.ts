/** How the page speaks to the daemon: requests of docs/openapi.json with the session's cookie, and the live messages. */
import type { LiveMessage } from '../src/monitor/reports.js';

const RETRY_MS = 2000;

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly hint: string,
    /** What a login needs, where there is none. */
    readonly needs: 'password' | 'key' | undefined,
  ) {
    super(message);
  }
}

export async function ask<T>(path: string, body?: unknown): Promise<T> {
  const init: RequestInit =
    body === undefined
      ? { cache: 'no-store' }
      : { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new ApiError(0, 'The daemon does not answer.', 'Is it running? cairn status POOL', undefined);
  }
  const answer = (await response.json()) as {
    readonly error?: { readonly message: string; readonly hint?: string };
    readonly needs?: 'password' | 'key';
  };
  if (response.ok && answer.error === undefined) return answer as T;
  throw new ApiError(response.status, answer.error?.message ?? 'failed', answer.error?.hint ?? '', answer.needs);
}

export interface Live {
  onMessage(message: LiveMessage): void;
  onState(isConnected: boolean): void;
  onLoggedOut(needs: 'password' | 'key'): void;
}

/** Until the returned function is called. Connects again by itself. */
export function watch({ onMessage, onState, onLoggedOut }: Live): () => void {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;
  const connect = (): void => {
    source = new EventSource('/v1/live');
    source.onopen = () => onState(true);
    source.onmessage = ({ data }) => onMessage(JSON.parse(String(data)) as LiveMessage);
    source.onerror = () => {
      source?.close();
      if (isOver) return;
      onState(false);
      timer = setTimeout(() => {
        // An event source does not say why it failed.
        ask('/v1/jobs').then(connect, (error: unknown) => {
          if (error instanceof ApiError && error.status === 401) onLoggedOut(error.needs ?? 'key');
          else source?.onerror?.(new Event('error'));
        });
      }, RETRY_MS);
    };
  };
  connect();
  return () => {
    isOver = true;
    clearTimeout(timer);
    source?.close();
  };
}
