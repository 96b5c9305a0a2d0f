#!/usr/bin/env bash
# The same bits on arm64? Trains everything, and runs every kernel, on this machine and on an
# emulated arm64 processor, and compares the results.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash tests/arm64.sh [--small] [--root FOLDER] [--setup]

Runs tests/models/train_everything.py and tests/kernels/one_result.py on this machine and under
qemu's emulation of a Cortex-A72, and compares their lines, `name sha256`. Nothing is run as another
user and nothing is installed on this system.

  --small        one training of each kind and no kernel by itself: for a quick look
  --root FOLDER  where the arm64 Python, NumPy, numba and the compiled kernels are kept for the next
                 run, 700 MB (default: arm64 in $XDG_CACHE_HOME or ~/.cache/nanocnn)
  --setup        only make that folder

Needs Debian or Ubuntu on x86 with qemu-user-static, mmdebstrap and debian-archive-keyring, and
nanocnn's dependencies in the Python that $PYTHON names (default: python3). Packages come from
$DEBIAN_MIRROR (default: Debian's own) and from where pip takes them.
Exit code: 0 all equal, 1 something differs, 2 it could not be run.
TEXT
}

stop() {
    echo "arm64.sh: $1" >&2
    exit 2
}

small=() setup=no root=${XDG_CACHE_HOME:-$HOME/.cache}/nanocnn/arm64
while [ $# -gt 0 ]; do
    case $1 in
        --small) small=(--small) ;;
        --setup) setup=yes ;;
        --root) [ $# -gt 1 ] || stop "--root needs a folder"
            root=$2 && shift ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && stop "unknown argument $1" ;;
    esac
    shift
done

repository=$(cd "$(dirname "$0")/.." && pwd)
root=$(realpath -m "$root")
host=${PYTHON:-python3}
for command in qemu-aarch64-static mmdebstrap "$host"; do
    command -v "$command" > /dev/null || stop "no $command: see --help for what is needed"
done
"$host" -c "import numba, threadpoolctl" || stop "$host: install nanocnn's dependencies first"

# An arm64 Python: packages of Debian, unpacked but not installed, so nothing of them is run.
make_root() {
    local packages=usr/lib/python3/dist-packages python version pip
    [ -z "$(ls -A "$root" 2> /dev/null)" ] ||
        stop "$root is not empty and not a complete arm64 Python: remove it or choose another"
    mkdir -p "$(dirname "$root")"
    mmdebstrap --quiet --mode=chrootless --variant=extract --architectures=arm64 \
        --include=base-files,python3,libstdc++6 trixie "$root" \
        ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} || stop "Debian's packages did not come"
    python=$(cd "$root" && echo usr/bin/python3.[0-9]*)
    version=${python#usr/bin/python}
    # The wheels that an arm64 pip would choose; pip itself need not be emulated.
    "$host" -c "import tomllib
project = tomllib.load(open('$repository/pyproject.toml', 'rb'))['project']
print(*project['dependencies'], 'pytest', sep='\n')" > "$root/requirements.txt"
    pip=("$host" -m pip install --root-user-action=ignore --target "$root/$packages"
        --python-version "$version" --only-binary=:all: --platform manylinux2014_aarch64
        --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64
        -r "$root/requirements.txt")
    "${pip[@]}" > "$root/pip.log" 2>&1 || { cat "$root/pip.log" && stop "no arm64 wheels"; }
    # Called python and given as argv[0], so that Python starts its child processes by it, too.
    cat > "$root/usr/bin/python" <<SCRIPT
#!/bin/sh
exec qemu-aarch64-static -cpu cortex-a72 -L "$root" -0 "\$0" "$root/$python" "\$@"
SCRIPT
    chmod +x "$root/usr/bin/python"
    touch "$root/ready"
}

if [ ! -e "$root/ready" ]; then
    echo "arm64 Python with NumPy and numba: $root"
    make_root
fi
emulated=$root/usr/bin/python
machine=$("$emulated" -c "import numba, platform; print(platform.machine())") ||
    stop "the arm64 Python does not start: remove $root and try again"
[ "$machine" = aarch64 ] || stop "$emulated runs on $machine"
[ $setup = no ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts=(tests/models/train_everything.py)
[ ${#small[@]} -gt 0 ] || scripts+=(tests/kernels/one_result.py)
result=0
for script in "${scripts[@]}"; do
    for side in here arm64; do
        python=$host cache=()
        [ $side = here ] || { python=$emulated && cache=("NUMBA_CACHE_DIR=$root/kernels"); }
        echo "$script, $side"
        SECONDS=0
        env PYTHONPATH="$repository" PYTHONDONTWRITEBYTECODE=1 ${cache[@]+"${cache[@]}"} \
            "$python" "$repository/$script" ${small[@]+"${small[@]}"} > "$work/$side" || stop "$script failed"
        echo "  $(wc -l < "$work/$side") results, $SECONDS s"
    done
    if diff "$work/here" "$work/arm64" > "$work/diff"; then
        echo "  all equal"
    else
        echo "  $(grep -c '^>' "$work/diff") differ (< here, > arm64):"
        cat "$work/diff"
        result=1
    fi
done
exit $result
