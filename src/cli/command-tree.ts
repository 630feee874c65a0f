/** The commands as data, read from their declarations: what `--help` shows, for whatever else is to show the same. */
import { EventEmitter } from 'node:events';
import type { Command } from 'commander';

export interface OptionNode {
  /** `--disk`, and `-h` where there is a short one. */
  readonly names: readonly string[];
  /** As it is written: `--disk <directory...>`. */
  readonly usage: string;
  readonly description: string;
  /** It is followed by a value. */
  readonly takesValue: boolean;
  /** All that the value may be; empty where it may be anything. */
  readonly choices: readonly string[];
}

export interface CommandNode {
  /** `cairn disk add`: one word after the other. */
  readonly path: readonly string[];
  readonly aliases: readonly string[];
  readonly description: string;
  /** As it is written behind the path: `[options] <pool> <dir...>`. */
  readonly usage: string;
  readonly operands: readonly {
    readonly name: string;
    readonly description: string;
    readonly choices: readonly string[];
  }[];
  readonly options: readonly OptionNode[];
  /** Examples and what else stands below the options, as in `--help`. */
  readonly after: string;
  readonly commands: readonly CommandNode[];
}

/** `program` with everything below it. */
export function commandTree(command: Command, above: readonly string[] = []): CommandNode {
  const help = command.createHelp();
  const path = [...above, command.name()];
  const visible = help.visibleCommands(command).filter((sub) => sub.name() !== 'help');
  return {
    path,
    aliases: command.aliases(),
    description: command.description(),
    usage: command.usage(),
    operands: command.registeredArguments.map((argument) => ({
      name: help.argumentTerm(argument),
      description: argument.description,
      choices: argument.argChoices ?? [],
    })),
    options: help.visibleOptions(command).map((option) => ({
      names: [option.short, option.long].flatMap((name) => name ?? []),
      usage: option.flags,
      description: help.optionDescription(option),
      takesValue: option.required || option.optional,
      choices: option.argChoices ?? [],
    })),
    after: afterHelp(command),
    commands: visible.map((sub) => commandTree(sub, path)),
  };
}

/** Commander keeps what `addHelpText` was given in listeners: it is written into a string. */
function afterHelp(command: Command): string {
  let text = '';
  const write = (part: string): void => {
    text += part;
  };
  if (command instanceof EventEmitter) command.emit('afterHelp', { error: false, command, write });
  return text.trim();
}
