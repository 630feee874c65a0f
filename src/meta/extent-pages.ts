import type { MetaStore } from './meta-store.js';
import type { ExtentRow, Ino } from './rows.js';

const PAGE = 1000;

/** A file's committed extents that overlap [from, to), ascending, a page at a time: memory does not grow with the file. Errors of the store. */
export async function* extentPages(
  meta: Pick<MetaStore, 'listExtents'>,
  ino: Ino,
  from = 0,
  to = Number.MAX_SAFE_INTEGER,
): AsyncGenerator<readonly ExtentRow[]> {
  for (let at = from; at < to; ) {
    const page = await meta.listExtents(ino, at, to, PAGE);
    yield page;
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return;
    at = last.offset + last.length;
  }
}
