// AG-UI's agent over HTTP, against our server.

import assert from 'node:assert/strict';
import { HttpAgent } from '@ag-ui/client';
import { observed } from './server.mjs';

export function agUi(server) {
  /** Asks, and returns what the page has in the end. */
  async function ask(scenario, { onText, questions = 1, fails = false } = {}) {
    const fetch = observed(server, 'ag-ui');
    const seen = { finished: [], errors: [], failed: [], custom: [], steps: [], calls: [] };
    const agent = new HttpAgent({ url: `${server.base}/ag-ui/${scenario}`, threadId: 'thread', fetch });
    const subscriber = {
      onRunFinishedEvent: ({ event }) => void seen.finished.push(event),
      onRunErrorEvent: ({ event }) => void seen.errors.push(event.message),
      onRunFailed: ({ error }) => void seen.failed.push(error.name),
      onCustomEvent: ({ event }) => void seen.custom.push([event.name, event.value]),
      onStepStartedEvent: ({ event }) => void seen.steps.push(event.stepName),
      onNewToolCall: ({ toolCall }) => void seen.calls.push(toolCall.id),
      onTextMessageContentEvent: ({ event }) => void onText?.(agent, event.delta),
    };
    for (let asked = 0; asked < questions; asked++) {
      agent.messages = [...agent.messages, { id: `question-${asked}`, role: 'user', content: '1 + 2?' }];
      await agent.runAgent({}, subscriber);
    }
    const messages = agent.messages.filter(message => message.role !== 'user');
    return { ...seen, agent, fetch, messages };
  }

  const texts = ({ messages }) =>
    messages.filter(message => message.role === 'assistant' && message.content).map(message => message.content);
  /** Each call with what it was answered. */
  const calls = ({ messages }) => messages.flatMap(({ toolCalls = [] }) => toolCalls).map(call => [
    call.id, call.function.arguments,
    messages.filter(message => message.toolCallId === call.id).map(message => message.content),
  ]);

  /** A request that ends well. */
  async function finishes(scenario, answer) {
    const page = await ask(scenario);
    assert.deepEqual(texts(page), answer);
    assert.deepEqual(page.finished.map(({ outcome }) => outcome.type), ['success']);
    assert.deepEqual([page.errors, page.failed], [[], []]);
    await page.fetch.parts();
    return page;
  }

  /** A request in the middle of a text, a call and a tool when it ends: nothing is left open. */
  async function closes(scenario) {
    const page = await ask(scenario);
    assert.deepEqual(texts(page), ['It ']);
    const answers = calls(page);
    assert.deepEqual(answers.map(([id]) => id), ['c1', 'c2', 'c3']);
    for (const [, , [answer, ...more]] of answers) {
      assert.ok(answer, 'each call says why');
      assert.deepEqual(more, []);
    }
    await page.fetch.parts();
    return page;
  }

  return {
    text: () => finishes('text', ['It is 3']),
    async 'two questions'() {
      const page = await ask('text', { questions: 2 });
      assert.deepEqual(texts(page), ['It is 3', 'It is 3']);
    },
    async reasoning() {
      const page = await finishes('reasoning', ['It is 3']);
      const thoughts = page.messages.filter(message => message.role === 'reasoning');
      assert.deepEqual(thoughts.map(message => message.content), ['I add']);
    },
    async tools() {
      const page = await finishes('tools', ['It is 3']);
      const [add, search, broken, clock] = calls(page);
      assert.deepEqual(add, ['c1', '{"a":1,"b":2}', ['3']]);
      assert.deepEqual(search, ['c2', '{"for":"x"}', ['no such page']]);
      assert.deepEqual(broken.slice(0, 2), ['c3', '{"a":']);
      assert.match(broken[2][0], /not JSON/);
      assert.deepEqual(clock, ['c4', 'now', ['noon']]);
      assert.deepEqual(page.calls, ['c1', 'c2', 'c3', 'c4']);
    },
    async 'a tool of the page'() {
      const page = await finishes('page', []);
      assert.deepEqual(calls(page), [['c1', '{}', []]]);
    },
    async metadata() {
      const page = await finishes('metadata', ['It is']);
      assert.deepEqual(page.custom, [['progress', { done: 1 }]]);
      assert.deepEqual(page.finished[0].usage, [{ model: 'm-1', inputTokens: 7, outputTokens: 3 }]);
    },
    async 'parallel models'() {
      const page = await finishes('parallel', ['one ', 'two goes on', 'It is 3']);
      assert.deepEqual(page.steps, ['agent', 'side', 'side (2)']);
    },
    async 'abort by the client'() {
      const aborted = Promise.withResolvers();
      const page = await ask('abort', {
        onText: agent => {
          agent.abortRun();
          aborted.resolve();
        },
      });
      await aborted.promise;
      assert.deepEqual(texts(page), ['It ']);
      // The client's own event.
      assert.deepEqual([page.finished, page.errors], [[], ['This operation was aborted']]);
      assert.deepEqual(await page.fetch.ends(), ['agent cancelled', 'm cancelled']);
    },
    async 'cancel by the server'() {
      const page = await closes('cancel');
      assert.deepEqual(page.finished.map(({ outcome }) => outcome.type), ['cancelled']);
      assert.deepEqual([page.errors, page.failed], [[], []]);
    },
    async 'hand-over by the server'() {
      const page = await ask('hand-over');
      assert.deepEqual(texts(page), ['It ']);
      assert.deepEqual(calls(page), [['c1', '{}', []], ['c2', '{}', []], ['c3', '{"a":', []]]);
      assert.deepEqual(page.finished.map(({ outcome }) => outcome.type), ['cancelled']);
      assert.deepEqual([page.errors, page.failed], [[], []]);
      await page.fetch.parts();
    },
    async 'error of the server'() {
      const page = await closes('error');
      assert.deepEqual([page.finished, page.errors], [[], ['bad luck']]);
    },
    async 'shutdown of the server'() {
      const page = await closes('shutdown');
      assert.deepEqual(page.finished.map(({ outcome }) => outcome.type), ['cancelled']);
    },
    async lag() {
      const page = await ask('lag');
      assert.equal(page.errors.length, 1);
      assert.match(page.errors[0], /too slow/);
      await page.fetch.parts();
    },
    async retry() {
      const page = await finishes('retry', ['Let me', 'It is 3']);
      assert.deepEqual(calls(page).map(([id, , answers]) => [id, answers]),
        [['c1', ['connection reset']], ['c1-2', ['connection reset']], ['c1-3', ['3']]]);
      assert.equal(calls(page)[2][1], '{"a":1}');
    },
  };
}
