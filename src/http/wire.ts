/**
 * How answers of the API travel (the operations themselves: operations.ts): HTTP/1.1 and JSON bodies; for what takes long NDJSON, one event a line, the last
 * of which is `report` or `error`; for what has no end server-sent events, whose data is one JSON message each. Every error is {"error":{code,message,hint}}
 * with the code of a CairnError.
 */
import { CairnError, type ErrorCode } from '../errors/cairn-error.js';

export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

export type WireEvent<T, P> = { readonly progress: P } | { readonly report: T } | { readonly error: WireError };

/** An error that is none of Cairn's own is not shown to a client: it could be anything. The daemon's log has it. */
export function toWireError(error: unknown): WireError {
  if (!(error instanceof CairnError)) {
    return { code: 'IO', message: 'the daemon failed to answer', hint: 'look at daemon.log in the pool directory' };
  }
  const { code, message, hint } = error;
  return hint === undefined ? { code, message } : { code, message, hint };
}

export function fromWireError(wire: WireError): CairnError {
  const details = typeof wire.hint === 'string' ? { hint: wire.hint } : {};
  return new CairnError(String(wire.code) as ErrorCode, String(wire.message), details);
}

/** Where no other status says more: what the client asked for is wrong (400), not there (404), not possible now (409), or failed (500). */
export function httpStatusOf(error: unknown): number {
  if (!(error instanceof CairnError)) return 500;
  switch (error.code) {
    case 'INVALID':
    case 'RANGE':
      return 400;
    case 'NOT_FOUND':
      return 404;
    case 'BUSY':
    case 'LOCKED':
    case 'CLOSED':
      return 409;
    case 'TOO_BIG':
      return 413;
    default:
      return 500;
  }
}
