//! The scripts. Each is one atomic step of the server.
//!
//! The state of a group for a partition is in these keys, which share a hash tag:
//! `lease` (with a time to live: `epoch:owner`), `group` (a hash with `epoch` and `owner` of the last
//! lease), `positions` (a hash, group to position, of all groups), `done` (a hash, root to ending and last entry),
//! `attempts` (a hash, root to `attempts:epoch:times`: its attempts, the epoch that counted the last one, and how
//! often it was begun), `dead` (a stream).
//!
//! The scripts also work while the server's memory is full (`maxmemory` with `noeviction`). Workers that could not
//! write then could not acknowledge, and so would never trim what fills the memory. The server refuses a script's
//! command with `OOM` only if the command may need memory and the script has written nothing yet. So the first
//! write of each script is a command that needs no memory. This holds for all versions of Redis from 2.6. The flag
//! `allow-oom` would say the same, but Redis 6.2 does not know it.

use std::sync::LazyLock;

use redis::Script;

/// Stops a script of an older epoch. KEYS[1] is `group`, ARGV[1] the epoch, ARGV[2] the owner.
/// The owner is compared, too: a server that has lost writes may count to the same epoch twice.
///
/// `HDEL` deletes nothing. It is the first write, for a server whose memory is full.
const FENCE: &str = "
local held = redis.call('HMGET', KEYS[1], 'epoch', 'owner')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return false end
redis.call('HDEL', KEYS[1], '')
";

/// Of two ids of entries, whether the first is lower.
const LESS: &str = "
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function less(a, b)
  local ams, aseq = parts(a)
  local bms, bseq = parts(b)
  return ams < bms or (ams == bms and aseq < bseq)
end
";

/// Trims `stream` up to the lowest position of all groups in `positions`.
const TRIM_STREAM: &str = "
local lowest
for _, other in ipairs(redis.call('HVALS', positions)) do
  if not lowest or less(other, lowest) then lowest = other end
end
if lowest then redis.call('XTRIM', stream, 'MINID', '~', lowest) end
return 1
";

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: [$($part:expr),+];)+) => {
        $($(#[$doc])* pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(&[$($part),+].concat()));)+
    };
}

scripts! {
    /// KEYS: lease, group, positions, done. ARGV: owner, milliseconds, name of the group. `HDEL` is there for the
    /// same reason as in `FENCE`.
    TAKE: ["
local lease = redis.call('GET', KEYS[1])
if lease and string.sub(lease, -string.len(ARGV[1]) - 1) ~= ':' .. ARGV[1] then return false end
redis.call('HDEL', KEYS[2], '')
local epoch = redis.call('HINCRBY', KEYS[2], 'epoch', 1)
redis.call('HSET', KEYS[2], 'owner', ARGV[1])
redis.call('SET', KEYS[1], string.format('%.0f', epoch) .. ':' .. ARGV[1], 'PX', ARGV[2])
redis.call('HSETNX', KEYS[3], ARGV[3], '0-0')
return {epoch, redis.call('HGET', KEYS[3], ARGV[3]), redis.call('HGETALL', KEYS[4])}
"];

    /// KEYS: group, lease. ARGV: epoch, owner, milliseconds.
    RENEW: [FENCE, "
if redis.call('GET', KEYS[2]) ~= ARGV[1] .. ':' .. ARGV[2] then return false end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
"];

    /// KEYS: group, attempts. ARGV: epoch, owner, roots.
    BEGIN: [FENCE, "
local begun = {}
for i = 3, #ARGV do
  local known = redis.call('HGET', KEYS[2], ARGV[i]) or '0::0'
  local attempts, epoch, times = string.match(known, '^(%d+):(%d*):(%d+)$')
  attempts, times = tonumber(attempts), tonumber(times)
  if epoch ~= ARGV[1] then
    attempts, times = attempts + 1, times + 1
    redis.call('HSET', KEYS[2], ARGV[i], attempts .. ':' .. ARGV[1] .. ':' .. times)
  end
  begun[#begun + 1] = {attempts, times}
end
return begun
"];

    /// KEYS: group, positions, done, attempts, stream. ARGV: epoch, owner, name of the group, position,
    /// number of done traces, root and ending of each, number of roots to forget, those, roots to clear.
    COMMIT: [FENCE, LESS, "
local positions, stream = KEYS[2], KEYS[5]
local position = redis.call('HGET', KEYS[2], ARGV[3])
if not position or less(position, ARGV[4]) then redis.call('HSET', KEYS[2], ARGV[3], ARGV[4]) end
local at = 6
for _ = 1, tonumber(ARGV[5]) do
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
  redis.call('HDEL', KEYS[4], ARGV[at])
  at = at + 2
end
local forget = tonumber(ARGV[at])
for i = at + 1, at + forget do
  redis.call('HDEL', KEYS[3], ARGV[i])
  redis.call('HDEL', KEYS[4], ARGV[i])
end
for i = at + forget + 1, #ARGV do
  local known = redis.call('HGET', KEYS[4], ARGV[i])
  local times = string.match(known or '', ':(%d+)$') or '1'
  redis.call('HSET', KEYS[4], ARGV[i], '1:' .. ARGV[1] .. ':' .. times)
end
", TRIM_STREAM];

    /// KEYS: positions, stream. ARGV: name of the group. Its position no longer keeps entries.
    FORGET: [LESS, "
local positions, stream = KEYS[1], KEYS[2]
redis.call('HDEL', positions, ARGV[1])
", TRIM_STREAM];

    /// KEYS: group, dead. ARGV: epoch, owner, reason, then for each entry its id, the number of its names and
    /// values, and those.
    BURY: [FENCE, "
local at = 4
while at <= #ARGV do
  local count = tonumber(ARGV[at + 1])
  local fields = {'id', ARGV[at], 'reason', ARGV[3]}
  for i = at + 2, at + 1 + count do fields[#fields + 1] = ARGV[i] end
  redis.call('XADD', KEYS[2], '*', unpack(fields))
  at = at + 2 + count
end
return 1
"];

    /// KEYS: group, lease, attempts. ARGV: epoch, owner, open roots. It takes attempts back. How often a trace was
    /// begun stays: a part of it may have been handled.
    RELEASE: [FENCE, "
if redis.call('GET', KEYS[2]) == ARGV[1] .. ':' .. ARGV[2] then redis.call('DEL', KEYS[2]) end
for i = 3, #ARGV do
  local known = redis.call('HGET', KEYS[3], ARGV[i])
  local attempts, epoch, times = string.match(known or '', '^(%d+):(%d*):(%d+)$')
  if epoch == ARGV[1] then
    redis.call('HSET', KEYS[3], ARGV[i], (tonumber(attempts) - 1) .. '::' .. times)
  end
end
return 1
"];

    /// KEYS: workers. ARGV: worker, milliseconds. By the server's time.
    LIVES: ["
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
return redis.call('ZCARD', KEYS[1])
"];

    /// KEYS: publisher. ARGV: milliseconds. `PEXPIRE` is the first write even if there is no key.
    BEAT: ["
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then redis.call('SET', KEYS[1], 1, 'PX', ARGV[1]) end
return 1
"];

    /// KEYS: stream. ARGV: two ends of a range, the most entries. Counts the entries of the range, without
    /// their contents. Returns the number, the first and the last id, and the length of the stream.
    COUNT: ["
local some = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
local first, last = some[1], some[#some]
return {#some, first and first[1] or false, last and last[1] or false, redis.call('XLEN', KEYS[1])}
"];

    /// KEYS: stream, positions, cut. ARGV: the most entries. Counts for each group what it had not
    /// acknowledged of what is cut.
    CAP: ["
local over = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[1])
if over <= 0 then return 0 end
local cut = redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
if cut == 0 then return 0 end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local fms, fseq = string.match(first[1], '^(%d+)-(%d+)$')
local groups = redis.call('HGETALL', KEYS[2])
for i = 1, #groups, 2 do
  local ms, seq = string.match(groups[i + 1], '^(%d+)-(%d+)$')
  if tonumber(ms) < tonumber(fms) or (ms == fms and tonumber(seq) < tonumber(fseq)) then
    redis.call('HINCRBY', KEYS[3], groups[i], cut)
  end
end
return cut
"];
}
