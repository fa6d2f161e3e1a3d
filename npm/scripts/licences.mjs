// Before `npm pack`: the licences of the project are part of the package.
import { copyFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

for (const name of ["LICENSE-APACHE", "LICENSE-MIT"]) {
  copyFileSync(
    fileURLToPath(new URL(`../../${name}`, import.meta.url)),
    fileURLToPath(new URL(`../${name}`, import.meta.url)),
  );
}
