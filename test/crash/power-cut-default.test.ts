/** Pools on file systems that lose their power keep what they promised in default mode. Long runs: `npm run powercut`. */
import t from 'tap';
import { testPowerCuts } from './rig-test.js';

testPowerCuts(t, 'default');
