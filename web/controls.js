// What can be done with a run: which buttons there are, and what they say.

const at = (id) => document.getElementById(id);

export const FINAL = new Set(["completed", "failed", "timeout", "cancelled", "interrupted"]);

export class Controls {
  show(status, { isReplay, isWorkflow }) {
    const isOver = FINAL.has(status);
    const isLive = !isReplay && !isOver && status !== "none";
    at("stop").hidden = !isLive || !isWorkflow;
    if (at("stop").hidden) this.reset();
    const isStopping = at("stop").textContent !== "Stop";
    at("cancel").hidden = !isLive;
    if (!isStopping) at("cancel").disabled = false;
    at("pause").hidden = !isLive || isStopping || !isWorkflow || !(status === "running" || status === "waiting_input");
    at("resume").hidden = isReplay || status !== "paused";
    at("retry").hidden = !isOver;
    at("replay").hidden = !isOver && !isReplay;
    if (isOver) at("stdin-form").hidden = true;
    else for (const name of ["retry-failed", "report", "summary"]) at(name).hidden = true;
  }

  showStopping(mode) {
    at("stop").disabled = true;
    at("pause").hidden = true;
    if (mode === "interrupt") at("stop").textContent = "Stopping …";
    else at("cancel").disabled = true;
  }

  offerRetry(status, { isWorkflow }) {
    const isCut = status === "cancelled" || status === "interrupted";
    at("retry-failed").hidden = !isWorkflow || status === "completed";
    at("retry-failed").textContent = isCut ? "Go on" : "Retry failed";
    at("retry-failed").title = isCut ? "What was not run, and what was cut short" : "What failed and all that comes after it";
  }

  reset() {
    Object.assign(at("stop"), { disabled: false, textContent: "Stop" });
  }
}
