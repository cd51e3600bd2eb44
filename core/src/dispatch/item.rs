//! An event in a lane.

use alloc::sync::Arc;
use core::time::Duration;

use super::context::is_same;
use super::{Current, Mailbox, RunNode};
use crate::model::context::{EventContext, RecordedAt};
use crate::model::emitter::Captured;
use crate::model::event::{Event, EventKind, LlmNewToken};
use crate::model::run_info::RunKind;
use crate::model::token::Token;
use crate::queue::{Item, Part};

/// An accepted event that several lanes share.
#[derive(Clone)]
pub(crate) struct Envelope {
    pub(crate) event: Event,
    pub(crate) kind: RunKind,
    pub(crate) sequence: Option<u64>,
    pub(crate) time: Option<Duration>,
    /// Where it was recorded, if it is replayed.
    pub(crate) recorded: Option<Arc<RecordedAt>>,
    pub(crate) captured: Captured,
    /// Where its emitter was, if not where the run was admitted.
    pub(crate) emitter: Option<Current>,
}

impl Envelope {
    pub(crate) fn new(event: &Event, cx: &EventContext, emitter: Option<Current>) -> Self {
        Self {
            event: event.clone(),
            kind: cx.kind(),
            sequence: cx.sequence,
            time: cx.time,
            recorded: cx.recorded.clone(),
            captured: cx.emitter.clone(),
            emitter,
        }
    }

    /// The envelope of a token that was kept by value: nothing else belongs to it.
    fn of_token(token: LlmNewToken, sequence: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            event: Event::LlmNewToken(token),
            kind: RunKind::Llm,
            sequence,
            time: None,
            recorded: None,
            captured: Captured(None),
            emitter: None,
        })
    }

    /// Sets what belongs to the event in its context.
    pub(crate) fn describe(&self, cx: &mut EventContext) {
        (cx.sequence, cx.time) = (self.sequence, self.time);
        if self.recorded.is_some() || cx.recorded.is_some() {
            cx.set_recorded(self.recorded.clone());
        }
        if !(self.captured.is_none() && cx.emitter.is_none()) {
            cx.emitter = self.captured.clone();
        }
    }
}

/// An event in a lane. Tokens without a chunk are kept by value.
pub(crate) enum LaneItem {
    Token { token: Token, sequence: Option<u64> },
    Shared(Arc<Envelope>),
}

impl LaneItem {
    pub(crate) fn kind(&self) -> EventKind {
        match self {
            Self::Token { .. } => EventKind::LlmNewToken,
            Self::Shared(envelope) => envelope.event.kind(),
        }
    }

    /// Where the emitter was, if not where the run was admitted.
    pub(crate) fn emitter(&self) -> Option<&Current> {
        match self {
            Self::Token { .. } => None,
            Self::Shared(envelope) => envelope.emitter.as_ref(),
        }
    }

    /// Calls `f` with the event as the handler gets it.
    pub(crate) fn with<O>(
        self,
        cx: &mut EventContext,
        f: impl FnOnce(&Event, &EventContext) -> O,
    ) -> O {
        match self {
            Self::Token { token, sequence } => {
                (cx.sequence, cx.time) = (sequence, None);
                if !cx.emitter.is_none() {
                    cx.emitter = Captured(None);
                }
                f(&Event::LlmNewToken(LlmNewToken { token, chunk: None }), cx)
            }
            Self::Shared(envelope) => {
                envelope.describe(cx);
                f(&envelope.event, cx)
            }
        }
    }

    /// The event as the handler gets it, to be kept over an await.
    pub(crate) fn into_envelope(self) -> Arc<Envelope> {
        match self {
            Self::Shared(envelope) => envelope,
            Self::Token { token, sequence } => {
                Envelope::of_token(LlmNewToken { token, chunk: None }, sequence)
            }
        }
    }

    fn choice(&self) -> Option<u32> {
        match self {
            Self::Token { .. } => Some(0),
            Self::Shared(envelope) => match &envelope.event {
                Event::LlmNewToken(token) => Some(token.choice()),
                _ => None,
            },
        }
    }

    fn to_token(&self) -> Option<LlmNewToken> {
        match self {
            Self::Token { token, .. } => Some(LlmNewToken::new(token.clone())),
            Self::Shared(envelope) => match &envelope.event {
                Event::LlmNewToken(token) => Some(token.clone()),
                _ => None,
            },
        }
    }
}

/// An accepted event on its way into lanes.
pub(crate) struct LaneEvent<'a> {
    pub(crate) node: &'a Arc<RunNode>,
    pub(crate) event: &'a Event,
    pub(crate) cx: &'a EventContext,
    /// Where the emitter is.
    pub(crate) emitter: &'a Current,
    pub(crate) mailbox: &'a Arc<Mailbox>,
    /// Whether the emitter is inside a handler's call. Then it waits for no lane.
    pub(crate) in_call: bool,
    /// The event as the lanes share it.
    pub(crate) shared: Option<Arc<Envelope>>,
}

impl LaneEvent<'_> {
    /// Makes what lanes share of the event, unless it is a token that they keep by value.
    #[inline]
    pub(crate) fn share(&mut self) {
        let same_place = is_same(self.emitter, &self.mailbox.emitter);
        if let (Event::LlmNewToken(token), None, true) = (self.event, self.cx.time, same_place) {
            let alone = self.cx.recorded.is_none() && self.cx.emitter.is_none();
            if alone && token.chunk.is_none() {
                return;
            }
        }
        let emitter = (!same_place).then(|| self.emitter.clone());
        self.shared = Some(Arc::new(Envelope::new(self.event, self.cx, emitter)));
    }

    pub(super) fn item(&self) -> LaneItem {
        match (&self.shared, self.event) {
            (None, Event::LlmNewToken(token)) => {
                LaneItem::Token { token: token.token.clone(), sequence: self.cx.sequence }
            }
            (None, _) => unreachable!("`share` has been called"),
            (Some(envelope), _) => LaneItem::Shared(envelope.clone()),
        }
    }
}

/// What an event is to its run.
pub(crate) fn part_of(event: &Event, run: RunKind) -> Part {
    let kind = event.kind();
    if run == RunKind::None {
        Part::Only
    } else if kind.is_start() {
        Part::Start
    } else if kind.is_end() {
        Part::End
    } else if kind == EventKind::LlmNewToken {
        Part::Token
    } else {
        Part::Other
    }
}

impl Item for LaneItem {
    fn part(&self) -> Part {
        match self {
            Self::Token { .. } => Part::Token,
            Self::Shared(envelope) => part_of(&envelope.event, envelope.kind),
        }
    }

    fn accepts(&self, newer: &Self) -> bool {
        self.choice().is_some() && self.choice() == newer.choice()
    }

    fn coalesce(&mut self, newer: Self) {
        if let (Self::Token { token, .. }, Self::Token { token: more, .. }) = (&mut *self, &newer) {
            token.push_str(more.as_str());
            return;
        }
        let Some(newer) = newer.to_token() else { return };
        if let Self::Token { token, sequence } = self {
            let token = LlmNewToken::new(core::mem::take(token));
            *self = Self::Shared(Envelope::of_token(token, *sequence));
        }
        let Self::Shared(envelope) = self else { return };
        // Other lanes may have the envelope, too. Then this lane gets one of its own.
        if let Event::LlmNewToken(token) = &mut Arc::make_mut(envelope).event {
            token.join(&newer);
        }
    }
}
