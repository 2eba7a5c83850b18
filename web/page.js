// The page of execd: paste, run, watch, replay. It uses the public API only.

import { API, ask, randomKey } from "./api.js";
import { Controls, FINAL } from "./controls.js";
import { Editor, FLOW, WORKFLOW } from "./editor.js";
import { copyButton, make } from "./elements.js";
import { EXAMPLES } from "./examples.js";
import { nodesOf } from "./flows.js";
import { Follower } from "./follower.js";
import { NodeTree } from "./nodes.js";
import { OutputPane } from "./output.js";
import { describeProblem } from "./problems.js";
import { documentOf } from "./ran.js";
import { RecentList } from "./recent.js";
import { SavedList } from "./saved.js";
import { Session } from "./session.js";
import { describeCounts, describeResult, describeTimeLeft, formatBytes, formatSeconds, nameOfScript } from "./words.js";

const LISTS_EVERY_MS = 10_000;

const MARKS = { running: "▸", waiting_input: "?", queued: "…", paused: "॥", completed: "✔", failed: "✘", timeout: "✘", cancelled: "■", interrupted: "■" };

const at = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.controls = new Controls();
    this.session = new Session({ onIn: () => this.load(), onOut: () => this.showNothing(), onProblem: (error) => this.showProblem(error) });
    this.editor = new Editor({ onProblem: (error) => this.showProblem(error), onRun: () => this.run() });
    this.output = new OutputPane(at("output"), () => this.showCut());
    this.nodes = new NodeTree(at("nodes"), {
      onAnswer: (promptId, values) => this.command("input", { prompt_id: promptId, values }),
      onRetry: (begin) => this.retry(begin),
      onAsked: (form) => this.offerAnswer(form),
    });
    this.saved = new SavedList(at("saved"), {
      onOpen: (document) => this.editor.load(document),
      onStarted: (id) => { this.isOwn = true; location.hash = id; },
      onProblem: (error) => this.showProblem(error),
    });
    this.status = "none";
    this.recent = new RecentList({ list: at("recent"), empty: at("recent-empty"), older: at("older"), currentId: () => this.follower?.id });
    this.follower = null;
    for (const name of ["pause", "resume"]) at(name).onclick = () => this.command(name);
    at("replay").onchange = () => this.replay(Number(at("replay").value));
    at("retry").onclick = () => this.retry("start");
    at("retry-failed").onclick = () => this.retry("failed");
    at("run").onclick = () => this.run();
    at("cancel").onclick = () => this.command("cancel");
    at("stdin-form").onsubmit = (event) => { event.preventDefault(); this.sendLine(); };
    at("stdin-end").onclick = () => this.sendStdin("", true);
    at("save").onclick = () => this.save();
    at("stop").onclick = () => { at("stop").disabled = true; this.command("interrupt"); };
    at("copy-link").append(copyButton(() => `${location.origin}${location.pathname}#${this.follower.id}`, "Copy link"));
    window.addEventListener("hashchange", () => this.openPermalink());
    setInterval(() => this.tick(), 100);
    setInterval(() => { if (!document.hidden) this.refreshLists(); }, LISTS_EVERY_MS);
    for (const example of EXAMPLES) this.addExample(example);
  }

  async start() {
    const token = new URLSearchParams(location.search).get("token");
    if (token) {
      history.replaceState(null, "", location.pathname + location.hash);
      await this.session.signIn(token);
      return;
    }
    await this.load();
  }

  async load() {
    try {
      const { runtimes } = await ask("/runtimes");
      at("language").replaceChildren(...runtimes.map(({ name }) => new Option(name, name)), new Option(WORKFLOW, WORKFLOW), new Option(FLOW, FLOW));
    } catch (error) {
      if (error.status === 401) { this.session.showForm(); return; }
      this.showProblem(error);
    }
    this.session.showPage();
    if (!at("source").value) this.hasDraft = this.editor.takeDraft();
    if (!at("source").value) this.editor.load(EXAMPLES[0]);
    this.refreshLists();
    this.openPermalink();
  }

  addExample(example) {
    const load = () => { this.editor.load(example); at("source").focus(); };
    at("examples").append(make("button", { type: "button", textContent: example.label, onclick: load }));
  }

  // --- running

  async run() {
    if (at("app").hidden || at("run").disabled) return;
    at("run").disabled = true;
    try {
      await this.editor.settle();
      const accepted = await ask("/executions", { method: "POST", headers: { "Idempotency-Key": randomKey() }, ...this.request() });
      this.isOwn = true;
      this.editor.isTouched = false;
      this.editor.clearNotes();
      this.askedFrom = document.activeElement;
      if (location.hash === `#${accepted.id}`) this.follow(accepted.id);
      else location.hash = accepted.id;
    } catch (error) {
      this.showProblem(error);
    } finally {
      at("run").disabled = false;
    }
  }

  request() {
    if (this.editor.isDocument) return this.editor.request();
    return { body: { kind: "script", language: at("language").value, source: at("source").value, name: nameOfScript(at("source").value), stdin_open: true } };
  }

  // A new definition, or the next version of the one that was opened; a name that is taken is refused.
  async save() {
    const { saved, isDocument } = this.editor;
    const script = { kind: "script", language: at("language").value, source: at("source").value, ...(saved ? {} : { name: nameOfScript(at("source").value) }) };
    const request = isDocument ? this.editor.document(nameOfScript(at("source").value)) : { body: script };
    try {
      const made = saved
        ? await ask(`/definitions/${encodeURIComponent(saved.id)}`, { method: "PUT", headers: { "If-Match": `"${saved.version}"` }, ...request })
        : await ask("/definitions", { method: "POST", ...request });
      this.editor.setSaved({ id: made.id, name: made.name, version: made.version });
      this.editor.tell(`Saved as ${made.name}, version ${made.version}.`, []);
      at("problem").hidden = true;
      this.saved.refresh();
    } catch (error) {
      const isTaken = error.status === 409 && !saved && error.faults.some(({ path }) => path === "name");
      if (isTaken) error.faults = [{ path: "name", message: "is taken: open what is saved under it to make its next version", accepted: "a name of its own" }];
      this.showProblem(error);
    }
  }

  // Whoever pressed Run and has not gone elsewhere may type the answer at once.
  offerAnswer(form) {
    const { activeElement: here } = document;
    if (this.speed || !this.askedFrom || (here !== this.askedFrom && here !== document.body) || this.editor.isTouched) return;
    form.querySelector("input, select, button")?.focus();
    this.askedFrom = document.body;
  }

  async retry(begin) {
    try {
      const path = `/executions/${encodeURIComponent(this.follower.id)}/retry`;
      const { id } = await ask(path, { method: "POST", headers: { "Idempotency-Key": randomKey() }, body: { from: begin } });
      location.hash = id;
    } catch (error) {
      this.showProblem(error);
    }
  }

  async command(name, body = {}) {
    try {
      await ask(`/executions/${encodeURIComponent(this.follower.id)}/${name}`, { method: "POST", body });
      at("problem").hidden = true;
    } catch (error) {
      if (!FINAL.has(this.status)) this.showProblem(error);
    }
  }

  async sendLine() {
    const line = at("stdin-line").value;
    at("stdin-line").value = "";
    this.output.add("stdin", `${line}\n`);
    await this.sendStdin(`${line}\n`, false);
  }

  async sendStdin(text, close) {
    if (close) at("stdin-form").hidden = true;
    await this.command("stdin", { text, close });
  }

  // --- following

  openPermalink() {
    const id = decodeURIComponent(location.hash.slice(1));
    if (id.startsWith("exec-")) this.follow(id);
    else if (this.follower) this.showNothing();
  }

  // Back to where nothing has run: the address says so, and what is shown does.
  showNothing() {
    this.follower?.close();
    this.follower = null;
    this.clear();
    for (const name of ["output", "permalink", "copy-link", "retry", "retry-failed", "replay", "report"]) at(name).hidden = true;
    at("empty").hidden = false;
    this.setStatus("none", "");
    this.recent.mark();
  }

  clear() {
    this.progress = null;
    this.output.clear();
    this.startedAt = null;
    this.nodes.clear();
    this.isWorkflow = false;
    this.runName = "";
    for (const name of ["problem", "cut", "empty", "stdin-form", "nodes", "progress", "time-left", "summary", "report"]) at(name).hidden = true;
  }

  replay(speed) {
    at("replay").value = "";
    if (speed) this.follow(this.follower.id, { speed });
  }

  follow(id, { speed = 0 } = {}) {
    if (this.follower) this.follower.close();
    this.speed = speed;
    this.clear();
    at("output").hidden = false;
    at("permalink").hidden = false;
    at("copy-link").hidden = false;
    this.controls.reset();
    at("permalink").href = `#${id}`;
    at("permalink").textContent = id;
    this.setStatus("queued", "");
    this.follower = new Follower(id, {
      speed,
      onEvent: (event) => this.show(event),
      onLink: (state, error) => this.showLink(state, error),
    });
    this.recent.mark();
    this.loadSource(id, this.isOwn || this.hasDraft || speed > 0);
    this.isOwn = false;
    this.hasDraft = false;
  }

  async loadSource(id, isOwn) {
    try {
      const record = await ask(`/executions/${encodeURIComponent(id)}`);
      const { spec, kind, name } = record;
      if (this.follower?.id !== id) return;
      this.runName = name;
      this.isFlow = kind === FLOW;
      this.setTitle();
      if (kind !== "script") {
        this.showAsWorkflow();
        this.nodes.arrange(kind === FLOW ? nodesOf(spec?.config || {}) : spec?.nodes || []);
        this.nodes.offerRetry(FINAL.has(this.status) && !this.speed);
      }
      if (FINAL.has(this.status)) this.showEnd();
      if (isOwn) return;
      const found = await documentOf(record);
      if (found && this.follower?.id === id && !(found.language === WORKFLOW && this.editor.isTouched)) this.editor.load(found);
    } catch { /* the stream says what is wrong with this id */ }
  }

  showAsWorkflow() {
    this.isWorkflow = true;
    at("output").hidden = true;
    at("nodes").hidden = false;
  }

  show(event) {
    const { type, data, at: when } = event;
    this.heard = { at: Date.parse(when), here: Date.now() };
    if (this.isWorkflow && this.nodes.show(event)) {
      if (this.speed && type === "input_required") this.nodes.closeQuestions();
      if (this.status === "running" || this.status === "waiting_input") this.setStatus(this.nodes.isAsking ? "waiting_input" : "running", at("detail").textContent);
      return;
    }
    switch (type) {
      case "execution_requested":
        this.runName = data.name;
        this.isFlow = data.kind === FLOW;
        if (data.kind !== "script") this.showAsWorkflow();
        this.setTitle();
        this.refreshLists();
        break;
      case "progress":
        at("progress").hidden = false;
        at("progress").value = data.percent;
        this.progress = { data, at: Date.parse(when) + this.nodes.skew };
        this.showTimeLeft();
        break;
      case "execution_queued": this.setStatus("queued", data.position ? `position ${data.position}` : ""); break;
      case "execution_started":
        this.startedAt = Date.parse(when);
        // This machine's clock may differ from the server's: a run that is live counts from now.
        if (!this.speed && Math.abs(Date.now() - this.startedAt) < 5000) {
          this.nodes.skew = Date.now() - this.startedAt;
          this.startedAt = Date.now();
        }
        this.startedFrom = data.started_from;
        this.setStatus("running", "");
        this.refreshLists();
        break;
      case "pod_running": at("stdin-form").hidden = this.speed > 0; break;
      case "pod_terminated": at("stdin-form").hidden = true; break;
      case "output": this.output.addOutput(data); break;
      case "output_truncated": this.output.add("end", `${data.stream} reached its limit: ${formatBytes(data.dropped_bytes)} dropped\n`); break;
      case "node_retrying": this.output.add("end", `${data.error.message} It tries again.\n`); break;
      case "execution_paused": this.setStatus("paused", ""); break;
      case "execution_resumed": this.setStatus("running", ""); break;
      case "stop_requested": this.controls.showStopping(data.mode); break;
      case "result_stored": this.showResult(data); break;
    }
  }

  // What the time is for what is shown: in a replay that of then, going on at its speed.
  now() {
    return this.speed && this.heard ? this.heard.at + (Date.now() - this.heard.here) * this.speed : Date.now();
  }

  showTimeLeft() {
    if (!this.progress) return;
    const { data, at: since } = this.progress;
    const isHeld = this.nodes.waitsForPeople || this.status === "paused";
    if (isHeld) this.progress.at = this.now();
    const left = FINAL.has(this.status) ? "" : describeTimeLeft(data, isHeld ? 0 : Math.max(0, this.now() - since));
    at("time-left").textContent = [`${data.done} of ${data.total} nodes, ${data.percent} %`, left].filter(Boolean).join(" · ");
    at("time-left").hidden = FINAL.has(this.status);
  }

  showResult(result) {
    this.speed = 0;
    this.startedAt = null;
    this.setStatus(result.status, describeResult(result));
    this.showEnd();
    this.nodes.offerRetry(true);
    if (this.isWorkflow) {
      if (result.status === "completed") at("progress").value = 100;
      if (result.status !== "completed") at("progress").hidden = true;
      if (result.error) this.nodes.reveal(result.nodes, result.error);
    } else if (result.error && result.status !== "cancelled") this.output.add("end", result.error.message);
    else if (!this.output.shownChars && !this.output.pendingChars) this.output.add("end", "It wrote nothing.");
    this.refreshLists();
  }

  // What there is to do with it, and for a flow how its steps ended.
  showEnd() {
    this.controls.offerRetry(this.status, { isWorkflow: this.isWorkflow });
    at("report").hidden = !this.isFlow;
    at("report").href = `${API}/executions/${encodeURIComponent(this.follower.id)}/report`;
    at("summary").hidden = !this.isFlow;
    if (this.isFlow) at("summary").textContent = describeCounts(this.nodes.counts());
  }

  setTitle() {
    document.title = this.follower ? `${MARKS[this.status] ?? ""} ${this.runName || this.follower.id} · execd`.trim() : "execd";
  }

  setStatus(status, detail) {
    this.status = status;
    this.setTitle();
    at("badge").dataset.status = status;
    at("badge").textContent = status === "none" ? "ready" : status.replace("_", " ");
    at("detail").textContent = detail;
    this.controls.show(status, { isReplay: this.speed > 0, isWorkflow: this.isWorkflow });
    this.showTimeLeft();
  }

  tick() {
    this.nodes.tick(this.now());
    this.showTimeLeft();
    if (!this.startedAt || FINAL.has(this.status) || this.status === "paused") return;
    const from = this.isWorkflow ? "" : ` · ${this.startedFrom} start`;
    const replay = this.speed ? ` · replay, ${this.speed} × as fast` : "";
    at("detail").textContent = `${formatSeconds(Math.max(0, this.now() - this.startedAt))}${replay || from}`;
  }

  showLink(state, error) {
    at("link").hidden = state !== "reconnecting";
    at("link").textContent = "reconnecting …";
    if (state === "live" && this.isUnreached) at("problem").hidden = true;
    if (state !== "refused") return;
    if (error.status === 401) this.session.showForm();
    else { this.setStatus("none", ""); at("badge").textContent = "not found"; this.showProblem(error); }
  }

  showProblem(error) {
    this.isUnreached = error.status === 0;
    const isListed = this.editor.isDocument && !at("faults").hidden;
    at("problem").replaceChildren(...describeProblem(error, { isListed }));
    at("problem").hidden = false;
    at("empty").hidden = true;
    if (!this.follower) at("output").hidden = false;
    if (error.status === 401) this.session.showForm();
  }

  showCut() {
    const path = `${API}/executions/${encodeURIComponent(this.follower.id)}/output`;
    const links = ["stdout", "stderr"].map((stream) => make("a", { href: `${path}?stream=${stream}`, textContent: `all of ${stream}` }));
    at("cut").replaceChildren("Only the end is shown here: ", links[0], ", ", links[1]);
    at("cut").hidden = false;
  }

  refreshLists() {
    if (at("app").hidden) return;
    this.saved.refresh();
    this.recent.refresh();
  }
}

at("output").hidden = true;
new Page().start();
