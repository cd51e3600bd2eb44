//! The pieces of tool calls, and the calls that they belong to.

use std::mem;

use rappel_core::ToolCallChunk;

use crate::wire::{FunctionDelta, MOST_CALLS, ObjectEnd, ToolCallDelta, is_whole_object};

/// The longest arguments that are kept to notice that a server sends them again.
const MOST_KEPT: usize = 64 << 10;

/// The tool calls of one answer, as far as they have arrived.
///
/// OpenAI numbers the calls from 0, and sends the id and the name with the first piece of each.
/// Other servers number them from 1, not at all, or all as 0. Some send no ids, one id for all
/// calls, a new id with every piece, or repeat the id and the name with every piece. Some send the
/// name after the arguments. So the calls are numbered here, in the order in which they begin.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// A name that came again after whole arguments, with the server's number. It begins another
    /// call if arguments follow.
    again: Option<(Option<u32>, String)>,
}

#[derive(Debug)]
struct Call {
    /// The server's number, or the position in its list.
    index: Option<u32>,
    /// The position in the list of its first piece.
    position: usize,
    id: Option<String>,
    name: String,
    arguments: Arguments,
}

/// The arguments of a call, as far as they have arrived.
#[derive(Debug, Default)]
struct Arguments {
    end: ObjectEnd,
    /// Anything but blanks has arrived.
    begun: bool,
    /// The object is closed.
    whole: bool,
    /// The text without blanks around it, unless it is too long to be kept.
    text: Option<String>,
}

impl Arguments {
    fn push(&mut self, piece: &str) {
        let piece = if self.begun { piece } else { piece.trim_start() };
        if piece.is_empty() || (self.whole && piece.trim_start().is_empty()) {
            return;
        }
        match &mut self.text {
            Some(text) if text.len() + piece.len() <= MOST_KEPT => text.push_str(piece),
            None if !self.begun && piece.len() <= MOST_KEPT => self.text = Some(piece.to_owned()),
            text => *text = None,
        }
        let begins = !mem::replace(&mut self.begun, true);
        if self.end.is_open() || (begins && piece.starts_with('{')) {
            self.whole = self.end.feed(piece.as_bytes()).is_some();
        }
        if let Some(text) = self.text.as_mut().filter(|_| self.whole) {
            text.truncate(text.trim_end().len());
        }
    }
}

/// A piece of a call.
struct Piece<'a> {
    index: Option<u32>,
    /// The position in its list. `None` if it is alone in it.
    position: Option<usize>,
    id: Option<&'a str>,
    name: Option<&'a str>,
    arguments: &'a str,
}

impl Calls {
    /// Converts a delta to a piece with our own number. A repeated id or name is left out.
    /// `position` is that in a list of several deltas.
    pub(super) fn piece(&mut self, position: Option<usize>, delta: ToolCallDelta) -> ToolCallChunk {
        let bare = FunctionDelta { name: delta.name, arguments: delta.arguments };
        let function = delta.function.unwrap_or(bare);
        let mut arguments = function.arguments.unwrap_or_default();
        let said = Piece {
            index: delta.index,
            position,
            id: delta.id.as_deref(),
            name: function.name.as_deref(),
            arguments: &arguments,
        };
        let at = match self.find(&said) {
            Some(at) => at,
            None => self.begin(&said),
        };
        let again = self.again.take().filter(|(index, _)| *index == said.index);
        let call = &mut self.calls[at];
        if call.arguments.whole && said.arguments.is_empty() && said.name == Some(&*call.name) {
            self.again = Some((said.index, call.name.clone()));
        }
        if call.is_repeated(&said) {
            arguments.clear();
        }
        call.arguments.push(&arguments);

        let mut piece = ToolCallChunk::new(u32::try_from(at).unwrap_or(u32::MAX), arguments);
        if call.id.is_none() {
            call.id.clone_from(&delta.id);
            piece.id = delta.id;
        }
        let again = again.map(|(_, name)| name).filter(|_| call.name.is_empty());
        piece.name = function.name.or(again).filter(|name| *name != call.name);
        call.name.extend(piece.name.as_deref());
        piece.extra = delta.rest;
        piece
    }

    /// The call that this piece continues, or `None` if it begins a call.
    fn find(&self, piece: &Piece<'_>) -> Option<usize> {
        let at = self.candidate(piece)?;
        (!self.calls[at].is_followed_by(piece)).then_some(at)
    }

    /// The call that the piece seems to belong to.
    fn candidate(&self, piece: &Piece<'_>) -> Option<usize> {
        let last = |is: &dyn Fn(&Call) -> bool| self.calls.iter().rposition(is);
        // If both have the server's number, that decides, because ids are not always unique.
        let may_be = |call: &Call| match (call.index, piece.index) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        let same_id = |call: &Call| piece.id.is_some() && call.id.as_deref() == piece.id;
        if let Some(at) = last(&|call| same_id(call) && may_be(call)) {
            return Some(at);
        }
        match (piece.index, piece.position) {
            (Some(index), _) => {
                last(&|call| call.index == Some(index)).or_else(|| self.continued_by(piece))
            }
            (None, Some(position)) => last(&|call| call.position == position),
            // The only piece of a list belongs to the call that is open.
            (None, None) => self.calls.len().checked_sub(1),
        }
    }

    /// The last call, if a piece with a new number can only be a part of its arguments. Some servers
    /// number the pieces and not the calls.
    fn continued_by(&self, piece: &Piece<'_>) -> Option<usize> {
        let at = self.calls.len().checked_sub(1)?;
        let arguments = &self.calls[at].arguments;
        let is_rest = piece.id.is_none()
            && piece.name.is_none()
            && !piece.arguments.is_empty()
            && !piece.arguments.trim_start().starts_with('{');
        (is_rest && arguments.end.is_open()).then_some(at)
    }

    /// Begins a call. Beyond the limit the piece is added to the last call, because the server's
    /// data is not trusted.
    fn begin(&mut self, piece: &Piece<'_>) -> usize {
        if self.calls.len() < MOST_CALLS {
            self.calls.push(Call {
                index: piece.index,
                position: piece.position.unwrap_or_default(),
                id: None,
                name: String::new(),
                arguments: Arguments::default(),
            });
        }
        self.calls.len() - 1
    }
}

impl Call {
    /// Returns `true` if the piece begins another call, although it has the same number or id, or
    /// no number at all.
    fn is_followed_by(&self, piece: &Piece<'_>) -> bool {
        if self.is_repeated(piece) {
            return false;
        }
        let named = piece.name.is_some();
        let another_name =
            piece.name.is_some_and(|name| !self.name.is_empty() && name != self.name);
        let another_id = match (&self.id, piece.id) {
            (Some(own), Some(id)) => own != id,
            _ => false,
        };
        let new_object = piece.arguments.trim_start().starts_with('{');
        let arguments = &self.arguments;
        if arguments.whole {
            // Nothing can follow the object, so what follows it is another call.
            return another_name || new_object || (another_id && named);
        }
        if arguments.begun {
            // A name comes before the arguments, or late. Another one is another call's.
            let same_id = self.id.is_some() && self.id.as_deref() == piece.id;
            return (another_name && !same_id) || (another_id && named && !arguments.end.is_open());
        }
        // A call without arguments may be whole. A new id is not enough to say so, because some
        // servers send one with every piece. A name may come in several pieces.
        let counted = self.index.is_some() && piece.index.is_some();
        another_id && named && (another_name || piece.arguments.is_empty() || !counted)
    }

    /// Returns `true` if the piece is the whole call once more, as some servers send it at last.
    fn is_repeated(&self, piece: &Piece<'_>) -> bool {
        let same_id = self.id.is_some() && self.id.as_deref() == piece.id;
        let same_name = piece.name.is_none_or(|name| name == self.name);
        same_id
            && same_name
            && self.arguments.whole
            && self.arguments.text.as_deref() == Some(piece.arguments.trim())
            && is_whole_object(piece.arguments)
    }
}

#[cfg(test)]
mod tests;
