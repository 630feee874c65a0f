/**
 * Manual pages, made from what `--help` is made from. Format: man(7), the macros that groff and mandoc both know. One page for `cairn` and one for each
 * of its commands, with their subcommands in it.
 */
import type { Command } from 'commander';
import { type CommandNode, commandTree } from './command-tree.js';

/** Names of the files (`cairn-status.1`) with their text. `date` as it is to stand in them: `2026-11-28`. */
export function manualPages(program: Command, version: string, date: string): ReadonlyMap<string, string> {
  const root = commandTree(program);
  const pages = [root, ...root.commands];
  return new Map(pages.map((node) => [`${node.path.join('-')}.1`, page(node, root, version, date)]));
}

function page(node: CommandNode, root: CommandNode, version: string, date: string): string {
  const title = node.path.join('-');
  const others = root.commands.filter((other) => other !== node).map(({ path }) => path.join('-'));
  const seeAlso = node === root ? others : ['cairn', ...others];
  return [
    `.\\" Made from the help of cairn ${version}: what is changed here is lost.`,
    `.TH ${quoted(title.toUpperCase())} 1 ${quoted(date)} ${quoted(`cairn ${version}`)} "Cairn"`,
    '.SH NAME',
    `${text(title)} \\- ${text(node.description)}`,
    '.SH SYNOPSIS',
    ...synopsis(node),
    ...(node === root ? commandList(node) : body(node, '.SH')),
    ...node.commands.flatMap((sub) => (node === root ? [] : subcommand(sub))),
    '.SH EXIT STATUS',
    '0: well. 1: an error, told in one line on standard error with what to do next. 2: wrong usage. 130: interrupted.',
    '.SH SEE ALSO',
    `${seeAlso.map((name) => `.BR ${name} (1)`).join(',\n')}`,
    '',
  ].join('\n');
}

function synopsis(node: CommandNode): string[] {
  const lines = node.commands.length > 0 && node.path.length > 1 ? node.commands : [node];
  return lines.map(({ path, usage }, index) => `${index > 0 ? '.br\n' : ''}.B ${text(path.join(' '))}\n${text(usage)}`);
}

/** Of the whole command: what the commands are, then how it is used. */
function commandList(root: CommandNode): string[] {
  return [
    '.SH COMMANDS',
    ...root.commands.flatMap(({ path, description }) => ['.TP', `.BR ${path.join('-')} (1)`, text(description)]),
    ...body(root, '.SH'),
  ];
}

function subcommand(node: CommandNode): string[] {
  return [
    `.SH ${quoted(node.path.join(' '))}`,
    `${text(capital(node.description))}.`,
    ...body({ ...node, aliases: [] }, '.SS'),
  ];
}

function body(node: CommandNode, heading: string): string[] {
  const { operands, options, aliases, after } = node;
  const description = heading === '.SH' ? [`${heading} DESCRIPTION`, `${text(capital(node.description))}.`] : [];
  const alias = aliases.length > 0 ? ['.PP', `Also as \\fB${text(aliases.join(', '))}\\fR.`] : [];
  return [
    ...description,
    ...alias,
    ...(operands.length > 0 ? [`${heading} ARGUMENTS`] : []),
    ...operands.flatMap(({ name, description: what }) => ['.TP', `\\fI${text(name)}\\fR`, text(what)]),
    `${heading} OPTIONS`,
    ...options.flatMap(({ usage, description: what }) => ['.TP', `\\fB${text(usage)}\\fR`, text(what)]),
    ...afterLines(after, heading),
  ];
}

/** Indented lines are shown as they stand, the rest is running text. */
function afterLines(after: string, heading: string): string[] {
  if (after === '') return [];
  const lines: string[] = [];
  let isVerbatim = false;
  for (const line of after.split('\n')) {
    if (/^Examples?:$/.test(line)) {
      lines.push(`${heading} EXAMPLES`);
      continue;
    }
    const indented = line.startsWith('  ');
    if (indented !== isVerbatim) {
      lines.push(...(indented ? ['.PP', '.nf', '.RS 4'] : ['.RE', '.fi', '.PP']));
      isVerbatim = indented;
    }
    if (line.trim() === '') {
      if (lines.at(-1) !== '.PP') lines.push('.PP');
    } else lines.push(text(line.trim()));
  }
  if (isVerbatim) lines.push('.RE', '.fi');
  return lines;
}

/** Nothing in it means something to the formatter. */
function text(plain: string): string {
  const escaped = plain.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('…', '...').replaceAll('`', '\\(ga');
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

function quoted(plain: string): string {
  return `"${text(plain).replaceAll('"', '\\(dq')}"`;
}

function capital(plain: string): string {
  return plain.slice(0, 1).toUpperCase() + plain.slice(1);
}
