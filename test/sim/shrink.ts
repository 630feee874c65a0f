/** Makes a failing list shorter: leaves parts of it out as long as it still fails, larger parts first. */

/** `fails` must say true of `items`. Gives up after `attempts` tries, with what it has by then. */
export async function shrink<T>(
  items: readonly T[],
  fails: (items: readonly T[]) => Promise<boolean>,
  attempts: number,
): Promise<readonly T[]> {
  let shortest = items;
  let left = attempts;
  for (let size = Math.ceil(items.length / 2); size >= 1; ) {
    let shrunk = false;
    for (let from = 0; from < shortest.length && left > 0; ) {
      const candidate = [...shortest.slice(0, from), ...shortest.slice(from + size)];
      left--;
      if (await fails(candidate)) {
        shortest = candidate;
        shrunk = true;
      } else from += size;
    }
    if (left === 0) break;
    if (size > 1) size = Math.ceil(size / 2);
    else if (!shrunk) break;
  }
  return shortest;
}
