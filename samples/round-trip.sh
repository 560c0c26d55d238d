#!/usr/bin/env bash
# A round trip from nothing: an Orthanc and a node that know each other are started, it is proved, and both are ended.
#
#   samples/round-trip.sh                       for a person
#   samples/round-trip.sh --format junit        arguments go to `minipacs roundtrip`
#
# Ports and AE title come from the environment, with Orthanc's and minipacs' own defaults. minipacs has to be on the
# PATH (. .venv/bin/activate). Exit code: that of `minipacs roundtrip`, 0 when each knows the other.
set -euo pipefail

samples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
export ORTHANC_DICOM_PORT=${ORTHANC_DICOM_PORT:-4242} ORTHANC_HTTP_PORT=${ORTHANC_HTTP_PORT:-8042}
export MINIPACS_PORT=${MINIPACS_PORT:-11112} MINIPACS_AE_TITLE=${MINIPACS_AE_TITLE:-MINIPACS}
export ORTHANC_STORAGE=$folder/storage
url=http://127.0.0.1:$ORTHANC_HTTP_PORT
us=(--peers "$folder/peers.toml" --port "$MINIPACS_PORT" --ae-title "$MINIPACS_AE_TITLE")

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

# Debian has it in /usr/sbin, which is not on everybody's PATH.
PATH=$PATH:/usr/sbin Orthanc "$samples/orthanc.json" >"$folder/orthanc.log" 2>&1 &
children+=($!)
minipacs peers add orthanc "ORTHANC@127.0.0.1:$ORTHANC_DICOM_PORT" "${us[@]}" >&2
minipacs serve "${us[@]}" >"$folder/node.log" 2>&1 &
children+=($!)

until_ok minipacs status "${us[@]}"
until_ok minipacs orthanc check --orthanc "$url" "${us[@]}"
minipacs roundtrip orthanc --orthanc "$url" "${us[@]}" "$@"
