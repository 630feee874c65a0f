// `npm run docs`: the documentation as a site, dist/site, made of the Markdown files that are also read on their own.
//
// Every link between them is followed: to a page and the heading in it, or to a file of the repository, which is shown by its name. A link
// that leads nowhere ends the build with its name. Nothing is loaded from elsewhere.
import { copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, normalize, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Marked } from 'marked';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TARGET = resolve(process.argv[2] ?? join(ROOT, 'dist', 'site'));

/** In the order in which somebody who is new would read them. */
const SECTIONS = [
  ['Start', ['README.md', 'docs/getting-started.md', 'docs/concepts.md', 'docs/guarantees.md', 'docs/comparison.md']],
  [
    'Use',
    [
      'docs/operations.md',
      'docs/policies.md',
      'docs/status.md',
      'docs/web.md',
      'docs/s3.md',
      'docs/performance.md',
      'docs/planner.md',
    ],
  ],
  ['Inside', ['ARCHITECTURE.md', 'docs/format.md', 'diskmap/README.md', 'docs/testing.md', 'docs/s3-conformance.md']],
  ['Project', ['CHANGELOG.md', 'CONTRIBUTING.md', 'docs/dependencies.md']],
];

const listed = SECTIONS.flatMap(([, files]) => files);
// A page that nobody has put into the list is a page all the same.
const others = (await readdir(join(ROOT, 'docs')))
  .filter((name) => name.endsWith('.md'))
  .map((name) => `docs/${name}`)
  .filter((file) => !listed.includes(file));
if (others.length > 0) SECTIONS.push(['More', others]);

const pages = new Map();
for (const file of [...listed, ...others])
  pages.set(file, { file, ...rendered(await readFile(join(ROOT, file), 'utf8')) });

const dead = [];
await rm(TARGET, { recursive: true, force: true });
await mkdir(TARGET, { recursive: true });
for (const page of pages.values()) await writeFile(join(TARGET, htmlName(page.file)), await pageHtml(page));
await writeFile(join(TARGET, 'style.css'), STYLE());
if (dead.length > 0) {
  process.stderr.write(`links that lead nowhere:\n${dead.map((link) => `  ${link}\n`).join('')}`);
  process.exit(1);
}
process.stdout.write(`${pages.size} pages in ${relative(process.cwd(), TARGET) || '.'}\n`);

/** `docs/format.md` is format.html, `README.md` index.html, `diskmap/README.md` diskmap.html. */
function htmlName(file) {
  if (file === 'README.md') return 'index.html';
  const name = file.endsWith('/README.md') ? dirname(file) : file.replace(/^docs\//, '').replace(/\.md$/, '');
  return `${name.replaceAll('/', '-').toLowerCase()}.html`;
}

function rendered(markdown) {
  const marked = new Marked();
  const tokens = marked.lexer(markdown);
  const headings = [];
  const used = new Map();
  marked.walkTokens(tokens, (token) => {
    if (token.type !== 'heading') return;
    const slug = slugOf(token.text);
    const times = used.get(slug) ?? 0;
    used.set(slug, times + 1);
    token.id = times === 0 ? slug : `${slug}-${times}`;
    headings.push(token);
  });
  return {
    tokens,
    ids: new Set(headings.map(({ id }) => id)),
    title: headings[0]?.text.replaceAll('`', '') ?? 'Cairn',
  };
}

/** As GitHub makes them, so that one link is right in both places. */
function slugOf(text) {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replace(/\s/g, '-');
}

async function pageHtml(page) {
  const drawings = [];
  const marked = new Marked({
    renderer: {
      heading({ tokens, depth, id }) {
        return `<h${depth} id="${id}">${this.parser.parseInline(tokens)} <a class="anchor" href="#${id}" aria-label="link to this heading">#</a></h${depth}>\n`;
      },
      link({ href, tokens }) {
        const text = this.parser.parseInline(tokens);
        const target = resolved(page, href);
        return target === undefined ? text : `<a href="${escapeHtml(target)}">${text}</a>`;
      },
      image({ href, text }) {
        drawings.push(href);
        return `<img src="${escapeHtml(href.replaceAll('/', '-'))}" alt="${escapeHtml(text)}">`;
      },
      table(token) {
        const cell = (part, { tokens, align }) =>
          `<${part}${align ? ` style="text-align:${align}"` : ''}>${this.parser.parseInline(tokens)}</${part}>`;
        const row = (part, cells) => `<tr>${cells.map((each) => cell(part, each)).join('')}</tr>\n`;
        const body = token.rows.map((cells) => row('td', cells)).join('');
        // Scrolls by itself where the screen is narrow.
        return `<div class="table" tabindex="0"><table><thead>${row('th', token.header)}</thead><tbody>${body}</tbody></table></div>\n`;
      },
    },
  });
  const content = marked.parser(page.tokens);
  for (const drawing of drawings) {
    const source = join(ROOT, dirname(page.file), drawing);
    await copyFile(source, join(TARGET, drawing.replaceAll('/', '-'))).catch(() =>
      dead.push(`${page.file}: ${drawing}`),
    );
  }
  const menu = SECTIONS.map(([name, files]) => {
    const items = files.map((file) => {
      const here = file === page.file ? ' aria-current="page"' : '';
      return `<li><a href="${htmlName(file)}"${here}>${escapeHtml(pages.get(file).title)}</a></li>`;
    });
    return `<h2>${name}</h2><ul>${items.join('')}</ul>`;
  });
  await checkFiles(page);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(page.title === 'Cairn' ? 'Cairn' : `${page.title} · Cairn`)}</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<a class="skip" href="#content">to the content</a>
<nav aria-label="pages">${menu.join('')}</nav>
<main id="content">
${content}</main>
</body>
</html>
`;
}

/** Where a link leads on the site; undefined if to a file that is no page. */
function resolved(page, href) {
  if (/^[a-z]+:/.test(href)) return href;
  const [path, anchor] = href.split('#');
  const file = path === '' ? page.file : normalize(join(dirname(page.file), decodeURI(path)));
  const target = pages.get(file);
  if (target === undefined) {
    page.files ??= new Map();
    page.files.set(file, href);
    return undefined;
  }
  if (anchor !== undefined && !target.ids.has(anchor)) dead.push(`${page.file}: ${href} (no such heading)`);
  return `${path === '' ? '' : htmlName(file)}${anchor === undefined ? '' : `#${anchor}`}`;
}

async function checkFiles(page) {
  for (const [file, href] of page.files ?? [])
    await stat(join(ROOT, file)).catch(() => dead.push(`${page.file}: ${href}`));
}

function escapeHtml(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

function STYLE() {
  return `:root { color-scheme: light dark; --ink: #1c2326; --faint: #5a666c; --paper: #fdfdfb; --panel: #f1f3ef; --line: #d5dad2; --link: #0b5c7a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8e6; --faint: #9aa6a6; --paper: #14191b; --panel: #1d2427; --line: #344044; --link: #7cc4df; } }
* { box-sizing: border-box; }
body { margin: 0; display: grid; grid-template-columns: 16rem minmax(0, 52rem); gap: 3rem; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, sans-serif; }
nav { padding: 1.5rem; background: var(--panel); border-right: 1px solid var(--line); min-height: 100vh; }
nav h2 { font-size: .8rem; text-transform: uppercase; letter-spacing: .06em; color: var(--faint); margin: 1.2rem 0 .3rem; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav a { display: block; padding: .15rem 0; text-decoration: none; }
nav a[aria-current] { font-weight: 600; color: var(--ink); }
main { padding: 1.5rem 1rem 4rem 0; }
a { color: var(--link); }
h1, h2, h3 { line-height: 1.25; margin: 2rem 0 .6rem; }
h1 { margin-top: .5rem; }
.anchor { text-decoration: none; opacity: 0; } h1:hover .anchor, h2:hover .anchor, h3:hover .anchor, .anchor:focus { opacity: .6; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; padding: .8rem 1rem; overflow-x: auto; }
code { font: .9em ui-monospace, monospace; } :not(pre) > code { background: var(--panel); padding: .1em .3em; border-radius: .25em; }
.table { overflow-x: auto; } table { border-collapse: collapse; } th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem .35rem 0; text-align: left; vertical-align: top; }
img { max-width: 100%; height: auto; }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: .5rem; }
@media (max-width: 50rem) { body { display: block; } nav { min-height: 0; border-right: 0; border-bottom: 1px solid var(--line); } main { padding: 1rem; } }
`;
}
