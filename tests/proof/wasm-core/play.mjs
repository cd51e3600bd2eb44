// Runs the module, which must have no imports, and prints its log.
import { readFileSync } from "node:fs";

const module = new WebAssembly.Module(readFileSync(process.argv[2]));
const imports = WebAssembly.Module.imports(module);
if (imports.length > 0) {
  console.error("core's module has imports:", imports);
  process.exit(1);
}
const { memory, play, written } = new WebAssembly.Instance(module).exports;
const length = play();
process.stdout.write(new Uint8Array(memory.buffer, written(), length));
