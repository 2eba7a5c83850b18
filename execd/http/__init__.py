"""The doors: HTTP, Server-Sent Events and WebSocket in front of an `Engine`. The only package that knows quart and hypercorn."""
