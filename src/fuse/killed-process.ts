/**
 * Whether a process that waits for us is being killed. The kernel sends INTERRUPT for any signal, and waits on for the answer also where it
 * kills the process. A call on a regular file does not end with EINTR for a signal that a program handles, and programs do not
 * expect it to (a database would take it for a failed sync); but a killed one should not have to wait for a disk.
 */
import { readFileSync } from 'node:fs';

const SIGKILL_BIT = 1n << 8n;

/** `pid` is a thread's. False if it is not known here: it is in another namespace, or gone. */
export function isBeingKilled(pid: number): boolean {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, 'latin1');
  } catch {
    return false;
  }
  // Pending for the thread, and for its process: whatever ends a process ends it with this one.
  for (const [, mask] of status.matchAll(/^(?:SigPnd|ShdPnd):\t([0-9a-f]+)$/gm))
    if ((BigInt(`0x${mask}`) & SIGKILL_BIT) !== 0n) return true;
  return false;
}
