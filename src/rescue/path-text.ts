/** Paths as people read them. Names are bytes: what is no UTF-8, and what would not stay on its line, is shown as `\xNN`. */

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** One line; a backslash of the name itself is doubled where others are escapes. */
export function pathText(path: Uint8Array): string {
  let text: string | undefined;
  try {
    text = decoder.decode(path);
  } catch {
    text = undefined;
  }
  if (text !== undefined && !/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u.test(text)) return text;
  let escaped = '';
  for (const byte of path) {
    if (byte === 0x5c) escaped += '\\\\';
    else if (byte >= 0x20 && byte < 0x7f) escaped += String.fromCharCode(byte);
    else escaped += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return escaped;
}

/** For JSON: the text, and the bytes in hex where the text is not exactly them. */
export function pathFields(path: Uint8Array): { readonly path: string; readonly pathHex?: string } {
  const text = pathText(path);
  const bytes = Buffer.from(path);
  return Buffer.from(text).equals(bytes) ? { path: text } : { path: text, pathHex: bytes.toString('hex') };
}
