/** The text form of a scheme: `auto`, `copies:N`, `ec:K+M`. The command line, cairn.toml and reports all use this one. */
import type { SchemeChoice } from '../../diskmap/types.js';
import { CairnError } from '../errors/cairn-error.js';

export const SCHEME_FORMS = 'auto, copies:N (N from 1 to 8) or ec:K+M (K from 2 to 24, M from 1 to 4)';

/** INVALID if the text is none of SCHEME_FORMS. */
export function parseScheme(text: string): SchemeChoice {
  if (text === 'auto') return 'auto';
  const [, copiesText] = /^copies:([0-9]{1,2})$/.exec(text) ?? [];
  if (copiesText !== undefined) {
    const copies = Number(copiesText);
    if (copies >= 1 && copies <= 8) return { kind: 'copies', copies };
  }
  const [, kText, mText] = /^ec:([0-9]{1,2})\+([0-9]{1,2})$/.exec(text) ?? [];
  if (kText !== undefined && mText !== undefined) {
    const k = Number(kText);
    const m = Number(mText);
    if (k >= 2 && k <= 24 && m >= 1 && m <= 4) return { kind: 'erasure', k, m };
  }
  throw new CairnError('INVALID', `"${text}" is not a scheme`, { hint: `it is one of: ${SCHEME_FORMS}` });
}

export function formatScheme(scheme: SchemeChoice): string {
  if (scheme === 'auto') return 'auto';
  return scheme.kind === 'copies' ? `copies:${scheme.copies}` : `ec:${scheme.k}+${scheme.m}`;
}

/** How many disks a group of this scheme needs; 1 for `auto`, which takes what there is. */
export function disksNeeded(scheme: SchemeChoice): number {
  if (scheme === 'auto') return 1;
  return scheme.kind === 'copies' ? scheme.copies : scheme.k + scheme.m;
}
