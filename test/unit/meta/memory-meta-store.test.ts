import t from 'tap';
import { MemoryMetaStore } from '../../conformance/memory-meta-store.js';
import { testMetaStore } from '../../conformance/meta-store.js';

testMetaStore(t, async () => new MemoryMetaStore());
