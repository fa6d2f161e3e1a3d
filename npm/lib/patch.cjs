"use strict";
// What `mistral-cassette run` does by environment variables before Node.js starts, in a process that runs already: clients
// reach the proxy and trust its certificate.
const { readFileSync } = require("node:fs");
const https = require("node:https");
const { syncBuiltinESMExports } = require("node:module");
const net = require("node:net");
const tls = require("node:tls");
const { CassetteError } = require("./errors.cjs");
const { giveToThreads, interceptThreads } = require("./threads.cjs");

/** Set by `mistral-cassette run` for its command. */
const UNDER_RUN = "MISTRAL_CASSETTE_OUTER_PROXY";
const API_KEY = "MISTRAL_API_KEY";
/** Makes clients that need a key start without one. The proxy never sends it. */
const NO_KEY = "mistral-cassette-needs-no-key";
/** Tests of other APIs run in the same process, and their keys are for these. */
const NOT_SET = ["OPENAI_BASE_URL", API_KEY];

const DISPATCHER = Symbol.for("undici.globalDispatcher.1");
/** The number of connections that a client has made and given up without a response. It outlives this module in Jest. */
const GIVEN_UP = Symbol.for("mistral-cassette.givenUp");

/** Sends what this process requests to the proxy of a `ready` line. */
function patch(ready, options, replacesProxy) {
  const { environment, proxy_url: proxy } = ready;
  for (const [name, value] of Object.entries(environment)) {
    if (!NOT_SET.includes(name)) process.env[name] = value;
  }
  setKey();
  trust(readFileSync(environment.NODE_EXTRA_CA_CERTS ?? ready.ca_file, "utf8"), new URL(proxy));
  require(preloadIn(environment.NODE_OPTIONS ?? ""));
  if (replacesProxy) replaceProxyOfEnvironment();
  giveToThreads({ ready, options, replacesProxy });
  interceptThreads();
  if (options.blockNetwork) blockNetwork(options.allowNet ?? []);
}

/** Sets a dummy key if there is none. */
function setKey() {
  process.env[API_KEY] ||= NO_KEY;
}

/** Whether clients of this process read HTTPS_PROXY when it started; asked before `patch` sets these variables. */
function usesProxyOfEnvironment() {
  const options = `${process.execArgv.join(" ")} ${process.env.NODE_OPTIONS ?? ""}`;
  return process.env.NODE_USE_ENV_PROXY === "1" || options.includes("--use-env-proxy");
}

/** The script that opens TLS connections for intercepted hosts to the proxy: the last `--require` of NODE_OPTIONS. */
function preloadIn(options) {
  const quoted = /--require "((?:[^"\\]|\\.)*)"\s*$/.exec(options);
  if (quoted) return quoted[1].replace(/\\(.)/g, "$1");
  throw new CassetteError(`the command has named no preload for Node.js: NODE_OPTIONS=${options}`);
}

/** Trusts the certificates in this process, which has read NODE_EXTRA_CA_CERTS when it started. */
function trust(pem, proxy) {
  if (tls.setDefaultCACertificates) {
    tls.setDefaultCACertificates([...tls.getCACertificates("default"), pem]);
  }
  // For older versions: below the preload, which gives its connections to the proxy to `tls.connect`.
  const isProxy = (options) => options?.host === proxy.hostname && Number(options.port) === Number(proxy.port);
  const toProxy = new WeakSet();
  for (const name of ["connect", "createConnection"]) {
    const original = net[name];
    net[name] = function (...given) {
      const socket = original.apply(this, given);
      if (isProxy(given[0])) toProxy.add(socket);
      return socket;
    };
  }
  const { connect } = tls;
  tls.connect = function (...given) {
    const [options] = given;
    const isForProxy = isProxy(options) || toProxy.has(options?.socket);
    if (!isForProxy || options.ca || options.secureContext) return connect.apply(this, given);
    const socket = connect.call(this, { ...options, ca: pem }, ...given.slice(1));
    socket.once("close", () => {
      if (socket.authorized && socket.bytesRead === 0) tls[GIVEN_UP] = (tls[GIVEN_UP] ?? 0) + 1;
    });
    return socket;
  };
}

/**
 * Whether the proxy has reported the end of a connection that a client here has given up. After an abort, the undici of
 * Node.js 24 opens a connection and destroys it at once; for the proxy it is like one of a client that does not trust it.
 */
function isGivenUp({ text }) {
  if (!tls[GIVEN_UP] || !text.includes("tls handshake eof")) return false;
  tls[GIVEN_UP] -= 1;
  return true;
}

/** The clients of this process have read HTTPS_PROXY when it started: they get ones that read it again. */
function replaceProxyOfEnvironment() {
  const dispatcher = globalThis[DISPATCHER];
  if (dispatcher?.constructor.name === "EnvHttpProxyAgent") {
    globalThis[DISPATCHER] = new dispatcher.constructor();
  } else {
    // `fetch` creates it at its first use.
    process.env.NODE_USE_ENV_PROXY = "1";
  }
  https.globalAgent = new https.Agent({ ...https.globalAgent.options, proxyEnv: process.env });
  syncBuiltinESMExports();
}

/** Refuses connections to other machines, which do not go through the proxy here. */
function blockNetwork(allowed) {
  if (net.Socket.prototype.connect.isBlocking) return;
  const connect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (...given) {
    // Node.js itself passes its options in an array.
    const [options] = [given[0]].flat();
    const host = typeof options === "object" ? (options.path ? undefined : options.host) : hostOf(given);
    if (!host || isOnThisMachine(host) || allowed.some((pattern) => matches(host, pattern))) {
      return connect.apply(this, given);
    }
    const error = new CassetteError(
      `connections to other hosts are blocked (blockNetwork): ${host}\nhint: allow it with allowNet: [${JSON.stringify(host)}]`,
    );
    error.code = "ECONNREFUSED";
    process.nextTick(() => this.destroy(error));
    return this;
  };
  net.Socket.prototype.connect.isBlocking = true;
}

/** The host of `connect(port, host)`. */
function hostOf([port, host]) {
  return Number.isInteger(Number(port)) && typeof host === "string" ? host : undefined;
}

function isOnThisMachine(host) {
  return host === "localhost" || host === "::1" || /^127\./.test(host);
}

function matches(host, pattern) {
  return pattern.startsWith("*.") ? host.endsWith(pattern.slice(1)) : host === pattern;
}

module.exports = { UNDER_RUN, interceptThreads, isGivenUp, patch, preloadIn, setKey, usesProxyOfEnvironment };
