"use strict";
// Finds the command `mistral-cassette`, which is in a package for each platform.
const { accessSync, constants, realpathSync, statSync } = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");

/** The platforms with a package. The npm packages, their names and the release are tested against this list. */
const PLATFORMS = [
  "darwin-arm64",
  "darwin-x64",
  "linux-arm64",
  "linux-arm64-musl",
  "linux-x64",
  "linux-x64-musl",
  "win32-x64",
];

const VARIABLE = "MISTRAL_CASSETTE_COMMAND";

function usesMusl() {
  // Without its list of open sockets, whose names would be looked up.
  const report = process.report;
  if (!report) return false;
  const before = report.excludeNetwork;
  report.excludeNetwork = true;
  try {
    return !report.getReport().header.glibcVersionRuntime;
  } finally {
    report.excludeNetwork = before;
  }
}

/** The name of this platform, as in `@mistral-cassette/linux-x64`. */
function platform() {
  const suffix = process.platform === "linux" && usesMusl() ? "-musl" : "";
  return `${process.platform}-${process.arch}${suffix}`;
}

function executableName() {
  return process.platform === "win32" ? "mistral-cassette.exe" : "mistral-cassette";
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** The launcher of this package, which is on the PATH under `npx` and must not start itself. */
function isLauncher(file) {
  try {
    return realpathSync(file) === realpathSync(path.join(__dirname, "../bin/mistral-cassette.cjs"));
  } catch {
    return false;
  }
}

/** The command on the PATH. On Windows the launcher of npm is a `.cmd`, so only an `.exe` counts. */
function onPath() {
  const folders = (process.env.PATH ?? "").split(path.delimiter).filter(Boolean);
  // Folders of npm have launchers, of this package or of another copy of it.
  const files = folders
    .filter((folder) => !folder.includes("node_modules"))
    .map((folder) => path.join(folder, executableName()));
  return files.find((file) => isExecutable(file) && !isLauncher(file));
}

function inPackage() {
  try {
    return createRequire(__filename).resolve(`@mistral-cassette/${platform()}/${executableName()}`);
  } catch {
    return undefined;
  }
}

/** The path of the command: MISTRAL_CASSETTE_COMMAND, the package for this platform, or the PATH. */
function findCommand() {
  const given = process.env[VARIABLE];
  if (given) {
    if (isExecutable(given)) return given;
    throw new Error(`cannot execute the command that ${VARIABLE} names: ${given}`);
  }
  const found = inPackage() ?? onPath();
  if (found) return found;
  const name = platform();
  if (!PLATFORMS.includes(name)) {
    throw new Error(
      `there is no package with the command mistral-cassette for ${name}\n` +
        `hint: build it (cargo install --features cli), and put it on the PATH or name it in ${VARIABLE}`,
    );
  }
  throw new Error(
    `cannot find the command mistral-cassette: the package @mistral-cassette/${name} is not installed\n` +
      `hint: install without --omit=optional (--no-optional), and on the platform that runs the tests: ` +
      `node_modules is not portable; or put the command on the PATH or name it in ${VARIABLE}`,
  );
}

module.exports = { PLATFORMS, VARIABLE, findCommand, platform, executableName };
