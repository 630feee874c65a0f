/** Server-side encryption, which is not offered: refused by name wherever a request asks for it. */
import type { Call } from './call.js';
import { notImplemented } from './s3-error.js';

/** NotImplemented. Any of the headers, also in an incomplete set: whoever sends one believes that the object is encrypted. */
export function refuseEncryption({ request }: Call): void {
  for (const name of request.headers.keys()) {
    if (!/^x-amz-(copy-source-)?server-side-encryption/.test(name)) continue;
    throw notImplemented(
      name.includes('-customer-') ? 'Encryption with keys of the customer (SSE-C)' : 'Server-side encryption',
    );
  }
}
