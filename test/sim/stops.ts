/** The ways in which a machine stops that every promise must survive. */
import type { SeededRandom } from './seeded-random.js';
import type { Stop } from './sim-machine.js';
import { CACHE_DIRECTORY, diskDirectory, type PoolLayout, SPARE_DIRECTORY } from './sim-pool.js';

/** At each crash point of a small history: all of these. */
export function everyStop({ data, spare = false }: PoolLayout): Stop[] {
  const stops: Stop[] = [
    { how: 'kill' },
    { how: 'power', keep: 'none' },
    { how: 'power', keep: 'all' },
    { how: 'power', keep: 'any' },
    { how: 'power', keep: 'none', lost: [CACHE_DIRECTORY], metaLost: true },
    { how: 'power', keep: 'any', lost: [CACHE_DIRECTORY] },
    { how: 'power', keep: 'any', metaLost: true },
  ];
  for (let disk = 1; disk <= data && data > 1; disk++)
    stops.push({
      how: 'power',
      keep: 'any',
      lost: disk % 2 === 0 ? [diskDirectory(disk)] : [diskDirectory(disk), CACHE_DIRECTORY],
    });
  if (spare) stops.push({ how: 'power', keep: 'any', lost: [SPARE_DIRECTORY] });
  return stops;
}

/** One of them, drawn; `victim`: the only disk that may be lost, 0 for none, undefined for any. */
export function drawStop({ data, spare = false }: PoolLayout, random: SeededRandom, victim?: number): Stop {
  const how = random.chance(0.8) ? 'power' : 'kill';
  const keep = random.pick(['none', 'all', 'any', 'any'] as const);
  const lost: string[] = [];
  if (random.chance(0.3)) lost.push(CACHE_DIRECTORY);
  const disk = victim ?? 1 + random.below(data + (spare ? 1 : 0));
  if (data > 1 && disk > 0 && random.chance(0.3)) lost.push(disk > data ? SPARE_DIRECTORY : diskDirectory(disk));
  return { how, keep, lost, metaLost: random.chance(0.2) };
}

export function describeStop({ how, keep, lost = [], metaLost }: Stop): string {
  const gone = [...lost, ...(metaLost ? ['the metadata'] : [])];
  return `${how}${how === 'power' ? ` (${keep ?? 'any'} of what was not synced)` : ''}${gone.length > 0 ? `, without ${gone.join(' and ')}` : ''}`;
}
