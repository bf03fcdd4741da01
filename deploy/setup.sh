#!/usr/bin/env bash
# Gets a machine ready for `make test`: Debian packages and the page's modules.
#
# As root, or where sudo asks for no password, it installs what is missing.
# Elsewhere it says what is missing and what to type, and fails. What is there
# already is left alone, so that it takes no time when there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin # where Debian puts mosquitto

say() { printf 'setup: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

# Not ours to install: where they come from is the reader's choice.
needs_tool() {
	command -v "$1" >/dev/null || fail "$1 is missing: $2"
}
needs_tool go "install Go $(sed -n 's/^go //p' go.mod) or later, https://go.dev/dl"
needs_tool gcc "apt-get install gcc (the race detector needs it)"
needs_tool node "install Node.js 20.19 or later, https://nodejs.org"
needs_tool npm "it comes with Node.js"
node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
	fail "node is $(node --version), and the page needs 20.19 or later"

missing=()
needs_package() { # package, and the command or file by which it is known
	case $2 in
	/*) [ -e "$2" ] || missing+=("$1") ;;
	*) command -v "$2" >/dev/null || missing+=("$1") ;;
	esac
}
needs_package mosquitto mosquitto
needs_package mosquitto-clients mosquitto_pub
needs_package strace strace
needs_package protobuf-compiler protoc
needs_package chromium chromium
needs_package fonts-liberation /usr/share/fonts/truetype/liberation

install_packages() {
	root=()
	if [ "$(id -u)" != 0 ]; then
		sudo -n true 2>/dev/null ||
			fail "missing: ${missing[*]}; install them with: sudo apt-get install --no-install-recommends ${missing[*]}"
		root=(sudo)
	fi
	command -v apt-get >/dev/null ||
		fail "missing: ${missing[*]} (Debian's names); this is no Debian, so install them your way"
	say "installing ${missing[*]}"

	# Debian starts a broker on port 1883 as soon as it is installed, and at every
	# boot: a policy forbids the one, and disabling it the other.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		trap '"${root[@]}" rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
		"${root[@]}" chmod 755 "$policy"
	fi
	"${root[@]}" apt-get update -q || say "going on with the package lists that are here"
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends "${missing[@]}" ||
		fail "could not install ${missing[*]}"

	if [[ " ${missing[*]} " == *" mosquitto "* ]] && command -v systemctl >/dev/null; then
		"${root[@]}" systemctl disable --quiet mosquitto ||
			say "could not keep mosquitto from starting at boot: systemctl disable mosquitto"
	fi
}
[ ${#missing[@]} = 0 ] || install_packages

for folder in cloud/dashboard deploy/e2e; do
	[ -e "$folder/package-lock.json" ] || continue
	if [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ]; then
		continue
	fi
	say "npm ci in $folder"
	(cd "$folder" && npm ci --no-audit --no-fund)
	touch "$folder/node_modules/.package-lock.json"
done
say "ready"
