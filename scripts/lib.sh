# What the scripts share. Sourced, with the project's folder as the working folder.
# shellcheck shell=bash

say() { printf '\n== %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 2; }

# The packages of the groups that are named.
packages() {
    for group in "$@"; do
        awk -v group="$group" '/^#/ { next } /^[a-z]+:/ { on = ($1 == group ":"); $1 = "" } on' scripts/packages
    done | xargs
}

# Installs those of the groups' packages that are missing.
need() {
    local missing=() package
    for package in $(packages "$@"); do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "these packages are missing, and there is no sudo to install them: ${missing[*]}" \
            "as root: apt-get install --no-install-recommends ${missing[*]}"
        root=(sudo)
    fi
    say "installing ${missing[*]}"
    # A machine that never asked its mirror knows no packages.
    if ! apt-cache show "${missing[@]}" >/dev/null 2>&1; then "${root[@]}" apt-get update -q; fi
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2 ||
        fail "apt could not install ${missing[*]}" "run apt-get update, and see what it says"
}

# A Rust that is new enough, by what Cargo.toml states.
need_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    local how="install it by rustup: https://rustup.rs (Debian 12's own is too old), then \`rustup toolchain install stable\`"
    command -v cargo >/dev/null || fail "there is no Rust, and $wanted or newer is needed" "$how"
    found=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
    [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
        fail "Rust $found is too old: $wanted or newer is needed" "\`rustup update stable\`; without rustup, $how"
}

[ -r /etc/debian_version ] || fail "the scripts install what they need with apt, on Debian 12 or newer" \
    "elsewhere, install what scripts/packages lists by its other names, and use cargo itself"
