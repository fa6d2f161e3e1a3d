// What the cases of all pages need.
import assert from "node:assert/strict";

export const titles = (page) => page.locator("#list .title").allTextContents();

/** Opens the first recording that contains this phrase and returns its text. */
export async function opened(page, words) {
  await page.fill("#search", `"${words}"`);
  assert.doesNotMatch(await count(page), /^0 /, words);
  await page.locator("#list a").first().click();
  await page.waitForSelector('#list li:first-child a[aria-current="true"]');
  const text = await page.locator("#detail").innerText();
  await page.fill("#search", "");
  await count(page);
  return text;
}

/** The count above the list, once the search is finished. */
export async function count(page) {
  await page.waitForFunction(() => !document.getElementById("count").textContent.includes("searching"));
  return page.locator("#count").innerText();
}

export async function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
}

/** Opens every section of what is shown, and presses every button in it. */
export function openAll(page) {
  return page.evaluate(async () => {
    for (const details of document.querySelectorAll("#detail details")) details.open = true;
    await new Promise((done) => setTimeout(done));
    for (const button of document.querySelectorAll("#detail details button, #detail .pace button")) button.click();
  });
}

/** What could run or load something in what is shown. */
export function dangers(page) {
  return page.evaluate(() => {
    const tags = "script, a, iframe, object, embed, svg, form, link, base, [onerror], [onload], [style*=url]";
    const inside = [...document.querySelectorAll("#detail *")].filter((element) => element.matches(tags));
    const sources = [...document.querySelectorAll("#detail img, #detail audio")].map((element) => element.src);
    return [
      ...inside.map((element) => element.outerHTML),
      ...sources.filter(
        (source) => !/^data:(image|audio)\/(png|jpeg|gif|webp|avif|mpeg|wav|ogg|flac|webm|mp4);base64,/.test(source),
      ),
    ];
  });
}

/** Asserts that the policy of the page blocks what a bug in its scripts could do. */
export async function assertPolicy(page, violations) {
  assert.deepEqual(violations, []);
  const refused = await page.evaluate(async () => {
    const blocked = [];
    addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
    try {
      document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=window.ran=1>");
    } catch (error) {
      blocked.push(error.name);
    }
    new Image().src = "https://example.com/beacon.png";
    await fetch("https://example.com/").catch(() => {});
    await new Promise((done) => setTimeout(done));
    // A live view has its policy twice: in the page, and in a header.
    return [...new Set(blocked)].sort();
  });
  assert.deepEqual(refused, ["TypeError", "connect-src", "img-src", "require-trusted-types-for"]);
  violations.length = 0;
}

/** The texts that are marked as found, each with the element that it is in. */
export function marked(page) {
  return page.evaluate(() =>
    [...(CSS.highlights.get("found") ?? [])].map((range) => {
      const { parentElement } = range.startContainer;
      return { text: String(range), within: `${parentElement.tagName} ${parentElement.className}` };
    }),
  );
}
