// The keyboard, and the start of the page.

/** Moves the focus in the list, or opens the next recording when the list is hidden. */
function move(by) {
  if (isNarrow() && document.body.classList.contains("is-open")) return step(by);
  if (requestList.contains(document.activeElement)) return moveInRequests(by);
  const focused = document.activeElement?.dataset?.at;
  const from = focused === undefined ? shown.indexOf(open) : shown.indexOf(Number(focused));
  const to = shown[Math.max(0, Math.min(shown.length - 1, from < 0 ? 0 : from + by))];
  if (to !== undefined) focusRow(to);
}

function moveInRequests(by) {
  const links = [...requestList.querySelectorAll("a")];
  const to = links.indexOf(document.activeElement) + by;
  links[Math.max(0, Math.min(links.length - 1, to))].focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { target, key } = event;
  const isTyping = target === search || target.tagName === "SELECT";
  const isInList = listElement.contains(target) || requestList.contains(target);
  if (key === "Escape") {
    if (target === search && search.value) search.value = "";
    else return leave();
    narrow();
  } else if (key === "/" && !isTyping) {
    if (isNarrow()) leave();
    search.focus();
    search.select();
  } else if (key === "Enter" && target === search && shown.length) {
    focusRow(shown[0]);
  } else if (key === "ArrowDown" && (isInList || target === search || target === document.body))
    move(target === search ? 0 : 1);
  else if (key === "ArrowUp" && (isInList || target === document.body)) move(-1);
  else if (key === "j" && !isTyping) move(1);
  else if (key === "k" && !isTyping) move(-1);
  else return;
  event.preventDefault();
});

addEventListener("hashchange", showAddressed);
narrowScreen.addEventListener("change", () => open < 0 && showAddressed());
writeHead();
writeFilters();
search.addEventListener("input", narrow);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
narrow();
if (index.live) startLive();
