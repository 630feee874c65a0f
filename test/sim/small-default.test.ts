import { testSmallHistories } from './small-run.js';

testSmallHistories(false);
