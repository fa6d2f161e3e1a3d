#!/usr/bin/env bash
# Installs the command from the release of VERSION for RUNNER (such as Linux-X64) into FOLDER, and puts it on the PATH.
set -euo pipefail

case "$RUNNER" in
  # Static, so that it runs in any container.
  Linux-X64) target=x86_64-unknown-linux-musl archive=tar.gz ;;
  Linux-ARM64) target=aarch64-unknown-linux-musl archive=tar.gz ;;
  macOS-X64) target=x86_64-apple-darwin archive=tar.gz ;;
  macOS-ARM64) target=aarch64-apple-darwin archive=tar.gz ;;
  Windows-X64) target=x86_64-pc-windows-msvc archive=zip ;;
  *) echo "::error::there is no release of mistral-cassette for $RUNNER" && exit 1 ;;
esac
own="$(sed -n 's/^version = "\(.*\)"/\1/p' "$(dirname "$0")/../../Cargo.toml" | head -n 1)"
version="${VERSION:-$own}"
releases="${RELEASES:-https://github.com/mistral-cassette/mistral-cassette/releases/download}"
name="mistral-cassette-$version-$target"

mkdir -p "$FOLDER"
cd "$FOLDER"
for file in "$name.$archive" SHA256SUMS; do
  curl --fail --silent --show-error --location --retry 3 --output "$file" "$releases/v$version/$file"
done
check() { if command -v sha256sum >/dev/null; then sha256sum --check; else shasum -a 256 --check; fi; }
# An archive that the list does not name is an error, too.
grep " [ *]\?$name.$archive\$" SHA256SUMS | check
if [ "$archive" = zip ]; then unzip -q -o "$name.zip"; else tar -xzf "$name.tar.gz"; fi
echo "$FOLDER/$name" >> "$GITHUB_PATH"
