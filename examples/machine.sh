#!/bin/bash
# What the sandbox looks like from inside. Try: execd run examples/machine.sh
set -u
echo "user     $(id -un 2>/dev/null || id -u), in $(pwd)"
sleep 0.5
echo "kernel   $(uname -sr)"
sleep 0.5
echo "visible  $(ls / | tr '\n' ' ')"
sleep 0.5
echo "processes I can see: $(ls /proc 2>/dev/null | grep -c '^[0-9]')"
sleep 0.5
if (: </dev/tcp/1.1.1.1/53) 2>/dev/null; then
  echo "the network answers"
else
  echo "no network here" >&2
fi
