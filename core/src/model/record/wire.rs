//! Kinds and events as they are written.

use alloc::borrow::Cow;
use core::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::model::event::{self, Event, EventKind, for_each_event};

/// Written as the name of the handler method: `on_llm_start`, for example.
impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.method())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        kind_named(&name).ok_or_else(|| D::Error::custom(format_args!("unknown kind `{name}`")))
    }
}

pub(super) fn kind_named(name: &str) -> Option<EventKind> {
    EventKind::ALL.iter().copied().find(|kind| kind.method() == name)
}

/// The payload of an event, as `data`.
pub(super) struct Payload<'a>(pub(super) &'a Event);

macro_rules! payloads {
    ($($variant:ident $method:ident $group:ident $doc:literal,)+) => {
        impl Serialize for Payload<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 {
                    $(Event::$variant(payload) => payload.serialize(serializer),)+
                }
            }
        }

        /// Reads the payload of an event of that kind.
        pub(super) fn event_of(kind: EventKind, data: Value) -> Result<Event, serde_json::Error> {
            fn read<T: DeserializeOwned>(data: Value) -> Result<T, serde_json::Error> {
                serde_json::from_value(data)
            }
            Ok(match kind {
                $(EventKind::$variant => Event::$variant(read::<event::$variant>(data)?),)+
            })
        }
    };
}
for_each_event!(payloads);

/// Written as `{"kind": "on_llm_start", "data": {…}}`. The kind is the name of the handler method.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Event", 2)?;
        fields.serialize_field("kind", &self.kind())?;
        fields.serialize_field("data", &Payload(self))?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Tagged {
            kind: EventKind,
            data: Value,
        }
        let Tagged { kind, data } = Tagged::deserialize(deserializer)?;
        event_of(kind, data).map_err(D::Error::custom)
    }
}

/// A time as an integer of microseconds.
pub(crate) mod micros {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        in_micros(*time).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }

    pub(crate) fn in_micros(time: Duration) -> u64 {
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
    }
}
