/** A question to the person at the terminal. The answer to a secret one is not shown as it is typed. */
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';

/** Undefined where there is no terminal, or no answer: Ctrl-C, Ctrl-D, the terminal is gone. */
export async function askTerminal(question: string, isSecret: boolean): Promise<string | undefined> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY || !stderr.isTTY) return undefined;
  // readline echoes by itself, and so can be made to echo nowhere; what the terminal would echo is off meanwhile.
  const output = isSecret ? new Writable({ write: (_chunk, _encoding, done) => done() }) : stderr;
  if (isSecret) stderr.write(question);
  const terminal = createInterface({ input: stdin, output, terminal: true });
  try {
    return await new Promise<string | undefined>((resolve) => {
      terminal.once('close', () => resolve(undefined));
      terminal.question(isSecret ? '' : question, resolve);
    });
  } finally {
    terminal.close();
    if (isSecret) stderr.write('\n');
  }
}
