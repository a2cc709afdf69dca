//! `getsockopt(TCP_INFO)`: what the owner of a connection sees of it. Tests hold sock_diag against it; nix has no
//! wrapper.

use std::{io, net::TcpStream, os::fd::AsRawFd};

/// Smoothed round trip, its mean deviation (both in microseconds) and segments sent again.
pub fn own_info(socket: &TcpStream) -> io::Result<[u32; 3]> {
    // SAFETY: integers only, valid for all bytes.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `info`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok([info.tcpi_rtt, info.tcpi_rttvar, info.tcpi_total_retrans])
    } else {
        Err(io::Error::last_os_error())
    }
}
