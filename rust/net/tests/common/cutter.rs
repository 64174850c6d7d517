//! A TCP relay that can lose what passes through it, and cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Relays connections to one address.
pub struct Cutter {
    pub address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What goes towards the server is lost.
    lose_requests: AtomicBool,
    /// Bytes of requests that were.
    lost: AtomicU64,
    /// What comes from the server is lost.
    lose_answers: AtomicBool,
    /// Bytes from the server that may still pass before everything is cut, once.
    answers_left: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
    /// Connections that are relayed now, each way counted.
    relays: AtomicU64,
}

impl Cutter {
    pub fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            answers_left: AtomicU64::new(u64::MAX),
            ..State::default()
        });
        let (shared, target) = (Arc::clone(&state), target.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&target)) else {
                    continue;
                };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let ends = [&client, &server].map(|end| end.try_clone().unwrap());
                shared.open.lock().unwrap().extend(ends);
                shared.relays.fetch_add(2, Ordering::SeqCst);
                let ends = [&client, &server].map(|end| end.try_clone().unwrap());
                let [client_end, server_end] = ends;
                let state = Arc::clone(&shared);
                std::thread::spawn(move || relay(client, server_end, &state, false));
                let state = Arc::clone(&shared);
                std::thread::spawn(move || relay(server, client_end, &state, true));
            }
        });
        Self { address, state }
    }

    pub fn lose_requests(&self, lose: bool) {
        self.state.lose_requests.store(lose, Ordering::SeqCst);
    }

    /// Bytes of requests that were lost so far.
    pub fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::SeqCst)
    }

    pub fn lose_answers(&self, lose: bool) {
        self.state.lose_answers.store(lose, Ordering::SeqCst);
    }

    /// Connections that are relayed now, each way counted.
    pub fn relays(&self) -> u64 {
        self.state.relays.load(Ordering::SeqCst)
    }

    /// Cuts once so many more bytes have come from the server.
    pub fn cut_after(&self, bytes: u64) {
        self.state.answers_left.store(bytes, Ordering::SeqCst);
    }

    /// Closes all connections; new ones are relayed again.
    pub fn cut(&self) {
        self.state.cut();
    }
}

impl State {
    fn cut(&self) {
        for end in self.open.lock().unwrap().drain(..) {
            // It may be closed already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, state: &State, answers: bool) {
    let mut buffer = [0; 16 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(read) if read > 0 => read,
            _ => break,
        };
        let lose = if answers {
            &state.lose_answers
        } else {
            &state.lose_requests
        };
        if lose.load(Ordering::SeqCst) {
            if !answers {
                state.lost.fetch_add(read as u64, Ordering::SeqCst);
            }
            continue;
        }
        if answers {
            let left = state.answers_left.load(Ordering::SeqCst);
            if left < read as u64 {
                state.answers_left.store(u64::MAX, Ordering::SeqCst);
                state.cut();
                break;
            }
            if left != u64::MAX {
                state.answers_left.fetch_sub(read as u64, Ordering::SeqCst);
            }
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    state.relays.fetch_sub(1, Ordering::SeqCst);
}
