/**
 * Patterns with `*` (any text) and, where asked for, `?` (one character), as policies and CORS rules write them. Matching takes at most
 * pattern times text steps, whatever the pattern: no backtracking that a client could make expensive.
 */
export function matchesWildcard(pattern: string, text: string, hasSingle: boolean): boolean {
  let at = 0;
  let next = 0;
  /** Behind the last `*`, and where the text that it takes ends for now. */
  let star = -1;
  let taken = 0;
  while (at < text.length) {
    const character = pattern[next];
    if (character === '*') {
      star = ++next;
      taken = at;
    } else if (next < pattern.length && (character === text[at] || (hasSingle && character === '?'))) {
      next += 1;
      at += 1;
    } else if (star >= 0) {
      next = star;
      at = ++taken;
    } else return false;
  }
  while (pattern[next] === '*') next += 1;
  return next === pattern.length;
}

const LITERALS: Readonly<Record<string, string>> = { '*': '\udc00', '?': '\udc01' };
/** Is part of no text, so a pattern with it matches none. */
export const NO_TEXT = '\udc02';

/** The text with stand-ins for `*` and `?`, halves of surrogate pairs that occur in no text. To compare with a pattern that has some itself. */
export function literal(text: string): string {
  return text.replace(/[*?]/g, (character) => LITERALS[character]!);
}
