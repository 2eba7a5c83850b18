// The editor: a text with line numbers, read while it is typed. Files are dropped or opened, those of other tools become flows.

import { ask } from "./api.js";
import { brokenJson, hasMember, isEnvironment, laidOut, nameOfTool, requestOf, toolOf } from "./documents.js";
import { make } from "./elements.js";
import { FlowBar } from "./flowbar.js";
import { looksLikeFlow } from "./flows.js";

export const WORKFLOW = "workflow";
export const FLOW = "flow";

const CHECK_AFTER_MS = 350;
const MAX_FILE_BYTES = 64 * 1024 * 1024;
const MAX_KEPT_CHARS = 512 * 1024; // of a draft, for a reload
const SUFFIXES = { py: "python", js: "node", mjs: "node", sh: "bash" };
const DRAFT = "execd.draft";

const at = (id) => document.getElementById(id);

export class Editor {
  constructor({ onProblem, onRun }) {
    this.area = at("source");
    this.language = at("language");
    this.onProblem = onProblem;
    this.bar = new FlowBar(at("flow-bar"), { onProblem, onNotes: (name, notes) => this.tell(`${name} is in your downloads.`, notes) });
    this.round = 0;
    this.isTouched = false; // since it was loaded or run
    this.area.oninput = () => { this.isTouched = true; this.changed(); };
    this.area.onscroll = () => this.followScroll();
    this.area.onkeydown = (event) => this.editKey(event);
    this.area.onpaste = (event) => this.pasted(event);
    this.language.onchange = () => this.changed({ guesses: false });
    at("open").onclick = () => at("file").click();
    at("file").onchange = () => { this.take([...at("file").files]); at("file").value = ""; };
    document.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); onRun(); }
    });
    this.catchFiles();
    window.addEventListener("pagehide", () => this.keepDraft());
  }

  get isDocument() {
    return this.language.value === FLOW || this.language.value === WORKFLOW;
  }

  // `saved` is what it is a version of: {id, name, version}.
  load({ language, source, saved = null }) {
    this.setSaved(saved);
    this.area.value = source;
    this.language.value = language;
    this.isTouched = false;
    this.clearNotes();
    this.area.scrollTop = 0;
    this.changed();
  }

  // --- typing

  editKey(event) {
    if (event.key === "Escape") { this.tabLeaves = true; return; }
    if (event.key === "Tab" && !event.shiftKey && !event.ctrlKey && !event.altKey && !this.tabLeaves) {
      event.preventDefault();
      this.area.setRangeText(this.isDocument ? "  " : "    ", this.area.selectionStart, this.area.selectionEnd, "end");
      this.changed();
    }
    this.tabLeaves = false;
  }

  changed({ guesses = true } = {}) {
    if (guesses) this.guessLanguage();
    this.numberLines();
    this.round += 1;
    clearTimeout(this.timer);
    if (!this.isDocument || !this.area.value.trim()) { this.showFaults([], []); this.bar.show(null); return; }
    this.timer = setTimeout(() => this.check(), CHECK_AFTER_MS + this.area.value.length / 400); // a large one takes the server longer
  }

  // Whoever pastes a workflow or a flow should not have to say so.
  guessLanguage() {
    const source = this.area.value;
    if (looksLikeFlow(source)) this.language.value = FLOW;
    else if (/^\s*(\{\s*"(kind|nodes|name)"|(#.*\n|\s*\n)*(kind: *"?workflow|nodes:))/.test(source)) this.language.value = WORKFLOW;
  }

  numberLines() {
    const count = this.area.value.split("\n").length;
    at("gutter").hidden = !this.isDocument;
    if (count === this.shownLines) return;
    this.shownLines = count;
    at("numbers").textContent = Array.from({ length: count }, (_, index) => index + 1).join("\n");
    this.followScroll();
  }

  followScroll() {
    const shift = `translateY(${-this.area.scrollTop}px)`;
    at("numbers").style.transform = shift;
    at("marks").style.transform = shift;
  }

  // --- checking

  async check() {
    const round = this.round;
    const text = this.area.value;
    const broken = brokenJson(text);
    if (broken) { this.showFaults([broken], []); this.bar.show(null); return; }
    try {
      const extra = hasMember(text, "name") ? {} : { name: "untitled" }; // what is saved needs one, what is run does not
      const request = requestOf(text, this.language.value, extra);
      const { errors, warnings, lines, document: read } = await ask("/definitions/validate?document=true", { method: "POST", ...request });
      if (round !== this.round) return; // somebody types
      const placed = (fault) => ({ ...fault, line: lines[fault.path] ?? lineSaid(fault.message) });
      this.showFaults(errors.map(placed), warnings.map(placed));
      this.bar.show(this.language.value === FLOW ? read : null);
    } catch (error) {
      if (round === this.round && error.faults?.length) this.showFaults(error.faults, []);
    }
  }

  // Checks what stands there now, so that what is chosen beside it belongs to it.
  async settle() {
    clearTimeout(this.timer);
    if (this.isDocument) await this.check();
  }

  request() {
    return requestOf(this.area.value, this.language.value, this.language.value === FLOW ? this.bar.members() : {});
  }

  // What is saved: the text, without what a run would add.
  document(name) {
    return requestOf(this.area.value, this.language.value, hasMember(this.area.value, "name") || this.saved ? {} : { name });
  }

  setSaved(saved) {
    this.saved = saved;
    at("save").textContent = saved ? `Save v${saved.version + 1}` : "Save";
    at("save").title = saved ? `As a new version of ${saved.name}` : "To run it again by its name, here and with execd run";
  }

  showFaults(errors, warnings) {
    const faults = [...errors.map((fault) => ({ ...fault, kind: "error" })), ...warnings.map((fault) => ({ ...fault, kind: "warning" }))];
    at("faults").replaceChildren(...faults.map((fault) => this.faultItem(fault)));
    at("faults").hidden = !faults.length;
    at("marks").replaceChildren(...faults.filter(({ line }) => line).map(({ line, kind, message }) => {
      const mark = make("span", { className: `mark-line ${kind}`, title: message });
      mark.style.setProperty("--line", String(line - 1));
      return mark;
    }));
    this.area.setAttribute("aria-invalid", String(errors.length > 0));
    const counts = [[errors.length, "fault"], [warnings.length, "warning"]].filter(([count]) => count);
    at("verdict").textContent = counts.map(([count, word]) => `${count} ${word}${count === 1 ? "" : "s"}`).join(", ");
    at("verdict").dataset.kind = errors.length ? "error" : "warning";
  }

  faultItem({ path, message, accepted, line, kind }) {
    const words = message.replace(/^is refused: /, "");
    const button = make("button", { type: "button" }, make("span", { className: "place", textContent: line ? `${line}` : "" }), make("code", { textContent: path || "the text" }), ` ${words}`);
    if (accepted) button.append(make("span", { className: "accepted", textContent: ` (${kind === "error" ? "accepted: " : ""}${accepted})` }));
    button.prepend(make("span", { className: "hidden-label", textContent: `${kind}${line ? `, line ` : ""}` }));
    button.onclick = () => { if (line) this.goTo(line); else this.area.focus(); };
    return make("li", { className: kind }, button);
  }

  goTo(line) {
    const lines = this.area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    const height = this.area.scrollHeight / Math.max(1, lines.length);
    this.area.focus();
    this.area.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
    this.area.scrollTop = Math.max(0, (line - 4) * height);
    this.area.scrollLeft = 0;
  }

  // --- files and other tools' texts

  catchFiles() {
    const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    document.addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
    document.addEventListener("drop", (event) => {
      document.body.classList.remove("dropping");
      if (!holdsFiles(event)) return;
      event.preventDefault();
      this.take([...event.dataTransfer.files]);
    });
  }

  // One file, and with a collection its environments.
  async take(files) {
    const texts = [];
    for (const file of files) {
      if (file.size > MAX_FILE_BYTES) { this.tell(`${file.name} is too large for an editor.`, []); return; }
      texts.push({ name: file.name, text: (await file.text()).replace(/^\ufeff/, "").replace(/\r\n/g, "\n") });
    }
    const environments = texts.filter(({ text }) => isEnvironment(text));
    const [file] = texts.filter((each) => !environments.includes(each));
    if (!file) {
      if (environments.length) this.tell("A Postman environment alone has no requests: drop it together with its collection.", []);
      return;
    }
    if (toolOf(file.text)) { await this.import(file.text, environments.map(({ text }) => text), file.name); return; }
    const language = SUFFIXES[file.name.split(".").at(-1)] ?? this.language.value;
    this.load({ language, source: laidOut(file.text) });
    this.isTouched = true;
    this.area.focus();
  }

  // What is pasted over everything is looked at; what is pasted into a text is part of that.
  pasted(event) {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    const isAll = this.area.selectionStart === 0 && this.area.selectionEnd === this.area.value.length;
    if (!isAll || !toolOf(text)) return;
    event.preventDefault();
    this.import(text, []);
  }

  async import(text, environments, name = "") {
    const before = { language: this.language.value, source: text };
    try {
      const { source, flow, notes } = await ask("/import", { method: "POST", body: { text, environments } });
      const named = name ? { kind: FLOW, name: name.split(".")[0], ...flow } : flow;
      this.load({ language: FLOW, source: JSON.stringify(named, null, 2) });
      const steps = flow.nodes.length;
      this.isTouched = true;
      this.tell(`Made of ${nameOfTool(source)}: ${steps} ${steps === 1 ? "step" : "steps"}.`, notes, () => this.load(before));
      this.area.focus();
      this.area.setSelectionRange(0, 0);
      this.area.scrollTop = 0;
    } catch (error) {
      this.load(before);
      if (error.status === 413) error.message += ". On the command line `execd import FILE` reads larger ones.";
      this.onProblem(error);
    }
  }

  tell(text, notes, undo) {
    const box = at("notes");
    const close = make("button", { type: "button", className: "quiet", textContent: "Close" });
    close.onclick = () => this.clearNotes();
    const line = make("p", {}, text, ...(notes.length ? [` ${notes.length} ${notes.length === 1 ? "thing is" : "things are"} not as there:`] : []), make("span", { className: "spring" }));
    if (undo) {
      const back = make("button", { type: "button", className: "quiet", textContent: "Back to the text" });
      back.onclick = undo;
      line.append(back);
    }
    line.append(close);
    const list = notes.map(({ path, message, advice }) => make("li", {}, make("code", { textContent: path || "the file" }), ` ${message}`, make("span", { className: "accepted", textContent: advice ? ` (${advice})` : "" })));
    box.replaceChildren(line, ...(list.length ? [make("ul", {}, ...list)] : []));
    box.hidden = false;
  }

  clearNotes() {
    at("notes").hidden = true;
    at("notes").replaceChildren();
  }

  // --- a draft outlives a reload of its tab, and nothing else

  keepDraft() {
    const draft = { language: this.language.value, source: this.area.value };
    try {
      if (this.isTouched && draft.source.length <= MAX_KEPT_CHARS) sessionStorage.setItem(DRAFT, JSON.stringify(draft));
    } catch { /* a browser that keeps nothing: then nothing is kept */ }
  }

  takeDraft() {
    try {
      const draft = JSON.parse(sessionStorage.getItem(DRAFT));
      sessionStorage.removeItem(DRAFT);
      if (typeof draft?.source !== "string" || !draft.source.trim()) return false;
      this.load(draft);
      this.isTouched = true;
      return true;
    } catch {
      return false;
    }
  }
}

function lineSaid(message) {
  const found = /at line (\d+)/.exec(message);
  return found ? Number(found[1]) : undefined;
}
