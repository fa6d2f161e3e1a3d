"use strict";
const { CassetteError } = require("./errors.cjs");
const { findCommand } = require("./command.cjs");
const { Session } = require("./session.cjs");
const { configure, current, pace, use } = require("./worker.cjs");

module.exports = { CassetteError, Session, configure, current, findCommand, pace, use };
