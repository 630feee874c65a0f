/**
 * File content that is known from its name alone, so that a test needs no second copy to compare with: the AES-128-CTR
 * key stream of the name's hash. The content of one name is a prefix of any longer content of the same name.
 */
import { createCipheriv, createHash } from 'node:crypto';

const IV = Buffer.alloc(16);

export function contentOf(name: string, sizeBytes: number): Buffer {
  const key = createHash('sha256').update(name).digest().subarray(0, 16);
  return createCipheriv('aes-128-ctr', key, IV).update(Buffer.alloc(sizeBytes));
}
