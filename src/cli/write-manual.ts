/** `npm run man`: writes the manual pages to a directory (dist/man if none is named). Part of the build, so that the package has them. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemContext } from './daemon.js';
import { manualPages } from './manual.js';
import { wholeProgram } from './program.js';

const manifest = JSON.parse(await readFile(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
};
const directory = process.argv[2] ?? fileURLToPath(new URL('../../man', import.meta.url));
// Builds that are to be the same each time say what time it is: reproducible-builds.org.
const seconds = Number(process.env['SOURCE_DATE_EPOCH'] ?? Date.now() / 1000);
const date = new Date(seconds * 1000).toISOString().slice(0, 10);
await mkdir(directory, { recursive: true });
for (const [name, text] of manualPages(await wholeProgram(manifest.version, systemContext()), manifest.version, date))
  await writeFile(join(directory, name), text);
