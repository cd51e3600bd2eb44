//! Takes the picture of chat_page in the README, with the embedded model:
//!
//!     cargo run --manifest-path tests/browser/Cargo.toml --bin chat_page_picture -- docs/chat_page.png
//!
//! Further arguments are the width in CSS pixels, and `dark`.

#![forbid(unsafe_code)]

use std::env;
use std::fs;

use fantoccini::Locator;
use fantoccini::key::Key;
use rappel_browser::{Browser, Example, Failed, SOON};

const QUESTIONS: [&str; 2] =
    ["What is 6 * 7?", "What is 12 * 3.5, and what happens when the client goes away?"];

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = env::args().skip(1);
    let path = arguments.next().ok_or("name the file of the picture")?;
    let width = arguments.next().map_or(Ok(1280), |width| width.parse())?;
    let is_dark = arguments.next().is_some_and(|theme| theme == "dark");
    let page = Example::start("chat_page", &["--port", "0", "--dir", "rappel/guide"], None)?;
    let browser = Browser::start((width, 800), is_dark, 1.5).await?;
    let client = &browser.client;
    client.goto(&page.url).await?;
    for question in QUESTIONS {
        if question != QUESTIONS[0] {
            // By a script, so that the picture has no pointer.
            client.execute("document.getElementById('new').click()", Vec::new()).await?;
        }
        let field = client.find(Locator::Css("textarea")).await?;
        field.send_keys(&format!("{question}{}", char::from(Key::Enter))).await?;
        let end = Locator::Css("[role=log]:not([hidden])[aria-busy=false]");
        client.wait().at_most(SOON).for_element(end).await?;
    }
    fs::write(path, client.screenshot().await?)?;
    browser.close().await
}
