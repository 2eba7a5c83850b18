#!/bin/bash
# The whole story with nothing but curl. Start `execd serve` first, then: examples/watch.sh
set -euo pipefail

data_dir="${EXECD_DATA_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/execd}"
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
url="${EXECD_URL:-$(field url <"$data_dir/server.json")}"
token="${EXECD_TOKEN:-$(field token <"$data_dir/server.json")}"

# 1. Submit. The key makes it safe to send again when no answer comes.
id=$(curl -fsS "$url/api/v1/executions" \
  -H "Authorization: Bearer $token" -H "Content-Type: application/json" -H "Idempotency-Key: story-$$-$RANDOM" \
  -d '{"kind": "script", "language": "bash", "source": "for i in 1 2 3; do echo tick $i; sleep 0.5; done"}' | field id)
echo "submitted $id"

# 2. Watch. Each event has a number; cut off, you go on with -H "Last-Event-ID: <number>" and miss nothing.
curl -fsSN "$url/api/v1/executions/$id/stream" -H "Authorization: Bearer $token" |
  while IFS= read -r line; do
    printf '%s\n' "$line"
    [[ $line == "event: result_stored" ]] && { IFS= read -r line; printf '%s\n' "$line"; break; }
  done

# 3. The result, now and whenever you ask again; and the bytes exactly as they were written.
curl -fsS "$url/api/v1/executions/$id/result" -H "Authorization: Bearer $token" | field status
curl -fsS "$url/api/v1/executions/$id/output?stream=stdout" -H "Authorization: Bearer $token"
