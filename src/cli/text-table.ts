/** What a cell looks like once it is as wide as its column; row 0 is the heading. */
export type PaintCell = (text: string, row: number, column: number) => string;

/** Columns of text: the first row is the heading. Columns of figures are aligned to the right. */
export function textTable(
  rows: readonly (readonly string[])[],
  right: ReadonlySet<number>,
  paint: PaintCell = (text) => text,
): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  }
  const lines = rows.map((row, rowIndex) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        const isLast = column === row.length - 1;
        const padded = right.has(column) ? cell.padStart(width) : isLast ? cell : cell.padEnd(width);
        return paint(padded, rowIndex, column);
      })
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}
