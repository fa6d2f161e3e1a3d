// Opens pages in Chromium. Each line on stdin is JSON, `{"case", "address"}` and what else the case needs. The answer on stdout is
// "well" or the error, and an empty line. One browser serves all cases, each in a context of its own, until stdin ends. CHROMIUM
// is the path of the browser.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { cases as live } from "./live.mjs";
import { cases as report } from "./report.mjs";

const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Opens a page and collects the events that must not happen in any case: a report loads nothing, a live view its own pages. */
async function watched(page, address, violations) {
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) =>
      console.error(`violation: ${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  const isOwn = (url) => /^(file|data):/.test(url) || url.startsWith(address);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && violations.push(message.text()));
  page.on("pageerror", (error) => violations.push(String(error)));
  page.on("request", (request) => isOwn(request.url()) || violations.push(`request: ${request.url()}`));
  page.on("dialog", (dialog) => {
    violations.push(`dialog: ${dialog.message()}`);
    return dialog.dismiss();
  });
  await page.goto(address);
  await page.waitForFunction(() => document.getElementById("count").textContent);
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ARGUMENTS });

async function run(given) {
  const violations = [];
  const isReport = given.case in report;
  const context = await browser.newContext({ offline: isReport });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    await watched(page, given.address, violations);
    await (isReport ? report : live)[given.case](page, violations, given);
    assert.equal(
      await page.evaluate(() => [window.ran, {}.ran].some((ran) => ran !== undefined)),
      false,
      "a script of a recording has run",
    );
    assert.deepEqual(violations, []);
  } finally {
    await context.close();
  }
}

try {
  for await (const line of createInterface({ input: process.stdin })) {
    const result = await run(JSON.parse(line)).then(
      () => "well",
      (error) => String(error.stack),
    );
    console.log(`${result.replaceAll(/\n\s*\n/g, "\n")}\n`);
  }
} finally {
  await browser.close();
}
