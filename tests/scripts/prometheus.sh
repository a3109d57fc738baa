#!/usr/bin/env bash
# A real Prometheus reads what `hsci metrics` prints: PROGRAMS, the directory with the command and its extensions. As root,
# with `prometheus` and `promtool` in PATH. By hand: it is no part of the tests.
set -euo pipefail

programs=$(realpath "$1")
for program in prometheus promtool python3; do
    command -v "$program" > /dev/null || {
        echo "there is no $program here; Debian's package prometheus has it" >&2
        exit 1
    }
done
dir=$(mktemp -d)
server='' prometheus=''

finish() {
    [ -z "$prometheus" ] || kill "$prometheus" 2> /dev/null || true
    [ -z "$server" ] || kill "$server" 2> /dev/null || true
    "$programs/hsci" unmount "$dir/files" 2> /dev/null || true
    "$programs/hsci" unmount "$dir/packed" 2> /dev/null || true
    wait
    mountpoint -q "$dir/files" || mountpoint -q "$dir/packed" || rm -rf --one-file-system "$dir"
}
trap finish EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

mkdir "$dir/files" "$dir/packed"
"$programs/hsci" mount --extension nullfs "$dir/files"
"$programs/hsci" mount "$dir/packed"
for name in one two three; do
    mkdir "$dir/files/$name"
    seq 20000 > "$dir/packed/$name"
done
"$programs/hsci" settle "$dir/packed"
"$programs/hsci" metrics | promtool check metrics

page=$(port) web=$(port)
python3 -c '
import http.server, subprocess, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = subprocess.run([sys.argv[2], "metrics"], stdout=subprocess.PIPE, check=True).stdout
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
' "$page" "$programs/hsci" &
server=$!
cat > "$dir/prometheus.yml" <<EOF
scrape_configs:
  - job_name: hsci
    scrape_interval: 1s
    static_configs:
      - targets: ["127.0.0.1:$page"]
EOF
prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/data" \
    --web.listen-address="127.0.0.1:$web" --log.level=error &
prometheus=$!

# Waits until a query has an answer that ends with a value: QUERY VALUE
answers() {
    local left=600 answer
    while [ $left -gt 0 ]; do
        answer=$(promtool query instant "http://127.0.0.1:$web" "$1" 2> /dev/null || true)
        if [[ $answer == *"=> $2 @"* ]]; then
            echo "ok: $1 is $2"
            return
        fi
        left=$((left - 1))
        sleep 0.1
    done
    echo "$1 is not $2: $answer" >&2
    exit 1
}
answers 'up{job="hsci"}' 1
answers "hsci_mount_up{dir=\"$dir/files\"}" 1
answers "hsci_requests_total{dir=\"$dir/files\",operation=\"mkdir\"}" 3
answers "sum(hsci_request_duration_seconds_count{dir=\"$dir/files\",operation=\"mkdir\"})" 3
answers "hsci_settles_total{dir=\"$dir/packed\",result=\"changed\"}" 3
answers "hsci_settles_total{dir=\"$dir/packed\",result=\"failed\"}" 0
answers "hsci_settles_pending{dir=\"$dir/packed\"}" 0
answers "histogram_quantile(0.9, hsci_request_duration_seconds_bucket{dir=\"$dir/files\",operation=\"mkdir\"}) > bool 0" 1
