// The changes of a recording since an earlier version.

function changes(one, recording) {
  const section = make(
    "section",
    "compared",
    make(
      "div",
      "line",
      make("h3", "", "Changes"),
      make("span", isChanged(one) ? "badge changed" : "badge quiet", one.change),
    ),
  );
  const { differences, more_differences, old } = recording;
  if (one.change === "gone")
    section.append(make("p", "note", `Removed since ${index.since}. This is the earlier version.`));
  if (one.change === "new") section.append(make("p", "note", `New since ${index.since}.`));
  if (one.change === "same") section.append(make("p", "note", `Identical to ${index.since}.`));
  if (one.change === "only volatile fields")
    section.append(make("p", "note", "Only ids, times, padding or token counts differ."));
  section.append(...differences.map(field));
  if (more_differences) section.append(make("p", "note", counted(more_differences, "more difference")));
  if (!old) return [section];
  const side = (title, responses) => make("div", "", make("h3", "", title), ...responses.map(responseTurns));
  const both = lazy("versions", "Both versions side by side", () =>
    make("div", "both", side(`Before: ${index.since}`, old.responses), side("Now", recording.responses)),
  );
  both.open = isChanged(one) && one.change !== "only volatile fields";
  const olds = old.responses.map((response, number) => {
    return raw(
      old.responses.length > 1 ? `Raw response ${number + 1} before` : "Raw response before",
      headOf(response),
      response.body,
    );
  });
  section.append(both, ...olds);
  return [section];
}

function field({ pointer, old, new: now, pieces, numbers }) {
  if (numbers) return make("div", "field", make("code", "", pointer || "/"), make("p", "note", numbers));
  const marked = (tag, sign) => {
    const text = make("div", `text ${tag}`);
    pieces.forEach(([kind, piece], at) => {
      if (kind === 0) text.append(shortened(piece, at === 0, at === pieces.length - 1));
      else if (kind === sign) text.append(make(tag, "", piece));
    });
    return text;
  };
  const value = (tag, text) =>
    make("pre", tag, text === undefined ? make("span", "note", "(missing)") : make(tag, "", text));
  const sides = pieces ? [marked("del", -1), marked("ins", 1)] : [value("del", old), value("ins", now)];
  sides.forEach((side, at) => {
    side.setAttribute("role", "group");
    side.setAttribute("aria-label", at ? "Now" : "Before");
  });
  return make("div", "field", make("code", "", pointer || "/"), make("div", "both", ...sides));
}

/** An unchanged piece of a text; of a long piece only the parts next to the changes. */
function shortened(text, isFirst, isLast) {
  const most = 400;
  if (text.length <= 2 * most) return text;
  if (isFirst) return `…${text.slice(-most)}`;
  if (isLast) return `${text.slice(0, most)}…`;
  return `${text.slice(0, most)} … ${text.slice(-most)}`;
}
