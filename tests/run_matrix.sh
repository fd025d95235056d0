#!/usr/bin/env bash
# The tests with every interpreter found here, with the newest and the oldest dependencies that
# setup.cfg allows (newest: what pip resolves; oldest: tests/oldest_versions.py).
#
#   tests/run_matrix.sh                               all cells, the whole suite
#   tests/run_matrix.sh --short                       all cells, a short list of tests
#   tests/run_matrix.sh --python 3.12 --set newest    one cell
#   tests/run_matrix.sh --keep                        keep the environments (6 GB each)
#
# Each cell has an environment of its own. Its row is kept in build/matrix, and the last lines
# printed are the table of all rows there, which docs/versions.md shows.
set -uo pipefail
cd "$(dirname "$0")/.."

versions="3.10 3.11 3.12 3.13" sets="newest oldest" short="" keep=""
extras="dev" more=() tests=()
while [ $# -gt 0 ]; do
    case $1 in
        --python) versions=$2; shift ;;
        --set) sets=$2; shift ;;
        --short) short=yes ;;
        --keep) keep=yes ;;
        *) echo "no option $1; valid: --python VERSION, --set newest|oldest, --short, --keep" >&2; exit 2 ;;
    esac
    shift
done
if [ -n "$short" ]; then
    extras="text,search,track,export,formats" more=("pulearn>=0.2" "napkinxc>=0.7.2")
    tests=(
        tests/losses tests/metrics tests/estimators tests/test_files.py tests/test_labels.py
        tests/cli/test_main.py tests/vision/test_frozen_runs.py tests/vision/test_export.py
        tests/vision/test_card.py tests/vision/test_backbones.py
        tests/text/test_text_export.py tests/text/test_frozen_texts.py
    )
fi
mkdir -p build/matrix

interpreter() {  # the first interpreter of a version that starts
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python3; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2> /dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

installed() {  # the versions in an environment, as cells of a row
    "$1/bin/python" - <<'PYTHON'
from importlib.metadata import version
names = "torch", "timm", "numpy", "scikit-learn", "transformers"
print(" | ".join(version(name) for name in names))
PYTHON
}

cell() {  # version, set
    local python place=build/matrix/$1-$2 row=build/matrix/$1-$2.row constraints=() result passed
    python=$(interpreter "$1") || { echo "python$1: not found here"; return; }
    rm -rf "$place" && "$python" -m venv "$place" || return
    if [ "$2" = oldest ]; then
        "$place/bin/python" tests/oldest_versions.py > "$place/constraints.txt"
        # a release without a wheel for this Python is a cell that cannot be, and no hour of building
        constraints=(
            --only-binary numpy,scipy,scikit-learn,torch,torchvision,pillow,pyarrow,safetensors
            -c "$place/constraints.txt"
        )
    fi
    if ! "$place/bin/python" -m pip install -q "${constraints[@]}" -e ".[$extras]" \
        "pytest>=8.3" "pytest-timeout>=2.3.1" "pytest-xdist>=3.6.1" "hypothesis>=6.115" \
        ${more[@]+"${more[@]}"} 2> "$place/pip.log"; then
        result=$(grep -o "No matching distribution found for .*" "$place/pip.log" | head -1)
        echo "| $1 | $2 | - | - | - | - | - | ${result:-not installable, see $place/pip.log} |" > "$row"
    else
        OMP_NUM_THREADS=1 "$place/bin/python" -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
            ${tests[@]+"${tests[@]}"} > "$place/pytest.log" 2>&1
        passed=$(tail -1 "$place/pytest.log")
        echo "| $1 | $2 | $(installed "$place") | ${passed//=/}${short:+ (short list)} |" > "$row"
        grep -E "^(FAILED|ERROR)" "$place/pytest.log"
    fi
    cat "$row"
    [ -n "$keep" ] || { cp "$place"/*.log build/matrix/ 2> /dev/null; rm -rf "$place"; }
}

for version in $versions; do
    for set in $sets; do
        cell "$version" "$set"
    done
done
echo
echo "| Python | dependencies | torch | timm | NumPy | scikit-learn | transformers | tests |"
echo "|--------|--------------|-------|------|-------|--------------|--------------|-------|"
shopt -s nullglob
rows=(build/matrix/*.row)
[ ${#rows[@]} -gt 0 ] || { echo "no cell was tested" >&2; exit 1; }
cat "${rows[@]}"
! grep -qE "failed|error|not installable|No matching" "${rows[@]}"
