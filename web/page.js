// The page of execd: paste, run, watch, replay. It uses the public API only.

import { API, ask, randomKey } from "./api.js";
import { Editor, FLOW, WORKFLOW } from "./editor.js";
import { copyButton, make } from "./elements.js";
import { EXAMPLES } from "./examples.js";
import { nodesOf } from "./flows.js";
import { Follower } from "./follower.js";
import { NodeTree } from "./nodes.js";
import { OutputPane } from "./output.js";
import { SavedList } from "./saved.js";
import { describeResult, describeTimeLeft, formatBytes, formatSeconds, formatWhen } from "./words.js";

const RECENT_EVERY_MS = 10_000;
const RECENT_SHOWN = 30;
const RECENT_MOST = 200; // one page of the API
const FINAL = new Set(["completed", "failed", "timeout", "cancelled", "interrupted"]);

const MARKS = { running: "▸", waiting_input: "?", queued: "…", paused: "॥", completed: "✔", failed: "✘", timeout: "✘", cancelled: "■", interrupted: "■" };

const at = (id) => document.getElementById(id);

class Page {
  constructor() {
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
    this.recentCount = RECENT_SHOWN;
    this.follower = null;
    for (const name of ["pause", "resume"]) at(name).onclick = () => this.command(name);
    at("replay").onchange = () => this.replay(Number(at("replay").value));
    at("retry").onclick = () => this.retry("start");
    at("retry-failed").onclick = () => this.retry("failed");
    at("run").onclick = () => this.run();
    at("cancel").onclick = () => this.command("cancel");
    at("stdin-form").onsubmit = (event) => { event.preventDefault(); this.sendLine(); };
    at("stdin-end").onclick = () => this.sendStdin("", true);
    at("sign-in").onsubmit = (event) => { event.preventDefault(); this.signIn(at("token").value.trim()); };
    at("save").onclick = () => this.save();
    at("older").onclick = () => { this.recentCount += RECENT_SHOWN; this.refreshRecent(); };
    at("sign-out").onclick = () => this.signOut();
    at("stop").onclick = () => this.stop();
    at("copy-link").append(copyButton(() => `${location.origin}${location.pathname}#${this.follower.id}`, "Copy link"));
    window.addEventListener("hashchange", () => this.openPermalink());
    setInterval(() => this.tick(), 100);
    setInterval(() => { if (!document.hidden) this.refreshRecent(); }, RECENT_EVERY_MS);
    for (const example of EXAMPLES) this.addExample(example);
  }

  async start() {
    const token = new URLSearchParams(location.search).get("token");
    if (token) {
      history.replaceState(null, "", location.pathname + location.hash);
      await this.signIn(token);
      return;
    }
    await this.load();
  }

  async load() {
    try {
      const { runtimes } = await ask("/runtimes");
      at("language").replaceChildren(...runtimes.map(({ name }) => new Option(name, name)), new Option(WORKFLOW, WORKFLOW), new Option(FLOW, FLOW));
    } catch (error) {
      if (error.status === 401) { this.showSignIn(); return; }
      this.showProblem(error);
    }
    at("sign-in").hidden = true;
    at("app").hidden = false;
    at("sign-out").hidden = false;
    if (!at("source").value) this.hasDraft = this.editor.takeDraft();
    if (!at("source").value) this.editor.load(EXAMPLES[0]);
    this.refreshRecent();
    this.openPermalink();
  }

  showSignIn() {
    at("app").hidden = true;
    at("sign-out").hidden = true;
    at("sign-in").hidden = false;
    at("token").focus();
  }

  async signOut() {
    try { await ask("/session", { method: "DELETE" }); } catch (error) { this.showProblem(error); return; }
    this.showNothing();
    history.replaceState(null, "", location.pathname);
    this.showSignIn();
  }

  async signIn(token) {
    at("sign-in-error").textContent = "";
    try {
      await ask("/session", { method: "POST", body: { token } });
      at("token").value = "";
      await this.load();
    } catch (error) {
      this.showSignIn();
      at("sign-in-error").textContent = error.status === 401 ? "This token is not valid here." : error.message;
    }
  }

  addExample(example) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = example.label;
    button.onclick = () => { this.editor.load(example); at("source").focus(); };
    at("examples").append(button);
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
    return { body: { kind: "script", language: at("language").value, source: at("source").value, name: this.name(), stdin_open: true } };
  }

  // A new definition, or the next version of the one that was opened; a name that is taken is refused.
  async save() {
    const { saved, isDocument } = this.editor;
    const script = { kind: "script", language: at("language").value, source: at("source").value, ...(saved ? {} : { name: this.name() }) };
    const request = isDocument ? this.editor.document(this.name()) : { body: script };
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

  async stop() {
    at("stop").disabled = true;
    await this.command("interrupt");
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

  name() {
    // The first line that says something: neither a `#!`, nor an import, nor only signs.
    const lines = at("source").value.split("\n").filter((line) => !/^(#!|import\b|from\b|const .*require|use )/.test(line));
    const words = lines.map((line) => line.replace(/^[#/\s"']+/, "").trim());
    return (words.find((line) => /\w/.test(line)) || "script").slice(0, 60);
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
    this.markCurrent();
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
    Object.assign(at("stop"), { disabled: false, textContent: "Stop" });
    at("permalink").href = `#${id}`;
    at("permalink").textContent = id;
    this.setStatus("queued", "");
    this.follower = new Follower(id, {
      speed,
      onEvent: (event) => this.show(event),
      onLink: (state, error) => this.showLink(state, error),
    });
    this.markCurrent();
    this.loadSource(id, this.isOwn || this.hasDraft || speed > 0);
    this.isOwn = false;
    this.hasDraft = false;
  }

  async loadSource(id, isOwn) {
    try {
      const { spec, kind, name, definition, definition_version: version } = await ask(`/executions/${encodeURIComponent(id)}`);
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
      if (kind === FLOW && spec?.config) {
        const run = { ...(spec.start_step ? { startStep: spec.start_step } : {}), ...(spec.input ? { input: spec.input } : {}) };
        this.editor.load({ language: FLOW, source: JSON.stringify({ kind: FLOW, name, ...spec.config, ...run }, null, 2) });
      } else if (kind !== "script" && definition) {
        const source = await ask(`/definitions/${encodeURIComponent(definition)}/export?format=yaml&version=${version}`, { isText: true });
        if (this.follower?.id === id && !this.editor.isTouched) this.editor.load({ language: WORKFLOW, source });
      } else if (spec?.source !== undefined) this.editor.load({ language: spec.language, source: spec.source });
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
        this.refreshRecent();
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
        this.refreshRecent();
        break;
      case "pod_running": at("stdin-form").hidden = this.speed > 0; break;
      case "pod_terminated": at("stdin-form").hidden = true; break;
      case "output": this.output.addOutput(data); break;
      case "output_truncated": this.output.add("end", `${data.stream} reached its limit: ${formatBytes(data.dropped_bytes)} dropped\n`); break;
      case "node_retrying": this.output.add("end", `${data.error.message} It tries again.\n`); break;
      case "execution_paused": this.setStatus("paused", ""); break;
      case "execution_resumed": this.setStatus("running", ""); break;
      case "stop_requested":
        at("stop").disabled = true;
        at("pause").hidden = true;
        if (data.mode === "interrupt") at("stop").textContent = "Stopping …";
        else at("cancel").disabled = true;
        break;
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
    this.refreshRecent();
  }

  // What there is to do with it, and for a flow how its steps ended.
  showEnd() {
    at("retry-failed").hidden = !this.isWorkflow || this.status === "completed";
    const isCut = this.status === "cancelled" || this.status === "interrupted";
    at("retry-failed").textContent = isCut ? "Go on" : "Retry failed";
    at("retry-failed").title = isCut ? "What was not run, and what was cut short" : "What failed and all that comes after it";
    at("report").hidden = !this.isFlow;
    at("report").href = `${API}/executions/${encodeURIComponent(this.follower.id)}/report`;
    at("summary").hidden = !this.isFlow;
    if (!this.isFlow) return;
    const { completed, ...others } = this.nodes.counts();
    const words = Object.entries(others).filter(([, count]) => count).map(([word, count]) => `${count} ${word.replace("_", " ")}`);
    at("summary").textContent = [`${completed} passed`, ...words].join(", ");
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
    const isReplay = this.speed > 0;
    at("cancel").hidden = isReplay || FINAL.has(status) || status === "none";
    const isStopping = at("stop").disabled && at("stop").textContent !== "Stop";
    if (!isStopping) at("cancel").disabled = false;
    at("stop").hidden = isReplay || !this.isWorkflow || FINAL.has(status) || status === "none";
    if (at("stop").hidden) Object.assign(at("stop"), { disabled: false, textContent: "Stop" });
    at("pause").hidden = isReplay || isStopping || !this.isWorkflow || !(status === "running" || status === "waiting_input");
    at("resume").hidden = isReplay || status !== "paused";
    at("retry").hidden = !FINAL.has(status);
    at("replay").hidden = !FINAL.has(status) && !isReplay;
    this.showTimeLeft();
    if (!FINAL.has(status)) for (const name of ["retry-failed", "report", "summary"]) at(name).hidden = true;
    if (FINAL.has(status)) at("stdin-form").hidden = true;
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
    if (error.status === 401) this.showSignIn();
    else { this.setStatus("none", ""); at("badge").textContent = "not found"; this.showProblem(error); }
  }

  showProblem(error) {
    const faults = error.faults || [];
    const box = at("problem");
    this.isUnreached = error.status === 0;
    // Its message sums up the faults; they say it themselves.
    box.replaceChildren(faults.length > 1 ? `${faults.length} things are wrong.` : error.message);
    const list = document.createElement("ul");
    for (const { path, message, accepted } of faults) {
      const item = document.createElement("li");
      const field = document.createElement("code");
      field.textContent = path || "request";
      item.append(field, `: ${message.replace(/^is refused: /, "")}`);
      if (accepted) {
        const hint = document.createElement("span");
        hint.className = "accepted";
        hint.textContent = ` (accepted: ${accepted})`;
        item.append(hint);
      }
      list.append(item);
    }
    if (faults.length === 1) box.replaceChildren("It was not accepted.");
    const isListed = this.editor.isDocument && !at("faults").hidden && faults.length > 0;
    if (isListed) box.replaceChildren(`Not run: ${faults.length} ${faults.length === 1 ? "fault" : "faults"}, listed at the text.`);
    else if (list.childNodes.length) box.append(list);
    box.hidden = false;
    at("empty").hidden = true;
    if (!this.follower) at("output").hidden = false;
    if (error.status === 401) this.showSignIn();
  }

  showCut() {
    const links = ["stdout", "stderr"].map((stream) => {
      const link = document.createElement("a");
      link.href = `${API}/executions/${encodeURIComponent(this.follower.id)}/output?stream=${stream}`;
      link.textContent = `all of ${stream}`;
      return link;
    });
    at("cut").replaceChildren("Only the end is shown here: ", links[0], ", ", links[1]);
    at("cut").hidden = false;
  }

  // --- the list beside

  async refreshRecent() {
    if (at("app").hidden) return;
    this.saved.refresh();
    try {
      const { items, next_cursor: cursor } = await ask(`/executions?limit=${Math.min(this.recentCount, RECENT_MOST)}`);
      at("older").hidden = !cursor || this.recentCount >= RECENT_MOST;
      at("recent").replaceChildren(...items.map(recentItem));
      at("recent-empty").hidden = items.length > 0;
      this.markCurrent();
    } catch { /* the next round may do better; what matters is said by the stream */ }
  }

  markCurrent() {
    for (const link of at("recent").querySelectorAll("a")) {
      link.setAttribute("aria-current", String(link.hash === `#${this.follower?.id}`));
    }
  }
}

function recentItem({ id, name, status, created_at: createdAt }) {
  const dot = make("span", { className: "dot" });
  dot.dataset.status = status;
  const parts = [
    dot,
    make("span", { className: "name", textContent: name || id }),
    make("span", { className: "when", textContent: formatWhen(createdAt) }),
    make("span", { className: "hidden-label", textContent: status }),
  ];
  return make("li", {}, make("a", { href: `#${id}`, title: `${name}: ${status}` }, ...parts));
}

at("output").hidden = true;
new Page().start();
