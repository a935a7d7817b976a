-- The log and everything that must commit together with it. Only the writer's connection ever writes here.

create table meta (
    key   text primary key,
    value any not null
) without rowid;

-- One row per commit (or per 1,000 events of a large one). No secondary index: one multiplies the bytes written.
create table block (
    lo       integer primary key,  -- offset of its first event; event n of the block has offset lo + n
    count    integer not null,
    recorded integer not null,     -- when it was committed, microseconds; rises with lo, so that time finds its offset
    codec    integer not null,     -- 0 JSON text, 1 the same through zlib
    crc      integer not null,     -- CRC-32 of data
    data     blob not null         -- columns: see block.py
);

-- What each consumer is still owed: offsets lo..hi, or lo and everything after it where hi is null.
create table owed (
    id       integer primary key autoincrement,  -- names lanes like replay-7, so it is never given out again
    consumer text not null,
    lane     text not null,
    lo       integer not null,
    hi       integer,
    select_  text,                 -- replay: globs it is narrowed to, as JSON {"types": [...], "sources": [...]}
    speed    real,                 -- replay: multiple of the speed at which it was recorded; null: as fast as allowed
    tries    integer not null default 0,  -- times a receiver left it open whether it took the event at lo
    flight   text                  -- fixed before its first send, as JSON: last offsets of the next batches, and their globs
);

-- When what was delivered: a row per consumer, lane and second. Bounded; for redcar trace.
create table delivered (
    id       integer primary key,
    consumer text not null,
    lane     text not null,
    lo       integer not null,
    hi       integer not null,
    time     integer not null      -- microseconds
);

-- State of a processor as of its position: moves in the same transaction as the position and what was emitted.
create table state (
    consumer text primary key,
    value    blob not null
) without rowid;

create table retained (
    topic      text primary key,
    payload    blob not null,
    qos        integer not null,
    properties blob
) without rowid;

-- A fold of the device.* events.
create table device (
    source  text primary key,
    driver  text not null,
    adopted integer not null,
    online  integer not null,
    since   integer not null       -- when it was discovered, microseconds
) without rowid;
