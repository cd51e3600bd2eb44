// Runs the module as wasm-bindgen has made it, and prints its log.
const { play, time, hang, local } = require(process.argv[2]);

async function main() {
  process.stdout.write(await play());
  await time();
  await hang();
  await local();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
