"use strict";

/** A request that was missed or has failed, an option that is invalid, a command that ended. */
class CassetteError extends Error {
  name = "CassetteError";

  constructor(message, { kind = "other", hint, verdict } = {}) {
    super(message);
    this.kind = kind;
    this.hint = hint;
    this.verdict = verdict;
  }

  /** The error of a command of the control channel. */
  static from({ kind, message, hint, text }) {
    return new CassetteError(text ?? message, { kind, hint });
  }

  /** The error of the last verdict of a session, or nothing if all requests were answered. */
  static ofVerdict(verdict, scope) {
    const hasFailed = verdict.outcome === "missed" || verdict.outcome === "failed";
    if (!hasFailed && !verdict.in_progress) return undefined;
    const { missed, failed } = verdict.counts;
    const counted = [
      count(missed, "was not recorded", "were not recorded"),
      count(failed, "has failed", "have failed"),
      count(verdict.in_progress, "was not complete at the end", "were not complete at the end"),
    ];
    const summary = `${counted.filter(Boolean).join(", ") || verdict.outcome} (${scope})`;
    const texts = new Set(verdict.failures.map((failure) => failure.text ?? failure.message));
    if (verdict.in_progress) texts.add("hint: await each response, or abort it");
    const [first] = [...verdict.failures.filter(({ kind }) => kind === "miss"), ...verdict.failures];
    return new CassetteError([summary, ...texts].join("\n\n"), { kind: first?.kind, hint: first?.hint, verdict });
  }
}

/** One error for all of them, or nothing for none. */
function joined(errors) {
  if (errors.length < 2) return errors[0];
  const { kind, hint, verdict } = errors.find((error) => error.kind === "miss") ?? errors[0];
  return new CassetteError(errors.map((error) => error.message).join("\n\n"), { kind, hint, verdict });
}

function count(number, one, several) {
  if (!number) return "";
  return number === 1 ? `1 request ${one}` : `${number} requests ${several}`;
}

module.exports = { CassetteError, joined };
