/** Up to `most` ways to choose `size` of `items`, in lexical order: which shards to decode from, where some of them lie. */
export function* combinations(items: readonly number[], size: number, most: number): Generator<number[]> {
  if (size > items.length) return;
  const chosen = Array.from({ length: size }, (_, i) => i);
  for (let count = 0; count < most; count++) {
    yield chosen.map((i) => items[i]!);
    let at = size - 1;
    while (at >= 0 && chosen[at] === items.length - size + at) at--;
    if (at < 0) return;
    chosen[at]!++;
    for (let i = at + 1; i < size; i++) chosen[i] = chosen[i - 1]! + 1;
  }
}
