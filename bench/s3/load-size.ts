/** How large a load of the S3 bench is, what it tells, and the names that it uses. */

export interface S3LoadSize {
  readonly seconds: number;
  readonly largeConnections: number;
  readonly smallConnections: number;
  readonly listedKeys: number;
  readonly streamMib: number;
}

export interface S3Figures {
  /** Requests, or keys where keys are listed. */
  readonly operations: number;
  readonly bytes: number;
  readonly seconds: number;
}

export const BUCKET = 'bench';

/** Of key number `index`, in order: a thousand to a directory. */
export function keyName(index: number): string {
  const text = String(index).padStart(9, '0');
  return `${text.slice(0, 6)}/${text.slice(6)}`;
}
