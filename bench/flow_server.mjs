// The fastest thing that answers GETs here: a process of its own, so that it shares no interpreter with what is measured.

import http from "node:http";

const BODY = Buffer.from('{"id":7,"name":"Ada","items":[1,2,3]}');
const HEAD = { "content-type": "application/json", "content-length": BODY.length };

const server = http.createServer((request, response) => {
  response.writeHead(200, HEAD);
  response.end(BODY);
});
server.keepAliveTimeout = 600_000;
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
