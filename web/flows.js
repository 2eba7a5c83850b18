// HTTP flows: told from other things that are pasted, and each step as what it requested, what came, and what was checked.
// Everything a server or an author wrote is shown through textContent only.

import { copyButton, make } from "./elements.js";

const SHOWN_CHARS = 16 * 1024; // of one body; the journal has more
const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/;
const SECRET = /authorization|cookie|passw|secret|token|api[-_]?key|credential|private[-_]?key|access[-_]?key/i;

// The config of a flow, whether its kind is said or not; null for anything else.
export function readFlow(source) {
  let body;
  try { body = JSON.parse(source); } catch { return null; }
  if (!body || typeof body !== "object" || !Array.isArray(body.nodes)) return null;
  const [first] = body.nodes;
  const hasRequests = first && typeof first === "object" && !("type" in first) && ("url" in first || "method" in first);
  return body.kind === "flow" || (body.kind === undefined && hasRequests) ? body : null;
}

// The same for text that may be YAML: this page reads none, the server does.
export function looksLikeFlow(source) {
  if (readFlow(source)) return true;
  if (/^\s*\{/.test(source)) return false;
  if (/^kind: *"?flow\b/m.test(source)) return true;
  return !/^kind:/m.test(source) && /^nodes:/m.test(source) && /\burl"?:/.test(source) && !/\btype"?: *"?(script|set|http|map|if)\b/.test(source);
}

// The nodes of a flow as the journal names them, with what a step asks before it.
export function nodesOf(config) {
  const listed = [...(config.nodes || []), ...(config.finally || [])].map((node) => (node && typeof node === "object" ? node : {}));
  const taken = new Set(listed.map(({ id }) => String(id ?? "")).filter((id) => NAME.test(id)));
  const used = new Set();
  const nodes = listed.flatMap((node, index) => {
    let id = String(node.id ?? "");
    if (!NAME.test(id) || used.has(id)) {
      id = `step-${index + 1}`;
      while (taken.has(id)) id += "-";
      taken.add(id);
    }
    used.add(id);
    const label = node.name ? String(node.name) : `${node.method} ${node.url}`;
    const step = { id, label, type: "flow_step", on_error: node.continueOnError === true ? "continue" : "stop" };
    const asks = Object.keys(node.userPrompts || {}).length > 0;
    return asks ? [{ id: `${id}.prompts`, label: "", type: "input" }, step] : [step];
  });
  return config.data === undefined ? nodes : [{ id: "rows", label: "Rows of data", type: "flow_rows" }, { id: "rows.verdict", label: "All rows", type: "flow_verdict" }];
}

export function looksSecret(name) {
  return SECRET.test(name);
}

// Answers as they are shown: nobody looks over a shoulder at a password.
export function withoutSecrets(answers) {
  if (!answers || typeof answers !== "object") return answers;
  return Object.fromEntries(Object.entries(answers).map(([key, value]) => [key, looksSecret(key) ? "***" : value]));
}

// What is kept of a step, whether it passed or failed; null for what is none.
export function recordOf(value) {
  const record = value?.details?.step ?? value;
  return record && typeof record === "object" && record.request && typeof record.request === "object" ? record : null;
}

export function statusOf({ response }) {
  return response ? `${response.status} ${response.statusText || ""}`.trim() : "";
}

// One line: what was requested, and how many checks held.
export function summaryOf({ request, validations = [] }) {
  const held = validations.filter(({ passed }) => passed).length;
  const checks = validations.length ? ` · ${held} of ${validations.length} ${validations.length === 1 ? "check" : "checks"} held` : "";
  return `${request.method} ${request.url}${checks}`;
}

// The reasons of a failure, each on a line of its own.
export function reasonLines(message) {
  return message.replace(/; (?=HTTP status validation failed: |Validation failed: )/g, "\n");
}

// The parts of a step, for its details.
export function describeStep({ request, response, validations = [], substitutions = [], unknown = [] }) {
  const parts = [];
  if (validations.length) parts.push(section("Checks", make("ul", { className: "checks" }, ...validations.map(checkItem))));
  if (response) parts.push(section(`Response, ${statusOf({ response })}`, shown(response.body), headers(response.headers)));
  parts.push(section("Request", make("p", {}, make("code", { textContent: `${request.method} ${request.url}` })), isEmpty(request.body) ? "" : shown(request.body), headers(request.headers)));
  if (substitutions.length) parts.push(section("Inserted", make("ul", {}, ...substitutions.map(insertedItem))));
  if (unknown.length) parts.push(section("Sent as written", make("ul", {}, ...unknown.map((text) => make("li", {}, make("code", { textContent: text }))))));
  return parts;
}

function section(title, ...content) {
  return make("section", { className: "part" }, make("h3", { textContent: title }), ...content.filter((each) => each !== ""));
}

function shown(body) {
  if (body === undefined || body === null || body === "") return make("p", { className: "hint", textContent: "no body" });
  const text = typeof body === "string" ? body : JSON.stringify(body, null, 2);
  const cut = text.length > SHOWN_CHARS;
  const pane = make("pre", { className: "output", tabIndex: 0, textContent: cut ? `${text.slice(0, SHOWN_CHARS)} …` : text });
  const size = cut ? make("span", { className: "hint", textContent: `the first ${SHOWN_CHARS / 1024} of ${Math.round(text.length / 1024)} KiB; Copy takes all that is kept` }) : "";
  return make("div", { className: "body" }, pane, size, copyButton(() => text));
}

function headers(table) {
  if (isEmpty(table)) return "";
  const rows = Object.entries(table).map(([name, value]) => make("tr", {}, make("th", { textContent: name, scope: "row" }), make("td", { textContent: String(value) })));
  const count = `${rows.length} ${rows.length === 1 ? "header" : "headers"}`;
  return make("details", { className: "headers" }, make("summary", { textContent: count }), make("table", {}, ...rows));
}

function checkItem(check) {
  const item = make("li", { textContent: wordsOf(check) });
  item.dataset.passed = String(check.passed === true);
  item.prepend(make("span", { className: "hidden-label", textContent: check.passed ? "held: " : "failed: " }));
  return item;
}

function wordsOf({ type, expected, actual, path, name, value, passed }) {
  if (type === "httpStatusCode") return `status ${expected}${actual === expected ? "" : `, was ${actual}`}`;
  const what = { jsonpath: path, header: `header ${name}`, responseTimeMs: "response time in ms", schema: "schema" }[type] ?? type;
  if (value !== undefined) return `${what} is ${brief(value)}`;
  return passed === false && type === "jsonpath" ? `${what} is not there` : String(what);
}

function insertedItem({ original, value, path }) {
  return make("li", {}, make("code", { textContent: original }), ` in ${path} became `, make("code", { textContent: brief(value) }));
}

function brief(value) {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 120 ? `${text.slice(0, 120)} …` : text;
}

function isEmpty(value) {
  return value === undefined || value === null || value === "" || (typeof value === "object" && Object.keys(value).length === 0);
}
