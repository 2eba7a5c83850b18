// The page of execd: paste, run, watch, replay. It uses the public API only.

import { API, ask, randomKey } from "./api.js";
import { flowRequest, looksLikeFlow, nodesOf } from "./flows.js";
import { Follower } from "./follower.js";
import { NodeTree } from "./nodes.js";
import { OutputPane } from "./output.js";
import { SavedList } from "./saved.js";
import { describeResult, describeTimeLeft, formatBytes, formatSeconds, formatWhen } from "./words.js";

const RECENT_EVERY_MS = 10_000;
const FINAL = new Set(["completed", "failed", "timeout", "cancelled", "interrupted"]);

const EXAMPLES = [
  {
    label: "A countdown in Python", language: "python",
    source: 'import sys\nimport time\n\nfor left in range(3, 0, -1):\n    print(f"{left} ...", flush=True)\n    time.sleep(0.7)\n\nprint("lift-off")\nprint("smoke on the pad", file=sys.stderr)\n',
  },
  {
    label: "A question", language: "python",
    source: 'name = input("What is your name? ")\nprint(f"Hello, {name}!")\n',
  },
  {
    label: "Bash", language: "bash",
    source: 'for word in live output from bash; do\n  echo "$word"\n  sleep 0.3\ndone\nuname -sr\n',
  },
  {
    label: "Node", language: "node",
    source: 'for (let i = 1; i <= 3; i += 1) {\n  console.log(`tick ${i}`);\n  await new Promise((resolve) => setTimeout(resolve, 400));\n}\nconsole.error("done, says stderr");\n',
  },
  {
    label: "A workflow with a question", language: "workflow",
    source: 'kind: workflow\nname: say hello\nnodes:\n  - id: ask\n    type: input\n    prompts: [{key: who, label: Who is there?, default: Ada}]\n\n  - id: each\n    type: map\n    needs: [ask]\n    items: [Hello, Salut, Ciao]\n    nodes:\n      - id: say\n        type: script\n        language: bash\n        args: ["{{ item }}", "{{ nodes.ask.output.who }}"]\n        source: sleep 1; echo "$1, $2!"\n',
  },
  {
    label: "An HTTP flow", language: "flow",
    source: 'kind: flow\nname: echo\nvariables: {greeting: Hello}\ndefaults:\n  baseUrl: https://httpbin.org\n  timeout: 10\nnodes:\n  - id: send\n    method: POST\n    url: /anything\n    userPrompts: {who: "Who is there?"}\n    body: {text: "{{ .vars.greeting }}, {{ .input.who }}!"}\n    validations: [{httpStatusCode: 200}, {jsonpath: .json.text, exists: true}]\n\n  - id: again\n    method: GET\n    url: /anything/{{ .responses.send.json.text }}\n    conditions: [{input: who, notEquals: nobody}]\n',
  },
];

const WORKFLOW = "workflow";
const FLOW = "flow";

const at = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.output = new OutputPane(at("output"), () => this.showCut());
    this.nodes = new NodeTree(at("nodes"), {
      onAnswer: (promptId, values) => this.command("input", { prompt_id: promptId, values }),
      onRetry: (begin) => this.retry(begin),
    });
    this.saved = new SavedList(at("saved"), {
      onOpen: (document) => this.loadExample(document),
      onStarted: (id) => { this.isOwn = true; location.hash = id; },
      onProblem: (error) => this.showProblem(error),
    });
    this.status = "none";
    this.follower = null;
    for (const name of ["pause", "resume"]) at(name).onclick = () => this.command(name);
    at("replay").onchange = () => this.replay(Number(at("replay").value));
    at("retry").onclick = () => this.retry("start");
    at("retry-failed").onclick = () => this.retry("failed");
    at("source").oninput = () => this.guessLanguage();
    at("run").onclick = () => this.run();
    at("cancel").onclick = () => this.command("cancel");
    at("stdin-form").onsubmit = (event) => { event.preventDefault(); this.sendLine(); };
    at("stdin-end").onclick = () => this.sendStdin("", true);
    at("source").onkeydown = (event) => this.editKey(event);
    at("sign-in").onsubmit = (event) => { event.preventDefault(); this.signIn(at("token").value.trim()); };
    document.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.run(); }
    });
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
    if (!at("source").value) this.loadExample(EXAMPLES[0]);
    this.refreshRecent();
    this.openPermalink();
  }

  showSignIn() {
    at("app").hidden = true;
    at("sign-in").hidden = false;
    at("token").focus();
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

  // --- editor

  editKey(event) {
    if (event.key === "Escape") { this.tabLeaves = true; return; }
    if (event.key === "Tab" && !event.shiftKey && !event.ctrlKey && !event.altKey && !this.tabLeaves) {
      event.preventDefault();
      const area = at("source");
      area.setRangeText("    ", area.selectionStart, area.selectionEnd, "end");
    }
    this.tabLeaves = false;
  }

  addExample(example) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = example.label;
    button.onclick = () => { this.loadExample(example); at("source").focus(); };
    at("examples").append(button);
  }

  loadExample({ language, source }) {
    at("source").value = source;
    at("language").value = language;
    this.guessLanguage();
  }

  // --- running

  async run() {
    if (at("app").hidden || at("run").disabled) return;
    at("run").disabled = true;
    try {
      const accepted = await ask("/executions", { method: "POST", headers: { "Idempotency-Key": randomKey() }, ...this.request() });
      this.isOwn = true;
      if (location.hash === `#${accepted.id}`) this.follow(accepted.id);
      else location.hash = accepted.id;
    } catch (error) {
      this.showProblem(error);
    } finally {
      at("run").disabled = false;
    }
  }

  request() {
    const source = at("source").value;
    if (at("language").value === FLOW) return flowRequest(source);
    if (at("language").value !== WORKFLOW) {
      return { body: { kind: "script", language: at("language").value, source, name: this.name(), stdin_open: true } };
    }
    try {
      return { body: { kind: WORKFLOW, ...JSON.parse(source) } };
    } catch {
      return { text: source, mediaType: "application/yaml" };
    }
  }

  // Whoever pastes a workflow or a flow should not have to say so.
  guessLanguage() {
    if (looksLikeFlow(at("source").value)) at("language").value = FLOW;
    else if (/^\s*(\{\s*"(kind|nodes|name)"|(#.*\n|\s*\n)*(kind: *"?workflow|nodes:))/.test(at("source").value)) at("language").value = WORKFLOW;
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
  }

  replay(speed) {
    at("replay").value = "";
    if (speed) this.follow(this.follower.id, { speed });
  }

  follow(id, { speed = 0 } = {}) {
    if (this.follower) this.follower.close();
    this.speed = speed;
    this.progress = null;
    this.output.clear();
    this.startedAt = null;
    this.nodes.clear();
    this.isWorkflow = false;
    for (const name of ["problem", "cut", "empty", "stdin-form", "nodes", "progress", "time-left"]) at(name).hidden = true;
    at("output").hidden = false;
    at("permalink").hidden = false;
    at("permalink").href = `#${id}`;
    at("permalink").textContent = id;
    this.setStatus("queued", "");
    this.follower = new Follower(id, {
      speed,
      onEvent: (event) => this.show(event),
      onLink: (state, error) => this.showLink(state, error),
    });
    this.markCurrent();
    this.loadSource(id, this.isOwn || speed > 0);
    this.isOwn = false;
  }

  async loadSource(id, isOwn) {
    try {
      const { spec, kind } = await ask(`/executions/${encodeURIComponent(id)}`);
      if (this.follower.id !== id) return;
      if (kind !== "script") {
        this.showAsWorkflow();
        this.nodes.arrange(kind === FLOW ? nodesOf(spec?.config || {}) : spec?.nodes || []);
        this.nodes.offerRetry(FINAL.has(this.status) && !this.speed);
      }
      if (kind === FLOW && spec?.config && !isOwn) {
        at("source").value = JSON.stringify({ kind: FLOW, ...spec.config }, null, 2);
        at("language").value = FLOW;
      }
      if (spec?.source === undefined || isOwn) return;
      at("source").value = spec.source;
      at("language").value = spec.language;
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
        if (data.kind !== "script") this.showAsWorkflow();
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
      case "stop_requested": at("cancel").disabled = true; break;
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
    at("retry-failed").hidden = !this.isWorkflow || result.status === "completed";
    this.nodes.offerRetry(true);
    if (this.isWorkflow) {
      if (result.status === "completed") at("progress").value = 100;
      if (result.status !== "completed") at("progress").hidden = true;
      if (result.error) this.nodes.reveal(result.nodes, result.error);
    } else if (result.error && result.status !== "cancelled") this.output.add("end", result.error.message);
    else if (!this.output.shownChars && !this.output.pendingChars) this.output.add("end", "It wrote nothing.");
    this.refreshRecent();
  }

  setStatus(status, detail) {
    this.status = status;
    at("badge").dataset.status = status;
    at("badge").textContent = status.replace("_", " ");
    at("detail").textContent = detail;
    const isReplay = this.speed > 0;
    at("cancel").hidden = isReplay || FINAL.has(status) || status === "none";
    at("cancel").disabled = false;
    at("pause").hidden = isReplay || !this.isWorkflow || !(status === "running" || status === "waiting_input");
    at("resume").hidden = isReplay || status !== "paused";
    at("retry").hidden = !FINAL.has(status);
    at("replay").hidden = !FINAL.has(status) && !isReplay;
    this.showTimeLeft();
    if (!FINAL.has(status)) at("retry-failed").hidden = true;
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
    if (state !== "refused") return;
    if (error.status === 401) this.showSignIn();
    else { this.setStatus("none", ""); this.showProblem(error); }
  }

  showProblem(error) {
    const box = at("problem");
    box.replaceChildren(error.message);
    const list = document.createElement("ul");
    for (const { path, message, accepted } of error.faults || []) {
      const item = document.createElement("li");
      const field = document.createElement("code");
      field.textContent = path || "request";
      item.append(field, `: ${message}`);
      if (accepted) {
        const hint = document.createElement("span");
        hint.className = "accepted";
        hint.textContent = ` (accepted: ${accepted})`;
        item.append(hint);
      }
      list.append(item);
    }
    if (list.childNodes.length) box.append(list);
    box.hidden = false;
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
      const { items } = await ask("/executions?limit=30");
      at("recent").replaceChildren(...items.map((item) => this.recentItem(item)));
      at("recent-empty").hidden = items.length > 0;
      this.markCurrent();
    } catch { /* the next round may do better; what matters is said by the stream */ }
  }

  recentItem({ id, name, status, created_at: createdAt }) {
    const link = document.createElement("a");
    link.href = `#${id}`;
    link.title = `${name}: ${status}`;
    const dot = document.createElement("span");
    dot.className = "dot";
    dot.dataset.status = status;
    const label = document.createElement("span");
    label.className = "name";
    label.textContent = name || id;
    const when = document.createElement("span");
    when.className = "when";
    when.textContent = formatWhen(createdAt);
    const spoken = document.createElement("span");
    spoken.className = "hidden-label";
    spoken.textContent = status;
    link.append(dot, label, when, spoken);
    const item = document.createElement("li");
    item.append(link);
    return item;
  }

  markCurrent() {
    for (const link of at("recent").querySelectorAll("a")) {
      link.setAttribute("aria-current", String(link.hash === `#${this.follower?.id}`));
    }
  }
}

at("output").hidden = true;
new Page().start();
