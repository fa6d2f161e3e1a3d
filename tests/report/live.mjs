// The cases of the live view. `proxy` is the URL of the proxy, `key` an API key that lets it record, `pid` its process.
import assert from "node:assert/strict";
import { assertPolicy, count, dangers, openAll, opened, overflow } from "./page.mjs";

const HOSTILE = [
  "</script><script>window.ran=1</script>",
  "<img src=x onerror=window.ran=1>",
  "{script}{recordings}{style}",
  "\u2028window.ran=1\u2029\u0000\u001b[31m\u202egnp.exe",
];

/** Asks the model through the proxy. Returns the status. */
async function ask({ proxy }, question, headers = {}) {
  const response = await fetch(`${proxy}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ model: "mistral-small-latest", messages: [{ role: "user", content: question }] }),
  });
  await response.arrayBuffer();
  return response.status;
}

const withKey = ({ key }) => ({ authorization: `Bearer ${key}` });
const request = (page, words) => page.locator("#requests a", { hasText: words });
const says = (page, words) =>
  page.waitForFunction((words) => document.getElementById("state").textContent.includes(words), words);

/** Opens a request, and waits until what it has loaded is shown. */
async function openRequest(page, row, words) {
  await row.click();
  await page.locator("#detail", { hasText: words }).waitFor();
  return page.locator("#detail").innerText();
}

export const cases = {
  async requests(page, violations, given) {
    await says(page, "connected");
    assert.match(
      await page.locator("#detail").innerText(),
      /Requests to http:\/\/127\.0\.0\.1:\d+, mode replay appear/,
    );
    assert.equal(await count(page), "0 of 0 recordings");
    // Recorded: also in the list of recordings.
    assert.equal(await ask(given, "What is the capital of France?", withKey(given)), 200);
    await request(page, "recorded").waitFor();
    await page.locator("#list a").waitFor();
    assert.equal(await count(page), "1 of 1 recording");
    // Replayed.
    assert.equal(await ask(given, "What is the capital of France?"), 200);
    await request(page, "replayed 1 of 1").waitFor();
    // Missed: there is no key.
    assert.equal(await ask(given, "What is the capital of Italy?"), 424);
    await request(page, "missed").waitFor();
    assert.equal(await page.locator("#session").innerText(), "1 replayed, 1 recorded, 1 missed");
    // The last one is the first in the list.
    const rows = await page.locator("#requests a").allInnerTexts();
    assert.deepEqual(
      rows.map((row) => row.split("\n")[0]),
      ["What is the capital of Italy?", "What is the capital of France?", "What is the capital of France?"],
    );
    const row =
      /^What is the capital of France\?\s+replayed 1 of 1\s+200\s+\d\d:\d\d:\d\d\s+POST \/v1\/chat\/completions\s+\d/;
    assert.match(rows[1], row);
    // Each shows its recording, or what is missing.
    const missed = await openRequest(page, request(page, "missed"), "nearest recording");
    assert.match(
      missed,
      /not recorded: POST \/v1\/chat\/completions[^]*@ \/messages\/0\/content[^]*France[^]*Italy[^]*hint: /,
    );
    assert.ok((await page.locator("#detail .minus").count()) > 0 && (await page.locator("#detail .plus").count()) > 0);
    const replayed = await openRequest(page, request(page, "replayed"), "**Paris**");
    assert.match(replayed, /replayed 1 of 1[^]*Request[^]*What is the capital of France\?[^]*Response[^]*200 OK/);
    assert.match(await opened(page, "france"), /The capital of France is \*\*Paris\*\*\./);
    // The keyboard.
    await request(page, "missed").focus();
    await page.keyboard.press("j");
    assert.match(await page.evaluate(() => document.activeElement.textContent), /replayed 1 of 1/);
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement.id === "detail");
    await page.keyboard.press("Escape");
    assert.match(await page.evaluate(() => document.activeElement.textContent), /replayed 1 of 1/);
    // A page that is loaded again has the same requests.
    await page.reload();
    await request(page, "missed").waitFor();
    assert.equal(await page.locator("#requests a").count(), 3);
    await page.locator("#detail", { hasText: "**Paris**" }).waitFor();
    await page.setViewportSize({ width: 360, height: 640 });
    assert.ok((await overflow(page)) <= 0);
    await page.getByRole("button", { name: "Back to the list" }).click();
    await page.locator("#requests").waitFor();
    assert.ok((await overflow(page)) <= 0);
    // The page keeps what it shows when the session ends.
    process.kill(given.pid, "SIGTERM");
    await says(page, "The session has ended.");
    assert.equal(await page.locator("#session").innerText(), "1 replayed, 1 recorded, 1 missed");
    assert.equal(await page.locator("#requests a").count(), 3);
  },

  async hostile_requests(page, violations, given) {
    await says(page, "connected");
    for (const text of HOSTILE) {
      assert.equal(await ask(given, text, withKey(given)), 200);
      assert.equal(await ask(given, text), 200);
      assert.equal(await ask(given, `missed ${text}`), 424);
    }
    const refused = await fetch(`${given.proxy}/v1/${encodeURI("<img src=x onerror=window.ran=1>")}`, {
      headers: { origin: "http://evil.test" },
    });
    assert.equal(refused.status, 403);
    await request(page, "refused").waitFor();
    await page.waitForFunction(
      (number) => document.querySelectorAll("#requests a").length === number,
      3 * HOSTILE.length + 1,
    );
    await page.waitForFunction((number) => document.querySelectorAll("#list a").length === number, HOSTILE.length);
    let text = await page.locator("#live").evaluate((live) => live.textContent);
    const tags = await page.evaluate(() =>
      [...document.querySelectorAll("#live *, #list *")].map((element) => element.tagName),
    );
    assert.deepEqual([...new Set(tags)].sort(), ["A", "LI", "P", "SPAN", "UL"]);
    for (const link of await page.locator("#side a").all()) {
      const name = await link.getAttribute("href");
      await link.click();
      await page.waitForFunction((name) => location.hash === name && document.querySelector("#detail section"), name);
      await openAll(page);
      text += await page.evaluate(() => document.getElementById("detail").textContent);
      assert.deepEqual(await dangers(page), [], name);
    }
    // The page shows all of it as text, and a change of the text direction ends with its element.
    for (const shown of HOSTILE) assert.ok(text.includes(shown), shown);
    const isolated = await page
      .locator("#requests .title")
      .first()
      .evaluate((title) => getComputedStyle(title).unicodeBidi);
    assert.equal(isolated, "isolate");
    await assertPolicy(page, violations);
  },
};
