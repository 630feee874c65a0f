/** Each kind of damage in the metadata gives exactly its finding. */
import t from 'tap';
import { METADATA } from './metadata-plants.js';
import { check, codes, filled } from './planted-pool.js';

for (const { what, plant, codes: expected, files } of METADATA) {
  t.test(`damage in the metadata is told: ${what}`, async (t) => {
    const pool = await filled(t);
    await plant(pool);
    // The store keeps its position and counts in memory.
    await pool.fixture.pool.parts.collector.close();
    await pool.fixture.kill();
    const report = await check(pool.fixture);
    t.strictSame(codes(report), expected);
    if (files !== undefined) t.strictSame(report.findings[0]?.files, files);
    t.equal(report.clean, false);
  });
}
