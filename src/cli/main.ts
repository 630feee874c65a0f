#!/usr/bin/env node
/**
 * The command `cairn`. The thread pool's size is set before anything else runs; where node has read this very file through
 * the pool already, that is too late, and cairn.cts or the parent of the daemon has set it.
 */
process.env['UV_THREADPOOL_SIZE'] ??= '16';

const [{ runCli }, { systemContext }, { readFile }] = await Promise.all([
  import('./program.js'),
  import('./daemon.js'),
  import('node:fs/promises'),
]);
const manifest = JSON.parse(await readFile(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
};
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `cairn status | head` has read enough.
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});
const code = await runCli(process.argv.slice(2), manifest.version, systemContext());
// Workers and the polled descriptor of a mount may be left: the command is over all the same, once its output is out.
process.stdout.write('', () => process.exit(code));
