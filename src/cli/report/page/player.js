// Plays a stream at its recorded pace.

/** A canvas with a mark for each event, and a function that draws it for a given time. */
function timeline(times) {
  const last = times.at(-1);
  const canvas = make("canvas");
  const draw = (now) => {
    const [width, height] = [canvas.clientWidth * devicePixelRatio, canvas.clientHeight * devicePixelRatio];
    [canvas.width, canvas.height] = [width, height];
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const x = (time) => 2 + (time / last) * (width - 4);
    for (const time of times) {
      pen.fillStyle = style.getPropertyValue(time <= now ? "--accent" : "--faint");
      pen.fillRect(x(time) - 1, height * 0.2, 2, height * 0.6);
    }
    if (now < last) {
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.fillRect(x(now), 0, 1, height);
    }
  };
  canvas.setAttribute("role", "img");
  canvas.setAttribute(
    "aria-label",
    `${counted(times.length, "event")}, the first after ${inSeconds(times[0])}, the last after ${inSeconds(last)}`,
  );
  new ResizeObserver(() => draw(last)).observe(canvas);
  return [canvas, draw];
}

/** A timeline, and a button that plays the response at the recorded pace. */
function player(response, show) {
  const times = response.timing_ms;
  const last = times.at(-1);
  const blocks = eventsOf(response);
  const [canvas, draw] = timeline(times);
  const range = `first ${inSeconds(times[0])}, last ${inSeconds(last)}`;
  const clock = make("span", "", range);
  let isPlaying = false;
  const setIsPlaying = (value) => {
    isPlaying = value;
    play.textContent = value ? "■ Stop" : "▶ Play";
    play.setAttribute("aria-label", value ? "Stop playing" : "Play at the recorded pace");
  };
  const finish = () => {
    setIsPlaying(false);
    const complete = new Stream();
    blocks.forEach((event) => complete.add(event));
    show(complete.content());
    draw(last);
    clock.textContent = range;
  };
  const start = () => {
    stopPlaying();
    setIsPlaying(true);
    stopPlaying = () => isPlaying && finish();
    const since = performance.now();
    const stream = new Stream();
    let next = 0;
    show(stream.content());
    const frame = () => {
      if (!isPlaying) return;
      const now = performance.now() - since;
      const before = next;
      while (next < blocks.length && (times[next] ?? last) <= now) stream.add(blocks[next++]);
      if (next > before) show(stream.content());
      draw(Math.min(now, last));
      clock.textContent = inSeconds(Math.round(Math.min(now, last)));
      if (next < blocks.length) requestAnimationFrame(frame);
      else finish();
    };
    requestAnimationFrame(frame);
  };
  const play = button("", () => (isPlaying ? finish() : start()));
  setIsPlaying(false);
  return make("div", "pace", play, canvas, clock);
}
