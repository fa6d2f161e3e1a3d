#!/usr/bin/env bash
# Comments SUMMARY on the pull request NUMBER, in place of the last comment; without changes only if there is one already.
set -euo pipefail

mark="<!-- mistral-cassette -->"
comments="repos/$GITHUB_REPOSITORY/issues/$NUMBER/comments"
body="$(printf '%s\n' "$mark" && cat "$SUMMARY")"
old="$(gh api --paginate "$comments" --jq ".[] | select(.body | startswith(\"$mark\")) | .id" | tail -n 1)"
if [ -n "$old" ]; then
  request=(--method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$old")
elif [ "$CHANGED" = true ]; then
  request=(--method POST "$comments")
else
  exit 0
fi
# The token of a pull request from a fork cannot write; the summary of the job has the same text.
gh api --silent "${request[@]}" --raw-field body="$body" ||
  echo "::warning::cannot comment on the pull request: the token needs pull-requests: write"
