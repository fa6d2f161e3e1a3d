// Makes the folder of a platform's package from its command: node scripts/platform.mjs PLATFORM COMMAND FOLDER
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import command from "../lib/command.cjs";

const here = path.dirname(fileURLToPath(import.meta.url));

/** The manifest of the package for a platform such as `linux-x64-musl`, with the version of the main package. */
export function manifestOf(platform, main) {
  const [os, cpu, libc] = platform.split("-");
  const { version, license, repository, homepage, bugs, engines } = main;
  return {
    name: `@mistral-cassette/${platform}`,
    version,
    description: `The command mistral-cassette for ${platform}; install mistral-cassette, which selects it`,
    license,
    repository,
    homepage,
    bugs,
    engines,
    os: [os],
    cpu: [cpu],
    ...(os === "linux" ? { libc: [libc ?? "glibc"] } : {}),
    files: ["mistral-cassette*", "LICENSE-*"],
    preferUnplugged: true,
  };
}

function make(platform, executable, folder) {
  if (!command.PLATFORMS.includes(platform)) {
    throw new Error(`unknown platform: ${platform}\nhint: it is one of ${command.PLATFORMS.join(", ")}`);
  }
  const main = JSON.parse(readFileSync(path.join(here, "../package.json"), "utf8"));
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "package.json"), `${JSON.stringify(manifestOf(platform, main), null, 2)}\n`);
  writeFileSync(
    path.join(folder, "README.md"),
    `# @mistral-cassette/${platform}\n\nThe command of [mistral-cassette](${main.homepage}) for ${platform}.\n`,
  );
  const name = platform.startsWith("win32") ? "mistral-cassette.exe" : "mistral-cassette";
  copyFileSync(executable, path.join(folder, name));
  chmodSync(path.join(folder, name), 0o755);
  for (const licence of ["LICENSE-APACHE", "LICENSE-MIT"]) {
    copyFileSync(path.join(here, "../..", licence), path.join(folder, licence));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [platform, executable, folder] = process.argv.slice(2);
  if (!folder) {
    console.error("usage: node scripts/platform.mjs PLATFORM COMMAND FOLDER");
    process.exit(2);
  }
  make(platform, executable, folder);
}
