#!/usr/bin/env bash
# Writes which recordings in DIRECTORY have changed since the commit BASE: FOLDER/changes.md and FOLDER/report.html.
set -euo pipefail

mkdir -p "$FOLDER"
# A checkout has one commit by default.
git cat-file -e "$BASE^{commit}" 2>/dev/null || git fetch --quiet --no-tags --depth=1 origin "$BASE"
status=0
mistral-cassette diff "$BASE" --dir "$DIRECTORY" --show > "$FOLDER/changes.txt" || status=$?
[ "$status" -le 1 ] || exit "$status"
changed=false
if [ "$status" = 1 ]; then
  changed=true
  mistral-cassette report --since "$BASE" --dir "$DIRECTORY" --out "$FOLDER/report.html" --force
fi
echo "changed=$changed" >> "$GITHUB_OUTPUT"

longest=50000
{
  echo "### Recordings"
  echo
  if [ "$changed" = false ]; then
    echo "No recording has changed."
  else
    # Indented: no line of a recording can end the block.
    head -c "$longest" "$FOLDER/changes.txt" | iconv -c -f utf-8 -t utf-8 | sed 's/^/    /'
    if [ "$(wc -c < "$FOLDER/changes.txt")" -gt "$longest" ]; then
      printf '\n\nThe rest is in the report (artifact "recordings").\n'
    fi
  fi
} > "$FOLDER/changes.md"
cat "$FOLDER/changes.md" >> "$GITHUB_STEP_SUMMARY"
