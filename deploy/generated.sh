#!/usr/bin/env bash
# Makes everything that is generated again and fails when that changes a file:
# then somebody edited a schema or the page without `make generate`, or edited
# what is generated. The new files are left in place.
set -euo pipefail
cd "$(dirname "$0")/.."

# The one line of generated Go that names the version of protoc is no difference.
state() {
	git ls-files --cached --others --exclude-standard | sort -u | while IFS= read -r f; do
		[ -f "$f" ] || continue
		case $f in
		*.pb.go) sum=$(sed '/^\/\/ \tprotoc  *v/d' "$f" | sha256sum) ;;
		*) sum=$(sha256sum <"$f") ;;
		esac
		printf '%s %s\n' "${sum%% *}" "$f"
	done
}

before=$(mktemp)
after=$(mktemp)
trap 'rm -f "$before" "$after"' EXIT
state >"$before"
make --no-print-directory generate
state >"$after"
if ! cmp -s "$before" "$after"; then
	diff "$before" "$after" | sed -n 's/^[<>] [0-9a-f]* /generated: not up to date: /p' | sort -u >&2
	echo 'generated: run `make generate` and commit what it changes' >&2
	exit 1
fi
echo 'generated: up to date'
