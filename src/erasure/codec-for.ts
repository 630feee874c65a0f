import { type Codec, type Scheme, schemeName } from './codec.js';
import { CopiesCodec } from './copies-codec.js';
import { ErasureCodec } from './erasure-codec.js';

const codecs = new Map<string, Codec>();

/** The codec of a scheme; built once per thread. CONFIG if there is none. */
export function codecFor(scheme: Scheme): Codec {
  const name = schemeName(scheme);
  let codec = codecs.get(name);
  if (!codec) {
    codec = scheme.kind === 'copies' ? new CopiesCodec(scheme.copies) : new ErasureCodec(scheme.k, scheme.m);
    codecs.set(name, codec);
  }
  return codec;
}
