/** The one name in the root directory that the mount does not show: what the object face keeps beside the tree (older versions, uploads). */
import { type Ino, type Name, ROOT_INO } from '../meta/rows.js';

export const HIDDEN_NAME = '.cairn-s3';

/** On a directory that was made or set up as a bucket. */
export const BUCKET_ATTRIBUTE = 'cairn.s3.bucket.info';

export function isHidden(parent: Ino, name: Name): boolean {
  return parent === ROOT_INO && name === HIDDEN_NAME;
}
