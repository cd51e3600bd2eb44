// The AI SDK's chat, the one below `useChat`, against our server.

import assert from 'node:assert/strict';
import { observed } from './server.mjs';

export function aiSdk(sdk, server) {
  class Chat extends sdk.AbstractChat {
    constructor(init) {
      const state = {
        status: 'ready', error: undefined, messages: [],
        pushMessage: message => (state.messages = [...state.messages, message]),
        popMessage: () => (state.messages = state.messages.slice(0, -1)),
        replaceMessage(index, message) {
          state.messages = state.messages.with(index, structuredClone(message));
          init.onChange?.(message);
        },
        snapshot: structuredClone,
      };
      super({ ...init, state });
    }
  }

  /** Asks, and returns what the page has in the end. */
  async function ask(scenario, { onChange, questions = 1 } = {}) {
    const fetch = observed(server, 'ui');
    const seen = { finishes: [], errors: [], calls: [], data: [], resubmits: 0 };
    const chat = new Chat({
      transport: new sdk.DefaultChatTransport({ api: `${server.base}/ui/${scenario}`, fetch }),
      onChange: message => onChange?.(chat, message),
      onFinish: ({ message, messages, ...how }) => seen.finishes.push(how),
      onError: error => seen.errors.push(error.message),
      onToolCall: ({ toolCall }) => void seen.calls.push(toolCall.toolCallId),
      onData: part => seen.data.push(part),
      sendAutomaticallyWhen() {
        seen.resubmits++;
        return false;
      },
    });
    for (let asked = 0; asked < questions; asked++) await chat.sendMessage({ text: 'What is 1 + 2?' });
    return { ...seen, chat, fetch, message: chat.messages.at(-1), status: chat.status };
  }

  const finished = (finishReason = 'stop') =>
    [{ isAbort: false, isDisconnect: false, isError: false, finishReason }];
  const text = (text, state = 'done') => ({ type: 'text', text, state });
  // Without the fields that have no value, and without the ids of reasoning.
  const plain = parts => JSON.parse(JSON.stringify(parts)).map(({ id, ...part }) => part);
  const step = { type: 'step-start' };

  /** A request that ends well: its parts, and `finish`. */
  async function finishes(scenario, parts, reason) {
    const page = await ask(scenario);
    assert.deepEqual(plain(page.message.parts), parts);
    assert.deepEqual(page.finishes, finished(reason));
    assert.deepEqual(page.errors, []);
    assert.equal(page.status, 'ready');
    const sent = await page.fetch.parts();
    assert.equal(sent.at(-1).type, 'finish');
    return page;
  }

  /** A request in the middle of a text, a call and a tool when it ends: nothing is left open. */
  async function closes(scenario) {
    const page = await ask(scenario);
    const [first, add, search, second, said, broken, ...rest] = plain(page.message.parts);
    assert.deepEqual([first, second, rest], [step, step, []]);
    assert.deepEqual(said, text('It '));
    assert.deepEqual([add, search, broken].map(call => [call.toolCallId, call.state]),
      [['c1', 'output-error'], ['c2', 'output-error'], ['c3', 'output-error']]);
    assert.ok([add, search, broken].every(call => call.errorText), 'each call says why');
    return page;
  }

  return {
    text: () => finishes('text', [step, text('It is 3')]),
    'two questions': async () => {
      const { chat } = await ask('text', { questions: 2 });
      const answers = chat.messages.filter(message => message.role === 'assistant');
      assert.equal(new Set(answers.map(message => message.id)).size, 2);
      for (const { parts } of answers) assert.deepEqual(plain(parts), [step, text('It is 3')]);
    },
    reasoning: () => finishes('reasoning',
      [step, { type: 'reasoning', text: 'I add', state: 'done' }, text('It is 3')]),
    async tools() {
      const { message, calls, fetch } = await ask('tools');
      const parts = plain(message.parts).filter(part => 'toolCallId' in part);
      assert.deepEqual(parts.map(({ type, toolCallId, state }) => [type, toolCallId, state]), [
        ['tool-add', 'c1', 'output-available'], ['tool-search', 'c2', 'output-error'],
        ['tool-add', 'c3', 'output-error'], ['dynamic-tool', 'c4', 'output-available'],
      ]);
      const [add, search, broken, clock] = parts;
      assert.deepEqual([add.input, add.output], [{ a: 1, b: 2 }, 3]);
      assert.deepEqual([search.input, search.errorText], [{ for: 'x' }, 'no such page']);
      assert.match(broken.errorText, /not JSON/);
      assert.deepEqual([clock.toolName, clock.output], ['clock', 'noon']);
      assert.deepEqual(calls, ['c1', 'c2', 'c4']);
      assert.deepEqual(plain(message.parts).at(-1), text('It is 3'));
      await fetch.parts();
    },
    async 'a tool of the page'() {
      const call = { type: 'tool-confirm', toolCallId: 'c1', state: 'input-available', input: {} };
      const page = await finishes('page', [step, call], 'tool-calls');
      assert.deepEqual(page.calls, ['c1']);
    },
    async metadata() {
      const progress = { type: 'data-progress', data: { done: 1 } };
      const page = await finishes('metadata', [progress, step, text('It is')], 'length');
      assert.deepEqual(page.message.metadata, { usage: { inputTokens: 7, outputTokens: 3 } });
      assert.deepEqual(page.data, [progress]);
    },
    'parallel models': () => finishes('parallel',
      [step, text('one '), text('two goes on'), step, text('It is 3')]),
    async 'abort by the client'() {
      const stopped = Promise.withResolvers();
      const page = await ask('abort', {
        onChange: (chat, message) => {
          if (message.parts.some(part => part.text === 'It ')) stopped.resolve(chat.stop());
        },
      });
      await stopped.promise;
      assert.deepEqual(page.finishes.map(({ isAbort, isError }) => [isAbort, isError]), [[true, false]]);
      assert.deepEqual(plain(page.message.parts), [step, text('It ', 'streaming')]);
      assert.deepEqual(page.errors, []);
      assert.deepEqual(await page.fetch.ends(), ['agent cancelled', 'm cancelled']);
    },
    async 'cancel by the server'() {
      const page = await closes('cancel');
      assert.deepEqual(page.finishes.map(({ isError }) => isError), [false]);
      assert.equal(page.resubmits, 1, 'a page that sends by itself is asked, as the README says');
      assert.equal((await page.fetch.parts()).at(-1).type, 'abort');
    },
    async 'hand-over by the server'() {
      const page = await ask('hand-over');
      const calls = plain(page.message.parts).filter(part => 'toolCallId' in part);
      assert.deepEqual(calls.map(call => [call.toolCallId, call.state]),
        [['c1', 'input-available'], ['c2', 'input-available'], ['c3', 'input-streaming']]);
      assert.ok(plain(page.message.parts).some(part => part.text === 'It ' && part.state === 'done'));
      assert.deepEqual(page.errors, []);
      assert.deepEqual(page.finishes.map(({ isError }) => isError), [false]);
      assert.deepEqual((await page.fetch.parts()).at(-1), { type: 'abort', reason: 'handed_over' });
    },
    async 'error of the server'() {
      const page = await closes('error');
      assert.deepEqual(page.errors, ['bad luck']);
      assert.deepEqual(page.finishes.map(({ isError }) => isError), [true]);
      assert.equal(page.status, 'error');
      assert.equal(page.resubmits, 0);
      assert.equal((await page.fetch.parts()).at(-1).type, 'error');
    },
    async 'shutdown of the server'() {
      const page = await closes('shutdown');
      assert.equal((await page.fetch.parts()).at(-1).type, 'abort');
    },
    async lag() {
      const page = await ask('lag');
      assert.equal(page.errors.length, 1);
      assert.match(page.errors[0], /too slow/);
      await page.fetch.parts();
    },
    async retry() {
      const { message, fetch } = await ask('retry');
      const parts = plain(message.parts);
      assert.deepEqual(parts.filter(part => part.type === 'text'), [text('Let me'), text('It is 3')]);
      const calls = parts.filter(part => 'toolCallId' in part);
      assert.deepEqual(calls.map(({ toolCallId, state }) => [toolCallId, state]),
        [['c1', 'output-error'], ['c1-2', 'output-error'], ['c1-3', 'output-available']]);
      assert.deepEqual([calls[2].input, calls[2].output], [{ a: 1 }, 3]);
      await fetch.parts();
    },
  };
}
