/** `npm run openapi`: writes docs/openapi.json. */
import { writeFileSync } from 'node:fs';
import { openApi } from '../../../src/http/open-api.js';

writeFileSync('docs/openapi.json', `${JSON.stringify(openApi(), null, 2)}\n`);
