#!/bin/bash
# Applies each fault of deploy/e2e/mutants to a copy of the working copy, runs the
# tests that it names, and says which faults they did not find. Arguments are
# names of mutants; none = all.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -co --exclude-standard -z | tar --null --ignore-failed-read -T - -c 2>/dev/null | tar -x -C "$copy"
mutants=("$@")
if [ ${#mutants[@]} -eq 0 ]; then
	for p in deploy/e2e/mutants/*.patch; do mutants+=("$(basename "$p" .patch)"); done
fi

survived=()
for m in "${mutants[@]}"; do
	patch=$copy/deploy/e2e/mutants/$m.patch
	why=$(sed -n '1s/^# //p' "$patch")
	read -ra tests <<<"$(sed -n '2s/^# tests: //p' "$patch")"
	(cd "$copy" && git apply "$patch") || { echo "cannot apply $m: the code has changed, make it anew" >&2; exit 1; }
	if ! (cd "$copy" && go build ./... 2>"$copy.log"); then
		echo "cannot build with $m:" >&2
		cat "$copy.log" >&2
		exit 1
	fi
	if (cd "$copy" && go test -count=1 -timeout 10m "${tests[@]}" >"$copy.log" 2>&1); then
		survived+=("$m")
		echo "SURVIVED  $m: $why"
	else
		echo "killed    $m: $(grep -m1 -oE -- '--- FAIL: [A-Za-z0-9_/]+' "$copy.log" | sed 's/--- FAIL: //' || echo 'by a panic or the clock')"
	fi
	(cd "$copy" && git apply -R "$patch")
done
rm -f "$copy.log"
echo "${#mutants[@]} mutants, ${#survived[@]} survived: ${survived[*]:-none}"
[ ${#survived[@]} -eq 0 ]
