/**
 * Elements from descriptions of them: `h` describes, `render` makes the page what is described and changes only what differs, so that focus, scroll and selection
 * stay where they are while figures move. Children with a `key` keep their element when their order changes.
 */

type Handler = (event: Event) => void;
type Value = string | number | boolean | undefined | null | Handler | Readonly<Record<string, string>>;
export type Attributes = Readonly<Record<string, Value>>;

export interface Element_ {
  readonly tag: string;
  readonly attributes: Attributes;
  readonly children: readonly Node_[];
  readonly key: string | undefined;
}

type Node_ = Element_ | string;
/** What may stand where a child stands. */
export type Child = Node_ | number | false | undefined | null | readonly Child[];

const SVG = 'http://www.w3.org/2000/svg';
const SVG_TAGS = new Set(['svg', 'path', 'rect', 'line', 'circle', 'ellipse', 'g', 'text']);
/** What was rendered last into an element. */
const rendered = new WeakMap<Element, Element_>();
const handlers = new WeakMap<Element, Map<string, Handler>>();

export function h(tag: string, attributes: Attributes = {}, ...children: readonly Child[]): Element_ {
  const key = attributes['key'];
  return { tag, attributes, children: flat(children), key: key === undefined ? undefined : String(key) };
}

function flat(children: readonly Child[]): Node_[] {
  return children.flatMap((child): Node_[] => {
    if (child === false || child === undefined || child === null) return [];
    if (Array.isArray(child)) return flat(child as readonly Child[]);
    return [typeof child === 'number' ? String(child) : (child as Node_)];
  });
}

/** The children of `root` become these. */
export function render(root: Element, ...children: readonly Child[]): void {
  patchChildren(root, flat(children));
}

function make(node: Node_): Node {
  if (typeof node === 'string') return document.createTextNode(node);
  const element = SVG_TAGS.has(node.tag) ? document.createElementNS(SVG, node.tag) : document.createElement(node.tag);
  patch(element, node);
  const onMade = node.attributes['made'];
  // After the whole is in the page: a dialog cannot be opened before.
  if (typeof onMade === 'function') queueMicrotask(() => onMade(new CustomEvent('made', { detail: element })));
  return element;
}

function patch(element: Element, next: Element_): void {
  const before = rendered.get(element)?.attributes ?? {};
  for (const name of Object.keys(before)) if (!(name in next.attributes)) set(element, name, undefined);
  for (const [name, value] of Object.entries(next.attributes)) if (before[name] !== value) set(element, name, value);
  rendered.set(element, next);
  patchChildren(element, next.children);
}

function set(element: Element, name: string, value: Value): void {
  if (name === 'key' || name === 'made') return;
  if (name.startsWith('on')) {
    listen(element, name.slice(2), typeof value === 'function' ? value : undefined);
  } else if (name === 'style' && typeof value === 'object' && value !== null) {
    // By the object model: the page's policy allows no style attributes.
    for (const [property, text] of Object.entries(value)) (element as HTMLElement).style.setProperty(property, text);
  } else if (name === 'value' && element instanceof HTMLInputElement) {
    if (element.value !== String(value ?? '')) element.value = String(value ?? '');
  } else if (name === 'checked' && element instanceof HTMLInputElement) element.checked = value === true;
  else if (value === undefined || value === null || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? '' : String(value));
}

function listen(element: Element, type: string, handler: Handler | undefined): void {
  let known = handlers.get(element);
  if (known === undefined) {
    known = new Map();
    handlers.set(element, known);
  }
  if (!known.has(type)) element.addEventListener(type, (event) => handlers.get(element)?.get(type)?.(event));
  if (handler === undefined) known.delete(type);
  else known.set(type, handler);
}

function fits(node: Node, wanted: Node_): boolean {
  if (typeof wanted === 'string') return node.nodeType === Node.TEXT_NODE;
  if (!(node instanceof Element)) return false;
  const was = rendered.get(node);
  return was !== undefined && was.tag === wanted.tag && was.key === wanted.key;
}

function patchChildren(parent: Element, wanted: readonly Node_[]): void {
  const keyed = new Map<string, Element>();
  for (const child of parent.children) {
    const key = rendered.get(child)?.key;
    if (key !== undefined) keyed.set(key, child);
  }
  let at: ChildNode | null = parent.firstChild;
  for (const node of wanted) {
    const moved = typeof node === 'string' || node.key === undefined ? undefined : keyed.get(node.key);
    if (moved !== undefined && moved !== at && fits(moved, node)) parent.insertBefore(moved, at);
    const here: ChildNode | null = moved !== undefined && fits(moved, node) ? moved : at;
    if (here !== null && fits(here, node)) {
      if (typeof node === 'string') {
        if (here.textContent !== node) here.textContent = node;
      } else patch(here as Element, node);
      at = here.nextSibling;
    } else parent.insertBefore(make(node), at);
  }
  while (at !== null) {
    const next: ChildNode | null = at.nextSibling;
    at.remove();
    at = next;
  }
}
