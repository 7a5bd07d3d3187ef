#!/bin/sh
# Makes .venv with everything the project needs, and finds or installs Chromium. Says what it does; can be run again and again.
# Usage: deploy/setup.sh demo|dev
set -eu
extra=${1:-dev}
cd "$(dirname "$0")/.."
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf '\033[1;31mSet-up stopped:\033[0m %s\n' "$*" >&2; exit 1; }

# Root installs packages itself; an ordinary user may have sudo without a password; otherwise we say what is missing.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo "$@"
  else return 1; fi
}
apt_install() {
  command -v apt-get >/dev/null 2>&1 || return 1
  as_root true || return 1
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || return 1
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

python=
for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
  if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate; break
  fi
done
[ -n "$python" ] || fail "Python 3.11 or newer is needed (looked for python3, python3.11 … 3.14). Install it, or set PYTHON=/path/to/python."

if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  say "Making a virtual environment in .venv with $("$python" --version)"
  rm -rf .venv
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    say "This Python has no venv module; installing python$version-venv"
    apt_install "python$version-venv" || apt_install python3-venv || true
  fi
  if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$python" -m venv .venv
  elif "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip .venv; then
    # pip 22.3 and newer can install into another interpreter's environment.
    "$python" -m pip --python .venv/bin/python install --quiet --disable-pip-version-check pip || fail "pip could not be put into .venv; its message is above."
  else
    fail "this Python can make no virtual environment: run  apt-get install python3-venv  as root, then start again."
  fi
fi

stamp=.venv/.installed-$extra
wanted=$(cksum pyproject.toml | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
  say "Installing Python packages (about 300 MB the first time; a few minutes)"
  # The pip that comes with Python 3.11 takes more than twice as long to find out what goes together (67 s against 28 on two cores).
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip >/dev/null 2>&1 || true
  # pip says a line for each package; people see a count. Its messages and its exit status are kept.
  { .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off --no-compile --editable ".[$extra]" 2>&1; echo "exit=$?"; } | awk '
    { log_[NR] = $0 }
    /^ *Collecting / { found++; printf "\r    %d packages found …", found; fflush() }
    /^Installing collected packages/ { printf "\r    %d packages found, installing …          ", found; fflush() }
    /^exit=/ { status = substr($0, 6) }
    END {
      printf "\n"
      if (status != 0) { for (i = NR > 40 ? NR - 40 : 1; i < NR; i++) print log_[i]; exit 1 }
    }' || fail "pip could not install the packages; its last messages are above."
  # pip would compile them one after the other, and all of them: msgraph-sdk brings 17,000 modules, and few are ever imported.
  say "Compiling them, on every core"
  .venv/bin/python -m compileall -q -j 0 -x /msgraph/generated/ .venv/lib >/dev/null 2>&1 || true # some packages carry files for other Pythons
  env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -c 'import isolation.signals.providers.graph_client' || fail "msgraph-sdk cannot be imported; the reason is above."
  printf '%s' "$wanted" > "$stamp"
  # The demo is a part of the development set.
  [ "$extra" = dev ] && printf '%s' "$wanted" > .venv/.installed-demo
fi

works() { [ -n "$1" ] && [ -x "$1" ] && "$1" --version >/dev/null 2>&1; }
find_chromium() {
  .venv/bin/python -m renderer.chromium.find 2>/dev/null || true
}
chromium=$(find_chromium)
if ! works "$chromium"; then
  say "Chromium is missing; asking Playwright for its build"
  if timeout 600 .venv/bin/python -m playwright install --only-shell chromium >/dev/null 2>&1; then
    chromium=$(find_chromium)
    if ! works "$chromium"; then
      say "Chromium lacks system libraries; installing them"
      as_root .venv/bin/python -m playwright install-deps chromium >/dev/null 2>&1 || true
      chromium=$(find_chromium)
    fi
  fi
fi
if ! works "$chromium"; then
  say "Playwright's build cannot be had here; installing the distribution's Chromium"
  apt_install chromium-headless-shell fonts-dejavu-core || apt_install chromium fonts-dejavu-core || true
  chromium=$(find_chromium)
fi
works "$chromium" || fail "no Chromium: run  apt-get install chromium-headless-shell  (or chromium) as root, or set ISOLATION_CHROMIUM=/path/to/chromium."
if command -v fc-list >/dev/null 2>&1 && [ -z "$(fc-list 2>/dev/null | head -n 1)" ]; then
  say "No fonts are installed; installing DejaVu"
  apt_install fonts-dejavu-core || say "Could not install fonts: isolated pages will lack text until a font package is installed."
fi
# Where a process may not write down what it compiled, it compiles at every start: the renderer's account never may, and PYTHONDONTWRITEBYTECODE forbids it to all.
.venv/bin/python -m compileall -q -j 0 isolation renderer
say "Ready: $(.venv/bin/python --version), $("$chromium" --version 2>/dev/null | head -n 1)"
