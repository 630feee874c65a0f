/**
 * The error family of the diskmap. It stands alone, as the folder does: callers match `code`, never the text, and turn it into
 * their own family at the border.
 */
export type DiskMapErrorCode =
  /** An argument, or a map built by hand, breaks a rule that the message names. */
  | 'INVALID'
  /** Bytes that are no encoded map: truncated, damaged, or of a format this version does not know. */
  | 'CORRUPT'
  /** The scheme needs more disks (or machines, racks, …) than offer buckets. */
  | 'TOO_FEW_DISKS';

export class DiskMapError extends Error {
  override readonly name = 'DiskMapError';
  readonly code: DiskMapErrorCode;

  constructor(code: DiskMapErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
