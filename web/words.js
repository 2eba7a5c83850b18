// Amounts and results in words for people.

export function formatSeconds(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// Nobody should take it for a promise: whole seconds, then whole minutes, up.
function inRoundNumbers(ms) {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// What is left, `passed` ms after a progress was told; empty where nobody knows.
export function describeTimeLeft(progress, passed) {
  if (progress.eta_ms === undefined || progress.percent === 100) return "";
  const [left, likely] = [progress.eta_ms - passed, progress.eta_p75_ms - passed];
  if (progress.overrun || likely < -1000) return "longer than usual";
  const [about, under] = [inRoundNumbers(left), inRoundNumbers(likely)];
  const words = about === under ? `about ${about} left` : `about ${about} left, likely under ${under}`;
  return progress.excludes_people ? `${words}, besides the time people take` : words;
}

export function formatBytes(count) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (count >= 1024 && unit < 3) { count /= 1024; unit += 1; }
  return `${unit && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export function describeResult(result) {
  const parts = [];
  if (result.signal) parts.push(`signal ${result.signal}`);
  else if (result.exit_code !== null && result.exit_code !== undefined) parts.push(`exit ${result.exit_code}`);
  const usage = result.usage || {};
  if (usage.wall_ms != null) parts.push(formatSeconds(usage.wall_ms));
  if (usage.cpu_ms != null) parts.push(`cpu ${formatSeconds(usage.cpu_ms)}`);
  if (usage.peak_memory_bytes != null) parts.push(`peak ${formatBytes(usage.peak_memory_bytes)}`);
  return parts.join(" · ");
}

export function formatWhen(iso) {
  const when = new Date(iso);
  const isToday = when.toDateString() === new Date().toDateString();
  return isToday
    ? when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : when.toLocaleDateString([], { month: "short", day: "numeric" });
}

// The first line of a script that says something: neither a `#!`, nor an import, nor only signs.
export function nameOfScript(source) {
  const lines = source.split("\n").filter((line) => !/^(#!|import\b|from\b|const .*require|use )/.test(line));
  const words = lines.map((line) => line.replace(/^[#/\s"']+/, "").trim());
  return (words.find((line) => /\w/.test(line)) || "script").slice(0, 60);
}

// How the steps of a flow ended.
export function describeCounts({ completed, ...others }) {
  const words = Object.entries(others).filter(([, count]) => count).map(([word, count]) => `${count} ${word.replace("_", " ")}`);
  return [`${completed} passed`, ...words].join(", ");
}
