#!/usr/bin/env bash
# Makes .gpu/ in the project's root, which the check needs beside the tracked files: bash benchmarks/gpu/assemble.sh [DATA]
# DATA is a folder with MNIST/ and cifar10-images.tar.xz; else $SPARSIFY_DATA, else ../shared/data. Commit first.
set -euo pipefail
cd "$(dirname "$0")/../.."
DATA=${1:-${SPARSIFY_DATA:-../shared/data}}
WHEELS="cyclopts==5.5.2 docstring-parser==0.18.0 rich-rst==2.2.0 rich==15.0.0 torch-pruning==1.6.1 platformdirs==4.14.8 msgspec==0.22.0"
for needed in "$DATA/MNIST" "$DATA/cifar10-images.tar.xz"; do
    [ -e "$needed" ] || { echo "$needed is missing; name the folder of the data: bash benchmarks/gpu/assemble.sh DATA" >&2; exit 1; }
done

mkdir -p .gpu/whl
platforms=()
for tag in manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64; do
    platforms+=(--platform "$tag")
done
for wheel in $WHEELS; do
    name=${wheel//-/_} # as in a wheel's name
    compgen -G ".gpu/whl/${name/==/-}-*.whl" >/dev/null ||
        python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp "${platforms[@]}" -d .gpu/whl "$wheel"
done
rm -f .gpu/whl/sparsify_study-*.whl
python3 -m pip wheel -q --no-deps -w .gpu/whl . # this package, with its commit in it
[ -s .gpu/cifar10-images.tar.xz ] || cp "$DATA/cifar10-images.tar.xz" .gpu/
[ -s .gpu/mnist.tar.xz ] || tar c -C "$DATA" MNIST | xz -T0 -3 >.gpu/mnist.tar.xz
echo 'exec bash "$(dirname "$0")/../benchmarks/gpu/gpu_check.sh"' >.gpu/gpu_check.sh
chmod -R u+w .gpu
du -sb .gpu | sed 's/\t/ bytes in /'
echo "$(git ls-files -z | xargs -0 du -cb | tail -1 | cut -f1) bytes of tracked files"
