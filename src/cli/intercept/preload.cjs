"use strict";
// Loaded by Node.js under `mistral-cassette run`: opens the TLS connections for intercepted hosts to the proxy, and names
// the host in a line before the handshake. Versions before 22.21 do not read HTTPS_PROXY, and agents of a program never do.
const { syncBuiltinESMExports } = require("node:module");
const net = require("node:net");
const tls = require("node:tls");

const settings = "SETTINGS";
const patterns = settings.hosts.split(", ").map((pattern) => {
  const [, name, port] = /^(\[.*\]|.*?)(?::(\d+))?$/.exec(pattern);
  return { name: name.replace(/^\*|^\[|\]$/g, ""), port: Number(port ?? 443) };
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

/** The user of the proxy, which names a scope, if the program uses the proxy of this run. */
function credentials() {
  try {
    const { hostname, port, username, password } = new URL(process.env.HTTPS_PROXY ?? process.env.https_proxy);
    if (hostname !== settings.address || Number(port) !== settings.port || !username) return "";
    const text = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    return ` ${Buffer.from(text).toString("base64")}`;
  } catch {
    return "";
  }
}

const connect = tls.connect;
tls.connect = function (...given) {
  const options = optionsOf(given);
  const isDirect = !options.socket && !options.path && options.host;
  const name = String(options.host).replace(/^\[|\]$/g, "");
  const port = Number(options.port);
  if (!isDirect || !isIntercepted(name, port)) {
    return connect.apply(this, given);
  }
  const callback = given.find((value) => typeof value === "function");
  const socket = net.connect({ host: settings.address, port: settings.port });
  socket.write(`mistral-cassette ${net.isIPv6(name) ? `[${name}]` : name}:${port}${credentials()}\r\n`);
  // An address is not a server name.
  const servername = options.servername ?? (net.isIP(name) ? "" : name);
  return connect.call(this, { ...options, socket, servername }, callback);
};
// For `import { connect } from "node:tls"`.
syncBuiltinESMExports();
