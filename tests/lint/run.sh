#!/bin/sh
# All lints.
cd "$(dirname "$0")" || exit 1
bad=0
for l in layers.py headers.sh vendor.sh text.sh; do
	./$l || { echo "lint: $l failed"; bad=1; }
done
exit $bad
