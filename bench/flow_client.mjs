// The least a Node program does: GETs one after another on a kept connection, each with a look at the status. For each line it
// reads (`COUNT URL`) it makes so many and prints the milliseconds they took.
import http from "node:http";
import readline from "node:readline";

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function get(url) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent }, (answer) => {
      const pieces = [];
      answer.on("data", (piece) => pieces.push(piece));
      answer.on("end", () => {
        JSON.parse(Buffer.concat(pieces));
        if (answer.statusCode === 200) resolve();
        else reject(new Error(`answered with ${answer.statusCode}`));
      });
    });
    request.on("error", reject);
  });
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [count, url] = line.split(" ");
  const began = performance.now();
  for (let number = 0; number < Number(count); number += 1) await get(`${url}/${number}`);
  console.log(performance.now() - began);
}
