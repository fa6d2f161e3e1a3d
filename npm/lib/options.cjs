"use strict";
// Options: from `configure()`, the environment, and the member "mistral-cassette" of package.json, in this order.
const { existsSync, readFileSync } = require("node:fs");
const path = require("node:path");
const { CassetteError } = require("./errors.cjs");

const MODES = ["record", "replay", "strict", "live"];
/** When recordings are saved, and its name on the control channel. */
const SAVES = { always: "always", "on-success": "on_success" };

const text = (value) => (typeof value === "string" ? undefined : "a string");
const flag = (value) => (typeof value === "boolean" ? undefined : "true or false");
const list = (value) =>
  Array.isArray(value) && value.every((each) => typeof each === "string") ? undefined : "a list of strings";
const oneOf = (values) => (value) => (values.includes(value) ? undefined : `one of ${values.join(", ")}`);

/** Each option: what it must be, its environment variable, and the option of the command. */
const OPTIONS = {
  mode: { check: oneOf(MODES), variable: "MISTRAL_CASSETTE_MODE", option: "--mode" },
  dir: { check: text, variable: "MISTRAL_CASSETTE_DIR" },
  settings: { check: text, variable: "MISTRAL_CASSETTE_SETTINGS" },
  save: { check: oneOf(Object.keys(SAVES)), variable: "MISTRAL_CASSETTE_SAVE" },
  pace: { check: text, variable: "MISTRAL_CASSETTE_PACE" },
  inject: { check: text, variable: "MISTRAL_CASSETTE_INJECT" },
  upstream: { check: text, variable: "MISTRAL_CASSETTE_UPSTREAM", option: "--upstream" },
  intercept: { check: list, variable: "MISTRAL_CASSETTE_INTERCEPT", option: "--intercept" },
  blockNetwork: { check: flag, variable: "MISTRAL_CASSETTE_BLOCK_NETWORK", option: "--block-network" },
  allowNet: { check: list, variable: "MISTRAL_CASSETTE_ALLOW_NET", option: "--allow-net" },
  allowCi: { check: flag, variable: "MISTRAL_CASSETTE_ALLOW_CI", option: "--allow-ci" },
};
/** The options of one session. */
const OF_SESSION = ["mode", "dir", "settings", "save", "pace", "inject", "test", "current"];

/** Throws if an option is unknown or invalid. */
function check(options, where, names = Object.keys(OPTIONS)) {
  for (const [name, value] of Object.entries(options)) {
    if (!names.includes(name)) {
      throw new CassetteError(
        `unknown option ${JSON.stringify(name)} in ${where}\nhint: the options are ${names.join(", ")}`,
      );
    }
    const expected = value === undefined ? undefined : OPTIONS[name]?.check(value);
    if (expected) {
      throw new CassetteError(
        `the option ${name} in ${where} is invalid: ${JSON.stringify(value)}\nhint: it must be ${expected}`,
      );
    }
  }
  return options;
}

function checkSession(options) {
  return check(options, "the options of a session", OF_SESSION);
}

function fromEnvironment() {
  const options = {};
  for (const [name, { check: rule, variable }] of Object.entries(OPTIONS)) {
    const value = process.env[variable];
    if (value === undefined || value === "") continue;
    if (rule === flag) options[name] = !["0", "false"].includes(value.toLowerCase());
    else if (rule === list) options[name] = value.split(",").map((each) => each.trim());
    else options[name] = value;
  }
  return check(options, "the environment");
}

/** The folder of the nearest package.json at or above a folder; `folder` itself without one. */
function packageRoot(folder) {
  for (let at = path.resolve(folder); ; at = path.dirname(at)) {
    if (existsSync(path.join(at, "package.json"))) return at;
    if (at === path.dirname(at)) return path.resolve(folder);
  }
}

function fromPackage(root) {
  const file = path.join(root, "package.json");
  if (!existsSync(file)) return {};
  const options = JSON.parse(readFileSync(file, "utf8"))["mistral-cassette"] ?? {};
  return check(options, `"mistral-cassette" of ${file}`);
}

/** All options for the tests of a package. A folder is relative to it. */
function optionsFor(root, configured) {
  const defined = Object.entries(configured).filter(([, value]) => value !== undefined);
  const options = { dir: "cassettes", ...fromPackage(root), ...fromEnvironment(), ...Object.fromEntries(defined) };
  return options;
}

/** The options of the command that serves them. */
function commandLine(options) {
  return Object.entries(OPTIONS).flatMap(([name, { option }]) => {
    const value = options[name];
    if (!option || value === undefined || value === false) return [];
    if (value === true) return [option];
    return [value].flat().flatMap((each) => [option, each]);
  });
}

/** The members of `open` for these options, with paths from the working directory of the process, if that is the package. */
function sessionMembers(options, root, cwd) {
  const isUrl = (value) => /^[a-z][a-z0-9+.-]+:/i.test(value);
  const isAsGiven = (value) => value === undefined || isUrl(value) || root === cwd;
  const fromCwd = (value) => (isAsGiven(value) ? value : path.resolve(root, value));
  return {
    test: options.test,
    mode: options.mode,
    directory: fromCwd(options.dir),
    settings: fromCwd(options.settings),
    save: SAVES[options.save],
    pace: options.pace,
    inject: options.inject,
    current: options.current,
  };
}

module.exports = { check, checkSession, commandLine, optionsFor, packageRoot, sessionMembers };
