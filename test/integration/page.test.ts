/**
 * The status page in a real browser: Debian's Chromium, driven by playwright-core, judged by axe-core. None of them is a dependency: CAIRN_BROWSER_TOOLS names a
 * directory with `node_modules` of both (docs/testing.md); without it, or without Chromium, the test is skipped. CAIRN_SHOTS=DIR keeps pictures of what was seen.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { ControlClient } from '../../src/http/control-client.js';
import type { JobReport } from '../../src/vfs/reports.js';
import { SigningClient } from '../unit/s3/signing-client.js';
import { cannotMount, MountHarness } from './mount-harness.js';
import { SCALE } from './scale.js';

const TOOLS = process.env['CAIRN_BROWSER_TOOLS'];
const SHOTS = process.env['CAIRN_SHOTS'];
const CHROMIUM = process.env['CAIRN_CHROMIUM'] ?? '/usr/bin/chromium';
const WAIT_MS = 60_000 * SCALE.patience;
/** Compressed, with everything that the first view loads. */
const PAGE_BYTES_MAX = 300 * 1024;
/** From a pulled disk to a red one on the page. */
const RED_MS = 5000;

/** What is used of playwright's page. */
interface Page {
  goto(url: string): Promise<unknown>;
  on(event: 'console', listener: (message: { type(): string; text(): string }) => void): void;
  on(event: 'pageerror', listener: (error: Error) => void): void;
  on(event: 'request', listener: (request: { url(): string }) => void): void;
  on(event: 'requestfinished', listener: (request: { sizes(): Promise<{ responseBodySize: number }> }) => void): void;
  waitForSelector(selector: string, options?: { timeout?: number }): Promise<unknown>;
  waitForFunction(text: string, argument?: unknown, options?: { timeout?: number }): Promise<unknown>;
  click(selector: string): Promise<void>;
  fill(selector: string, text: string): Promise<void>;
  screenshot(options: { path: string; fullPage?: boolean }): Promise<unknown>;
  evaluate<T>(text: string): Promise<T>;
  setViewportSize(size: { width: number; height: number }): Promise<void>;
  emulateMedia(options: { colorScheme: 'light' | 'dark' }): Promise<void>;
  readonly keyboard: { press(key: string): Promise<void>; type(text: string): Promise<void> };
}

interface Browser {
  newContext(options: {
    viewport: { width: number; height: number };
    bypassCSP: boolean;
  }): Promise<{ newPage(): Promise<Page> }>;
  close(): Promise<void>;
}

function cannotBrowse(): string | false {
  if (TOOLS === undefined)
    return 'no browser here (CAIRN_BROWSER_TOOLS, docs/testing.md); unit/page tests what the page says without one';
  return cannotMount() || (!existsSync(CHROMIUM) && `there is no ${CHROMIUM}`);
}

/** Undefined if it was too quick to be paused. */
async function pausedScrub(daemon: ControlClient): Promise<JobReport | undefined> {
  await daemon.job('scrub', 'start');
  const job = await daemon.job('scrub', 'pause').catch(() => undefined);
  return job?.state === 'paused' ? job : undefined;
}

t.test('the status page in a browser', { skip: cannotBrowse(), timeout: 10 * WAIT_MS }, async (t) => {
  const tools = createRequire(pathToFileURL(join(TOOLS ?? '', 'x.js')));
  const { chromium } = tools('playwright-core') as {
    chromium: { launch(options: object): Promise<Browser> };
  };
  const axe = readFileSync(tools.resolve('axe-core/axe.min.js'), 'utf8');
  const harness = await MountHarness.create(t);
  await harness.init();
  await harness.configure((toml) => `${toml}\n[web]\naddress = "127.0.0.1:0"\n`);
  await harness.mount();
  const link = (await harness.ok('web', 'link', harness.pool)).trim();
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  t.teardown(() => browser.close());
  // axe is put into the page, which the page's policy would refuse; the policy itself is tested where the server is.
  const page = await (await browser.newContext({ viewport: { width: 1200, height: 900 }, bypassCSP: true })).newPage();
  const complaints: string[] = [];
  const strangers: string[] = [];
  let bytes = 0;
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== new URL(link).origin && !request.url().startsWith('data:'))
      strangers.push(request.url());
  });
  page.on(
    'requestfinished',
    (request) =>
      void request.sizes().then(
        (sizes) => {
          bytes += sizes.responseBodySize;
        },
        () => undefined,
      ),
  );
  const shot = async (name: string, fullPage = true) => {
    if (SHOTS === undefined) return;
    await mkdir(SHOTS, { recursive: true });
    await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage });
  };
  const accessible = async (name: string) => {
    await page.evaluate(axe);
    const found = await page.evaluate<{ id: string; nodes: { html: string }[] }[]>(
      'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => ({ id, nodes: nodes.map(({ html }) => ({ html })) })))',
    );
    t.same(
      found.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`),
      [],
      `axe finds nothing: ${name}`,
    );
  };
  const until = (text: string) => page.waitForFunction(text, undefined, { timeout: WAIT_MS });

  // First load.
  await page.goto(link);
  await page.waitForSelector('.verdict.good', { timeout: WAIT_MS });
  t.equal(await page.evaluate('location.hash'), '#/', 'the key does not stay in the address');
  t.ok(bytes > 0 && bytes <= PAGE_BYTES_MAX, `the page weighs ${bytes} bytes`);
  await accessible('healthy');
  await shot('first');

  // Live while copying.
  await mkdir(join(harness.mountpoint, 'photos'));
  for (let i = 0; i < 12; i++)
    await writeFile(join(harness.mountpoint, 'photos', `${i}.raw`), Buffer.alloc(2 ** 20, i));
  await until(
    '[...document.querySelectorAll(".flow strong")].slice(0, 3).some(({ textContent }) => !textContent.startsWith("0 B"))',
  );
  await shot('copying', false);
  await harness.commit();
  await until(
    'document.querySelector(".flow").parentElement.textContent.includes("All that was written is committed")',
  );

  // A disk is pulled.
  const pulledMs = Date.now();
  await harness.pullOut(harness.disks[1]!);
  await page.waitForSelector('.disk.alarm[data-disk="2"]', { timeout: WAIT_MS });
  t.comment(`red ${Date.now() - pulledMs} ms after it was pulled (${RED_MS} wanted)`);
  t.match(
    await page.evaluate('document.querySelector(".todo").textContent'),
    /Nothing is lost.*cable.*Replace Disk 2/s,
  );
  await accessible('degraded');
  await shot('pulled');
  await page.setViewportSize({ width: 360, height: 740 });
  t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing is wider than a phone');
  await shot('phone');
  await page.setViewportSize({ width: 1200, height: 900 });
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible('dark');
  await shot('dark');
  await page.emulateMedia({ colorScheme: 'light' });

  // Replaced, by keyboard alone.
  const fresh = join(harness.directory, 'fresh');
  await mkdir(fresh);
  const tabTo = async (text: string) => {
    for (let i = 0; i < 100; i++) {
      await page.keyboard.press('Tab');
      const at = await page.evaluate<string>(
        'document.activeElement.matches("button") ? document.activeElement.textContent : ""',
      );
      if (at.includes(text)) return;
    }
    throw new Error(`no key leads to ${text}`);
  };
  await page.evaluate('document.activeElement.blur()');
  await tabTo('Replace Disk 2');
  await page.keyboard.press('Enter');
  await page.waitForSelector('dialog[open] #directory');
  await accessible('replace');
  await page.keyboard.type('/nowhere/at-all');
  await page.keyboard.press('Enter');
  await page.waitForSelector('dialog .error', { timeout: WAIT_MS });
  await shot('refused', false);
  await page.fill('#directory', fresh);
  await page.keyboard.press('Enter');
  await page.waitForSelector('dialog .facts', { timeout: WAIT_MS });
  await accessible('plan');
  await shot('plan', false);
  await tabTo('Replace');
  await page.keyboard.press('Enter');
  await until('document.querySelector("dialog")?.textContent.includes("Done.")');
  await page.keyboard.press('Escape');
  await until('document.querySelector("dialog") === null');
  await page.waitForSelector('.verdict.good', { timeout: WAIT_MS });
  await until('document.querySelector("[data-disk=\'2\']") === null');
  await shot('healed');

  // A job: how far it is, its speed, on and to its end.
  const daemon = new ControlClient(harness.pool);
  for (let i = 0; (await pausedScrub(daemon)) === undefined; i++) {
    // It was over before it could be told to pause.
    await writeFile(join(harness.mountpoint, `more-${i}`), randomBytes(2 ** 24));
    await harness.commit();
  }
  await until('document.querySelector(".jobs")?.textContent.includes("paused")');
  await accessible('job');
  await shot('job');
  await page.click('.jobs button:has-text("Full speed")');
  await until('document.querySelector(".notices").textContent.includes("scrub is paused, at full speed")');
  await page.click('.jobs button:has-text("Resume")');
  await until(
    '[...document.querySelectorAll(".jobs li")].some((job) => job.textContent.includes("Scrub") && job.querySelector(".badge.good"))',
  );

  // Files, and S3.
  await harness.ok('policy', 'set', '--mode', 'strong', '--commit-delay', '1m', join(harness.mountpoint, 'photos'));
  await page.click('nav a:has-text("Files")');
  await page.click('tbody a:has-text("photos/")');
  await until('/strong mode .said here./.test(document.querySelector(".policy")?.textContent)');
  await page.click('tbody button:has-text("3.raw")');
  await until('document.querySelector(".details .facts")?.textContent.includes("1 MiB in")');
  await accessible('files');
  await shot('files');
  await page.click('nav a:has-text("S3")');
  await until('document.querySelector("#main").textContent.includes("not served as S3")');
  await accessible('s3');
  await harness.configure((toml) => `${toml}\n[s3]\naddress = "127.0.0.1:0"\n`);
  const made = await harness.ok('user', 'add', harness.pool, 'page');
  const [, accessKey = ''] = /access key: (\S+)/.exec(made) ?? [];
  const [, secretKey = ''] = /secret key: (\S+)/.exec(made) ?? [];
  let endpoint: string | null = null;
  while (endpoint === null) endpoint = (await daemon.keys()).endpoint;
  const client = new SigningClient(endpoint, { accessKey, secretKey });
  const enabled = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
  t.equal((await client.send('PUT', 'kept')).status, 200);
  t.equal((await client.send('PUT', 'kept', { query: [['versioning', '']], body: enabled })).status, 200);
  for (const body of ['first', 'second one'])
    t.equal((await client.send('PUT', 'kept', { key: 'letter.txt', body })).status, 200);
  await page.click('nav a:has-text("Files")');
  await page.click('.path-bar a');
  await page.click('tbody a:has-text("kept/")');
  await page.click('tbody button:has-text("letter.txt")');
  await until('document.querySelectorAll(".versions li").length === 2');
  t.match(
    await page.evaluate('document.querySelector(".versions").textContent'),
    /10 B, .*, the present one.* 5 B, /s,
    'what S3 keeps of a file is seen beside it',
  );
  await accessible('versions');
  await shot('versions');
  await page.click('nav a:has-text("S3")');
  await until(`document.querySelector("#main").textContent.includes(${JSON.stringify(accessKey)})`);
  await accessible('s3 keys');
  await shot('s3');

  // The daemon goes, and the page says so.
  await page.click('nav button');
  await page.waitForSelector('.login', { timeout: WAIT_MS });
  await accessible('login');
  await shot('login', false);
  t.same(
    complaints.filter((text) => !/ 40[14] /.test(text)),
    [],
    'nothing on the console, but the directory that is not there, and that one must log in',
  );
  t.same(strangers, [], 'nothing is asked of others');
});
