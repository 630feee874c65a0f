/** What a person is told of a rescue, line by line: on the terminal and at the top of the report. */
import type { RescueSource, RescueSummary } from './rescue.js';

/** What is known before anything is restored. */
export function sourceLines({ pool, disks, missingDisks, emptiedDisks, state, notes }: RescueSource): string[] {
  const lines = [`pool ${pool === '' ? 'unknown' : pool}, state of commit ${state.sequence}${newer(state)}`];
  for (const { directory, number, role } of disks) {
    const which =
      role === undefined ? 'its identity cannot be read' : role === 'data' ? `disk ${number}` : `${role} disk`;
    lines.push(`  read     ${directory} (${which})`);
  }
  if (missingDisks !== undefined && missingDisks.length > 0)
    lines.push(`  missing  ${missingDisks.map((number) => `disk ${number}`).join(', ')} of the pool`);
  if (emptiedDisks.length > 0)
    lines.push(
      `  let go   ${emptiedDisks.map((number) => `disk ${number}`).join(', ')}: needed only if one was still being emptied`,
    );
  for (const note of [...state.notes, ...notes]) lines.push(`  note     ${note}`);
  return lines;
}

export function summaryLines(summary: RescueSummary, to: string): string[] {
  const { restored, lost, refused, noted, lostBytes, complete } = summary;
  const lines = [
    ...sourceLines(summary),
    '',
    `restored to ${to}: ${names(restored.files, 'file')} and ${names(restored.directories, 'directory', 'directories')}, ${restored.bytes} bytes`,
  ];
  if (restored.alreadyThere > 0)
    lines.push(`  of these ${restored.alreadyThere} were there from an interrupted rescue`);
  if (lost > 0) lines.push(`  ${names(lost, 'file')} NOT restored: ${lostBytes} bytes cannot be read`);
  if (restored.partial > 0)
    lines.push(`  of these ${restored.partial} written with zeros in the gaps, as NAME.cairn-partial`);
  if (refused > 0) lines.push(`  ${names(refused, 'name')} NOT restored for other reasons`);
  if (noted > 0) lines.push(`  ${names(noted, 'note')} on what was restored, but not in every respect`);
  lines.push(
    complete ? 'everything that these disks know of was restored' : 'not everything could be restored: see below',
  );
  return lines;
}

function newer({ sequence, promised, known }: RescueSource['state']): string {
  if (sequence < promised) return `, though commits up to ${promised} were promised`;
  return known > sequence ? ` (records up to commit ${known} were found)` : '';
}

function names(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
