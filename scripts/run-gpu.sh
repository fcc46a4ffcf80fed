#!/bin/sh
# Checks and measures this machine's GPU with the files in this folder. Installs nothing and needs no network.
# OUT: folder for gpu.json and gpu.txt (default: ./out). SOFTWARE_VULKAN: folder of a software Vulkan to use instead
# (libvk_swiftshader.so, vk_swiftshader_icd.json).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export OUT="${OUT:-$here/out}"
work="${TMPDIR:-/tmp}/anneal-gpu-$(id -u)"

if [ ! -x "$work/anneal/bin/node" ] || [ "$here/anneal.tar.xz" -nt "$work/unpacked" ]; then
  rm -rf "$work" && mkdir -p "$work"
  if command -v xz >/dev/null 2>&1; then
    xz -dc "$here/anneal.tar.xz" | tar -xf - -C "$work"
  else
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1], "r:xz").extractall(sys.argv[2])' "$here/anneal.tar.xz" "$work"
  fi
  touch "$work/unpacked"
fi

if [ -n "${SOFTWARE_VULKAN:-}" ]; then
  export VK_DRIVER_FILES="$SOFTWARE_VULKAN/vk_swiftshader_icd.json"
elif [ -z "${VK_DRIVER_FILES:-}" ]; then
  for description in /etc/vulkan/icd.d/nvidia_icd.json /usr/share/vulkan/icd.d/nvidia_icd.json \
    /usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json; do
    if [ -f "$description" ]; then export VK_DRIVER_FILES="$description" && break; fi
  done
fi
# In containers the driver may be installed without its Vulkan manifest.
if [ -z "${VK_DRIVER_FILES:-}" ] && command -v nvidia-smi >/dev/null 2>&1; then
  printf '{"file_format_version":"1.0.1","ICD":{"library_path":"libGLX_nvidia.so.0","api_version":"1.3.277"}}' >"$work/nvidia_icd.json"
  export VK_DRIVER_FILES="$work/nvidia_icd.json"
fi
# Searched after the machine's own loader.
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$work/anneal/lib"
cd "$work/anneal"
exec ./bin/node dist/bench/gpu.js "$@"
