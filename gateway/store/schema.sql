-- The log and everything that must commit together with it. Only the writer's connection ever writes here.

create table meta (
    key   text primary key,
    value any not null
) without rowid;

-- One row per commit (or per 1,000 events of a large one; old ones are merged). No secondary index: one multiplies the
-- bytes written.
create table block (
    lo       integer primary key,  -- offset of its first event
    hi       integer not null,     -- of its last; offsets between may be missing where events were given up
    count    integer not null,
    recorded integer not null,     -- when the first was committed, microseconds; rises with lo, so that time finds its offset
    codec    integer not null,     -- 0 JSON text, 1 the same through zlib
    crc      integer not null,     -- CRC-32 of data
    data     blob not null         -- columns: see block.py
);

-- Offsets that can't be read any more, so that each damage is told once.
create table lost (
    lo integer primary key,
    hi integer not null
);

-- What each consumer is still owed: offsets lo..hi, or lo and everything after it where hi is null.
create table owed (
    id       integer primary key autoincrement,  -- names lanes like replay-7, so it is never given out again
    consumer text not null,
    lane     text not null,
    lo       integer not null,
    hi       integer,
    globs    text,                 -- replay: narrowed to these types and sources, as JSON
    speed    real,                 -- replay: multiple of the speed at which it was recorded; null: as fast as allowed
    tries    integer not null default 0,  -- times a receiver left it open whether it took the event at lo
    flight   text                  -- batches fixed before their first send: their last offsets and globs, as JSON
);

-- When what was delivered: a row per consumer, lane and second. Bounded; for redcar trace.
create table delivered (
    id       integer primary key,
    consumer text not null,
    lane     text not null,
    lo       integer not null,
    hi       integer not null,
    globs    text,                 -- of a replay: what it was narrowed to
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
    properties blob,
    user       text,               -- who published it
    client     text not null
) without rowid;

-- MQTT sessions that outlast their connection. What each is owed: consumer mqtt/<client>.
create table session (
    client text primary key,
    user   text,
    expiry integer not null,       -- seconds kept after its connection ended; 4294967295: for ever
    ended  integer,                -- when that was, microseconds; null while connected
    will   blob                    -- published when the client vanishes
) without rowid;

create table subscription (
    client     text not null,
    filter     text not null,      -- as asked for
    qos        integer not null,
    options    integer not null,   -- 1 no local, 2 retain as published, 4 served from the log
    identifier integer not null,
    since      integer not null,   -- only events after this offset belong to it
    primary key (client, filter)
) without rowid;

-- Messages at QoS 2 that have come and whose PUBREL hasn't: the same packet id is the same message.
create table qos2 (
    client    text not null,
    packet_id integer not null,
    primary key (client, packet_id)
) without rowid;

-- A fold of the device.* events.
create table device (
    source  text primary key,
    driver  text not null,
    adopted integer not null,
    online  integer not null,
    since   integer not null,      -- when it was discovered, microseconds
    ignored integer not null
) without rowid;

-- A fold of the clock.* events and of boots: from offset lo on, wall minus monotonic time is apart. See eras.py.
create table clock (
    lo        integer primary key,
    boot      text not null,
    monotonic integer not null,    -- microseconds since some moment of that boot
    apart     integer not null,    -- microseconds
    trusted   integer not null     -- whether somebody confirmed the wall clock
);

-- How far each source that numbers its messages has counted, and which of the 64 newest numbers were seen. See sequence.py.
create table sequence (
    source text primary key,
    mark   integer not null,
    window integer not null
) without rowid;

-- The views: folds of the log, kept by store/views. A source's metric is named by a number in them.
create table series (
    id     integer primary key,
    source text not null,
    metric text not null
);

create table last (
    series  integer primary key,
    time    integer not null,
    value   any,                   -- null: it was measured and couldn't be read
    quality integer not null,
    offset  integer not null
);

-- What each metric adds up to per span of time. In order of time: what is written together lies together.
create table rollup (
    width  integer not null,       -- microseconds
    start  integer not null,
    series integer not null,
    count  integer not null,
    min    real not null,
    max    real not null,
    sum    real not null,
    last   real not null,
    at     integer not null,       -- time of last
    primary key (width, start, series)
) without rowid;

create table seen (
    source   text primary key,
    first    integer not null,
    last     integer not null,
    readings integer not null,
    quality  integer not null
) without rowid;

create table alarm (
    alarm        text not null,
    source       text not null,
    severity     text,
    text         text,
    raised       integer not null,
    occurrence   text,
    offset       integer not null,
    acknowledged integer,
    shelved      integer,
    primary key (alarm, source)
) without rowid;
