//! The broker that is a Redis server.

use std::fmt;
use std::time::Duration;

use rappel_core::RunId;
use redis::{Client, Cmd, Connection, FromRedisValue, ScriptInvocation, Value, cmd};

use super::connect::{Connect, error_of};
use super::scripts;
use super::{Begun, Broker, Commit, Done, Ending, Taken};
use crate::entry::{Entry, Fields};
use crate::error::Error;
use crate::id::StreamId;
use crate::keys::Keys;

/// A connection for a publisher, or for a worker of a group. It connects when it is used, and again
/// after an error.
pub(crate) struct RedisBroker {
    connect: Connect,
    client: Client,
    address: String,
    connection: Option<Connection>,
    keys: Keys,
    owner: String,
    /// The most entries of a stream.
    cap: Option<u64>,
}

/// How many entries there are: see [`RedisBroker::count`].
pub(crate) struct Counted {
    pub(crate) entries: u64,
    pub(crate) first: Option<StreamId>,
    pub(crate) last: Option<StreamId>,
    /// The number of entries of the whole stream.
    pub(crate) length: u64,
}

/// What the commands need that not every server has.
const NEEDED: [(&str, &str); 16] = [
    ("MULTI", "1.2"),
    ("TIME", "2.6"),
    ("EVALSHA", "2.6"),
    ("SCRIPT", "2.6"),
    ("PEXPIRE", "2.6"),
    ("HSETNX", "2.0"),
    ("HINCRBY", "2.0"),
    ("HVALS", "2.0"),
    ("ZADD", "1.2"),
    ("ZREMRANGEBYSCORE", "1.2"),
    ("XADD", "5.0"),
    ("XREAD", "5.0"),
    ("XRANGE", "5.0"),
    ("XLEN", "5.0"),
    ("XTRIM", "5.0"),
    ("EXISTS", "1.0"),
];

/// The layout of the keys.
const LAYOUT: &str = "1";

impl RedisBroker {
    pub(crate) fn new(connect: &Connect, keys: Keys, owner: &str) -> Result<Self, Error> {
        let (client, address) = connect.client()?;
        let (connect, owner) = (connect.clone(), owner.to_owned());
        Ok(Self { connect, client, address, connection: None, keys, owner, cap: None })
    }

    pub(crate) fn with_cap(mut self, cap: Option<u64>) -> Self {
        self.cap = cap;
        self
    }

    /// Checks that the server has what is needed.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        let mut info = cmd("COMMAND");
        info.arg("INFO");
        for (name, _) in NEEDED {
            info.arg(name);
        }
        let known: Vec<Value> = self.call(&info)?;
        for ((command, since), known) in NEEDED.iter().zip(&known) {
            let missing = match known {
                Value::Nil => true,
                Value::Array(about) => about.is_empty(),
                _ => false,
            };
            if missing {
                return Err(Error::MissingCommand { command, since });
            }
        }
        let mut trim = cmd("XTRIM");
        trim.arg(self.keys.meta_probe()).arg("MINID").arg("~").arg("0-1");
        match self.call::<i64>(&trim) {
            Err(Error::Refused(text)) if text.contains("syntax") => {
                return Err(Error::MissingCommand { command: "XTRIM MINID", since: "6.2" });
            }
            other => drop(other?),
        }
        Ok(())
    }

    /// Returns the number of partitions, which is that of the first who asks for a number. `None` if
    /// there is none yet.
    pub(crate) fn partitions(&mut self, asked: Option<u32>) -> Result<Option<u32>, Error> {
        let meta = self.keys.meta();
        let mut get = cmd("HMGET");
        get.arg(&meta).arg("layout").arg("partitions");
        let mut found: (Option<String>, Option<u32>) = self.call(&get)?;
        // Only for a new namespace: a server whose memory is full refuses HSETNX, even if it would set nothing.
        if let (Some(asked), (None, _) | (_, None)) = (asked, &found) {
            for (name, value) in [("layout", LAYOUT.to_owned()), ("partitions", asked.to_string())]
            {
                let mut set = cmd("HSETNX");
                self.call::<i64>(set.arg(&meta).arg(name).arg(value))?;
            }
            found = self.call(&get)?;
        }
        let (layout, there) = found;
        if let Some(layout) = layout.filter(|layout| layout != LAYOUT) {
            return Err(Error::Layout(layout));
        }
        match (asked, there) {
            (Some(asked), Some(there)) if asked != there => Err(Error::Partitions { asked, there }),
            _ => Ok(there.filter(|there| *there > 0)),
        }
    }

    fn connection(&mut self) -> Result<&mut Connection, Error> {
        if self.connection.is_none() {
            self.connection = Some(self.connect.connect(&self.client, &self.address)?);
        }
        self.connection.as_mut().ok_or(Error::Setting("there is no connection"))
    }

    /// Makes a call on the connection, which is given up if it fails there, or if the server refuses the call. A
    /// server that has become a replica refuses all writes and keeps its connections open. The address may lead to
    /// another server by then.
    fn with<T>(
        &mut self,
        call: impl FnOnce(&mut Connection) -> redis::RedisResult<T>,
    ) -> Result<T, Error> {
        let result = call(self.connection()?);
        result.map_err(|error| {
            let error = error_of(error, &self.address);
            if matches!(error, Error::Unreachable { .. } | Error::Answer(_) | Error::Refused(_)) {
                self.connection = None;
            }
            error
        })
    }

    pub(crate) fn call<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Error> {
        self.with(|connection| command.query(connection))
    }

    fn script<T: FromRedisValue>(&mut self, script: &ScriptInvocation<'_>) -> Result<T, Error> {
        self.with(|connection| script.invoke(connection))
    }

    /// The outcome of a script that a later epoch may have stopped.
    fn fenced(&mut self, script: &ScriptInvocation<'_>) -> Result<Option<()>, Error> {
        let done: Option<i64> = self.script(script)?;
        Ok(done.map(drop))
    }

    /// Counts the entries of a stream from one end of a range to the other, at most `most`.
    pub(crate) fn count(
        &mut self,
        stream: &str,
        from: &str,
        to: &str,
        most: u64,
    ) -> Result<Counted, Error> {
        let mut script = scripts::COUNT.key(stream);
        type Answer = (u64, Option<String>, Option<String>, u64);
        let (entries, first, last, length): Answer =
            self.script(script.arg(from).arg(to).arg(most))?;
        let id = |id: Option<String>| id.map(|id| id_of(id.as_bytes())).transpose();
        Ok(Counted { entries, first: id(first)?, last: id(last)?, length })
    }

    /// Removes the position of a group, and trims what only that group had not handled.
    pub(crate) fn forget_position(&mut self, partition: u32, group: &str) -> Result<(), Error> {
        let mut script = scripts::FORGET.key(self.keys.positions(partition));
        script.key(self.keys.stream(partition)).arg(group);
        self.script::<i64>(&script).map(drop)
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker").field("address", &self.address).finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn answer(what: &str) -> Error {
    Error::Answer(what.to_owned())
}

fn id_of(text: &[u8]) -> Result<StreamId, Error> {
    let text = std::str::from_utf8(text).map_err(|_| answer("an id that is no text"))?;
    text.parse().map_err(|_| answer("an id that is none"))
}

/// The entries of an answer of XREAD for one stream.
fn entries_of(value: Value) -> Result<Vec<(StreamId, Fields)>, Error> {
    let list = |value: Value| match value {
        Value::Array(items) => Ok(items),
        _ => Err(answer("no list of entries")),
    };
    let bytes = |value: Value| match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(answer("an entry without text")),
    };
    let entries = match value {
        Value::Nil => return Ok(Vec::new()),
        Value::Map(mut streams) => match streams.pop() {
            Some((_, entries)) => entries,
            None => return Ok(Vec::new()),
        },
        streams => match list(streams)?.pop() {
            Some(stream) => {
                list(stream)?.pop().ok_or_else(|| answer("a stream without entries"))?
            }
            None => return Ok(Vec::new()),
        },
    };
    let entry = |value: Value| {
        let mut parts = list(value)?.into_iter();
        let (Some(id), Some(fields)) = (parts.next(), parts.next()) else {
            return Err(answer("half an entry"));
        };
        let mut fields = list(fields)?.into_iter();
        let mut pairs = Fields::new();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            pairs.push((bytes(name)?, bytes(value)?));
        }
        Ok((id_of(&bytes(id)?)?, pairs))
    };
    list(entries)?.into_iter().map(entry).collect()
}

impl Broker for RedisBroker {
    fn append(&mut self, partition: u32, batch: &[Entry]) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let stream = self.keys.stream(partition);
        let mut pipe = redis::Pipeline::with_capacity(batch.len());
        pipe.atomic();
        for entry in batch {
            let add = pipe.cmd("XADD").arg(&stream).arg("*");
            for (name, value) in entry.fields() {
                add.arg(name).arg(value);
            }
            add.ignore();
        }
        // A transaction that was not done has no answer.
        let done: Option<Vec<Value>> = self.with(|connection| pipe.query(connection))?;
        done.ok_or_else(|| answer("the batch was not accepted"))?;
        if let Some(cap) = self.cap {
            let (positions, cut) = (self.keys.positions(partition), self.keys.cut(partition));
            let mut script = scripts::CAP.key(&stream);
            // The batch is there. If this fails, the next one does it.
            let _ = self.script::<i64>(script.key(positions).key(cut).arg(cap));
        }
        Ok(())
    }

    fn read(
        &mut self,
        partition: u32,
        after: StreamId,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<(StreamId, Fields)>, Error> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(most);
        if !wait.is_zero() {
            // Less than the time-out of a call.
            let most = self.connect.call_timeout() / 2;
            read.arg("BLOCK").arg(millis(wait.min(most)));
        }
        read.arg("STREAMS").arg(self.keys.stream(partition)).arg(after.to_string());
        entries_of(self.call(&read)?)
    }

    fn take(&mut self, partition: u32, owner: &str, ttl: Duration) -> Result<Option<Taken>, Error> {
        let keys = self.keys.clone();
        let mut script = scripts::TAKE.key(keys.lease(partition));
        script.key(keys.group(partition)).key(keys.positions(partition)).key(keys.done(partition));
        script.arg(owner).arg(millis(ttl)).arg(keys.group_name());
        type Answer = (u64, String, Vec<(String, String)>);
        let Some((epoch, position, done)): Option<Answer> = self.script(&script)? else {
            return Ok(None);
        };
        let done_of = |(root, ending): (String, String)| {
            let (how, through) = ending.split_at_checked(1)?;
            let done = Done { through: through.parse().ok()?, how: Ending::of_letter(how)? };
            Some((root.parse().ok()?, done))
        };
        let done: Option<Vec<_>> = done.into_iter().map(done_of).collect();
        let done = done.ok_or_else(|| answer("a done trace that is none"))?;
        Ok(Some(Taken { epoch, position: id_of(position.as_bytes())?, done }))
    }

    fn renew(&mut self, partition: u32, epoch: u64, ttl: Duration) -> Result<Option<()>, Error> {
        let mut script = scripts::RENEW.key(self.keys.group(partition));
        script.key(self.keys.lease(partition));
        script.arg(epoch).arg(&self.owner).arg(millis(ttl));
        self.fenced(&script)
    }

    fn begin(
        &mut self,
        partition: u32,
        epoch: u64,
        roots: &[RunId],
    ) -> Result<Option<Vec<Begun>>, Error> {
        let mut script = scripts::BEGIN.key(self.keys.group(partition));
        script.key(self.keys.attempts(partition)).arg(epoch).arg(&self.owner);
        for root in roots {
            script.arg(root.to_string());
        }
        let Some(begun): Option<Vec<(u32, u32)>> = self.script(&script)? else { return Ok(None) };
        if begun.len() != roots.len() {
            return Err(answer("too few attempts"));
        }
        let begun = begun.into_iter().map(|(attempts, times)| Begun { times, attempts });
        Ok(Some(begun.collect()))
    }

    fn commit(&mut self, partition: u32, epoch: u64, commit: &Commit) -> Result<Option<()>, Error> {
        let keys = self.keys.clone();
        let mut script = scripts::COMMIT.key(keys.group(partition));
        script.key(keys.positions(partition)).key(keys.done(partition));
        script.key(keys.attempts(partition)).key(keys.stream(partition));
        script.arg(epoch).arg(&self.owner).arg(keys.group_name());
        script.arg(commit.position.to_string()).arg(commit.done.len());
        for (root, done) in &commit.done {
            script.arg(root.to_string()).arg(format!("{}{}", done.how.letter(), done.through));
        }
        script.arg(commit.forget.len());
        for root in commit.forget.iter().chain(&commit.clear) {
            script.arg(root.to_string());
        }
        self.fenced(&script)
    }

    fn bury(
        &mut self,
        partition: u32,
        epoch: u64,
        entries: &[(StreamId, Fields)],
        reason: &str,
    ) -> Result<Option<()>, Error> {
        let mut script = scripts::BURY.key(self.keys.group(partition));
        script.key(self.keys.dead(partition)).arg(epoch).arg(&self.owner).arg(reason);
        for (id, fields) in entries {
            script.arg(id.to_string()).arg(fields.len() * 2);
            for (name, value) in fields {
                script.arg(name).arg(value);
            }
        }
        self.fenced(&script)
    }

    fn release(&mut self, partition: u32, epoch: u64, open: &[RunId]) -> Result<Option<()>, Error> {
        let mut script = scripts::RELEASE.key(self.keys.group(partition));
        script.key(self.keys.lease(partition)).key(self.keys.attempts(partition));
        script.arg(epoch).arg(&self.owner);
        for root in open {
            script.arg(root.to_string());
        }
        self.fenced(&script)
    }

    fn worker_lives(&mut self, worker: &str, ttl: Duration) -> Result<usize, Error> {
        let mut script = scripts::LIVES.key(self.keys.workers());
        script.arg(worker).arg(millis(ttl));
        self.script(&script)
    }

    fn worker_ends(&mut self, worker: &str) -> Result<(), Error> {
        let mut remove = cmd("ZREM");
        remove.arg(self.keys.workers()).arg(worker);
        self.call::<i64>(&remove).map(drop)
    }

    fn publisher_lives(&mut self, source: &str, ttl: Duration) -> Result<(), Error> {
        let mut script = scripts::BEAT.key(self.keys.publisher(source));
        script.arg(millis(ttl));
        self.script::<i64>(&script).map(drop)
    }

    fn is_publisher_alive(&mut self, source: &str) -> Result<bool, Error> {
        let mut exists = cmd("EXISTS");
        exists.arg(self.keys.publisher(source));
        self.call(&exists)
    }

    fn now(&mut self) -> Result<u64, Error> {
        let (seconds, micros): (u64, u64) = self.call(&cmd("TIME"))?;
        Ok(seconds * 1000 + micros / 1000)
    }
}
