#!/usr/bin/env node
/**
 * The installed command. CommonJS, because node reads an ES module through the thread pool, whose size is fixed at the first use: here it
 * can still be set. 16: every disk has its reads and writes in flight at once.
 */
process.env['UV_THREADPOOL_SIZE'] ??= '16';
void import('./main.js');
