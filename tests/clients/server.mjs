// Our server, and the requests to it: each response's headers and body are kept, and checked.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export async function startServer(program) {
  // It ends when its input ends, so also if this process dies.
  const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
  for await (const address of createInterface({ input: child.stdout })) {
    return { base: `http://${address}`, stop: () => child.stdin.end() };
  }
  throw new Error('the server does not start');
}

let requests = 0;

/** A `fetch` for a client, which keeps what the server answers. */
export function observed(server, protocol) {
  const seen = [];
  const observe = async (url, init) => {
    const name = `request-${++requests}`;
    const headers = { ...Object.fromEntries(new Headers(init.headers)), 'x-request': name };
    const response = await fetch(url, { ...init, headers });
    const [ours, theirs] = response.body.tee();
    const body = new Response(ours).text().catch(() => null);
    seen.push({ name, headers: response.headers, body });
    return new Response(theirs, { status: response.status, headers: response.headers });
  };

  /** The parts of the last response, whose headers and body are right. */
  observe.parts = async () => {
    const { headers, body } = seen.at(-1);
    assert.equal(headers.get('content-type'), 'text/event-stream');
    assert.equal(headers.get('cache-control'), 'no-cache');
    assert.equal(headers.get('x-accel-buffering'), 'no');
    assert.equal(headers.get('x-vercel-ai-ui-message-stream'), protocol === 'ui' ? 'v1' : null);
    const text = await body;
    assert.equal(await flaw(server, protocol, text), '', text);
    const frames = text.split('\n\n').slice(0, -1);
    const cut = frames.slice(0, -1).map(frame => `${frame}\n\n`).join('');
    assert.match(await flaw(server, protocol, cut), /./, 'a body that is cut is refused');
    const data = frames.map(frame => frame.replace('data: ', ''));
    return data.filter(text => text !== '[DONE]').map(text => JSON.parse(text));
  };

  /** How the runs of the last request ended, when they all have. */
  observe.ends = async () => (await fetch(`${server.base}/ends/${seen.at(-1).name}`)).json();

  return observe;
}

/** What is wrong with a body, by the grammar of rappel-streams. */
async function flaw(server, protocol, body) {
  const response = await fetch(`${server.base}/check/${protocol}`, { method: 'POST', body });
  assert.ok([204, 422].includes(response.status), `status ${response.status}`);
  return response.text();
}
