// Five ticks of a clock in Node. Try: execd run examples/ticks.mjs
import { setTimeout as sleep } from "node:timers/promises";

for (let tick = 1; tick <= 5; tick += 1) {
  console.log(`tick ${tick} at ${new Date().toISOString()}`);
  await sleep(400);
}
console.error("the clock has stopped");
