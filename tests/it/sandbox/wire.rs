//! Requests of our own making, in whatever version, on a connection of their own.

use crate::support::LONG;
use sluicegate::kafka::protocol::{Reader, Request, frame, response_body};
use sluicegate::kafka::sandbox::Sandbox;
use std::io::{Read, Write};
use std::net::TcpStream;

/// A connection to the first node.
pub fn connect(sandbox: &Sandbox) -> TcpStream {
    let socket = TcpStream::connect(sandbox.address()).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

/// Reads one frame, without its length.
pub fn receive(mut socket: &TcpStream) -> Vec<u8> {
    let mut prefix = [0; 4];
    socket.read_exact(&mut prefix).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(prefix) as usize];
    socket.read_exact(&mut answer).unwrap();
    answer
}

/// Asks the first node in this version, and looks at the answer.
pub fn ask<R: Request, T>(
    sandbox: &Sandbox,
    version: i16,
    request: &R,
    look: impl FnOnce(R::Response<'_>) -> T,
) -> T {
    let mut socket = connect(sandbox);
    let mut out = Vec::new();
    frame(request, version, 7, "wire", &mut out).unwrap();
    socket.write_all(&out).unwrap();
    let answer = receive(&socket);
    let mut reader = Reader::new(&answer);
    assert_eq!(response_body(&mut reader, R::API, version), Ok(7));
    let mut response: R::Response<'_> = reader.whole().unwrap();
    R::restore(&mut response, version);
    look(response)
}
