import index from "./index.cjs";

export const { CassetteError, Session, configure, current, findCommand, pace, use } = index;
