// The cases of `report`.
import assert from "node:assert/strict";
import { assertPolicy, count, dangers, marked, openAll, opened, overflow, titles } from "./page.mjs";

export const cases = {
  async reads(page) {
    assert.match(
      await page.locator("#about").innerText(),
      /^cassettes · 11 recordings · 11 responses · 60 tokens \(40 in, 20 out\) · > \$0\.064$/,
    );
    const sorted = await page.locator("#list a").evaluateAll((links) => links.map((link) => link.title));
    assert.deepEqual(sorted, [...sorted].sort());
    // Beside the list, the first recording is open, and there is no way back.
    await page.waitForSelector('#list li:first-child a[aria-current="true"]');
    await page.getByText("What is 6 * 7?", { exact: true }).last().waitFor();
    assert.equal(await page.getByRole("button", { name: "Back to the list" }).count(), 0);
    assert.equal(await page.evaluate(() => document.activeElement.tagName), "BODY");
    const row = await page.locator("#list a", { hasText: "capital of France" }).innerText();
    assert.match(row, /^What is the capital of France\?\s+It is Paris\.\s+200\s+2026-11-21 10:00\s+chat-completions/);
    const reads = async (words, ...expected) => {
      const text = await opened(page, words);
      for (const one of expected) assert.ok(text.includes(one), `${one} is not in ${text}`);
    };
    await reads(
      "capital of france",
      "What is the capital of France?",
      "It is Paris.",
      "15 tokens (10 in, 5 out)",
      "$0.02",
      "by capitals::france",
      "200 OK",
    );
    await reads(
      "in Paris?",
      "system",
      "You know the weather.",
      "calls get_weather D681PevKs",
      '"city": "Paris"',
      "1 tool: get_weather",
    );
    await reads("Six by seven", "What is 6 * 7?", "thinking", "Six by seven.", "42");
    await reads("A city as JSON", '"people": 12345678901234567890');
    await reads("about the mistral", "A cold wind.", "3 events", "Play");
    await reads("a wind", "embeddings", "0.6000, 0.8000", "1.0000");
    await reads("greet me", "calls web_search", "Good morning!");
    await reads("# A page", "Document: https://example.com/a.pdf", "# A page", "10 × 20 px, 200 dpi");
    await reads("pii", "pii", "0.987", "flagged");
    await reads("def f", "400 Bad Request", "Invalid model: no-such-model", "invalid_model");
    await reads("surprise", "POST /v1/no/such/endpoint", '"surprise"');
    // The raw view is one click away.
    await opened(page, "capital of france");
    assert.equal(await page.getByText('"finish_reason"').count(), 0);
    await page.getByText("Raw response", { exact: true }).click();
    await page.getByText('"finish_reason"').waitFor();
    await page.getByText("Raw request", { exact: true }).click();
    await page.getByText("POST /v1/chat/completions").last().waitFor();
    // The search covers the text of requests and responses; streams are joined.
    for (const [words, expected] of [
      ["as far as", 0],
      ["It is Paris", 2],
      ['"It is Paris"', 1],
      ['"cold wind"', 1],
      ["temperature", 0],
      ["get_weather paris", 1],
      ["surprise", 1],
      ["mistral-embed", 1],
    ]) {
      await page.fill("#search", words);
      assert.equal(await count(page), `${expected} of 11 recordings`, words);
    }
  },

  async marks(page) {
    await opened(page, "capital of france");
    await page.fill("#search", "paris");
    assert.equal(await count(page), "2 of 11 recordings");
    const found = await marked(page);
    assert.ok(found.every(({ text }) => text.toLowerCase() === "paris"));
    for (const within of ["SPAN answer", "DIV text"])
      assert.ok(
        found.some((one) => one.within === within),
        within,
      );
    // "Raw request", "Response" and "Scope" are words of the page.
    for (const label of ["request", "response", "raw", "scope"]) {
      await page.fill("#search", label);
      await count(page);
      assert.deepEqual(await marked(page), [], label);
    }
    // A section that is opened later is marked, too.
    await page.fill("#search", "finish_reason");
    await count(page);
    assert.deepEqual(await marked(page), []);
    await page.getByText("Raw response", { exact: true }).click();
    await page.waitForFunction(() => CSS.highlights.get("found")?.size > 0);
  },

  async filters(page) {
    await page.selectOption("#filter-endpoint", { label: "chat-completions (5)" });
    assert.equal(await count(page), "5 of 11 recordings");
    await page.selectOption("#filter-model", { label: "mistral-large-latest (1)" });
    assert.equal((await titles(page)).length, 1);
    // The numbers are those that a choice leaves.
    const numbers = await page.locator("#filter-endpoint option").allTextContents();
    assert.deepEqual(numbers.slice(0, 2), ["all", "chat-completions (1)"]);
    assert.ok(
      numbers.slice(2).every((option) => option.endsWith(" (0)")),
      String(numbers),
    );
    await page.selectOption("#filter-endpoint", { index: 0 });
    await page.selectOption("#filter-model", { index: 0 });
    await page.selectOption("#filter-status", { label: "4xx (1)" });
    assert.deepEqual(await titles(page), ["def f"]);
    await page.selectOption("#filter-status", { index: 0 });
    await page.selectOption("#filter-test", { label: "capitals::france (1)" });
    assert.deepEqual(await titles(page), ["What is the capital of France?"]);
  },

  async keys(page) {
    const focused = () => page.evaluate(() => document.activeElement.textContent);
    await page.keyboard.press("/");
    await page.keyboard.type("paris");
    await count(page);
    await page.keyboard.press("Enter");
    const first = await focused();
    assert.match(first, /capital of France/);
    await page.keyboard.press("j");
    const second = await focused();
    assert.notEqual(second, first);
    await page.keyboard.press("k");
    assert.equal(await focused(), first);
    await page.keyboard.press("ArrowDown");
    assert.equal(await focused(), second);
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, "solid");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement.id === "detail");
    assert.ok(second.startsWith(await page.locator("#detail h2").innerText()));
    assert.equal(await page.locator('#list a[aria-current="true"]').count(), 1);
    // Tab reaches the raw view.
    while (!(await focused()).startsWith("Raw request")) await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.locator("#detail .raw[open] .head").first().waitFor();
    // Back in the list, the recording stays open.
    await page.keyboard.press("Escape");
    assert.equal(await focused(), second);
    assert.ok(second.startsWith(await page.locator("#detail h2").innerText()));
    await page.keyboard.press("/");
    await page.keyboard.press("Escape");
    assert.equal(await count(page), "11 of 11 recordings");
    await page.goBack();
    await page.waitForSelector('#list li:first-child a[aria-current="true"]');
  },

  async narrow(page, violations, { address }) {
    await page.setViewportSize({ width: 360, height: 640 });
    await page.goto("about:blank");
    await page.goto(address);
    assert.ok((await overflow(page)) <= 0);
    assert.equal(await page.locator("#detail").isVisible(), false);
    const links = await page.locator("#list a").evaluateAll((all) => all.map((link) => link.getAttribute("href")));
    for (const link of links) {
      await page.locator(`#list a[href="${link}"]`).click();
      await page.waitForSelector("#detail h2");
      assert.equal(await page.locator("#list").isVisible(), false);
      for (const summary of await page.locator("#detail summary").all()) await summary.click();
      assert.ok((await overflow(page)) <= 0, link);
      await page.getByRole("button", { name: "Back to the list" }).click();
      await page.locator("#list").waitFor();
    }
    // In a wider window, the first recording is beside the list.
    await page.setViewportSize({ width: 1000, height: 800 });
    await page.waitForSelector('#list li:first-child a[aria-current="true"]');
    // A printed page shows the recording but not the list.
    await opened(page, "capital of france");
    await page.emulateMedia({ media: "print" });
    assert.equal(await page.locator("#list").isVisible(), false);
    assert.equal(await page.locator("#detail").getByText("It is Paris.").isVisible(), true);
  },

  async plays(page) {
    assert.match(await opened(page, "count to four"), /first 150 ms, last 750 ms/);
    const content = page.locator("#detail section").last().locator(".content");
    assert.equal(await content.innerText(), "one two three four");
    // Every text that is shown during playback, and its time.
    await page.evaluate(() => {
      const seen = (window.seen = []);
      const since = performance.now();
      new MutationObserver(() => {
        const text = document.querySelector("#detail section:last-child .content").textContent;
        if (seen.at(-1)?.text !== text) seen.push({ text, at: performance.now() - since });
      }).observe(document.querySelector("#detail"), { childList: true, subtree: true });
    });
    await page.getByRole("button", { name: "Play at the recorded pace" }).click();
    await page.getByRole("button", { name: "Stop playing" }).waitFor();
    await page.getByRole("button", { name: "Play at the recorded pace" }).waitFor();
    const seen = await page.evaluate(() => window.seen);
    assert.equal(seen.at(-1).text, "one two three four");
    const texts = seen.map(({ text }) => text);
    for (const text of ["one ", "one two "]) assert.ok(texts.includes(text), JSON.stringify(seen));
    const [one, all] = ["one ", "one two three four"].map((text) => seen.find((shown) => shown.text === text).at);
    // There are three pauses of 150 ms between the first word and the last.
    assert.ok(all - one > 300, JSON.stringify(seen));
  },

  async media(page) {
    const loaded = async (selector, isLoaded) => {
      const element = page.locator(`#detail ${selector}`).first();
      await element.waitFor();
      await page.waitForFunction(isLoaded, await element.elementHandle());
    };
    await opened(page, "what is this");
    await loaded("img", (image) => image.complete && image.naturalWidth === 1);
    await loaded("audio", (audio) => Math.abs(audio.duration - 0.1) < 0.01);
    await opened(page, "hush");
    await loaded("audio", (audio) => Math.abs(audio.duration - 0.1) < 0.01);
    assert.match(await opened(page, "a.wav"), /file\s+a\.wav/);
    await loaded("audio", (audio) => Math.abs(audio.duration - 0.1) < 0.01);
    assert.match(await opened(page, "realtime"), /received transcription\.text\.delta: Hello world/);
    await loaded("audio", (audio) => Math.abs(audio.duration - 0.1) < 0.01);
    assert.match(await opened(page, "long silence"), /audio\/wav, 301\.6 kB: omitted, --with-media includes it/);
  },

  async large_media(page) {
    await opened(page, "long silence");
    await page.waitForFunction(() => document.querySelector("#detail audio")?.duration > 0);
  },

  async changes(page) {
    assert.match(await page.locator("#about").innerText(), /^cassettes · 5 recordings · 5 responses · 75 tokens /);
    const since = (await page.locator("#since > *").allInnerTexts()).join("; ");
    assert.match(
      since,
      /^Compared with (HEAD|old):; 2 new; 2 changed; 1 gone; 1 unchanged; 4 → 5 responses; 60 → 75 tokens; \$0.08 → \$0.1$/,
    );
    // The page opens with the changes, and with the first of them.
    assert.equal(await page.getByLabel("Changed only (5)").isChecked(), true);
    assert.equal(await count(page), "4 of 5 recordings, 1 of 1 gone");
    await page.waitForSelector('#list li:first-child a[aria-current="true"]');
    const badges = () =>
      page
        .locator("#list a")
        .evaluateAll((links) => links.map((link) => link.querySelector(".badge")?.textContent ?? "").sort());
    assert.deepEqual(await badges(), ["gone", "new", "new", "only volatile fields", "wording"]);
    await page.getByLabel("Changed only").uncheck();
    assert.equal(await count(page), "5 of 5 recordings, 1 of 1 gone");
    assert.deepEqual(await badges(), ["", "gone", "new", "new", "only volatile fields", "wording"]);
    await page.getByLabel("Changed only").check();
    await page.selectOption("#filter-change", { label: "wording (1)" });
    assert.equal(await count(page), "1 of 5 recordings, 0 of 1 gone");
    await page.locator("#list a").click();
    await page.locator("#detail del").first().waitFor();
    assert.deepEqual(await page.locator("#detail del").allTextContents(), ["Paris"]);
    assert.deepEqual(await page.locator("#detail ins").allTextContents(), ["Lyon"]);
    const sides = await page.locator("#detail details .both > div").allInnerTexts();
    assert.equal(sides.length, 2);
    assert.match(sides[0], /^Before: (HEAD|old)[^]*It is in Paris/);
    assert.match(sides[1], /^Now[^]*It is in Lyon/);
    const [before, now] = await page
      .locator("#detail details .both > div")
      .evaluateAll((all) => all.map((one) => one.getBoundingClientRect().left));
    assert.ok(before < now);
    await page.selectOption("#filter-change", { label: "gone (1)" });
    await page.locator("#list a").click();
    await page.locator("#detail").getByText("I am gone.").waitFor();
    await page.setViewportSize({ width: 360, height: 640 });
    assert.ok((await overflow(page)) <= 0);
  },

  async hostile(page, violations) {
    const links = await page.locator("#list a").evaluateAll((all) => all.map((link) => link.getAttribute("href")));
    assert.ok(links.length > 60, String(links.length));
    let text = "";
    for (const link of links) {
      await page.evaluate((hash) => (location.hash = hash), link);
      await page.waitForSelector(`#list a[aria-current="true"][href="${link}"]`);
      await openAll(page);
      text += await page.evaluate(() => document.getElementById("detail").textContent);
      assert.deepEqual(await dangers(page), [], link);
    }
    // The page shows all of it as text.
    for (const shown of [
      "</script><script>window.ran=1</script>",
      "<!--<script>window.ran=1//",
      "<img src=x onerror=window.ran=1>",
      "javascript:window.ran=1",
      "data:text/html,<script>window.ran=1</script>",
      "\u2028window.ran=1\u2029",
      "{script}{recordings}{style}",
      "https://example.com/beacon.png",
      "\ufffd and \ufffd surrogates",
      "proto",
    ]) {
      assert.ok(text.replaceAll(/[\ud800-\udfff](?![\udc00-\udfff])/g, "\ufffd").includes(shown), shown);
    }
    await page.fill("#search", "window.ran");
    await count(page);
    // The list shows hostile names too.
    const list = await page.evaluate(() =>
      [...document.querySelectorAll("#list *, #filters *, #heading *")].map((element) => element.tagName),
    );
    assert.deepEqual([...new Set(list)].sort(), ["A", "H1", "INPUT", "LABEL", "LI", "OPTION", "P", "SELECT", "SPAN"]);
    await assertPolicy(page, violations);
  },

  async damaged(page) {
    await page.selectOption("#filter-status", { label: "damaged (1)" });
    assert.deepEqual(await titles(page), ["broken"]);
    assert.match(await opened(page, "broken"), /broken-0123456789abcdef\.yaml/);
    assert.match(await page.locator("#about").innerText(), /2 recordings .* 1 damaged/);
  },

  async damaged_since(page) {
    assert.equal(await page.getByLabel("Changed only (2)").isChecked(), true);
    assert.equal(await count(page), "2 of 2 recordings");
    const since = (await page.locator("#since > *").allInnerTexts()).join("; ");
    assert.match(since, /^Compared with old:; 1 new; the sums are not compared, because recordings cannot be read$/);
  },
};
