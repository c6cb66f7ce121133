#!/bin/sh
# Put minibert into /opt/minibert, and run it as services from now on:  sudo sh examples/systemd/install.sh
# DESTDIR=folder makes the same below a folder, as for a package, and starts nothing.
set -eu
cd "$(dirname "$0")/../.."
root=${DESTDIR:-}
python3 -m venv "$root/opt/minibert"
"$root/opt/minibert/bin/pip" install -q '.[serve]' packages/minilm
install -D -m 644 -t "$root/etc/systemd/system" examples/systemd/*.service examples/systemd/*.timer
if [ -z "$root" ]; then
    systemctl daemon-reload
    systemctl enable --now minibert-serve.service minibert-encode.timer
    systemctl --no-pager status minibert-serve.service
fi
