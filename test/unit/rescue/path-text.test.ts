import t from 'tap';
import { pathFields, pathText } from '../../../src/rescue/path-text.js';

t.test('paths stay on their line, and their bytes can be told', async (t) => {
  const cases: [bytes: Buffer, text: string, hex: boolean][] = [
    [Buffer.from('photos/été 사진.txt'), 'photos/été 사진.txt', false],
    [Buffer.from('back\\slash'), 'back\\slash', false],
    [Buffer.from('new\nline \\'), 'new\\x0aline \\\\', true],
    [Buffer.from([0x6e, 0xff, 0x2f, 0xfe]), 'n\\xff/\\xfe', true],
    [Buffer.from('\u001b[2J'), '\\x1b[2J', true],
    [Buffer.from('a\u202eb'), 'a\\xe2\\x80\\xaeb', true],
  ];
  for (const [bytes, text, hex] of cases) {
    t.equal(pathText(bytes), text);
    t.same(pathFields(bytes), hex ? { path: text, pathHex: bytes.toString('hex') } : { path: text });
  }
});
