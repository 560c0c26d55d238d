#!/usr/bin/env bash
# A round trip by mutual TLS from nothing: certificates, an Orthanc and a node that know each other by TLS alone.
#
#   samples/mutual-tls.sh                       for a person
#   samples/mutual-tls.sh --format junit        arguments go to `minipacs roundtrip`
#
# Ports come from the environment, with Orthanc's and minipacs' own defaults. minipacs has to be on the PATH
# (. .venv/bin/activate). Exit code: that of `minipacs roundtrip`, 0 when each knows the other.
set -euo pipefail

samples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
export ORTHANC_DICOM_PORT=${ORTHANC_DICOM_PORT:-4242} ORTHANC_HTTP_PORT=${ORTHANC_HTTP_PORT:-8042}
export MINIPACS_TLS_PORT=${MINIPACS_TLS_PORT:-2762} MINIPACS_TLS=$folder/conf/tls
export ORTHANC_STORAGE=$folder/storage MINIPACS_CONFIG=$folder/conf/minipacs.toml
url=http://127.0.0.1:$ORTHANC_HTTP_PORT

children=()
finish() {
  for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
  wait
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Run a command until it succeeds: for 30 s at most, and while what was started runs.
until_ok() {
  local end=$((SECONDS + 30))
  while ((SECONDS < end)); do
    "$@" >/dev/null 2>&1 && return
    for child in "${children[@]}"; do kill -0 "$child" 2>/dev/null || break 2; done
    sleep 0.2
  done
  echo "$0: this does not succeed: $*; see:" >&2
  cat "$folder"/*.log >&2
  exit 1
}

# Our half: the shipped settings with their [tls] uncommented, the plain port shut, and the peer called by TLS.
minipacs init "$folder/conf" >&2
sed -i.shipped -e '/^# \[tls\]/,$ s/^# //' "$MINIPACS_CONFIG"
sed -i.shipped -e "s/^port = 2762/port = $MINIPACS_TLS_PORT/; s/^only = false/only = true/" "$MINIPACS_CONFIG"
minipacs tls init --peer orthanc "$MINIPACS_TLS" >"$folder/certificates.txt"
minipacs peers remove orthanc >&2
minipacs peers add orthanc "ORTHANC@127.0.0.1:$ORTHANC_DICOM_PORT" --tls >&2

# Debian has it in /usr/sbin, which is not on everybody's PATH.
PATH=$PATH:/usr/sbin Orthanc "$samples/orthanc-tls.json" >"$folder/orthanc.log" 2>&1 &
children+=($!)
minipacs serve >"$folder/node.log" 2>&1 &
children+=($!)

until_ok minipacs status
until_ok minipacs orthanc check --orthanc "$url"
minipacs roundtrip orthanc --orthanc "$url" "$@"
