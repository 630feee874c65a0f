/**
 * What travels over the control socket besides the reports of src/vfs/reports.ts: HTTP/1.1, JSON bodies, and for what
 * takes long NDJSON, one event a line, the last of which is `report` or `error`.
 *
 *   GET  /v1/status            PoolStatus
 *   GET  /v1/state?path=/a     FileState
 *   GET  /v1/forecast?disk=2&files=100  LossForecast; without disk of all, without files none are named; counting may take a while; it ends when the client goes away
 *   POST /v1/commit            {"paths":["/a"],"wait":true} → events, the last a CommitReport; without wait 202 {"started":true}
 *   POST /v1/check             {"content":false,"repair":false} → events, the last a CheckReport; it ends when the client goes away
 *   GET  /v1/jobs              {"jobs":[JobReport]}
 *   POST /v1/jobs/NAME/start   {"options":null,"fullSpeed":true} → JobReport; both may be left out. Also pause, resume (fullSpeed), cancel
 *   POST /v1/disks/plan        {"request":DiskChangeRequest} → DiskChangePlan; directories are absolute
 *   POST /v1/disks/change      {"request":DiskChangeRequest,"fullSpeed":true} → DiskChangePlan, when the new diskmap is in use; the data moves in the background
 *   POST /v1/unmount           events, the last an UnmountReport; then the daemon ends
 *
 * Every error is {"error":{code,message,hint}} with the code of a CairnError.
 */
import { CairnError, type ErrorCode } from '../errors/cairn-error.js';
import type { CommitProgress } from '../vfs/reports.js';

export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

export interface UnmountReport {
  readonly unmounted: true;
}

export type WireEvent<T, P = CommitProgress> =
  | { readonly progress: P }
  | { readonly report: T }
  | { readonly error: WireError };

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
