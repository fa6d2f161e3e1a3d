#!/usr/bin/env node
"use strict";
// Starts the command of the package for this platform, and ends as it ends.
const { spawn } = require("node:child_process");
const { constants } = require("node:os");
const { findCommand } = require("../lib/command.cjs");

function fail(message) {
  process.stderr.write(`mistral-cassette: ${message}\n`);
  process.exit(2);
}

let command;
try {
  command = findCommand();
} catch (error) {
  fail(error.message);
}
// This process waits for the child, and passes signals on from the moment at which it starts. A terminal sends SIGINT to both.
const hasTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => (signal === "SIGINT" && hasTerminal) || child.kill(signal));
}
const child = spawn(command, process.argv.slice(2), { stdio: "inherit", windowsHide: true });
child.on("error", (error) => fail(`cannot start ${command}: ${error.message}`));
child.on("exit", (status, signal) => {
  if (signal === null) process.exit(status);
  // Ends by the same signal, so that a shell sees it.
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeAllListeners(name);
  process.kill(process.pid, signal);
  setTimeout(() => process.exit(128 + (constants.signals[signal] ?? 0)), 1000);
});
