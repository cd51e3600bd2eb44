//! From bytes to a [`Program`].

mod step;

use rappel_core::{EventGroup, EventKind, Interest, Value};
use rappel_streams::EventFilter;

use super::error::{Flaw, Place, ReadError};
use super::fields::{Fields, FromJson};
use super::names::Names;
use super::program::{HandlerSpec, ManagerSpec, Program};

impl Program {
    /// The length in bytes beyond which a program is not read. As values in memory, JSON may take
    /// ten times its length.
    pub const LONGEST: usize = 16 << 20;

    /// Reads and checks a program.
    ///
    /// # Errors
    /// The first flaw of the program.
    pub fn read(json: &[u8]) -> Result<Self, ReadError> {
        let here = |flaw: Flaw| flaw.at(Place::Program);
        let mut program = object(json).map_err(here)?;
        let handlers: Vec<Value> = program.take("handlers").map_err(here)?;
        let manager = program.find::<Fields>("manager").map_err(here)?;
        let steps: Vec<Value> = program.take("steps").map_err(here)?;
        let filter = program.find::<Fields>("filter").map_err(here)?;
        let filter = filter.map(self::filter).transpose().map_err(here)?.unwrap_or_default();

        let handlers = each(handlers, Place::Handler, handler)?;
        let manager = match manager {
            Some(fields) => self::manager(fields).map_err(|flaw| flaw.at(Place::Manager))?,
            None => ManagerSpec::default(),
        };
        let mut names = Names::new();
        let steps = each(steps, Place::Step, |fields| step::read(fields, &mut names))?;
        Ok(Self { handlers, manager, filter, steps, aliases: names.into_ids() })
    }
}

fn object(json: &[u8]) -> Result<Fields, Flaw> {
    if json.len() > Program::LONGEST {
        return Err(Flaw::TooLong);
    }
    let value =
        serde_json::from_slice(json).map_err(|error| Flaw::BrokenJson(error.to_string()))?;
    Fields::from_json(value).ok_or(Flaw::NoObject)
}

fn each<T>(
    items: Vec<Value>,
    place: impl Fn(usize) -> Place,
    mut read: impl FnMut(Fields) -> Result<T, Flaw>,
) -> Result<Vec<T>, ReadError> {
    let read = items.into_iter().enumerate().map(|(index, item)| {
        let fields = Fields::from_json(item).ok_or(Flaw::NoObject);
        fields.and_then(&mut read).map_err(|flaw| flaw.at(place(index)))
    });
    read.collect()
}

fn handler(mut fields: Fields) -> Result<HandlerSpec, Flaw> {
    let implements = match fields.find::<Vec<EventKind>>("implements")? {
        Some(methods) => methods.into_iter().fold(Interest::none(), Interest::with),
        None => Interest::all(),
    };
    let ignored: Vec<EventGroup> = fields.find_or_default("ignore")?;
    Ok(HandlerSpec {
        id: fields.take("id")?,
        kind: fields.take("kind")?,
        implements,
        interest: ignored.into_iter().fold(Interest::all(), Interest::without_group),
        run_inline: fields.find_or_default("run_inline")?,
        inherit: fields.find("inherit")?.unwrap_or(true),
        raise_error: fields.find_or_default("raise_error")?,
        fail_on: fields.find_or_default("fail_on")?,
    })
}

fn filter(mut fields: Fields) -> Result<EventFilter, Flaw> {
    Ok(EventFilter::new()
        .include_names(fields.find_or_default::<Vec<String>>("include_names")?)
        .include_types(fields.find_or_default::<Vec<String>>("include_types")?)
        .include_tags(fields.find_or_default::<Vec<String>>("include_tags")?)
        .exclude_names(fields.find_or_default::<Vec<String>>("exclude_names")?)
        .exclude_types(fields.find_or_default::<Vec<String>>("exclude_types")?)
        .exclude_tags(fields.find_or_default::<Vec<String>>("exclude_tags")?))
}

fn manager(mut fields: Fields) -> Result<ManagerSpec, Flaw> {
    Ok(ManagerSpec {
        inheritable_tags: fields.find_or_default("inheritable_tags")?,
        tags: fields.find_or_default("tags")?,
        inheritable_metadata: fields.find_or_default("inheritable_metadata")?,
        metadata: fields.find_or_default("metadata")?,
    })
}
