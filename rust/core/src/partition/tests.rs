//! Every command in every state, as tables in tests/partition: a block is a command, `----`, and a line for each state
//! with what is answered, what is left to do, and how the partition is then. UPDATE=1 writes the tables anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::changes::{Entry, Owner, Readers, Requests};
use super::hold::{HoldLimits, Verdict, Waiter};
use super::stream::Stream;
use super::*;
use crate::log::LogLimits;
use crate::tree::Tree;

type Held = Partition<Tree, Counted>;
type Make = fn() -> Held;

/// By name, how a partition is before the command: of each state one at least.
const STATES: [(&str, Make); 11] = [
    ("loading", || held(State::loading(stream()))),
    ("loading-a-range", || {
        let mut held = held(State::loading(stream()));
        held.drop_range(range("k", "z")).unwrap();
        held
    }),
    ("loading-ended", || {
        let mut held = held(State::loading(stream()));
        held.apply(Command::Failed { why: "cut" }, 50).unwrap();
        held
    }),
    ("following", || held(State::Following { stream: stream() })),
    ("following-ended", || {
        let mut held = held(State::Following { stream: stream() });
        held.apply(Command::Failed { why: "cut" }, 50).unwrap();
        held
    }),
    ("primary", || held(State::Primary { fence: None })),
    ("primary-fenced", || {
        let mut held = held(State::Primary { fence: None });
        held.apply(Command::Fence { epoch: 5, token: 7 }, 60)
            .unwrap();
        let (op, limits) = (Op::Get { key: b"b" }, HOLD);
        held.hold(Some(op), 70, limits, || Box::new(Nobody))
            .unwrap();
        held
    }),
    ("proxy", || {
        held(State::Proxy {
            to: "w2".into(),
            address: "w2:1".into(),
            last: 80,
        })
    }),
    ("primary-on-disk", || {
        held(State::Primary { fence: None }).journaled(Some(Counted(1)))
    }),
    ("proxy-on-disk", || {
        let proxy = State::Proxy {
            to: "w2".into(),
            address: "w2:1".into(),
            last: 80,
        };
        held(proxy).journaled(Some(Counted(1)))
    }),
    ("gone", || held(State::Gone)),
];

/// What a table may tell a partition; the last one is a new life of its worker.
const COMMANDS: [&str; 19] = [
    "serve",
    "follow",
    "fence",
    "unfence",
    "await-applied",
    "promote",
    "proxy",
    "release",
    "drop",
    "reshape",
    "replaced",
    "lapse",
    "begin",
    "loaded",
    "entries",
    "heard",
    "failed",
    "yield-room",
    "restart",
];

const HOLD: HoldLimits = HoldLimits {
    requests: 10,
    bytes: 1000,
};

/// When a command comes.
const NOW: Nanos = 100;

/// A journal as the partition knows it: each change has its place, one after the other.
struct Counted(Position);

impl Counted {
    fn next(&mut self) -> Position {
        self.0 += 1;
        self.0
    }
}

impl Journal for Counted {
    fn accepts(&self) -> Result<(), String> {
        Ok(())
    }

    fn put(&mut self, _: u64, _: &[u8], _: &[u8]) -> Position {
        self.next()
    }

    fn delete(&mut self, _: u64, _: &[u8]) -> Position {
        self.next()
    }

    fn skip(&mut self, _: u64) -> Position {
        self.next()
    }

    fn drop_range(&mut self, _: &Bounds) {
        self.next();
    }

    fn chunk(&mut self, _: &[u8]) {
        self.next();
    }

    fn last(&self) -> Position {
        self.0
    }

    fn after_row(&mut self, _: u64) -> Position {
        self.0
    }

    fn after_no_row(&mut self) -> Position {
        self.0
    }
}

struct Nobody;

impl Waiter for Nobody {
    fn resume(self: Box<Self>, _: Verdict) {}
}

fn range(start: &str, end: &str) -> Bounds {
    Bounds::padded(start.as_bytes(), end.as_bytes(), 1).unwrap()
}

fn source<'a>() -> Source<'a> {
    Source {
        name: "w0",
        address: "w0:1",
        incarnation: "life-1",
    }
}

fn stream() -> Stream {
    Stream::new(1, source())
}

/// Partition p of epoch 5, with rows b and m and 20 writes applied; a proxy has no rows.
fn held(state: State<Tree>) -> Held {
    let mut tree = Tree::new(1);
    if !matches!(state, State::Proxy { .. } | State::Gone) {
        tree.insert(b"b", b"1".as_slice().into(), 19);
        tree.insert(b"m", b"2".as_slice().into(), 20);
    }
    let beginning = Beginning {
        name: "p".into(),
        bounds: Arc::new(range("a", "z")),
        state,
        epoch: 5,
        sequence: 20,
    };
    let log = Log::new(Arc::new(LogLimits::default()));
    let room = Room::new("w1", 1000);
    let load = Load::new(0, Rates::default());
    let mut held = Partition::new(beginning, tree, log, load, &room);
    held.count();
    held
}

/// How a new life of the worker finds what this one has written down.
fn restarted(before: &Held) -> Held {
    let (peer, address) = before.state.peer();
    held(State::restarted(before.role(), peer, address))
}

/// `name key=value …`
struct Line<'a> {
    name: &'a str,
    fields: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Self {
        let mut words = text.split(' ');
        let name = words.next().unwrap_or_default();
        let fields = words
            .map(|word| word.split_once('=').expect(text))
            .collect();
        Self { name, fields }
    }

    fn text(&self, key: &str) -> &'a str {
        self.fields.get(key).copied().expect(key)
    }

    fn number(&self, key: &str) -> u64 {
        self.text(key).parse().expect(key)
    }

    fn tell(&self, held: &mut Held) -> Result<Changes<Tree>, Refused> {
        let same_digest = held.tree.digest();
        let digest = |text: &str| if text == "same" { same_digest } else { 0 };
        let bounds = self
            .fields
            .get("range")
            .map(|text| text.split_once("..").unwrap())
            .map(|(start, end)| range(start, end));
        let command = match self.name {
            "serve" => Command::Serve {
                epoch: self.number("epoch"),
                bounds: bounds.as_ref().unwrap(),
                durable: self.text("durability") == "Disk",
            },
            "follow" => Command::Follow {
                epoch: self.number("epoch"),
                bounds: bounds.as_ref().unwrap(),
                durable: self.text("durability") == "Disk",
                source: Source {
                    name: self.text("source"),
                    address: "w0:1",
                    incarnation: "life-1",
                },
                size: self.number("size"),
                generation: 2,
            },
            "fence" => Command::Fence {
                epoch: self.number("epoch"),
                token: self.number("token"),
            },
            "unfence" => Command::Unfence {
                epoch: self.number("epoch"),
                token: self.number("token"),
            },
            "await-applied" => Command::AwaitApplied {
                epoch: self.number("epoch"),
                sequence: self.number("sequence"),
            },
            "promote" => Command::Promote {
                epoch: self.number("epoch"),
                sequence: self.number("sequence"),
                digest: digest(self.text("digest")),
            },
            "proxy" => Command::Proxy {
                epoch: self.number("epoch"),
                to: self.text("to"),
                address: "w3:1",
            },
            "release" => Command::Release {
                epoch: self.number("epoch"),
            },
            "drop" => Command::Drop {
                epoch: self.number("epoch"),
            },
            "reshape" => Command::Reshape {
                epoch: self.number("epoch"),
            },
            "replaced" => Command::Replaced { how: "split" },
            "lapse" => Command::Lapse,
            "begin" => Command::Begin {
                bytes_to_send: self.number("bytes"),
                size: self.number("size"),
            },
            "loaded" => Command::Loaded {
                sequence: self.number("sequence"),
                rows: self.number("rows"),
                digest: digest(self.text("digest")),
            },
            "entries" => Command::Entries {
                first: self.number("first"),
            },
            "heard" => Command::Heard {
                sequence: self.number("sequence"),
                fenced: self.text("fenced") == "true",
            },
            "failed" => Command::Failed { why: "lost" },
            "yield-room" => Command::YieldRoom { why: "full" },
            other => panic!("{other}: no such command"),
        };
        held.apply(command, NOW)
    }
}

/// What is left to do, in the order in which it is done.
fn left(changes: &Changes<Tree>) -> String {
    let mut words: Vec<String> = Vec::new();
    match &changes.write {
        Some(Entry::Turn {
            role,
            epoch,
            peer,
            address,
        }) => words.push(
            format!("write {role} {epoch} {peer} {address}")
                .trim_end()
                .into(),
        ),
        Some(Entry::Confirmed { epoch }) => words.push(format!("write confirmed {epoch}")),
        Some(Entry::Anew) => words.push("write anew".into()),
        Some(Entry::Gone) => words.push("write gone".into()),
        Some(Entry::Loaded { sequence, .. }) => words.push(format!("write loaded {sequence}")),
        Some(Entry::Emptied) => words.push("write emptied".into()),
        None => {}
    }
    match changes.readers {
        Readers::Kept => {}
        Readers::Woken => words.push("wake readers".into()),
        Readers::Ended(why) => words.push(format!("end readers ({why})")),
    }
    match &changes.requests {
        Requests::Kept => {}
        Requests::Run => words.push("run requests".into()),
        Requests::Told(Verdict::Forward(target)) => {
            words.push(format!("forward requests to {}", target.worker));
        }
        Requests::Told(verdict) => words.push(format!("requests {verdict:?}").to_lowercase()),
    }
    let flags = [
        (changes.notify, "notify"),
        (changes.wait, "wait"),
        (changes.start, "start stream"),
    ];
    words.extend(flags.iter().filter(|flag| flag.0).map(|flag| flag.1.into()));
    words.extend(changes.forget.map(|epoch| format!("forget in {epoch}")));
    words.extend(changes.publish.as_ref().map(|owner| match owner {
        Owner::Here => "publish this worker".into(),
        Owner::Other(worker) => format!("publish {worker}"),
    }));
    let rows = changes.rows.as_ref().map(Tree::rows);
    words.extend(rows.map(|rows| format!("let {rows} rows go")));
    if words.is_empty() {
        words.push("nothing".into());
    }
    words.join(", ")
}

fn shown(held: &Held) -> String {
    let mut text = String::new();
    let (role, epoch, sequence) = (held.role(), held.epoch, held.sequence);
    write!(
        text,
        "{role} epoch={epoch} sequence={sequence} rows={}",
        held.tree.rows()
    )
    .unwrap();
    if let Some(fence) = held.state.fence() {
        write!(text, " fenced-since={}", fence.since).unwrap();
    }
    if held.fence_token > 0 {
        write!(text, " token={}", held.fence_token).unwrap();
    }
    if held.last_pause > 0 {
        write!(text, " pause={}", held.last_pause).unwrap();
    }
    if held.is_loading_range() {
        text.push_str(" range-open");
    }
    if let Some(stream) = held.state.stream() {
        let progress = &stream.progress;
        write!(text, " source={}#{}", progress.source, stream.generation).unwrap();
        if progress.lag > 0 {
            write!(text, " lag={}", progress.lag).unwrap();
        }
        if progress.bytes_total > 0 {
            write!(text, " to-come={}", progress.bytes_total).unwrap();
        }
        if stream.source_fenced {
            text.push_str(" source-fenced");
        }
        if progress.no_room {
            text.push_str(" no-room");
        }
        if !stream.runs() {
            write!(text, " error=({})", progress.error).unwrap();
        }
    }
    if let State::Proxy { to, address, last } = &held.state {
        write!(text, " to={to} at={address} last={last}").unwrap();
    }
    let promised = held.share.room().promised();
    if promised > 0 {
        write!(text, " promised={promised}").unwrap();
    }
    text
}

fn rows(command: &str) -> String {
    let line = Line::parse(command);
    let mut text = String::new();
    for (name, make) in STATES {
        let mut held = make();
        let before = shown(&held);
        if line.name == "restart" {
            let held = restarted(&held);
            writeln!(text, "{name}: ok | {}", shown(&held)).unwrap();
            continue;
        }
        match line.tell(&mut held) {
            Ok(changes) => {
                let same = if shown(&held) == before {
                    "as it was".into()
                } else {
                    shown(&held)
                };
                writeln!(text, "{name}: {} | {same}", left(&changes)).unwrap();
            }
            Err(refused) => {
                writeln!(text, "{name}: {refused:?}").unwrap();
                if shown(&held) != before {
                    writeln!(text, "    then {}", shown(&held)).unwrap();
                }
            }
        }
    }
    text
}

fn tables() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/partition");
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The commands of a table, in order; comments begin with `#`.
fn commands(table: &str) -> Vec<&str> {
    let mut blocks: Vec<&str> = table.split("\n----\n").collect();
    blocks.pop();
    let last_line = |block: &&'_ str| block.rfind('\n').map_or(0, |at| at + 1);
    blocks
        .iter()
        .map(|block| &block[last_line(block)..])
        .collect()
}

/// The table with what comes out now.
fn anew(table: &str) -> String {
    let mut text = String::new();
    for line in table.lines().take_while(|line| line.starts_with('#')) {
        writeln!(text, "{line}").unwrap();
    }
    for command in commands(table) {
        write!(text, "\n{command}\n----\n{}", rows(command)).unwrap();
    }
    text
}

#[test]
fn every_command_in_every_state_has_its_row() {
    let mut told = BTreeSet::new();
    for path in tables() {
        let table = fs::read_to_string(&path).unwrap();
        told.extend(
            commands(&table)
                .iter()
                .map(|command| Line::parse(command).name.to_owned()),
        );
        let found = anew(&table);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &found).unwrap();
            continue;
        }
        for (expected, found) in table.lines().zip(found.lines()) {
            assert_eq!(
                expected,
                found,
                "{} (UPDATE=1 writes it anew)",
                path.display()
            );
        }
        assert_eq!(table, found, "{} (UPDATE=1 writes it anew)", path.display());
    }
    assert_eq!(told, COMMANDS.map(String::from).into());
}

/// A new command does not compile before it has a name here, which belongs into [`COMMANDS`], too; each role is among the
/// states.
#[test]
fn no_command_and_no_state_is_left_out() {
    let name = |command: &Command<'_>| match command {
        Command::Serve { .. } => "serve",
        Command::Follow { .. } => "follow",
        Command::Fence { .. } => "fence",
        Command::Unfence { .. } => "unfence",
        Command::AwaitApplied { .. } => "await-applied",
        Command::Promote { .. } => "promote",
        Command::Proxy { .. } => "proxy",
        Command::Release { .. } => "release",
        Command::Drop { .. } => "drop",
        Command::Reshape { .. } => "reshape",
        Command::Replaced { .. } => "replaced",
        Command::Lapse => "lapse",
        Command::Begin { .. } => "begin",
        Command::Loaded { .. } => "loaded",
        Command::Entries { .. } => "entries",
        Command::Heard { .. } => "heard",
        Command::Failed { .. } => "failed",
        Command::YieldRoom { .. } => "yield-room",
    };
    assert!(COMMANDS.contains(&name(&Command::Lapse)));
    let roles: BTreeSet<u8> = STATES.map(|(_, make)| make().role() as u8).into();
    assert_eq!(roles, (0..=Role::Proxy as u8).collect());
}
