#!/bin/sh
# Run every built unit test, plain and sanitized; print a line each, logs on failure.
set -u
build=${1:-build}
pass=0 fail=0
for t in "$build"/unit/* "$build"/unit-asan/*; do
	[ -x "$t" ] || continue
	if "$t" > "$t.log" 2>&1; then
		pass=$((pass + 1))
	else
		fail=$((fail + 1))
		echo "FAIL $t"
		tail -n 40 "$t.log"
	fi
done
echo "unit: $pass passed, $fail failed"
[ "$fail" -eq 0 ]
