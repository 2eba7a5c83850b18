// What is saved: a list to open in the editor, or to run as it is.

import { ask, randomKey } from "./api.js";

const SHOWN = 50;
const PLAIN_FIELDS = new Set(["language", "source"]);

export class SavedList {
  // `onOpen` gets {language, source, saved} for the editor, `onStarted` the id of an execution, `onProblem` a refusal.
  constructor(section, { onOpen, onStarted, onProblem }) {
    this.section = section;
    this.list = section.querySelector("ol");
    this.more = section.querySelector(".hint");
    Object.assign(this, { onOpen, onStarted, onProblem });
  }

  async refresh() {
    try {
      const { items, next_cursor: cursor } = await ask(`/definitions?limit=${SHOWN}`);
      const shown = items.map(({ id, version }) => `${id} ${version}`).join();
      if (shown === this.shown) return;  // a row that is in use keeps its focus
      this.shown = shown;
      this.list.replaceChildren(...items.map((item) => this.row(item)));
      this.section.hidden = items.length === 0;
      this.more.hidden = !cursor;
    } catch { /* the next round may do better */ }
  }

  row({ id, name, kind, version, saved_by: savedBy }) {
    const open = document.createElement("button");
    open.className = "open";
    open.title = `${name}: ${kind}, version ${version}, saved by ${savedBy}`;
    open.append(part("name", name), part("when", `v${version}`));
    open.onclick = () => this.open(id, kind);
    const start = document.createElement("button");
    start.className = "start";
    start.title = `Run ${name} as it is saved`;
    start.setAttribute("aria-label", `Run ${name}`);
    start.onclick = () => this.run(id, kind, start);
    for (const button of [open, start]) button.type = "button";
    const row = document.createElement("li");
    row.append(open, start);
    return row;
  }

  // A script of nothing but its source opens as that; anything else as the document it is.
  async open(id, kind) {
    try {
      const path = `/definitions/${encodeURIComponent(id)}`;
      const { body, name, version } = await ask(path);
      const isPlain = kind === "script" && Object.keys(body).every((field) => PLAIN_FIELDS.has(field));
      const document = isPlain ? body : { language: "workflow", source: await ask(`${path}/export?format=yaml&version=${version}`, { isText: true }) };
      this.onOpen({ ...document, saved: { id, name, version } });
      return true;
    } catch (error) {
      this.onProblem(error);
      return false;
    }
  }

  async run(id, kind, button) {
    button.disabled = true;
    try {
      if (!await this.open(id, kind)) return;
      const accepted = await ask("/executions", { method: "POST", headers: { "Idempotency-Key": randomKey() }, body: { definition: id } });
      this.onStarted(accepted.id);
    } catch (error) {
      this.onProblem(error);
    } finally {
      button.disabled = false;
    }
  }
}

function part(name, text) {
  const span = document.createElement("span");
  span.className = name;
  span.textContent = text;
  return span;
}
