/** What a cairn.toml is called, and the sizes that may stand in it: for whoever declares them without reading such a file. */

export const CONFIG_NAME = 'cairn.toml';

export const MIN_CHUNK_BYTES = 128 * 1024;

export const CHUNK_STEP_BYTES = 64 * 1024;
export const MIN_BUCKET_BYTES = 1024 * 1024;
export const MAX_BUCKET_BYTES = 1024 ** 4;
