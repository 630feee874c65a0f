/**
 * Completion scripts for bash, zsh and fish. They hold all that there is to complete, so that a Tab starts no process; a script is as old as the cairn that
 * has printed it. Operands are completed as files and directories, which is what nearly all of them are.
 */
import type { Command } from 'commander';
import { type CommandNode, commandTree, type OptionNode } from './command-tree.js';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

export function completionScript(shell: Shell, program: Command): string {
  const root = commandTree(program);
  switch (shell) {
    case 'bash':
      return bashScript(root);
    case 'zsh':
      return zshScript(root);
    default:
      return fishScript(root);
  }
}

/** Every command that has something of its own to complete, outermost first. */
function flat(node: CommandNode): CommandNode[] {
  return [node, ...node.commands.flatMap(flat)];
}

function wordsOf(node: CommandNode): string[] {
  const subcommands = node.commands.flatMap(({ path, aliases }) => [path.at(-1)!, ...aliases]);
  return [...subcommands, ...node.operands.flatMap(({ choices }) => choices), ...longNames(node.options)];
}

function longNames(options: readonly OptionNode[]): string[] {
  return options.flatMap(({ names }) => names.at(-1) ?? []);
}

/** `disk add`: as the script puts together what has been typed. */
function keyOf({ path }: CommandNode): string {
  return path.slice(1).join(' ');
}

/** What stands first on a line of commands that are no operands: the words that lead further down the tree. */
function keysOf(root: CommandNode): string[] {
  return flat(root).flatMap((node) => {
    const above = node.path.slice(1, -1).join(' ');
    const names = [node.path.at(-1)!, ...node.aliases];
    return node === root ? [] : names.map((name) => `${above} ${name}`.trim());
  });
}

/** Files are completed where an operand may be one, and where the value of an option may be anything. */
function takesFiles({ operands }: CommandNode): boolean {
  return operands.some(({ choices }) => choices.length === 0);
}

/** What has been typed of the tree's words, as patterns of a shell's `case`. */
function patternOf(node: CommandNode): string {
  const above = node.path.slice(1, -1);
  if (node.path.length === 1) return quote('');
  return [node.path.at(-1)!, ...node.aliases].map((name) => quote([...above, name].join(' '))).join('|');
}

/** Lines of bash or zsh: which command the words before the cursor name, and the case for it. */
function walk(root: CommandNode, words: string, cases: readonly string[]): string {
  return `  for word in "\${${words}}"; do
    case "\${key:+$key }$word" in
    ${keysOf(root).map(quote).join('|')}) key="\${key:+$key }$word" ;;
    esac
  done
  case "$key" in
${cases.join('')}  esac
`;
}

/** Options with a value, as patterns of a `case` over command and option: what stands behind them is that value, and nothing else. */
function valueCases(root: CommandNode, line: (pattern: string, choices: readonly string[]) => string): string {
  return flat(root)
    .flatMap((node) =>
      node.options
        .filter(({ takesValue }) => takesValue)
        .map(({ names, choices }) => line(quote(`${keyOf(node)} ${names.at(-1)}`), choices)),
    )
    .join('');
}

function bashScript(root: CommandNode): string {
  const cases = flat(root).map((node) => {
    const files = takesFiles(node) ? ' files=1' : '';
    return `    ${patternOf(node)}) words=${quote(wordsOf(node).join(' '))}${files} ;;\n`;
  });
  const values = valueCases(root, (pattern, choices) =>
    choices.length === 0
      ? `  ${pattern}) words='' files=1 ;;\n`
      : `  ${pattern}) words=${quote(choices.join(' '))} files='' ;;\n`,
  );
  return `# bash completion of cairn
_cairn() {
  local current="\${COMP_WORDS[COMP_CWORD]}" key='' word words='' files=''
${walk(root, 'COMP_WORDS[@]:1:COMP_CWORD-1', cases)}  case "$key \${COMP_WORDS[COMP_CWORD-1]}" in
${values}  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  case "$files$current" in
  1-*) ;;
  1*) mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current") ;;
  esac
}
complete -o filenames -F _cairn cairn
`;
}

function zshScript(root: CommandNode): string {
  const cases = flat(root).map((node) => {
    const described = [
      ...node.commands.map(({ path, description }) => `${path.at(-1)!}:${description}`),
      ...node.operands.flatMap(({ choices }) => choices),
      ...node.options.map(({ names, description }) => `${names.at(-1)!}:${description}`),
    ];
    const files = takesFiles(node) ? ' files=1' : '';
    return `    ${patternOf(node)})\n      found=(${described.map(quote).join(' ')})${files} ;;\n`;
  });
  const values = valueCases(root, (pattern, choices) =>
    choices.length === 0
      ? `  ${pattern}) found=() files=1 ;;\n`
      : `  ${pattern}) found=(${choices.map(quote).join(' ')}) files='' ;;\n`,
  );
  return `#compdef cairn
# zsh completion of cairn
_cairn() {
  local key='' word files=''
  local -a found
${walk(root, 'words[@]:1:$((CURRENT-2))', cases)}  case "$key \${words[CURRENT-1]}" in
${values}  esac
  _describe 'cairn' found
  [[ -n "$files" ]] && _files
}
if [ "$funcstack[1]" = "_cairn" ]; then _cairn "$@"; else compdef _cairn cairn; fi
`;
}

function fishScript(root: CommandNode): string {
  const lines = flat(root).flatMap((node) => {
    const when = node === root ? '__cairn_at ""' : `__cairn_at ${quote(keyOf(node))}`;
    const condition = `-n ${quote(when)}`;
    return [
      ...node.commands.map(
        ({ path, description }) => `complete -c cairn ${condition} -f -a ${path.at(-1)!} -d ${quote(description)}`,
      ),
      ...node.operands.flatMap(({ choices }) =>
        choices.length > 0 ? [`complete -c cairn ${condition} -f -a ${quote(choices.join(' '))}`] : [],
      ),
      ...node.options.map(({ names, description, takesValue, choices }) => {
        const long = names.at(-1)!.replace(/^--/, '');
        const value = choices.length > 0 ? ` -x -a ${quote(choices.join(' '))}` : takesValue ? ' -r' : '';
        return `complete -c cairn ${condition} -l ${long}${value} -d ${quote(description)}`;
      }),
    ];
  });
  return `# fish completion of cairn
function __cairn_at
  set -l key ''
  for word in (commandline -opc)[2..-1]
    switch (string trim "$key $word")
      case ${keysOf(root).map(quote).join(' ')}
        set key (string trim "$key $word")
    end
  end
  test "$key" = "$argv[1]"
end
complete -c cairn -n '__cairn_at ""' -f
${lines.join('\n')}
`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
