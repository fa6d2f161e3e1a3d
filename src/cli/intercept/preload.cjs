"use strict";
// Loaded by Node.js under `mistral-cassette run`: opens the TLS connections for intercepted hosts to the proxy, which learns
// the host from the handshake. Versions before 22.21 do not read HTTPS_PROXY, and agents of a program never do.
const { syncBuiltinESMExports } = require("node:module");
const tls = require("node:tls");

const settings = "SETTINGS";
const patterns = settings.hosts.split(", ").map((pattern) => {
  const [, name, port] = /^(.*?)(?::(\d+))?$/.exec(pattern);
  return { name: name.replace(/^\*/, ""), port: Number(port ?? 443) };
});

function isIntercepted(host, port) {
  const name = String(host).toLowerCase().replace(/\.$/, "");
  const matches = (pattern) =>
    pattern.name.startsWith(".") ? name.endsWith(pattern.name) : name === pattern.name;
  return patterns.some((pattern) => pattern.port === port && matches(pattern));
}

/** The options of a call of `tls.connect`, which has three forms. */
function optionsOf(given) {
  const options = {};
  given.forEach((value, at) => {
    if (typeof value === "object" && value !== null) Object.assign(options, value);
    else if (typeof value === "string" && at === 1) options.host ??= value;
    else if (at === 0 && Number.isInteger(Number(value))) options.port ??= value;
  });
  return options;
}

const connect = tls.connect;
tls.connect = function (...given) {
  const options = optionsOf(given);
  const isDirect = !options.socket && !options.path && options.host;
  if (!isDirect || !isIntercepted(options.host, Number(options.port))) {
    return connect.apply(this, given);
  }
  const callback = given.find((value) => typeof value === "function");
  const servername = options.servername || options.host;
  return connect.call(this, { ...options, host: settings.address, port: settings.port, servername }, callback);
};
// For `import { connect } from "node:tls"`.
syncBuiltinESMExports();
