/** The OpenAPI document of the API, made from the table of operations: docs/openapi.json is what this gives (`npm run openapi`, held against it by a test). */
import type * as v from 'valibot';
import { assert } from '../errors/cairn-error.js';
import { OPERATIONS, type Operation } from './operations.js';
import * as reports from './report-schemas.js';

type Node = { readonly [key: string]: unknown };

/** The parts of valibot's schemas that are used here. */
interface Described {
  readonly type: string;
  readonly entries?: Readonly<Record<string, v.GenericSchema>>;
  readonly item?: v.GenericSchema;
  readonly value?: v.GenericSchema;
  readonly wrapped?: v.GenericSchema;
  readonly default?: unknown;
  readonly literal?: unknown;
  readonly options?: readonly unknown[];
  readonly pipe?: readonly { readonly kind: string; readonly type: string; readonly requirement?: unknown }[];
}

const OPTIONAL = new Set(['optional', 'exact_optional']);

/** Reports stand in the document once, by name. */
const NAMES: ReadonlyMap<unknown, string> = new Map(
  Object.entries(reports).map(([name, schema]) => [schema, name.replace(/Schema$/, '')]),
);

/** As JSON Schema, with references to the reports. Only what the API's schemas use; anything else asserts. */
function jsonSchemaOf(schema: v.GenericSchema): Node {
  const name = NAMES.get(schema);
  return name === undefined ? inlineSchemaOf(schema) : { $ref: `#/components/schemas/${name}` };
}

function inlineSchemaOf(schema: v.GenericSchema): Node {
  const described = schema as unknown as Described;
  const restrictions = (described.pipe ?? []).map((step) => restriction(step, described.type));
  return Object.assign({}, bareSchema(described), ...restrictions) as Node;
}

function bareSchema(schema: Described): Node {
  switch (schema.type) {
    case 'string':
    case 'number':
    case 'boolean':
      return { type: schema.type };
    case 'literal':
      return { const: schema.literal };
    case 'picklist':
      return { type: 'string', enum: schema.options };
    case 'array':
      return { type: 'array', items: jsonSchemaOf(schema.item!) };
    case 'record':
      return { type: 'object', additionalProperties: jsonSchemaOf(schema.value!) };
    case 'nullable': {
      const { type, ...rest } = jsonSchemaOf(schema.wrapped!);
      if (rest['enum'] !== undefined) return { ...rest, enum: [...(rest['enum'] as unknown[]), null] };
      return type === 'object' || typeof type !== 'string'
        ? { anyOf: [{ type, ...rest }, { type: 'null' }] }
        : { ...rest, type: [type, 'null'] };
    }
    case 'optional':
    case 'exact_optional': {
      const node = jsonSchemaOf(schema.wrapped!);
      return schema.default === undefined || 'default' in node ? node : { ...node, default: schema.default };
    }
    case 'variant':
      return { oneOf: schema.options!.map((option) => jsonSchemaOf(option as v.GenericSchema)) };
    case 'strict_object': {
      const entries = Object.entries(schema.entries!);
      return {
        type: 'object',
        properties: Object.fromEntries(entries.map(([key, entry]) => [key, jsonSchemaOf(entry)])),
        required: entries.flatMap(([key, entry]) => (OPTIONAL.has(entry.type) ? [] : [key])),
        additionalProperties: false,
      };
    }
    case 'custom':
    case 'unknown':
      return {};
    default:
      assert(false, `a schema of the API is of a kind that the document cannot tell: ${schema.type}`);
  }
}

function restriction(step: { readonly type: string; readonly requirement?: unknown }, of: string): Node {
  const { requirement } = step;
  switch (step.type) {
    case 'min_value':
      return { minimum: requirement };
    case 'max_value':
      return { maximum: requirement };
    case 'min_length':
      return of === 'array' ? { minItems: requirement } : { minLength: requirement };
    case 'max_length':
      return of === 'array' ? { maxItems: requirement } : { maxLength: requirement };
    case 'safe_integer':
      return { type: 'integer' };
    case 'regex':
      return { pattern: (requirement as RegExp).source };
    case 'metadata':
      return (step as unknown as { readonly metadata: { readonly jsonSchema: Node } }).metadata.jsonSchema;
    default:
      return {};
  }
}

function parametersOf(schema: v.GenericSchema | undefined, where: 'path' | 'query'): readonly Node[] {
  if (schema === undefined) return [];
  const entries = (schema as unknown as Described).entries!;
  return Object.entries(entries).map(([name, entry]) => ({
    name,
    in: where,
    required: !OPTIONAL.has(entry.type),
    schema: jsonSchemaOf(entry),
  }));
}

const content = (type: string, schema: Node): Node => ({ [type]: { schema } });

function answersOf({ answer }: Operation): Node {
  switch (answer.kind) {
    case 'json':
      return { 200: { description: 'the answer', content: content('application/json', jsonSchemaOf(answer.schema)) } };
    case 'progress': {
      const events = {
        oneOf: [
          objectOf('progress', jsonSchemaOf(answer.progress)),
          objectOf('report', jsonSchemaOf(answer.report)),
          jsonSchemaOf(reports.WireErrorSchema),
        ],
      };
      const stream = {
        description: 'one event a line; the last is the report, or an error',
        content: content('application/x-ndjson', events),
      };
      if (answer.accepted === undefined) return { 200: stream };
      const accepted = content('application/json', jsonSchemaOf(answer.accepted));
      return { 200: stream, 202: { description: 'it has begun (`wait` was false)', content: accepted } };
    }
    case 'text':
      return { 200: { description: 'the answer', content: content(answer.type, jsonSchemaOf(answer.schema)) } };
    case 'messages':
      return {
        200: {
          description: 'server-sent events without end; the data of each is one message',
          content: content('text/event-stream', jsonSchemaOf(answer.message)),
        },
      };
  }
}

function objectOf(key: string, schema: Node): Node {
  return { type: 'object', properties: { [key]: schema }, required: [key], additionalProperties: false };
}

export function openApi(): Node {
  const paths: Record<string, Record<string, Node>> = {};
  for (const [name, operation] of Object.entries<Operation>(OPERATIONS)) {
    const { method, path, summary, params, query, body, isLocal } = operation;
    const where = isLocal === true ? ' Only over the control socket.' : '';
    paths[path] ??= {};
    paths[path][method.toLowerCase()] = {
      operationId: name,
      summary: `${summary}.${where}`,
      parameters: [...parametersOf(params, 'path'), ...parametersOf(query, 'query')],
      ...(body !== undefined && {
        requestBody: { required: true, content: content('application/json', jsonSchemaOf(body)) },
      }),
      responses: {
        ...answersOf(operation),
        default: {
          description: 'an error',
          content: content('application/json', jsonSchemaOf(reports.WireErrorSchema)),
        },
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Cairn',
      version: '1',
      description:
        'The API of a running pool. The unix socket `control.sock` in the pool directory serves it to the owner of the daemon; the address of `[web]` serves it to whoever has its password, as a bearer token or by a session. Sizes are bytes, moments milliseconds since the Unix epoch.',
    },
    components: {
      schemas: Object.fromEntries(
        [...NAMES].map(([schema, name]) => [name, inlineSchemaOf(schema as v.GenericSchema)]),
      ),
      securitySchemes: { password: { type: 'http', scheme: 'bearer' } },
    },
    security: [{ password: [] }],
    paths,
  };
}
