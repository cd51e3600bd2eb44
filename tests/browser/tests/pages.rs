//! The examples with a page, as a user meets them. `cargo test -- --test-threads 1` has one browser at a time.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::{Client, Locator};
use rappel_browser::{Browser, Example, Failed, SOON};
use rappel_tests::openai_server::{MARKED_KEY, Reply, Script, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A model's server, the page for it, and a browser that shows it.
struct Stage {
    model: Server,
    page: Example,
    browser: Browser,
}

impl Stage {
    async fn start(script: Script) -> Self {
        let model = Server::start(script).unwrap();
        let arguments = ["--port", "0", "--base-url", &model.base_url()];
        let page = Example::start("chat_page", &arguments, Some(MARKED_KEY)).unwrap();
        let browser = Browser::start((1280, 800), false, 1.0).await.unwrap();
        browser.client.goto(&page.url).await.unwrap();
        Self { model, page, browser }
    }

    fn client(&self) -> &Client {
        &self.browser.client
    }

    async fn ask(&self, question: &str) {
        let field = self.find("textarea").await;
        field.send_keys(&format!("{question}{}", char::from(Key::Enter))).await.unwrap();
    }

    async fn find(&self, css: &str) -> Element {
        let wait = self.client().wait().at_most(SOON);
        wait.for_element(Locator::Css(css)).await.unwrap_or_else(|_| panic!("no {css}"))
    }

    /// Waits until the shown conversation has that text.
    async fn see(&self, text: &str) {
        let xpath = format!("//*[@role='log' and not(@hidden)]//*[contains(., {text:?})]");
        let wait = self.client().wait().at_most(SOON);
        let found = wait.for_element(Locator::XPath(&xpath)).await;
        if found.is_err() {
            let shown = self.find("[role=log]:not([hidden])").await.text().await;
            panic!("{text:?} is not in {shown:?}");
        }
    }

    async fn run(&self, script: &str) -> Value {
        self.client().execute(script, Vec::new()).await.unwrap()
    }

    async fn done(self) {
        self.browser.close().await.unwrap();
    }
}

/// A model that writes for minutes.
fn talker() -> Script {
    Script::tokens((0..10_000).map(|number| format!("word{number} ")))
        .paced(Duration::from_millis(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_brings_the_reasoning_the_tool_the_answer_and_its_runs() {
    let stage = Stage::start(Script::made(|request| {
        let messages = request["messages"].as_array().unwrap();
        match messages.last().unwrap()["role"].as_str() {
            Some("tool") => Reply::text("It is 42."),
            _ => Reply::default().reasoning("I calculate.").call(
                "c",
                "calculator",
                &json!({"expression": "6 * 7"}),
            ),
        }
    }))
    .await;
    stage.ask("What is 6 * 7?").await;
    for text in ["What is 6 * 7?", "I calculate.", "6 * 7", "42", "It is 42.", "tokens"] {
        stage.see(text).await;
    }
    // An answer that is complete says so to a screen reader.
    stage.find("[role=log][aria-busy=false]").await;
    assert_eq!(
        stage.find("#status").await.prop("textContent").await.unwrap().unwrap(),
        "The answer is complete."
    );
    let names = "return [...document.querySelectorAll('.runs li > .run .name')].map(name => name.textContent)";
    assert_eq!(
        stage.run(names).await,
        json!(["agent", "gpt-4o-mini", "calculator", "gpt-4o-mini"])
    );
    let states =
        "return [...document.querySelectorAll('.runs li')].map(run => run.className.split(' ')[0])";
    assert_eq!(stage.run(states).await, json!(["done", "done", "done", "done"]));
    // The next question goes with the conversation, and the key is nowhere.
    stage.ask("And again?").await;
    stage.find(".turn:nth-of-type(2) .text").await;
    let sent = stage.model.requests().last().unwrap().body["messages"].to_string();
    assert!(sent.contains("It is 42.") && sent.contains("And again?"), "{sent}");
    assert!(!stage.client().source().await.unwrap().contains(MARKED_KEY));
    stage.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_ends_the_answer_here_and_at_the_model() {
    let stage = Stage::start(talker()).await;
    for by_key in [false, true] {
        stage.ask("Talk").await;
        stage.find(".turn:last-of-type .text").await;
        match by_key {
            false => stage.find("#stop").await.click().await.unwrap(),
            true => {
                let escape = char::from(Key::Escape).to_string();
                stage.find("textarea").await.send_keys(&escape).await.unwrap();
            }
        }
        stage.find(".turn:last-of-type .note").await;
        stage.see("Stopped.").await;
        stage.find(".turn:last-of-type .runs li.cancelled li.cancelled").await;
    }
    assert!(stage.model.wait_broken_off(2, SOON), "the sockets of the model are open");
    stage.page.logs(4, "cancelled").unwrap();
    stage.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_tab_cancels_the_agent_and_its_model() {
    let stage = Stage::start(talker()).await;
    stage.ask("Talk").await;
    stage.find(".text").await;
    // The browser stays: only the tab is closed.
    let tab = stage.client().window().await.unwrap();
    let other = stage.client().new_window(true).await.unwrap();
    stage.client().switch_to_window(tab).await.unwrap();
    stage.client().close_window().await.unwrap();
    assert!(stage.model.wait_broken_off(1, SOON), "the socket of the model is open");
    stage.page.logs(2, "cancelled").unwrap();
    stage.client().switch_to_window(other.handle).await.unwrap();
    stage.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_that_the_server_is_gone() {
    let Stage { model, page, browser } = Stage::start(talker()).await;
    let stage = Stage { model, page, browser };
    stage.ask("Talk").await;
    stage.find(".text").await;
    let Stage { model, page, browser } = stage;
    drop(page);
    let wait = || browser.client.wait().at_most(SOON);
    let alert = wait().for_element(Locator::Css("[role=alert]")).await.unwrap();
    let text = alert.text().await.unwrap();
    assert!(text.contains("The connection to the server was lost."), "{text}");
    // Trying again does not help.
    alert.find(Locator::Css("button")).await.unwrap().click().await.unwrap();
    let gone = "//*[@role='alert' and contains(., 'The server does not answer.')]";
    wait().for_element(Locator::XPath(gone)).await.unwrap();
    drop(model);
    browser.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_model_is_text() {
    let evil =
        r#"<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>"#;
    let calls = json!({"expression": evil});
    let stage = Stage::start(Script::made(move |request| {
        let messages = request["messages"].as_array().unwrap();
        match messages.last().unwrap()["role"].as_str() {
            Some("tool") => Reply::text(evil),
            _ => Reply::default().reasoning(evil).call("c", evil, &calls),
        }
    }))
    .await;
    stage.ask(evil).await;
    stage.find("[role=log][aria-busy=false]").await;
    assert_eq!(stage.find(".text").await.text().await.unwrap(), evil);
    assert_eq!(stage.find(".tool b").await.text().await.unwrap(), evil);
    let made = "return document.querySelectorAll('main img, main script, nav img').length";
    assert_eq!(stage.run(made).await, 0);
    assert_eq!(stage.client().title().await.unwrap(), "rappel");
    stage.done().await;
}

/// Asks as a program does, and returns the body of the answer.
async fn plain_client(url: String, question: String) -> Result<String, Failed> {
    let address = url.trim_start_matches("http://");
    let mut socket = tokio::net::TcpStream::connect(address).await?;
    let body = json!({"messages": [{"role": "user", "content": question}]}).to_string();
    let head = "POST /api/chat HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_conversations_and_fifty_clients_are_answered_at_once() {
    let stage = Stage::start(Script::echo().gated()).await;
    for number in 0..6 {
        if number > 0 {
            stage.find("#new").await.click().await.unwrap();
        }
        stage.ask(&format!("browser-{number}")).await;
    }
    // The browser has six connections to a host, so that the sixth answer waits.
    stage.see("Waiting: 5 answers are being written.").await;
    let clients: Vec<_> = (0..50)
        .map(|number| {
            tokio::spawn(plain_client(stage.page.url.clone(), format!("client-{number}.")))
        })
        .collect();
    // No answer goes on before all have begun.
    let all_have_begun = async {
        while stage.model.requests().len() < 55 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, all_have_begun).await.unwrap();
    stage.model.release(1000);
    for (number, client) in clients.into_iter().enumerate() {
        let answer = client.await.unwrap().unwrap();
        assert!(answer.contains(&format!(r#""delta":"client-{number}.""#)), "{answer}");
        assert!(answer.ends_with("data: [DONE]\n\n"), "{answer}");
    }
    // The newest conversation is shown first.
    for number in (0..6).rev() {
        let button = format!("nav li:nth-child({}) button", 6 - number);
        stage.find(&button).await.click().await.unwrap();
        let text = stage.find("[role=log]:not([hidden])[aria-busy=false] .text").await;
        assert_eq!(text.text().await.unwrap(), format!("browser-{number}"));
    }
    stage.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_short_examples_bring_the_tokens_into_the_page() {
    let browser = Browser::start((800, 600), false, 1.0).await.unwrap();
    for name in ["axum_sse", "smol_sse"] {
        let page = Example::start(name, &[], None).unwrap();
        browser.client.goto(&page.url).await.unwrap();
        browser.client.find(Locator::Css("button")).await.unwrap().click().await.unwrap();
        let joke = "//*[@role='log' and starts-with(., 'Why don') and contains(., 'everything.')]";
        let wait = browser.client.wait().at_most(SOON);
        wait.for_element(Locator::XPath(joke)).await.unwrap_or_else(|_| panic!("{name}"));
    }
    browser.close().await.unwrap();
}
