// Runs every scenario with every client: `node main.mjs SERVER`.

import * as ai6 from 'ai-6';
import * as ai7 from 'ai-7';
import { agUi } from './ag_ui.mjs';
import { aiSdk } from './ai.mjs';
import { startServer } from './server.mjs';

const MOST_MILLISECONDS = 20_000;

const server = await startServer(process.argv[2]);
const clients = { 'ai 6': aiSdk(ai6, server), 'ai 7': aiSdk(ai7, server), '@ag-ui/client': agUi(server) };
let failed = 0;
for (const [client, scenarios] of Object.entries(clients)) {
  for (const [scenario, run] of Object.entries(scenarios)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('it does not end')), MOST_MILLISECONDS);
    });
    try {
      await Promise.race([run(), late]);
    } catch (error) {
      failed++;
      console.log(`FAILED: ${client}, ${scenario}: ${error.stack}`);
    } finally {
      clearTimeout(timer);
    }
  }
  console.log(`${client}: ${Object.keys(scenarios).length} scenarios`);
}
server.stop();
process.exit(failed === 0 ? 0 : 1);
