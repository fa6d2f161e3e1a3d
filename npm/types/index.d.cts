/** When recordings are read, and what happens to a request without one. */
export type Mode = "record" | "replay" | "strict" | "live";

/** When recordings are saved: at once, or at the end of a session or test that succeeds. */
export type Save = "always" | "on-success";

/** The pace of replayed responses: a factor such as `2x` is twice as fast as recorded. */
export type Pace = "none" | "recorded" | `${number}x`;

/** Options for all sessions: of `configure()`, the environment, or `"mistral-cassette"` in package.json, in this order. */
export interface Options {
  /** `replay` by default, or `strict` if `CI` is set. */
  mode?: Mode;
  /** The cassette directory, relative to the package.json of the tests (`cassettes` by default), or the URL of a cache. */
  dir?: string;
  /** A settings file in place of that of the directory. */
  settings?: string;
  save?: Save;
  pace?: Pace;
  /** Faults for replayed responses, such as `429:0.1,cut:0.05`. */
  inject?: string;
  /** The URL of the real API. */
  upstream?: string;
  /** Hosts to intercept beside those of the API: `HOST`, `HOST:PORT`, `*.DOMAIN` or `HOST=URL`. */
  intercept?: string[];
  /** Whether connections to other hosts are refused. */
  blockNetwork?: boolean;
  /** Hosts that `blockNetwork` allows. */
  allowNet?: string[];
  /** Whether mode `record` is allowed if `CI` is set. */
  allowCi?: boolean;
}

/** Options for one session. */
export interface SessionOptions extends Pick<Options, "mode" | "dir" | "settings" | "save" | "pace" | "inject"> {
  /** The name of the test in the cassettes. */
  test?: string;
  /** Whether requests that name no scope belong to this session; `true` by default. */
  current?: boolean;
}

export type Outcome = "none" | "replayed" | "recorded" | "partial" | "not_recorded" | "missed" | "failed";

export interface Counts {
  replayed: number;
  recorded: number;
  passed_on: number;
  missed: number;
  failed: number;
  skipped: number;
  injected: number;
  delayed: number;
  refused: number;
}

export interface Failure {
  kind: string;
  message: string;
  hint?: string;
  /** All of it: message, nearest recording, differences and hint. */
  text: string;
}

export interface RequestSummary {
  at: string;
  method: string;
  path: string;
  status: number;
  milliseconds: number;
  outcome: "replayed" | "recorded" | "not_recorded" | "passed_on" | "injected" | "missed" | "failed";
  detail: string;
  scope: string;
  cassette?: string;
}

/** What happened in a session. */
export interface Verdict {
  outcome: Outcome;
  counts: Counts;
  /** The errors, also those that the program under test ignored. */
  failures: Failure[];
  requests: RequestSummary[];
  /** The cassettes of the scope that no request has used. */
  unused: string[];
  /** Connections to hosts that are not intercepted. */
  live: { host: string; opened: number; refused: number }[];
  in_progress: number;
  /** What the replayed responses have used when they were recorded. */
  saved: { tokens: number; milliseconds: number; dollars: number };
}

/** A scope with turns, counts and a verdict of its own. */
export declare class Session implements AsyncDisposable {
  private constructor();
  readonly scope: string;
  readonly mode: Mode;
  /** A base URL with which requests belong to this session, without `/v1`. */
  readonly baseUrl: string;
  readonly proxyUrl: string;
  readonly caFile: string;
  /** Headers with which a request belongs to this session. */
  readonly headers: { "x-mistral-cassette-scope": string };
  /** A missed or failed request does not fail the test. */
  allowFailures(): this;
  /** What happened so far, after the requests in progress are complete (at most `waitMs`, a minute by default). */
  verdict(options?: { waitMs?: number }): Promise<Verdict>;
  /** Does not save what `save: "on-success"` holds back. Returns the number of cassettes. */
  discard(): Promise<number>;
  /**
   * Ends the session. Throws a `CassetteError` if a request was missed, has failed, or is not complete after `waitMs` (4000
   * by default); with `save: "on-success"`, nothing is saved then, nor without `isSuccessful` (`true` by default).
   */
  close(options?: { isSuccessful?: boolean; waitMs?: number }): Promise<Verdict>;
  /** `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export declare class CassetteError extends Error {
  readonly name: "CassetteError";
  /** `miss` if a request was not recorded. */
  readonly kind: string;
  readonly hint?: string;
  readonly verdict?: Verdict;
}

/** Opens a session with this scope: folders of letters, digits, `_`, `-` and dots, separated by slashes. */
export declare function use(scope: string, options?: SessionOptions): Promise<Session>;

/** The session of the running test. A test that runs concurrently passes its context. */
export declare function current(context?: object): Session;

/** Sets options for all sessions that are opened afterwards. */
export declare function configure(options: Options): void;

/** Headers that set the pace of the replay of one request, for tests that abort a stream. */
export declare function pace(value: Pace): { "mistral-cassette-pace": string };

/** The path of the command. */
export declare function findCommand(): string;
