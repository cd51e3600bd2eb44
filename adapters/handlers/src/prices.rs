//! What tokens cost.

use std::collections::HashMap;
use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use rappel_core::{Event, TokenUsage, Value};

/// The tokens of one or more requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tokens {
    /// Tokens of the prompt, including those from the cache.
    pub input: u64,
    /// Tokens that the model wrote, including its reasoning.
    pub output: u64,
    /// Tokens of the prompt that came from the provider's cache.
    pub cached: u64,
    /// Tokens of the prompt that were written to the provider's cache.
    pub cache_write: u64,
    /// Tokens of the output that were reasoning.
    pub reasoning: u64,
}

impl Tokens {
    /// Makes a count of input and output tokens.
    #[must_use]
    pub fn new(input: u64, output: u64) -> Self {
        Self { input, output, ..Self::default() }
    }

    /// Returns the sum of input and output.
    #[must_use]
    pub fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl From<&TokenUsage> for Tokens {
    fn from(usage: &TokenUsage) -> Self {
        Self {
            input: usage.prompt_tokens,
            output: usage.completion_tokens,
            cached: usage.cached_tokens.unwrap_or_default(),
            cache_write: cache_write(usage),
            reasoning: usage.reasoning_tokens.unwrap_or_default(),
        }
    }
}

/// The tokens that were written to the cache: the field, or the names that providers use.
fn cache_write(usage: &TokenUsage) -> u64 {
    if let Some(tokens) = usage.cache_write_tokens {
        return tokens;
    }
    let own = usage.extra.get("cache_creation_input_tokens");
    let details = usage.extra.get("prompt_tokens_details");
    let detail = details.and_then(|details| details.get("cache_creation_tokens"));
    own.or(detail).and_then(Value::as_u64).unwrap_or_default()
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, more: Self) {
        self.input = self.input.saturating_add(more.input);
        self.output = self.output.saturating_add(more.output);
        self.cached = self.cached.saturating_add(more.cached);
        self.cache_write = self.cache_write.saturating_add(more.cache_write);
        self.reasoning = self.reasoning.saturating_add(more.reasoning);
    }
}

/// The price of a model, in US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Price {
    /// For tokens of the prompt.
    pub input: f64,
    /// For tokens that the model writes.
    pub output: f64,
    /// For tokens of the prompt that come from the cache. Without it they cost as much as others.
    pub cached: Option<f64>,
    /// For tokens of the prompt that are written to the cache. Without it they cost as much as
    /// others.
    pub cache_write: Option<f64>,
}

impl Price {
    /// Makes a price in US dollars for a million tokens.
    #[must_use]
    pub const fn per_million(input: f64, output: f64) -> Self {
        Self { input, output, cached: None, cache_write: None }
    }

    /// Sets the price of tokens from the cache.
    #[must_use]
    pub const fn cached(mut self, price: f64) -> Self {
        self.cached = Some(price);
        self
    }

    /// Sets the price of tokens that are written to the cache.
    #[must_use]
    pub const fn cache_write(mut self, price: f64) -> Self {
        self.cache_write = Some(price);
        self
    }

    fn of(&self, tokens: &Tokens) -> f64 {
        let plain = tokens.input.saturating_sub(tokens.cached).saturating_sub(tokens.cache_write);
        let millionths = plain as f64 * self.input
            + tokens.cached as f64 * self.cached.unwrap_or(self.input)
            + tokens.cache_write as f64 * self.cache_write.unwrap_or(self.input)
            + tokens.output as f64 * self.output;
        millionths / 1e6
    }
}

/// Prices of models: a table of yours, and with the feature `prices` the table of `genai-prices`.
///
/// A model that is in neither has no price. It is never counted as free.
///
/// ```
/// use rappel_handlers::{Price, Prices, Tokens};
///
/// let prices = Prices::new().with("my-model", Price::per_million(0.5, 1.5));
/// assert_eq!(prices.cost(None, "my-model", &Tokens::new(1_000_000, 2_000_000)), Some(3.5));
/// assert_eq!(prices.cost(None, "another", &Tokens::new(1, 1)), None);
/// ```
#[derive(Clone, Default)]
pub struct Prices {
    own: Arc<HashMap<String, Price>>,
    #[cfg(feature = "prices")]
    bundled: Option<Arc<bundled::Bundled>>,
}

/// # Panics
/// If it is negative, infinite or not a number.
#[track_caller]
pub(crate) fn assert_dollars(what: impl fmt::Display, dollars: f64) {
    assert!(
        dollars.is_finite() && dollars >= 0.0,
        "{what} is ${dollars}: it must be a number of dollars, and not negative"
    );
}

impl Prices {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The table of the crate `genai-prices`, as of its release.
    ///
    /// It is decoded when it is first used, which takes tens of milliseconds, or on a thread of its
    /// own with [`ready`](Self::ready). The handlers of this crate do one or the other, so that the
    /// event loop does not decode it.
    #[cfg(feature = "prices")]
    #[must_use]
    pub fn bundled() -> Self {
        Self { bundled: Some(Arc::default()), ..Self::default() }
    }

    /// Adds the price of a model, or replaces it. It counts before a bundled one.
    ///
    /// # Panics
    /// If a part of the price is negative, infinite or not a number. A budget could not hold with it.
    #[must_use]
    #[track_caller]
    pub fn with(mut self, model: impl Into<String>, price: Price) -> Self {
        let model = model.into();
        let parts = [Some(price.input), Some(price.output), price.cached, price.cache_write];
        for part in parts.into_iter().flatten() {
            assert_dollars(format_args!("the price of `{model}`"), part);
        }
        Arc::make_mut(&mut self.own).insert(model, price);
        self
    }

    /// Returns the cost of a request in US dollars. `None` if the model has no price.
    ///
    /// `provider` is the provider's name, if it is known: `openai`.
    #[must_use]
    pub fn cost(&self, provider: Option<&str>, model: &str, tokens: &Tokens) -> Option<f64> {
        if let Some(price) = self.own.get(model) {
            return Some(price.of(tokens));
        }
        #[cfg(feature = "prices")]
        if let Some(bundled) = &self.bundled {
            return bundled.cost(provider, model, tokens);
        }
        let _ = provider;
        None
    }

    /// Waits until the bundled table is decoded. A thread of its own decodes it. Ready at once if
    /// there is nothing to decode.
    pub async fn ready(&self) {
        #[cfg(feature = "prices")]
        if self.bundled.is_some() {
            bundled::decode().await;
        }
    }
}

impl fmt::Debug for Prices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prices").field("own", &self.own.len()).finish_non_exhaustive()
    }
}

/// What a model's start says about the model.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) provider: Option<String>,
    pub(crate) model: String,
}

impl Asked {
    /// `None` if the event is not the start of a model.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let (name, provider, params) = match event {
            Event::LlmStart(start) => (&start.name, &start.provider, &start.invocation_params),
            Event::ChatModelStart(start) => {
                (&start.name, &start.provider, &start.invocation_params)
            }
            _ => return None,
        };
        let text = |key: &str| params.get(key).and_then(Value::as_str).map(str::to_owned);
        let model = text("model").or_else(|| text("model_name"));
        Some(Self { provider: provider.clone(), model: model.unwrap_or_else(|| name.to_string()) })
    }
}

#[cfg(feature = "prices")]
mod bundled {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, PoisonError};
    use std::thread;

    use genai_prices::{Calculator, ErrorKind, PriceRequest, Usage, UsageKey};

    use super::Tokens;

    /// Maximum number of models whose provider is remembered. Names of models come from servers.
    const MOST_MODELS: usize = 1024;

    static DECODED: AtomicBool = AtomicBool::new(false);

    type Asked = (Option<String>, String);

    /// The provider of each model that was asked about. `None` if the table lacks the model.
    #[derive(Default)]
    pub(super) struct Bundled(Mutex<HashMap<Asked, Option<String>>>);

    impl Bundled {
        pub(super) fn cost(
            &self,
            provider: Option<&str>,
            model: &str,
            tokens: &Tokens,
        ) -> Option<f64> {
            let asked = (provider.map(str::to_owned), model.to_owned());
            let known = self.with(|known| known.get(&asked).cloned());
            let usage = usage(tokens);
            match known {
                Some(None) => None,
                Some(Some(provider)) => {
                    let request = PriceRequest::new(model, &usage).with_provider_id(&provider);
                    calculator().calculate(&request).ok().map(|price| price.total_price)
                }
                None => {
                    // A provider that the table lacks: the model's name may be enough.
                    let with_provider = provider.map(|provider| {
                        let request = PriceRequest::new(model, &usage).with_provider_id(provider);
                        calculator().calculate(&request)
                    });
                    let price = match with_provider {
                        Some(Ok(price)) => Ok(price),
                        Some(Err(error)) if error.kind() != ErrorKind::ProviderNotFound => {
                            Err(error)
                        }
                        _ => calculator().calculate(&PriceRequest::new(model, &usage)),
                    };
                    let learned = match &price {
                        Ok(price) => Some(price.provider_id.clone()),
                        Err(error) => match error.kind() {
                            ErrorKind::ProviderNotFound | ErrorKind::ModelNotFound => None,
                            _ => return None,
                        },
                    };
                    self.with(|known| {
                        if known.len() >= MOST_MODELS {
                            known.clear();
                        }
                        known.insert(asked, learned);
                    });
                    price.ok().map(|price| price.total_price)
                }
            }
        }

        fn with<T>(&self, f: impl FnOnce(&mut HashMap<Asked, Option<String>>) -> T) -> T {
            f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    fn calculator() -> &'static Calculator {
        let calculator = Calculator::bundled();
        DECODED.store(true, Ordering::Release);
        calculator
    }

    fn usage(tokens: &Tokens) -> Usage {
        // A server's counts may contradict each other, and the table then refuses them.
        let cached = tokens.cached.min(tokens.input);
        let written = tokens.cache_write.min(tokens.input - cached);
        Usage::from([
            (UsageKey::INPUT_TOKENS, tokens.input as f64),
            (UsageKey::CACHE_READ_TOKENS, cached as f64),
            (UsageKey::CACHE_WRITE_TOKENS, written as f64),
            (UsageKey::OUTPUT_TOKENS, tokens.output as f64),
        ])
    }

    /// Decodes the table on a thread of its own, or here if there is no thread.
    pub(super) async fn decode() {
        if DECODED.load(Ordering::Acquire) {
            return;
        }
        let (done, decoded) = futures_channel::oneshot::channel::<()>();
        let decode = move || {
            calculator();
            drop(done);
        };
        if thread::Builder::new().name("prices".into()).spawn(decode).is_err() {
            calculator();
        }
        // The sender is dropped when the table is decoded.
        let _ = decoded.await;
    }
}
