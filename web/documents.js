// Texts of flows and workflows, in JSON or YAML, as the server reads them: told from other tools' files, given what a run adds.

const YAML = "application/yaml";
const TOOLS = { postman: "a Postman collection", openapi: "an OpenAPI document", curl: "curl commands", har: "a HAR recording" };

// Which other tool wrote a text; null for what execd runs as it is. The server decides in the end.
export function toolOf(text) {
  const found = parse(text);
  if (found && typeof found === "object" && !Array.isArray(found)) {
    if (found.log && Array.isArray(found.log.entries)) return "har";
    if ("openapi" in found || "swagger" in found) return "openapi";
    if (Array.isArray(found.item) || (found.collection && Array.isArray(found.collection.item))) return "postman";
    return null;
  }
  if (/^(openapi|swagger)\s*:/m.test(text)) return "openapi";
  return isCurl(text) ? "curl" : null;
}

export function nameOfTool(tool) {
  return TOOLS[tool] ?? tool;
}

// Nothing but curl commands: a script that pipes or loops is a script.
function isCurl(text) {
  const lines = text.replace(/[\\^]\r?\n/g, " ").split("\n").map((line) => line.trim()).filter((line) => line && !line.startsWith("#"));
  return lines.length > 0 && lines.every((line) => /^(\$ )?curl(\.exe)?\s/.test(line) && !/\s\|\s|&&|;\s*\w/.test(line.replace(/'[^']*'|"(\\.|[^"\\])*"/g, "")));
}

export function isEnvironment(text) {
  const found = parse(text);
  return Boolean(found) && Array.isArray(found.values) && found._postman_variable_scope === "environment";
}

export function parse(text) {
  try { return JSON.parse(text); } catch { return undefined; }
}

// Somebody's minified file is not to be read on one line; a number that JavaScript would round keeps it as it is.
export function laidOut(text) {
  const found = parse(text);
  if (!found || typeof found !== "object" || text.trim().includes("\n")) return text;
  return JSON.stringify(found) === text.trim() ? JSON.stringify(found, null, 2) : text;
}

// A text with further members, JSON or YAML, the rest untouched: numbers keep their digits, and faults their lines.
function withMembers(text, members) {
  const entries = Object.entries(members);
  if (!entries.length) return text;
  if (!/^\s*\{/.test(text)) return `${text.replace(/\s*$/, "")}\n${entries.map(([key, value]) => `${key}: ${JSON.stringify(value)}`).join("\n")}\n`;
  const end = text.lastIndexOf("}");
  const head = text.slice(0, end).trimEnd();
  const comma = /[{,]$/.test(head) ? "" : ",";
  return end < 0 ? text : `${head}${comma} ${entries.map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`).join(", ")}${text.slice(head.length)}`;
}

// Whether the whole says something by itself, not one of its steps.
export function hasMember(text, name) {
  const found = parse(text);
  if (found !== undefined) return found !== null && typeof found === "object" && name in found;
  return new RegExp(`^${name}:`, "m").test(text);
}

// What is sent to run or check a flow or workflow.
export function requestOf(text, kind, run = {}) {
  const found = parse(text);
  const isJson = found !== undefined;
  const members = { ...run };
  if (!hasMember(text, "kind")) members.kind = kind;
  // A key that stands twice is refused in YAML: what the run says takes the line's place.
  let document = text;
  if (!isJson) {
    for (const name of Object.keys(members)) {
      const line = new RegExp(`^${name}:.*$`, "m");
      if (!line.test(document)) continue;
      document = document.replace(line, () => `${name}: ${JSON.stringify(members[name])}`);
      delete members[name];
    }
  }
  return { text: withMembers(document, members), mediaType: isJson ? "application/json" : YAML };
}

// JSON that breaks off, with the place editors count: the browser says it, the server counts bytes.
export function brokenJson(text) {
  if (!/^\s*[{[]/.test(text) || /[{,]\s*[A-Za-z_][\w-]*\s*:/.test(text.replace(/"(\\.|[^"\\])*"/g, '""'))) return null;
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    const place = /line (\d+) column (\d+)/.exec(error.message);
    const at = /position (\d+)/.exec(error.message);
    const line = place ? Number(place[1]) : text.slice(0, at ? Number(at[1]) : text.length).split("\n").length;
    return { path: "", message: `is no JSON: ${error.message.replace(/^JSON\.parse: /, "").replace(/ in JSON at position.*| \(line .*/, "")}`, accepted: "", line };
  }
}
