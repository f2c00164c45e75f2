# What a build of this project needs, found or installed. Sourced by cli/demo.sh and tests/run.sh.
#
# It probes by need, not by package. Nothing missing: it prints nothing and touches nothing. Otherwise it prints
# the line that installs what is missing, and runs it: as root directly, else through sudo, whose password prompt
# is the consent. KV_NO_INSTALL=1 only prints it. No file of the user's shell is ever edited.
#
# Before sourcing, set `root` to the project's directory. Functions:
#   setup_build        a C++ compiler, git, libclang and a Rust that is new enough
#   setup_tests        what the suites with namespaces, disks and clocks of their own need; only as root, never fatal
#   setup_target_dir   one target directory for everything, so that RocksDB is built once
# shellcheck shell=sh

setup_say() { printf '%s\n' "$*" >&2; }

# A machine that has just been started may be at its own upgrades.
setup_apt_waits='-o DPkg::Lock::Timeout=300'

# The oldest Rust that this project builds with.
setup_rust_version() { sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$root/Cargo.toml" | head -n 1; }

# setup_at_least HAVE WANT: compares major.minor.
setup_at_least() {
    have_major=${1%%.*} have_rest=${1#*.} want_major=${2%%.*} want_rest=${2#*.}
    have_minor=${have_rest%%.*} want_minor=${want_rest%%.*}
    [ "$have_major" -gt "$want_major" ] ||
        { [ "$have_major" -eq "$want_major" ] && [ "$have_minor" -ge "$want_minor" ]; }
}

setup_has_rust() {
    command -v cargo >/dev/null 2>&1 && command -v rustc >/dev/null 2>&1 || return 1
    for tool in cargo rustc; do
        version=$(cd "$root" && "$tool" --version 2>/dev/null | sed -n "s/^$tool \([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p")
        [ -n "$version" ] && setup_at_least "$version" "$(setup_rust_version)" || return 1
    done
}

setup_has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    library= headers=
    PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q 'libclang[-0-9.]*\.so' && library=yes
    for file in /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-*.so* \
        /usr/lib/*/libclang*.so* /usr/lib/libclang*.so* /usr/lib64/libclang*.so* /usr/local/lib/libclang*.so*; do
        [ -e "$file" ] && library=yes
    done
    # libclang without its own headers cannot even find stddef.h.
    for file in /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib/clang/*/include/stddef.h \
        /usr/lib64/clang/*/include/stddef.h /usr/local/lib/clang/*/include/stddef.h; do
        [ -e "$file" ] && headers=yes
    done
    [ -n "$library" ] && [ -n "$headers" ]
}

# Names of the distribution's packages of a Rust that is new enough, or nothing.
setup_rust_packages() {
    for names in "cargo-web rustc-web rustfmt-web rust-web-clippy" "cargo rustc rustfmt rust-clippy"; do
        version=$(apt-cache policy "${names%% *}" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
        if [ -n "$version" ] && setup_at_least "$version" "$(setup_rust_version)"; then
            printf '%s' "$names"
            return 0
        fi
    done
    return 1
}

# The needs that are not met, as words; the Rust of a home directory counts.
setup_missing() {
    command -v "${CXX:-c++}" >/dev/null 2>&1 || printf 'c++ '
    command -v git >/dev/null 2>&1 || printf 'git '
    setup_has_libclang || printf 'libclang '
    setup_has_rust || printf 'rust '
}

setup_as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        setup_say "this needs root, and there is no sudo here"
        return 1
    fi
}

setup_build() {
    # For this process only: a Rust that rustup put there is often not on the PATH of a script, or after an old one.
    if ! setup_has_rust && [ -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ]; then
        path_before=$PATH
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
        export PATH
        setup_has_rust || PATH=$path_before
    fi
    missing=$(setup_missing)
    [ -n "$missing" ] || return 0
    setup_say "missing for the build: $missing"
    if ! command -v apt-get >/dev/null 2>&1; then
        setup_say "Install a C++ compiler, git, libclang and Rust $(setup_rust_version) or newer, for example:"
        setup_say "  dnf install gcc-c++ git clang-devel cargo     (Fedora)"
        setup_say "  pacman -S --needed gcc git clang rust         (Arch)"
        exit 1
    fi
    if [ "${KV_NO_INSTALL:-}" != 1 ]; then
        # A fresh root has no package lists; old ones name versions that are gone.
        # shellcheck disable=SC2086 # words
        setup_as_root apt-get $setup_apt_waits update -qq >&2 || setup_say "apt-get update failed; trying with the lists as they are"
    fi
    packages=
    for need in $missing; do
        case $need in
        c++) packages="$packages g++" ;;
        git) packages="$packages git" ;;
        libclang) packages="$packages libclang-dev" ;;
        rust)
            rust=$(setup_rust_packages) || {
                # Without package lists nothing is known, and they are not fetched here.
                [ "${KV_NO_INSTALL:-}" = 1 ] && setup_say "Rust $(setup_rust_version) or newer: from apt-get or https://rustup.rs" && continue
                setup_say "This system has no package of Rust $(setup_rust_version) or newer."
                setup_say "Install one with rustup (https://rustup.rs), then run this again."
                exit 1
            }
            packages="$packages $rust"
            [ -e /etc/ssl/certs/ca-certificates.crt ] || packages="$packages ca-certificates"
            ;;
        esac
    done
    [ -z "$packages" ] || setup_say "apt-get install --no-install-recommends -y$packages"
    [ "${KV_NO_INSTALL:-}" != 1 ] || exit 1
    # shellcheck disable=SC2086 # a list of names, and of words
    setup_as_root apt-get $setup_apt_waits install --no-install-recommends -y -qq $packages >&2 || {
        setup_say "the line above failed"
        exit 1
    }
    hash -r
    missing=$(setup_missing)
    [ -z "$missing" ] || {
        setup_say "still missing after the installation: $missing"
        exit 1
    }
}

# Packages of the tools and libraries that are not there, for tests alone.
setup_missing_for_tests() {
    while read -r tool package; do
        (PATH="$PATH:/usr/sbin:/sbin" && command -v "$tool") >/dev/null 2>&1 || printf '%s\n' "$package"
    done <<'TOOLS'
ip iproute2
nft nftables
iptables iptables
mkfs.ext4 e2fsprogs
mount mount
fsfreeze util-linux
fallocate util-linux
prlimit util-linux
TOOLS
    for file in /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib/faketime/libfaketimeMT.so.1; do
        [ -e "$file" ] && return 0
    done
    printf 'libfaketime\n'
}

setup_tests() {
    # Nobody else can make namespaces and mounts anyway; the suites skip by name what they cannot do.
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 || return 0
    packages=$(setup_missing_for_tests | sort -u | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    setup_say "for the tests: apt-get install --no-install-recommends -y $packages"
    [ "${KV_NO_INSTALL:-}" != 1 ] || return 0
    # shellcheck disable=SC2086 # a list of names, and of words
    {
        timeout 300 env DEBIAN_FRONTEND=noninteractive apt-get $setup_apt_waits update -qq &&
            timeout 600 env DEBIAN_FRONTEND=noninteractive apt-get $setup_apt_waits install --no-install-recommends -y -qq $packages
    } >&2 || setup_say "the line above failed; what needs these is skipped"
    hash -r
}

setup_target_dir() {
    : "${CARGO_TARGET_DIR:=${HOME:-/tmp}/.cache/kvd-target}"
    export CARGO_TARGET_DIR
    [ -x "$CARGO_TARGET_DIR/release/kvd" ] ||
        setup_say "First build: RocksDB compiles once, 15 to 25 minutes on two cores, 5 on eight."
}
